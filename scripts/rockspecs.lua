-- Writes the rockspecs, which differ in their version alone.
--
-- Usage: rockspecs.lua                 those of the checkout
--        rockspecs.lua check           only tells whether they are as they would be written
--        rockspecs.lua FOLDER SOURCE   into another folder, with the folder of sources that a rock is made of

local VERSIONS = { "scm-1", "0.1.0-1" }

local TEMPLATE = [[
-- Written by scripts/rockspecs.lua.
rockspec_format = "3.0"
package = "remoteobj"
version = "$version"
source = {
  url = $url,$tag
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
}
build = {
  type = "make", -- which hides the symbols of the module, and builds it as every other way of building does
  build_target = "module",
  install_target = "install-module",
  variables = {
    BUILD = "build/rock",
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    INSTALL_CMOD = "$(LIBDIR)",
    INSTALL_LMOD = "$(LUADIR)",
  },
  copy_directories = { "docs", "examples", "library" },
}
test = {
  type = "command",
  command = "make check",
}
]]

-- A place that only `luarocks make`, which does not fetch, can do without: `make rock` puts the checkout's there.
local NOWHERE = "git+file://."

local function rockspec(version, url)
  local release = version:match "^(%d[%d.]*)%-"
  local values = {
    version = version,
    url = ('"%s"'):format(url:gsub('[\\"]', "\\%0")),
    tag = release and ('\n  tag = "v%s",'):format(release) or "",
  }
  return (TEMPLATE:gsub("%$(%l+)", values))
end

local function read(name)
  local file <close> = io.open(name)
  return file and file:read "a"
end

local function write(name, text)
  local file <close> = assert(io.open(name, "w"))
  assert(file:write(text))
  print("written: " .. name)
end

local folder, source = arg[1], arg[2]
local check = folder == "check"
if not source then
  folder = "rockspec"
end

local stale = false
for _, version in ipairs(VERSIONS) do
  local name = ("%s/remoteobj-%s.rockspec"):format(folder, version)
  local text = rockspec(version, source and "git+file://" .. source or NOWHERE)
  if read(name) ~= text and check then
    stale = true
    print("not up to date: " .. name)
  elseif read(name) ~= text then
    write(name, text)
  end
end
os.exit(not stale)
