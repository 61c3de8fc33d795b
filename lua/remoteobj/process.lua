--- Processes: the handle of a child, in the process that started it and in that one's forks.

local core = require "remoteobj.core"
local book = require "remoteobj.book"
local channels = require "remoteobj.channel"
local worker = require "remoteobj.child"
local naming = require "remoteobj.naming"
local options = require "remoteobj.options"

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

--- Starts the process. Returns the handle.
function methods:start()
  if self._child or self._inside then
    error(("process '%s' was already started"):format(self.name), 2)
  end
  self._child = native.fork(self.daemon, function()
    return worker.run(self)
  end)
  return self
end

--- What the child has told of its end.
function methods:_arrived(failed, body, time, id)
  self._outcome, self._outcome_body = failed and "failed" or "returned", body
  if not failed then
    if self._owns_exc then
      self._exc:_keep_result(time, body)
    end
    return
  end
  -- The book has the error already, unless it is another process's or didn't want it.
  local record = self._exc:_recorded(id)
  local known, value = record ~= nil, record and record.value
  if not known then
    known, value = pcall(body.failure, body)
  end
  self._error = { value = value }
  if known and not record and not self._exc._channel:mine() then
    self._exc:_insert(value, self.group, time, id)
  end
end

--- Makes values of the results that have come. One that this process can't understand is its error.
local function unpack_results(self)
  if self._outcome ~= "returned" or not self._sends or self._results then
    return
  end
  local results = pack(pcall(self._outcome_body.values, self._outcome_body))
  self._outcome_body = nil
  if results[1] then
    self._results = pack(unpack(results, 2, results.n))
  else
    self._results = { n = 0 }
    self._error = { value = results[2] }
    self._exc:_record(native.failure_with(results[2], nil), results[2], self.group)
  end
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
  self._exc:pull()
  self._channel:pull()
  self._settled = true
  if code == false then
    code = self._outcome == "returned" and 0 or self._outcome == "failed" and 1 or nil
    self._exitcode = code or UNKNOWN
  else
    self._exitcode = code
  end
  unpack_results(self)
  if not self._error and (not code or code < 0 and not self._sent[-code]) then
    local value = died(self, code)
    self._error = { value = value }
    self._exc:_record(native.failure_with(value, nil), value, self.group)
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
    self._exc:pull()
    self._channel:pull()
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
  local queue = self._queue
  repeat
    local body = receive(self)
    if body then
      queue.last = queue.last + 1
      queue[queue.last] = body
    end
  until not (body and ended)
  self._drained = self._drained or ended
end

--- Waits until the process has ended, keeping its stream from being full.
local function wait(self, child, deadline)
  while true do
    local ended, readable = child:wait(deadline, not self._drained)
    if readable then
      drain(self, ended)
    end
    if ended then
      local code = child:status()
      if code ~= nil then
        settle(self, code)
        return true
      end
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
  self._exc:_mark(self._error.value)
  error(self._error.value, 0)
end

local function raise_outcome(self)
  if self._raises and self._error then
    raise_own(self)
  end
end

--- Waits for the end, at most so many seconds. Returns whether it has ended; raises the error that has ended it.
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

function methods:is_alive()
  return self._child ~= nil and self._child:alive() or self._inside == native.getpid()
end

local function send_signal(self, signal)
  local sent = child_of(self, 3):signal(signal)
  if sent then
    self._sent[signal] = true
  end
  return sent
end

--- Asks the process to end (SIGTERM). Returns false when it had ended already.
function methods:terminate()
  return send_signal(self, SIGTERM)
end

--- Ends the process (SIGKILL). Returns false when it had ended already.
function methods:kill()
  return send_signal(self, SIGKILL)
end

--- Raises the error that has ended the process, else the last in `exc`; or the last of a group.
function methods:raise_any(...)
  refresh(self)
  if select("#", ...) == 0 and self._error then
    raise_own(self)
  end
  return self._exc:raise_any(...)
end

--- All that the function has returned; nothing until then.
function methods:results()
  refresh(self)
  unpack_results(self)
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
  local queue = self._queue
  local body = queue[queue.first]
  if body then
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
  self._queue = { first = 1, last = 0 }
  self._cancelled = not self._drained
  self._drained = true
end

local Closer = {
  __close = function(closer)
    local self = closer.handle
    if not self._drained or self._queue[self._queue.first] then
      cancel(self)
    end
  end,
}

--- Iterates over what the process yields: for use in a generic `for`.
function methods:iter()
  own_child(self, "iter")
  return iterator_of(self), nil, nil, setmetatable({ handle = self }, Closer)
end

function getters:pid()
  return self._inside or self._child and self._child:pid()
end

--- The descriptor that is readable once the process has ended.
function getters:sentinel()
  return self._child and self._child:sentinel()
end

--- The exit code, -N after signal N, nil while the process runs.
function getters:exitcode()
  refresh(self)
  return self._exitcode
end

--- The Except with the errors of the process.
function getters:exc()
  refresh(self)
  return self._exc
end

--- The first value returned, nil until then; of a process that has yielded its one iterator.
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

---------------------------------------------------------------------------------------------
-- The constructor

local extra = {
  exc_ = function(value)
    return book.is_except(value), "an Except"
  end,
}

local function choose(value, default)
  if value == nil then
    return default
  end
  return value
end

--- A process that is to run func(...); `start` starts it.
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
    _owns_exc = given.exc_ == nil,
    _exc = given.exc_ or book.Except(),
    _queue = { first = 1, last = 0 },
    _sent = {},
  }
  self._channel = given.exc_ and channels.new() or self._exc._channel
  self._token = self._channel:register(self)
  return setmetatable(self, Process)
end

return { process = process, util = { process = process } }
