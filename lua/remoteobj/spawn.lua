--- The making of processes: what process(func, ...) and process{ func, ..., name_ = … } give.
-- @module remoteobj

local Process = require "remoteobj.process"
local channels = require "remoteobj.channel"
local naming = require "remoteobj.naming"
local options = require "remoteobj.options"

local extra = { exc_ = options.except }

local function choose(value, default)
  if value == nil then
    return default
  end
  return value
end

--- A process that is to run `func(...)` in a child; `Process:start` starts it. In place of the function and its
-- arguments there may be one table of them, which may hold options too.
-- @function process
-- @tparam function|table func anything that can be called; or a table of it, its arguments and options
-- @param ... its arguments
-- @tparam[opt] string func.name_ the name, by default the function's name and a number
-- @param[opt] func.group_ the group of its errors in `exc`
-- @tparam[opt=true] boolean func.daemon_ the child never outlives its parent; else the parent waits for it when it ends
-- @tparam[opt] number func.timeout_ seconds that `join` waits, and the end of a `<close>` variable's block
-- @tparam[opt=true] boolean func.raises_ `join` raises the error that has ended it
-- @tparam[opt=true] boolean func.results_ send what it returns and yields
-- @tparam[opt] Except func.exc_ records its errors, by default one of its own
-- @tparam[opt] function func.close_ called before joining
-- @treturn Process not started yet
-- @raise for what can't be called, and for unknown options
-- @usage
-- local p <close> = remoteobj.process(work, 5):start()
-- local q = remoteobj.process { work, 5, name_ = "worker", timeout_ = 10 }
local function process(...)
  local func, arguments, given = options.read("process", extra, ...)
  if not func then
    error(arguments, 2)
  end
  local name, known = given.name_, false
  if not name then
    local body = type(func) == "function" and func or getmetatable(func).__call
    name, known = naming.of(func, body, 2)
  end
  -- The nil fields are set later: the table has room for them from the beginning.
  local self = {
    name = given.name_ or naming.numbered("process", name),
    group = given.group_,
    daemon = choose(given.daemon_, true),
    _known_as = known and name or nil,
    _func = func,
    _arguments = arguments,
    _timeout = given.timeout_,
    _close = given.close_,
    _raises = choose(given.raises_, true),
    _sends = choose(given.results_, true),
    _exc = given.exc_, -- an Except of the program's; its own is its channel's
    _channel = channels.new(),
    _child = nil,
    _drained = nil,
    _results = nil,
    _exitcode = nil,
  }
  return setmetatable(self, Process)
end

return { process = process }
