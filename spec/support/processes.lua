-- Real processes for specs: forked by luaposix, so that nothing of the library's own processes
-- is taken for granted, tied to their parent by two pipes, and ended whatever happens.
--
--   local child = processes.fork(function(link, ...) ... return values end, ...)
--   child:send(value...)   link:receive() -> value...      plain values: scalars and trees of tables
--   link:send(value...)    child:receive() -> value...
--   child:result() -> what the function returned; raises its error, or how the process ended
--
-- Receiving waits inside the library, so whoever listens in that process goes on serving.
local dirent = require "posix.dirent"
local errno = require "posix.errno"
local private_pipe = require "spec.support.pipe"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"
local wait_pid = require "posix.sys.wait".wait

local processes = {}
local Link = {}
Link.__index = Link

local alive = {} -- pid -> link, in the process that forked them
local owner = unistd.getpid()

local function serialize(value)
  if type(value) ~= "table" then
    return ("%q"):format(value)
  end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = ("[%s]=%s"):format(serialize(key), serialize(item))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function pack(...)
  local parts = { tostring(select("#", ...)) }
  for i = 1, select("#", ...) do
    parts[i + 1] = serialize((select(i, ...)))
  end
  return string.pack("<s4", table.concat(parts, ","))
end

local function unpack_all(text)
  local values = assert(load("return {" .. text .. "}", "=message", "t", {}))()
  return table.unpack(values, 2, values[1] + 1)
end

local function new_link(input, output, limit)
  return setmetatable({ input = input, output = output, pending = "", limit = limit or wait.LIMIT }, Link)
end

--- Sends values to the other end.
function Link:send(...)
  local bytes = pack(...)
  while #bytes > 0 do
    local count = assert(unistd.write(self.output, bytes))
    bytes = bytes:sub(count + 1)
  end
end

-- Reads until a whole message is there; nil at the end of the stream.
local function next_message(self, deadline)
  while #self.pending < 4 or #self.pending < 4 + string.unpack("<I4", self.pending) do
    local left = deadline - wait.now()
    if left <= 0 then
      error("no message came", 3)
    end
    if remoteobj.poll({ [self.input] = { events = { IN = true } } }, left) > 0 then
      local bytes = assert(unistd.read(self.input, 65536))
      if bytes == "" then
        return nil
      end
      self.pending = self.pending .. bytes
    end
  end
  local text, after = string.unpack("<s4", self.pending)
  self.pending = self.pending:sub(after)
  return text
end

--- Waits for what the other end sends; raises when it has ended, or sends nothing for long. A child waits for its
-- parent as long as that lives: how long a test may take is the parent's business.
function Link:receive(timeout)
  local text = next_message(self, wait.now() + (timeout or self.limit))
  if not text then
    error("the other process has ended", 2)
  end
  return unpack_all(text)
end

--- The two ends of a link for processes that are started in other ways: each process that is forked from now on
-- has both. Nobody is told by it that the other end is gone.
function processes.pair()
  local from_one, to_other = private_pipe()
  local from_other, to_one = private_pipe()
  return new_link(from_other, to_other), new_link(from_one, to_one)
end

local function run_child(link, func, ...)
  signal.signal(signal.SIGALRM, signal.SIG_DFL)
  unistd.alarm(4 * wait.LIMIT)
  local outcome = table.pack(xpcall(func, function(err)
    return debug.traceback(tostring(err), 2)
  end, link, ...))
  pcall(link.send, link, "result", table.unpack(outcome, 1, outcome.n))
end

--- Starts a process that runs func(link, ...) and ends.
function processes.fork(func, ...)
  local from_parent, to_child = private_pipe()
  local from_child, to_parent = private_pipe()
  local pid = assert(unistd.fork())
  if pid == 0 then
    pcall(function(...)
      unistd.close(to_child)
      unistd.close(from_child)
      run_child(new_link(from_parent, to_parent, math.huge), func, ...)
    end, ...)
    unistd._exit(0)
  end
  unistd.close(to_parent)
  local child = new_link(from_child, to_child)
  child.guard = from_parent -- what is sent to a child that has ended is lost, but is no SIGPIPE: its result tells more
  child.pid = pid
  if unistd.getpid() ~= owner then
    alive, owner = {}, unistd.getpid()
  end
  alive[pid] = child
  return child
end

local function close(self)
  if self.input then
    unistd.close(self.input)
    unistd.close(self.output)
    unistd.close(self.guard)
    self.input, self.output, self.guard = nil, nil, nil
  end
end

--- Waits for the end of the process itself: "exited" and its code or "killed" and the signal.
function Link:join()
  if not self.how then
    local pid, how, code
    repeat
      pid, how, code = wait_pid(self.pid)
    until pid or code ~= errno.EINTR
    assert(pid, how)
    self.how, self.code = how, code
    if unistd.getpid() == owner then
      alive[self.pid] = nil
    end
    close(self)
  end
  return self.how, self.code
end

--- Ends the process by a signal (default SIGKILL) and waits for its end.
function Link:kill(number)
  signal.kill(self.pid, number or signal.SIGKILL)
  return self:join()
end

local function finish(self, kind, ok, ...)
  if kind ~= "result" then
    error(("expected the result of the process, got %s"):format(tostring(kind)), 3)
  end
  self:join()
  if not ok then
    error("in the child: " .. tostring((...)), 3)
  end
  return ...
end

--- Waits until the function has returned; returns its results or raises its error.
function Link:result(timeout)
  return finish(self, self:receive(timeout))
end

--- A process that listens for `proxy` and runs func(link) meanwhile, by default nothing but
-- serving until :stop(). Returns when it listens; prepare(link) runs there before.
function processes.serve(proxy, func, options, prepare)
  local child = processes.fork(function(link)
    if prepare then
      prepare(link)
    end
    local _ <close> = proxy:listen_(options)
    link:send "listening"
    if func then
      return func(link)
    end
    link:receive()
  end)
  assert(child:receive() == "listening")
  return child
end

--- Ends a process made by `serve`; returns its results.
function Link:stop(...)
  if not self.how then
    self:send(...)
    return self:result()
  end
end

-- Are all threads of the process in this state of the kernel's ("S", "T").
local function all_are(pid, wanted)
  for task in dirent.files("/proc/" .. pid .. "/task") do
    local file = task:match "^%d+$" and io.open(("/proc/%d/task/%s/stat"):format(pid, task))
    if file then
      local line = file:read "a" or "" -- nothing when it has just ended
      file:close()
      if line:match "^.*%) (%a)" ~= wanted then
        return false
      end
    end
  end
  return true
end

-- A short sleep is none, and may be a delay of spec/support/delays.c, or two in a row; a look takes two milliseconds.
local LOOKS = 3 + math.ceil(tonumber((os.getenv "REMOTEOBJ_DELAYS" or ""):match "%S+$") or 0)

--- Waits until all of the process sleeps in the kernel: for what it has sent and now waits for.
function processes.wait_asleep(pid)
  local times = 0
  wait.until_true(function()
    times = all_are(pid, "S") and times + 1 or 0
    return times >= LOOKS
  end, "the process to sleep")
end

--- Waits until a child has ended, and leaves it to be waited for.
function processes.wait_ended(pid)
  wait.until_true(function() return all_are(pid, "Z") end, "the process to end")
end

--- Stops a process; when it returns, none of its threads runs any more.
function processes.suspend(pid)
  signal.kill(pid, signal.SIGSTOP)
  wait.until_true(function() return all_are(pid, "T") end, "the process to stop")
end

local function kill_all()
  if unistd.getpid() ~= owner then
    alive, owner = {}, unistd.getpid()
  end
  for pid in pairs(alive) do
    signal.kill(pid, signal.SIGKILL)
  end
end

wait.on_expiry = kill_all

--- Ends all that a test has left; for after_each.
function processes.cleanup()
  kill_all()
  for _, child in pairs(alive) do
    child:join()
  end
end

return processes
