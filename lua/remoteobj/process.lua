--- The handle of a process, in the process that started it and in that one's forks.
-- @module remoteobj

local core = require "remoteobj.core"
local channels = require "remoteobj.channel"
local child = require "remoteobj.child"
local handle = require "remoteobj.handle"

local native = core._process

local SIGTERM, SIGKILL = 15, 9

local methods = {}

--- A process that runs a function: what `process` gives. A `<close>` variable of it joins at the end of the block.
-- Dropping the handle changes nothing: the child goes on.
-- @type Process

--- Its name: `name_`, or the function's name and a number.
-- @tfield string name

--- What `group_` was: the group of its errors in `exc`.
-- @tfield any group

--- Does the child end with its parent?
-- @tfield boolean daemon

--- The process id; nil before `start`.
-- @tfield integer pid

--- A descriptor that is readable once the process has ended; nil before `start`.
-- @tfield integer sentinel

--- nil while the process runs; 0 after a return, 1 after an error, the code of `os.exit`, -N after signal N.
-- @tfield integer exitcode

--- The Except with the errors of the process. Others that record in it, too, are heard here if somebody had asked for
-- it before the process ended, or this process before it started them.
-- @tfield Except exc

--- The first value returned, nil until then; of a process that has yielded its one iterator.
-- @tfield any result

--- Waits for the end. Values that were yielded are taken in meanwhile and can still be iterated over.
-- @function Process:join
-- @tparam[opt] number timeout seconds; the default is `timeout_`, or without end
-- @treturn boolean has it ended
-- @raise the error that has ended it; `ProcessDied` after a signal that was not sent through this handle; neither with
-- `raises_ = false`

--- Has it been started and not ended yet?
-- @function Process:is_alive
-- @treturn boolean

--- Raises the error that has ended the process, else the last in `exc`; nothing when there is none.
-- @function Process:raise_any
-- @param[opt] name a group: its last error alone; nil is the group without a name

--- All that the function has returned; nothing until then.
-- @function Process:results
-- @return its results

--- Iterates over what the process yields, waiting for each. Leaving the loop early ends the process at its next yield.
-- @function Process:iter
-- @return what a generic `for` needs
-- @raise at the end the error that has ended the process, if there is one
-- @usage for line in process:iter() do print(line) end

--- Joins. The process's error takes the place of one that the block has raised.
-- @function Process:__close

--- Its name, and how it goes.
-- @function Process:__tostring
-- @treturn string text for messages

--- Starts the process: the function sees all values as they are now.
-- @function Process:start
-- @treturn Process the handle itself
-- @raise when it was started already, or the system refuses a process
function methods:start()
  self:_check_new()
  self._child = native.fork(self.daemon, self._bound, child.run, self)
  return self
end

local function append(self, method, kind, id, ...)
  local journal = self._channel.journal
  return journal[method](journal, kind, native.now(), id or 0, nil, ...)
end

-- In the child, for its parent:

function methods:_returned(...)
  append(self, "append_values", channels.RETURNED, nil, ...)
end

function methods:_failed(number, failure)
  append(self, "append_failure", channels.FAILED, number, failure)
end

function methods._send(_, ...)
  return native.send(...)
end

function methods._close_stream()
  native.close_stream()
end

-- The error of the failure that the child has told of.
function methods:_failure()
  local channel, exc = self._channel, self:_book()
  local id = channel.pid .. ":" .. channel.number
  -- The book has the error already, unless it is another process's or didn't want it.
  local record = exc:_recorded(id)
  if record then
    return record.value
  end
  local known, value = native.attempt(channel.body.failure, channel.body)
  if known and not exc._channel:mine() then
    exc:_insert(value, self.group, channel.time, id)
  end
  return value
end

--- An error of the library about the way in which the process has ended.
local function died(self, code)
  local pid, how, signal = self._child:pid(), "has ended, but another part of the program has taken its status", nil
  if code then
    signal = native.signal_name(-code)
    how = "was killed by " .. signal
  end
  return setmetatable({
    kind = "ProcessDied",
    message = ("process '%s' (pid %d) %s"):format(self.name, pid, how),
    exitcode = code or handle.UNKNOWN,
    signal = signal,
    pid = pid,
    process = self.name,
  }, core.Error)
end

-- Descriptors that were for what is known now.
function methods:_let_go()
  self:_drain()
  self._child:settle()
  self._channel:close()
end

-- A signal that was not sent through this handle is an error.
function methods:_check_end(code)
  if not code or code < 0 and not (self._sent and self._sent[-code]) then
    self:_keep_error(died(self, code))
  end
end

local function send_signal(self, signal)
  local receiver, all = handle.child_of(self, 3), self._sent or {}
  self._sent = all
  all[signal] = all[signal] or false -- there is room for it before anything happens
  local sent = receiver:signal(signal)
  if sent then
    all[signal] = true
  end
  return sent
end

--- Asks the process to end (SIGTERM).
-- @function Process:terminate
-- @treturn boolean false when it had ended already
function methods:terminate()
  return send_signal(self, SIGTERM)
end

--- Ends the process (SIGKILL).
-- @function Process:kill
-- @treturn boolean false when it had ended already
function methods:kill()
  return send_signal(self, SIGKILL)
end

--- Raises an error in the process's function: at its next instruction; in a wait of the library at once; where it has
-- called C code that blocks otherwise, when that returns, and sleeps and polls return early. It is an error like any
-- other: `pcall` catches it, values to be closed are. Errors that are thrown one after the other are raised so. The
-- value travels as arguments do.
-- @function Process:throw
-- @param err any value that can be sent
-- @treturn boolean false when the process had ended already; after true its function may still have been about to
-- end, or the process have become another program, which knows nothing of it
-- @raise when it was not started; `Unsendable`; where the system refuses to send it, or to tell whether the process
-- looks for it, in which case it may still come
function methods:throw(...)
  if select("#", ...) == 0 then
    error("bad argument #1 to 'throw' (value expected)", 2)
  elseif self._inside == native.getpid() then
    error((...), 0)
  end
  local process, journal = handle.child_of(self, 2), self._channel.journal
  if not process:alive() then
    return false
  end
  local ok, problem = native.attempt(journal.append_error, journal, channels.THROWN, native.now(), 0, nil, (...))
  if ok then
    process:call(journal:attended(process:pid())) -- else it has not begun yet, and will look
    return true -- be it that it has ended by now: it may have found the error before it was called
  elseif process:alive() then
    error(problem, 0)
  end
  return false -- the journal may have been closed
end

return handle.class("process", methods)
