-- For specs that install the library as a user would: commands with a user's environment, copies of the sources,
-- and a program that uses what was installed.
local script = require "spec.support.script"

local installation = {}

local TIMEOUT = 300

local PLAIN = {
  LUA_PATH = false,
  LUA_PATH_5_4 = false,
  LUA_CPATH = false,
  LUA_CPATH_5_4 = false,
  LUA_INIT = false,
  LUA_INIT_5_4 = false,
  MAKEFLAGS = false,
  MFLAGS = false,
  MAKELEVEL = false,
  MAKEOVERRIDES = false,
}

--- What makes the environment of the specs that of a user's shell, for spec.support.script.
-- @param[opt] env names and values that are to be different, false to unset
function installation.environment(env)
  local merged = {}
  for _, source in ipairs { PLAIN, env or {} } do
    for name, value in pairs(source) do
      merged[name] = value
    end
  end
  return merged
end

--- Runs a command to its end, whatever that is.
-- @param command list of the program and its arguments
-- @param[opt] folder where it runs
-- @param[opt] env what differs from a user's environment
-- @return the result that script.run_command gives
function installation.try(command, folder, env)
  return script.run_command(command, { timeout = TIMEOUT, env = installation.environment(env), cwd = folder })
end

local function how_it_ended(result)
  if result.timed_out then
    return "did not end in time"
  elseif result.signal then
    return "was killed by signal " .. result.signal
  end
  return "ended with " .. result.code
end

--- Runs a command that must succeed; returns what it prints. Parameters as of `try`.
function installation.run(command, folder, env)
  local result = installation.try(command, folder, env)
  if result.code ~= 0 then
    local how = how_it_ended(result)
    error(("%s\n%s%s%s"):format(table.concat(command, " "), result.stdout, result.stderr, how), 2)
  end
  return result.stdout
end

local run = installation.run

function installation.lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return lines
end

--- Files and links below a folder that match a shell pattern, sorted.
function installation.files(folder, pattern)
  local found = installation.lines_of(run { "find", folder, "!", "-type", "d", "-name", pattern })
  table.sort(found)
  return found
end

--- A folder with a space in its name, in one that can be removed.
-- @return the folder, what to remove
function installation.make_folder()
  local work = run({ "mktemp", "-d" }):match "[^\n]+"
  local folder = work .. "/a copy"
  run { "mkdir", folder }
  return folder, work
end

--- Copies what the library is built of.
function installation.copy_sources(folder)
  run {
    "cp", "-r", "Makefile", "src", "cmd", "man", "lua", "scripts", "rockspec", "docs", "examples", "library",
    "LICENSE", folder,
  }
end

local function use(root, interpreter, lua_path)
  local env = { LUA_PATH = lua_path, LUA_CPATH = ("%s/lib/lua/5.4/?.so"):format(root) }
  local output = run({ interpreter, "scripts/check-installed.lua", root }, nil, env)
  assert(output == ("the library in %s works\n"):format(root), output)
end

--- Uses the library that is installed below `root`, from there alone: its Lua files and the C module, and then the
-- C module by itself.
-- @param root where `share/lua` and `lib/lua` are
-- @param[opt] interpreter the program that runs Lua scripts
function installation.check(root, interpreter)
  interpreter = interpreter or "lua5.4"
  use(root, interpreter, ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(root, root))
  use(root, interpreter, "")
end

return installation
