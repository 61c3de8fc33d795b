--- The handle of a child, in the process that started it and in that one's forks.
-- @module remoteobj

local core = require "remoteobj.core"
local channels = require "remoteobj.channel"
local worker = require "remoteobj.child"

local native = core._process
local pack, unpack = table.pack, table.unpack

local SIGTERM, SIGKILL = 15, 9

-- What an exit code is when another part of the program has taken the status of a process.
local UNKNOWN = 255

local methods, getters = {}, {}
local Process = { __name = "remoteobj.Process" }

--- The native child, of a process that has been started.
local function child_of(self, level)
  return self._child or error(("process '%s' has not been started"):format(self.name), (level or 2) + 1)
end

--- The same, of one that this very process has started.
local function own_child(self, what)
  local child = child_of(self, 3)
  if not child:own() then
    error(("%s: process '%s' was started by another process, which alone can wait for it"):format(what, self.name), 3)
  end
  return child
end

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

--- The Except with the errors of the process.
-- @tfield Except exc

--- The first value returned, nil until then; of a process that has yielded its one iterator.
-- @tfield any result

--- Starts the process: the function sees all values as they are now.
-- @function Process:start
-- @treturn Process the handle itself
-- @raise when it was started already, or the system refuses a process
function methods:start()
  if self._child or self._inside then
    error(("process '%s' was already started"):format(self.name), 2)
  end
  self._child = native.fork(self.daemon, worker.run, self)
  return self
end

-- The Except with the errors of the process, made when it is needed.
function methods:_book()
  return self._exc or self._channel:book()
end

--- Makes an error of the failure that the child has told of.
local function take_failure(self)
  local channel, exc = self._channel, self:_book()
  local id = channel.pid .. ":" .. channel.number
  -- The book has the error already, unless it is another process's or didn't want it.
  local record = exc:_recorded(id)
  local known, value = record ~= nil, record and record.value
  if not known then
    known, value = pcall(channel.body.failure, channel.body)
  end
  self._error = { value = value }
  if known and not record and not exc._channel:mine() then
    exc:_insert(value, self.group, channel.time, id)
  end
end

--- Keeps what a pcall for the results has given.
local function keep_results(self, ok, ...)
  if ok then
    self._results = pack(...)
    return
  end
  local problem = ...
  self._results = { n = 0 }
  self._error = { value = problem }
  self:_book():_record(native.failure_with(problem, nil), problem, self.group)
end

--- Makes values of what the child has told. Results that this process can't understand are its error.
local function take_outcome(self)
  local channel = self._channel
  if channel.outcome == channels.FAILED then
    if not self._error then
      take_failure(self)
    end
  elseif channel.outcome == channels.RETURNED and self._sends and not self._results then
    keep_results(self, pcall(channel.body.values, channel.body))
  end
end

--- Takes in what other processes have told.
local function pull(self)
  if self._exc then
    self._exc:pull()
  end
  self._channel:pull()
  take_outcome(self)
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
    exitcode = code or UNKNOWN,
    signal = signal,
    pid = pid,
    process = self.name,
  }, core.Error)
end

--- Takes in what is known of the end of a process that has ended.
local function settle(self, code)
  if self._settled then
    return
  end
  pull(self)
  self._settled = true
  if code == false then
    local outcome = self._channel.outcome
    code = outcome == channels.RETURNED and 0 or outcome == channels.FAILED and 1 or nil
  end
  self._exitcode = code or UNKNOWN
  if not self._error and (not code or code < 0 and not (self._sent and self._sent[-code])) then
    local value = died(self, code)
    self._error = { value = value }
    self:_book():_record(native.failure_with(value, nil), value, self.group)
  end
end

--- Takes in what there is without waiting.
local function refresh(self)
  local child = self._child
  if not child or self._settled or not child:own() then
    return
  end
  local code = child:status()
  if code ~= nil then
    settle(self, code)
  else
    pull(self)
  end
end

--- Takes one frame of the stream, if there is one. Returns its body.
local function receive(self)
  local child = self._child
  local body, finished, said = child:receive()
  if body then
    self._yielded = true
  elseif finished then
    self._drained, self._said_so = true, said
  end
  return body
end

--- Puts what is there of the stream aside: one frame, or all when the process has `ended`.
local function drain(self, ended)
  repeat
    local body = receive(self)
    if body then
      local queue = self._queue or { first = 1, last = 0 }
      self._queue = queue
      queue.last = queue.last + 1
      queue[queue.last] = body
    end
  until not (body and ended)
end

--- The body that was put aside first.
local function first_queued(self)
  local queue = self._queue
  return queue and queue[queue.first]
end

--- Waits until the process has ended, keeping its stream from being full.
local function wait(self, child, deadline)
  while true do
    local ended, readable = child:wait(deadline, not self._drained)
    if readable then
      drain(self, ended)
    end
    if ended then
      self._drained = true
      settle(self, child:status())
      return true
    elseif native.now() >= deadline then
      return false
    end
  end
end

local function check_timeout(what, timeout)
  if timeout ~= nil and type(timeout) ~= "number" then
    error(("bad argument #1 to '%s' (number of seconds expected, got %s)"):format(what, type(timeout)), 3)
  end
end

local function announce(self)
  local close_function = self._close
  if close_function and not self._announced then
    self._announced = true
    close_function()
  end
end

--- The contexts of its own book around the call know the error already.
local function raise_own(self)
  self:_book():_mark(self._error.value)
  error(self._error.value, 0)
end

local function raise_outcome(self)
  if self._raises and self._error then
    raise_own(self)
  end
end

--- Waits for the end. Values that were yielded are taken in meanwhile and can still be iterated over.
-- @function Process:join
-- @tparam[opt] number timeout seconds; the default is `timeout_`, or without end
-- @treturn boolean has it ended
-- @raise the error that has ended it; `ProcessDied` after a signal that was not sent through this handle; neither with
-- `raises_ = false`
function methods:join(timeout)
  check_timeout("join", timeout)
  local child = own_child(self, "join")
  announce(self)
  if not wait(self, child, native.deadline(timeout or self._timeout)) then
    return false
  end
  raise_outcome(self)
  return true
end

--- Has it been started and not ended yet?
-- @function Process:is_alive
-- @treturn boolean
function methods:is_alive()
  return self._child ~= nil and self._child:alive() or self._inside == native.getpid()
end

local function send_signal(self, signal)
  local child, all = child_of(self, 3), self._sent or {}
  self._sent = all
  all[signal] = all[signal] or false -- there is room for it before anything happens
  local sent = child:signal(signal)
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

--- Raises the error that has ended the process, else the last in `exc`; nothing when there is none.
-- @function Process:raise_any
-- @param[opt] name a group: its last error alone; nil is the group without a name
function methods:raise_any(...)
  refresh(self)
  if select("#", ...) == 0 and self._error then
    raise_own(self)
  end
  return self:_book():raise_any(...)
end

--- All that the function has returned; nothing until then.
-- @function Process:results
-- @return its results
function methods:results()
  refresh(self)
  local results = self._results
  if results then
    return unpack(results, 1, results.n)
  end
end

--- What comes after the last value: the error, if there is one. A stream that the child has not
-- ended itself ends with the process, whose fate is then known in a moment.
local function end_of_stream(self, child)
  if not self._said_so then
    wait(self, child, math.maxinteger)
  end
  refresh(self)
  raise_outcome(self)
end

--- The next values that the process has yielded, waiting for them; nothing at the end.
local function next_values(self)
  local body = first_queued(self)
  if body then
    local queue = self._queue
    queue[queue.first] = nil
    queue.first = queue.first + 1
    return body:values()
  end
  local child, ended = own_child(self, "iter"), false
  while not self._drained do
    body = receive(self)
    if body then
      return body:values()
    end
    self._drained = self._drained or ended
    if not self._drained then
      ended = child:wait(math.maxinteger, true)
    end
  end
  if not self._cancelled then
    end_of_stream(self, child)
  end
end

local function iterator_of(self)
  local iterator = self._iterator
  if not iterator then
    iterator = function()
      return next_values(self)
    end
    self._iterator = iterator
  end
  return iterator
end

--- Leaves the stream: the generator is closed at its next yield.
local function cancel(self)
  if not self._drained and self._child:own() then
    self._child:cancel()
  end
  self._queue = nil
  self._cancelled = not self._drained
  self._drained = true
end

local Closer = {
  __close = function(closer)
    local self = closer.handle
    if not self._drained or first_queued(self) then
      cancel(self)
    end
  end,
}

--- Iterates over what the process yields, waiting for each. Leaving the loop early ends the process at its next yield.
-- @function Process:iter
-- @return what a generic `for` needs
-- @raise at the end the error that has ended the process, if there is one
-- @usage for line in process:iter() do print(line) end
function methods:iter()
  own_child(self, "iter")
  return iterator_of(self), nil, nil, setmetatable({ handle = self }, Closer)
end

function getters:pid()
  return self._inside or self._child and self._child:pid()
end

function getters:sentinel()
  return self._child and self._child:sentinel()
end

function getters:exitcode()
  refresh(self)
  return self._exitcode
end

function getters:exc()
  refresh(self)
  return self:_book()
end

function getters:result()
  local child = self._child
  if child and not self._yielded and not self._drained and child:own() then
    drain(self, false)
  end
  if self._yielded then
    return iterator_of(self)
  end
  return (self:results())
end

function Process:__index(key)
  local method = methods[key]
  if method then
    return method
  end
  local getter = getters[key]
  return getter and getter(self)
end

--- Joins. The process's error takes the place of one that the block has raised.
-- @function Process:__close
function Process:__close()
  local child = self._child
  if not child or not child:own() then
    return
  end
  local ok, problem = pcall(announce, self)
  local ended = wait(self, child, native.deadline(self._timeout))
  if not ok then
    error(problem, 0)
  elseif ended then
    raise_outcome(self)
  end
end

--- Its name, and how it goes.
-- @function Process:__tostring
-- @treturn string text for messages
function Process:__tostring()
  local state = "not started"
  if self._inside then
    state = "this process"
  elseif self._child then
    local code = self.exitcode
    state = code and ("ended with %d"):format(code) or self._child:alive() and "running" or "ended"
  end
  return ("<process %s: %s>"):format(self.name, state)
end

return Process
