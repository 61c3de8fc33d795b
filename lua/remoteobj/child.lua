--- What a process does that was started here: run the function, stream what it yields, tell
-- its parent how it ended. Errors in it are never seen by the parent's frames.

local core = require "remoteobj.core"
local channel = require "remoteobj.channel"

local native = core._process
local unpack, yield = table.unpack, coroutine.yield
-- Those of the library, which know which coroutine runs.
local create, resume, status_of, close_coroutine =
  coroutine.create, coroutine.resume, coroutine.status, coroutine.close

local child = {}

-- What is to be done at the end of a process that was started here, whichever way it ends by itself.
local endings = {}

--- Has func() called at the end of processes started from now on.
function child.at_end(func)
  endings[#endings + 1] = func
end

local function run_endings()
  local due = endings
  endings = {} -- one of them may end the process itself
  for i = #due, 1, -1 do
    local ok, message = pcall(due[i])
    if not ok then
      io.stderr:write("remoteobj: ", tostring(message), "\n")
    end
  end
end

--- os.exit of a child: neither the parent's pending closes nor its finalizers are this process's business.
local function exit_child(code)
  if code == nil or code == true then
    code = 0
  elseif code == false then
    code = 1
  elseif math.type(code) ~= "integer" then
    local number = math.tointeger(tonumber(code))
    if not number then
      error(("bad argument #1 to 'exit' (number expected, got %s)"):format(type(code)), 2)
    end
    code = number
  end
  run_endings()
  native.exit(code)
end

local function append(self, method, kind, id, ...)
  local journal = self._channel.journal
  return journal[method](journal, kind, native.now(), id or 0, nil, ...)
end

--- Is this the process that was started, and not a fork that its function has made by other means?
local function is_itself(self)
  return self._inside == native.getpid()
end

--- Tells the parent why it ends. Returns the exit code.
local function fail(self, failure, since)
  if not is_itself(self) then -- whose error is not the process's, as in any program that forks
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
  append(self, "append_failure", channel.FAILED, number, failure)
  return 1
end

--- Tells the parent what the function has returned. Returns the exit code.
local function succeed(self, since, ...)
  if not is_itself(self) then
    return 0
  elseif not self._sends then
    append(self, "append_values", channel.RETURNED)
    return 0
  end
  local ok, problem = pcall(append, self, "append_values", channel.RETURNED, nil, ...)
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
    ok, going = pcall(native.send, ...)
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

--- All that a child does. Returns its exit code.
function child.run(self)
  native.name_process(self.name)
  os.exit = exit_child -- luacheck: ignore 122
  self._inside = native.getpid()
  if self._known_as and type(self._func) == "function" then
    native.name_function(self._func, self._known_as)
  end
  local co = create(runnable(self._func))
  local code = step(self, co, channel.tick(), resume(co, unpack(self._arguments, 1, self._arguments.n)))
  if self._streams then
    native.close_stream()
  end
  run_endings()
  return code
end

return child
