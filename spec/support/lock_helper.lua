--- Runs scripts in fresh interpreters that have the module `lock_threads`: the lock with native threads to try it on.
-- The module is compiled once into a temporary folder.

local helper = {}

-- Seconds that a script may take.
local LIMIT = 120 * (tonumber(os.getenv "REMOTEOBJ_SLOWNESS") or 1)

local root = debug.getinfo(1, "S").source:match "^@(.*)spec/support/[^/]*$" or "./"
if root == "" then
  root = "./"
end

local function command_output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  local ok = pipe:close()
  return ok and text, text
end

local function quoted(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

helper.root = root
helper.lua = os.getenv "LUA" or "lua5.4"

local function include_flags()
  local folder = os.getenv "LUA_INCDIR"
  if folder then
    return "-I" .. quoted(folder)
  end
  local flags = command_output "pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua-5.4 2>/dev/null"
  return flags and flags:gsub("%s+$", "") or "-I/usr/include/lua5.4"
end

local folder

--- The folder of the compiled module. REMOTEOBJ_TEST_CFLAGS adds to the compiler's flags.
function helper.folder()
  if folder then
    return folder
  end
  folder = assert(command_output "mktemp -d"):gsub("%s+$", "")
  local command = table.concat({
    os.getenv "CC" or "cc",
    "-std=c11 -O2 -g -fPIC -fvisibility=hidden -Wall -Wextra -shared -Wl,-z,nodelete",
    (os.getenv "NO_LINUX" or "0") ~= "0" and "-D_XOPEN_SOURCE=700 -DRO_NO_LINUX" or "-D_GNU_SOURCE",
    os.getenv "REMOTEOBJ_TEST_CFLAGS" or "",
    "-I" .. quoted(root .. "src"),
    include_flags(),
    "-o", quoted(folder .. "/lock_threads.so"),
    quoted(root .. "spec/support/lock_threads.c"),
    quoted(root .. "src/lock/") .. "*.c",
    quoted(root .. "src/base/") .. "*.c",
    quoted(root .. "src/sys/event.c"),
    quoted(root .. "src/sys/native.c"),
    quoted(root .. "src/sys/shared.c"),
    quoted(root .. "src/sys/descriptor.c"),
    quoted(root .. "src/sys/ppoll.c"),
    quoted(root .. "src/sys/") .. "life*.c",
    "-lpthread 2>&1",
  }, " ")
  local ok, text = command_output(command)
  assert(ok, text)
  return folder
end

--- Removes the folder again.
function helper.clean()
  if folder then
    os.remove(folder .. "/lock_threads.so")
    os.remove(folder)
    folder = nil
  end
end

local prologue = [[
local T = require "lock_threads"
package.preload["remoteobj.core"] = function() return T end
local function wait_for(condition, what)
  local limit = T.now() + 60 * (tonumber(os.getenv "REMOTEOBJ_SLOWNESS") or 1)
  while not condition() do
    if T.now() > limit then error("waited in vain for " .. (what or "it"), 2) end
    T.sleep(0.001)
  end
end
]]

--- Runs `script`, which has the module as `T`, or must require it itself if `bare`; returns what it wrote, and how it
-- ended as os.execute does. It is ended by force after two minutes, or more where programs are slow.
function helper.run(script, bare)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(bare and "" or prologue:gsub("\n", " "), script)
  file:close()
  local pipe = assert(io.popen(("%s LUA_PATH=%s LUA_CPATH=%s timeout -k 1 %d %s %s 2>&1"):format(
    os.getenv "REMOTEOBJ_TEST_ENV" or "",
    quoted(root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. package.path),
    quoted(helper.folder() .. "/?.so;" .. package.cpath), LIMIT, helper.lua, quoted(path))))
  local text = pipe:read "a"
  local ok, how, code = pipe:close()
  os.remove(path)
  return text, ok, how, code
end

--- Runs `script` and expects that it ends well and writes `ok` last.
function helper.expect_ok(script, bare)
  local text, ok, how, code = helper.run(script, bare)
  if not ok or not text:match "ok\n$" then
    error(("the script ended with %s %s and wrote:\n%s"):format(how, code, text), 2)
  end
end

return helper
