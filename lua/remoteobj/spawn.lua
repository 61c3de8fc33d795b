--- The making of processes and threads: what process(func, ...) and process{ func, ..., name_ = … } give, and the like.
-- @module remoteobj

local Process = require "remoteobj.process"
local book = require "remoteobj.book"
local channels = require "remoteobj.channel"
local naming = require "remoteobj.naming"
local options = require "remoteobj.options"
local threads = require "remoteobj.thread"

local function any_except(value)
  return book.is_except(value) or book.is_local(value), "an Except or a LocalExcept"
end

-- Kinds of children: the class of their handles, what makes their channels, and checks of further options.
local PROCESS = { name = "process", class = Process, channel = channels.new, extra = { exc_ = options.except } }
local THREAD = { name = "thread", class = threads.class, channel = threads.channel, extra = { exc_ = any_except } }
local JOB = {
  exc_ = any_except,
  threaded_ = options.boolean,
}

local function choose(value, default)
  if value == nil then
    return default
  end
  return value
end

--- Makes a handle for the caller of the function that calls this one, of what options.read has given.
local function new(kind, func, arguments, given)
  local name, known = given.name_, false
  if not name then
    local body = type(func) == "function" and func or getmetatable(func).__call
    name, known = naming.of(func, body, 3)
  end
  -- The nil fields are set later: the table has room for them from the beginning.
  local self = {
    name = given.name_ or naming.numbered(kind.name, name),
    group = given.group_,
    daemon = choose(given.daemon_, true),
    _known_as = known and name or nil,
    _func = func,
    _arguments = arguments,
    _timeout = given.timeout_,
    _close = given.close_,
    _raises = choose(given.raises_, true),
    _sends = choose(given.results_, true),
    _exc = given.exc_, -- one of the program's; its own is its channel's
    _channel = kind.channel(),
    _bound = nil, -- does the process end with its handle
    _child = nil,
    _drained = nil,
    _results = nil,
    _exitcode = nil,
  }
  return setmetatable(self, kind.class)
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
  local func, arguments, given = options.read("process", PROCESS.extra, ...)
  if not func then
    error(arguments, 2)
  end
  local made = new(PROCESS, func, arguments, given) -- no tail call: the caller must be found
  return made
end

--- A thread that is to run `func(...)` in this very Lua state; `Thread:start` starts it. All values are shared. It
-- never runs Lua at the same time as the program, but the two take turns, between any two instructions; they overlap
-- where one waits inside the library.
-- @function thread
-- @tparam function|table func anything that can be called; or a table of it, its arguments and options
-- @param ... its arguments
-- @tparam[opt] string func.name_ the name, by default the function's name and a number
-- @param[opt] func.group_ the group of its errors in `exc`
-- @tparam[opt=true] boolean func.daemon_ it is ended when the Lua state is closed; else that waits for it
-- @tparam[opt] number func.timeout_ seconds that `join` waits, and the end of a `<close>` variable's block
-- @tparam[opt=true] boolean func.raises_ `join` raises the error that has ended it
-- @tparam[opt=true] boolean func.results_ keep what it returns and yields
-- @tparam[opt] Except func.exc_ an Except or a LocalExcept that records its errors, by default a LocalExcept of its own
-- @tparam[opt] function func.close_ called before joining
-- @treturn Thread not started yet
-- @raise for what can't be called, and for unknown options
-- @usage
-- local t <close> = remoteobj.thread(work, 5):start()
local function thread(...)
  local func, arguments, given = options.read("thread", THREAD.extra, ...)
  if not func then
    error(arguments, 2)
  end
  local made = new(THREAD, func, arguments, given)
  return made
end

--- A process or a thread, whichever an option says.
-- @function job
-- @tparam function|table func what `process` takes; or a table of it, its arguments and options, those of `process` and
-- `thread` among them
-- @param ... its arguments
-- @tparam[opt=false] boolean func.threaded_ a thread, not a process
-- @param[opt] func.name_ see `process`
-- @param[opt] func.group_ see `process`
-- @param[opt] func.daemon_ see `process` and `thread`
-- @param[opt] func.timeout_ see `process`
-- @param[opt] func.raises_ see `process`
-- @param[opt] func.results_ see `process`
-- @param[opt] func.exc_ see `process` and `thread`
-- @param[opt] func.close_ see `process`
-- @treturn Process|Thread not started yet
-- @raise for what can't be called, and for unknown options
-- @usage local j <close> = remoteobj.job{ work, 5, threaded_ = true }:start()
local function job(...)
  local func, arguments, given = options.read("job", JOB, ...)
  if not func then
    error(arguments, 2)
  elseif given.exc_ and not given.threaded_ and not book.is_except(given.exc_) then
    error("bad argument #1 to 'job' (option 'exc_': a LocalExcept is for threads, a process takes an Except)", 2)
  end
  local made = new(given.threaded_ and THREAD or PROCESS, func, arguments, given)
  return made
end

return { process = process, thread = thread, job = job }
