--- What the handles of processes and threads have in common. Both stand for a child that runs a function: a native
-- one, whose methods are the same for both, and a channel, on which it tells how the function has ended.
-- @module remoteobj

local core = require "remoteobj.core"
local channels = require "remoteobj.channel"

local native = core._process
local pack, unpack = table.pack, table.unpack

local common, getters = {}, {}

-- What an exit code is when another part of the program has taken the status of a process.
local UNKNOWN = 255

local handle = { UNKNOWN = UNKNOWN }

--- The native child, of what has been started.
local function child_of(self, level)
  return self._child or error(("%s '%s' has not been started"):format(self._kind, self.name), (level or 2) + 1)
end

--- The same, of one that this very process has started.
local function own_child(self, what)
  local child = child_of(self, 3)
  if not child:own() then
    error(("%s: %s '%s' was started by another process, which alone can wait for it"):format(what, self._kind,
      self.name), 3)
  end
  return child
end

-- Refuses to start what has been started.
function common:_check_new()
  if self._child or self._inside then
    error(("%s '%s' was already started"):format(self._kind, self.name), 3)
  end
end

-- The Except with its errors, made when it is needed.
function common:_book()
  return self._exc or self._channel:book()
end

--- Keeps what a protected call for the results has given.
local function keep_results(self, ok, ...)
  local results = ok and pack(...) or { n = 0 }
  if not ok and not self._error then
    self:_keep_error((...))
  end
  self._results = results
end

--- Makes values of what the child has told. Results that this process can't understand are its error.
local function take_outcome(self)
  local channel = self._channel
  if channel.outcome == channels.FAILED then
    if not self._error then
      self._error = { value = self:_failure() }
    end
  elseif channel.outcome == channels.RETURNED and self._sends and not self._results then
    keep_results(self, native.attempt(channel.body.values, channel.body))
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

--- Takes in what is known of the end of a child that has ended. Where that is torn, for want of memory, it can be done
-- again.
local function settle(self, code)
  if not self._settled then
    pull(self)
  end
  if self._settled then -- perhaps by another thread meanwhile
    return
  end
  if code == false then
    local outcome = self._channel.outcome
    code = outcome == channels.RETURNED and 0 or outcome == channels.FAILED and 1 or nil
  end
  if not self._error then
    self:_check_end(code)
  end
  self._exitcode = code or UNKNOWN
  self:_let_go()
  self._settled = true
end

-- Keeps an error that the child has not told of itself.
function common:_keep_error(value)
  local kept = { value = value }
  self:_book():_record(native.failure_with(value, nil), value, self.group)
  self._error = kept
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

--- Puts what is there of the stream aside: one frame, or all when the child has `ended`.
local function drain(self, ended)
  local queue = self._queue or { first = 1, last = 0 }
  self._queue = queue
  repeat
    queue[queue.last + 1] = false -- there is room for it before it is taken
    local body = receive(self)
    if body then
      queue.last = queue.last + 1
      queue[queue.last] = body
    end
  until not (body and ended)
end

-- Puts aside all that is left of the stream of a child that has ended.
function common:_drain()
  if not self._drained then
    drain(self, true)
    self._drained = true
  end
end

--- The body that was put aside first.
local function first_queued(self)
  local queue = self._queue
  return queue and queue[queue.first]
end

--- Takes it out.
local function take_queued(self)
  local body = first_queued(self)
  if body then
    local queue = self._queue
    queue[queue.first] = nil
    queue.first = queue.first + 1
  end
  return body
end

--- Waits until the child has ended, keeping its stream from being full.
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

-- The error that has ended it, if there is one and that is known.
function common:_outcome()
  return self._error and self._error.value
end

function common:join(timeout)
  check_timeout("join", timeout)
  local child = own_child(self, "join")
  announce(self)
  if not wait(self, child, native.deadline(timeout or self._timeout)) then
    return false
  end
  raise_outcome(self)
  return true
end

function common:is_alive()
  return self._child ~= nil and self._child:alive() or self._inside == native.getpid()
end

-- The sentinel of one that was started and is not known to have ended, for a wait of the library's.
function common:_life()
  return self._child and self._child:life()
end

function common:raise_any(...)
  refresh(self)
  if select("#", ...) == 0 and self._error then
    raise_own(self)
  end
  return self:_book():raise_any(...)
end

function common:results()
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

--- The body of the next values that were yielded, waiting for them; nil at the end. Other threads may take part, or
-- join meanwhile.
local function next_body(self)
  local ended = false
  while true do
    local drained = self._drained
    local body = take_queued(self) or not drained and receive(self) or nil
    if body or drained then
      return body
    elseif ended then
      self._drained = true
    else
      ended = own_child(self, "iter"):wait(math.maxinteger, true)
    end
  end
end

--- The next values that the process has yielded, waiting for them; nothing at the end.
local function next_values(self)
  local body = next_body(self)
  if body then
    return body:values()
  elseif not self._cancelled then
    end_of_stream(self, own_child(self, "iter"))
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

function common:iter()
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
  if not self._exc then
    self._channel:lend()
  end
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

--- Joins. The child's error takes the place of one that the block has raised.
local function close(self)
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

local function show(self)
  local state = "not started"
  if self._inside then
    state = "this process"
  elseif self._child then
    local code = self.exitcode
    state = code and ("ended with %d"):format(code) or self._child:alive() and "running" or "ended"
  end
  return ("<%s %s: %s>"):format(self._kind, self.name, state)
end

--- A class of handles.
-- @param kind what messages call what they stand for
-- @param own its methods besides those that all have. Among them are `start`; `_failure()`, which gives the error that
-- the child has told of; `_check_end(code)`, which keeps an error (_keep_error) where the child, having told of none,
-- has ended in a way that is one; and `_let_go()`, which gives back what is not needed when all that is known
-- @return the metatable
function handle.class(kind, own)
  local methods = { _kind = kind }
  for _, from in ipairs { common, own } do
    for name, method in pairs(from) do
      methods[name] = method
    end
  end
  local class = { __name = "remoteobj." .. kind:gsub("^%l", string.upper), __close = close, __tostring = show }
  function class:__index(key)
    local method = methods[key]
    if method then
      return method
    end
    local getter = getters[key]
    return getter and getter(self)
  end
  return class
end

handle.child_of = child_of

return handle
