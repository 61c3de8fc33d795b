--- What a child does, a process or a thread: run the function, stream what it yields, tell how it ended. Where it tells
-- that, methods of its handle say: `_send(...)`, which gives whether to go on; `_returned(...)`, which may raise;
-- `_failed(number, failure)`, `number` being that of the record in its book; `_close_stream()`, no further values.

local core = require "remoteobj.core"
local channel = require "remoteobj.channel"

local native = core._process
local unpack, yield = table.unpack, coroutine.yield
-- Those of the library, which know which coroutine runs.
local create, resume, status_of, close_coroutine =
  coroutine.create, coroutine.resume, coroutine.status, coroutine.close

local worker = {}

--- Is this the process that was started, or the thread's, and not a fork that the function has made by other means?
local function is_itself(self)
  return self._inside == native.getpid()
end

--- Tells why it ends. Returns the exit code.
local function fail(self, failure, since)
  if not is_itself(self) then -- whose error is not the child's, as in any program that forks
    io.stderr:write(("%s\n%s\n"):format(native.value_of(failure), native.traceback_of(failure) or ""))
    return 1
  end
  local exc = self:_book()
  local ok, id = pcall(exc._take, exc, failure, self.group, since)
  if not ok then
    io.stderr:write("remoteobj: ", tostring(id), "\n")
    id = nil
  end
  local number = id and math.tointeger(tonumber(id:match "%d+$"))
  self:_failed(number, failure)
  return 1
end

--- Tells what the function has returned. Returns the exit code.
local function succeed(self, since, ...)
  if not is_itself(self) then
    return 0
  elseif not self._sends then
    self:_returned()
    return 0
  end
  local ok, problem = pcall(self._returned, self, ...)
  if ok then
    return 0
  end
  return fail(self, native.failure_with(problem, nil), since)
end

--- Closes what the function has left open. Returns the failure if one comes of it.
local function close(co, failure)
  local ok, problem = close_coroutine(co)
  if ok or failure and rawequal(native.value_of(failure), problem) then
    return failure
  end
  return native.failure_with(problem, failure and native.traceback_of(failure))
end

--- Streams what an iterator gives, as a generic `for` would get it.
local function stream(next_value, state, control, closing)
  local _ <close> = closing
  local function go_on(first, ...)
    if first == nil then
      return false
    end
    control = first
    yield(first, ...)
    return true
  end
  while go_on(next_value(state, control)) do
  end
end
native.name_function(stream)

local step

--- Goes on after the generator has yielded.
local function yielded(self, co, since, ...)
  local ok, going = true, true
  if self._sends then
    ok, going = pcall(self._send, self, ...)
  end
  if ok and going then
    return step(self, co, since, resume(co))
  end
  local failure = close(co, not ok and native.failure_with(going, nil) or nil)
  if failure then
    return fail(self, failure, since)
  end
  return succeed(self, since)
end

--- Goes on after the coroutine has yielded, returned or failed. Returns the exit code.
function step(self, co, since, ok, ...)
  if not ok then
    local failure = native.failure_of((...), co)
    return fail(self, close(co, failure), since)
  elseif status_of(co) ~= "dead" then
    self._streams = true
    return yielded(self, co, since, ...)
  elseif type((...)) == "function" then
    self._streams = true
    co = create(stream)
    return step(self, co, since, resume(co, ...))
  end
  return succeed(self, since, ...)
end

--- What a coroutine can run for something that can be called.
local function runnable(func)
  if type(func) == "function" then
    return func
  end
  local function run(...)
    return func(...)
  end
  native.name_function(run)
  return run
end

--- Runs the function of a handle to its end. Returns the exit code.
function worker.run(self)
  local co = create(runnable(self._func))
  local code = step(self, co, channel.tick(), resume(co, unpack(self._arguments, 1, self._arguments.n)))
  if self._streams then
    self:_close_stream()
  end
  return code
end

return worker
