-- Writes the rockspecs, with the lists of the files that are there: run it after adding or removing one.
-- `rockspecs.lua check` only tells whether they are up to date.

local VERSIONS = { "scm-1", "0.1.0-1" }

-- All but what belongs to the library for C hosts alone.
local SOURCES = "find src -name '*.c' ! -path src/library.c ! -path src/public.c | LC_ALL=C sort"

local TEMPLATE = [[
-- Written by scripts/rockspecs.lua, which lists the files.
rockspec_format = "3.0"
package = "remoteobj"
version = "$version"
source = {
  url = "git+file://.",$tag
}
description = {
  summary = "Use an object of another process as if it were here",
  detailed = "Proxies for objects that live in a related process: operations on a proxy are sent over a "
    .. "private connection, run there by a background listener, and their results and errors come back. With "
    .. "processes, results, yields and errors that cross them.",
  labels = { "process", "proxy", "fork", "rpc", "multiprocessing" },
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua ~> 5.4",
  "luaposix >= 35",
}
build = {
  type = "builtin",
  modules = {
    ["remoteobj.core"] = {
      sources = {
$sources
      },
      incdirs = { "src" },
      defines = { "_GNU_SOURCE" },
      libraries = { "pthread" },
    },
$modules
  },
  copy_directories = { "docs", "examples" },
}
]]

local function lines_of(command)
  local lines = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  assert(pipe:close())
  return lines
end

local function module_entry(file)
  local name = file:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local key = name:match "^[%a_][%w_]*$" and name or ('["%s"]'):format(name)
  return ('    %s = "%s",'):format(key, file)
end

local function map(list, func)
  local result = {}
  for i, value in ipairs(list) do
    result[i] = func(value)
  end
  return table.concat(result, "\n")
end

local function rockspec(version)
  local release = version:match "^(%d[%d.]*)%-"
  local values = {
    version = version,
    tag = release and ('\n  tag = "v%s",'):format(release) or "",
    sources = map(lines_of(SOURCES), function(file)
      return ('        "%s",'):format(file)
    end),
    modules = map(lines_of "find lua -name '*.lua' | LC_ALL=C sort", module_entry),
  }
  return (TEMPLATE:gsub("%$(%a+)", values))
end

local function read(name)
  local file = io.open(name)
  local text = file and file:read "a"
  if file then
    file:close()
  end
  return text
end

local stale = false
for _, version in ipairs(VERSIONS) do
  local name = ("rockspec/remoteobj-%s.rockspec"):format(version)
  local text = rockspec(version)
  if read(name) ~= text then
    stale = true
    if arg[1] ~= "check" then
      local file = assert(io.open(name, "w"))
      assert(file:write(text))
      assert(file:close())
    end
    print((arg[1] == "check" and "not up to date: " or "written: ") .. name)
  end
end
os.exit(not (stale and arg[1] == "check"))
