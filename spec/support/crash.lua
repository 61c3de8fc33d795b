-- A stage for the crash matrix: one process that dies at a moment, and all those that wait meanwhile.
--
-- The process that makes the stage (a case) starts the victim, which comes to the moment and says so; the clients,
-- each waiting for an operation of the proxy; a control, which waits at the end of a plain pipe for the same death; and
-- it has the victim die, or another process that shares its descriptors.
local deaths = require "spec.support.deaths"
local dirent = require "posix.dirent"
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local private_pipe = require "spec.support.pipe"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local crash = {}

local Stage = {}
Stage.__index = Stage

function crash.check(condition, format, ...)
  if not condition then
    error(format:format(...), 2)
  end
end
local check = crash.check

--- Which sockets this process has.
local function sockets()
  local found = {}
  for name in dirent.files "/proc/self/fd" do
    local fd = tonumber(name)
    local info = fd and stat.fstat(fd)
    if info and stat.S_ISSOCK(info.st_mode) ~= 0 then
      found[fd] = true
    end
  end
  return found
end

--- A proxy; with `full_door` no client gets in any more, until somebody takes out what is in its door.
local function new_proxy(object, full_door)
  local before = sockets()
  local proxy = remoteobj.Proxy(object)
  for fd in pairs(full_door and sockets() or {}) do
    while not before[fd] and socket.send(fd, "junk") do -- luacheck: ignore
    end
  end
  return proxy
end

--- Makes a stage, in the process that is its case.
-- @param way how somebody will die
-- @param[opt] full_door
function crash.stage(way, full_door)
  local object = {}
  local self = setmetatable({ way = way, object = object, clients = {}, delays = {}, since = {} }, Stage)
  self.proxy = new_proxy(object, full_door)
  self.here, self.there = processes.pair() -- between the case and the victim
  self.orders, self.third_orders = processes.pair() -- from the case to the third process
  function object.pid() return unistd.getpid() end
  return self
end

---- in the victim ----

--- Tells the case how far it has come.
function Stage:tell(what, detail)
  self.there:send(what, detail or false)
end

function Stage:die()
  self:tell("dies", wait.now())
  self.way.die()
end

--- Dies or goes on, as the case says; lets requests in until then.
function Stage:obey()
  if self.there:receive() == "die" then
    self:die()
  end
end

--- The same in a call outside the library, so that nobody else gets the lock of the state.
function Stage:obey_holding_the_lock()
  local link = self.there
  while poll.rpoll(link.input, 1000) ~= 1 do -- luacheck: ignore
  end
  link.pending = assert(unistd.read(link.input, 65536)) -- so that nothing is left to wait for
  self:obey()
end

--- Serves by hand until the case says something.
function Stage:serve_by_hand()
  repeat
    local fds = { [self.there.input] = { events = { IN = true } }, [self.proxy:fileno_()] = { events = { IN = true } } }
    remoteobj.poll(fds)
    self.proxy:process_requests()
  until fds[self.there.input].revents.IN
  self.there:receive()
end

--- Starts a process that has copies of all descriptors, by other means than the library's. It lives on until it is
-- killed or told to die.
function Stage:fork_third()
  local pid = assert(unistd.fork())
  if pid == 0 then
    unistd.dup2(assert(fcntl.open("/dev/null", fcntl.O_WRONLY)), 2) -- its error is no business of who runs the specs
    local ok = self.way_of_third and pcall(self.third_orders.receive, self.third_orders, 4 * wait.LIMIT)
    if ok then
      self:die()
    end
    unistd.close(self.control)
    unistd.sleep(4 * wait.LIMIT)
    unistd._exit(0)
  end
  if self.way_of_third then
    unistd.close(self.control)
  end
  self:tell("third", pid)
end

---- in the case: starting ----

--- A process that learns of the death by the end of a plain pipe. Whoever is to be watched keeps `self.control`.
local function start_control(self)
  local reading
  reading, self.control = private_pipe()
  self.watcher = processes.fork(function()
    unistd.close(self.control)
    while unistd.read(reading, 1) ~= "" do -- luacheck: ignore
    end
    return wait.now()
  end)
  unistd.close(reading)
end

--- Starts the process that runs `play(stage)`. Told by SIGUSR1 it dies wherever it is.
-- @param play
-- @param third does not it die but the process that it forks
function Stage:start(play, third)
  start_control(self)
  self.way_of_third = third
  self.victim = remoteobj.process({ function()
    deaths.prepare()
    signal.signal(signal.SIGUSR1, function() self:die() end)
    return play(self)
  end, raises_ = false }):start()
  unistd.close(self.control)
end

--- Waits until the victim tells this; returns what it tells with it.
function Stage:expect(wanted)
  local told, detail = self.here:receive()
  check(told == wanted, "%s was told instead of %s", told, wanted)
  return detail
end

--- Waits for the third process.
function Stage:expect_third()
  self.third = self:expect "third"
end

--- A client that evaluates operation(proxy, link); returns when it has begun.
function Stage:start_client(name, operation)
  local client = processes.fork(function(link)
    link:send "begins"
    local ok, result = pcall(operation, self.proxy, link)
    local told_at = wait.now()
    local failure = not ok and type(result) == "table" and result or {}
    link:send(told_at, ok, ok and result or failure.kind or tostring(result), failure.may_have_run)
    link:receive()
    return self.proxy:with_ { timeout = wait.LIMIT }:pid()
  end)
  client.name = name
  self.clients[#self.clients + 1] = client
  check(client:receive() == "begins", "%s did not begin", name)
  return client
end

---- in the case: death, and what comes of it ----

--- Has the victim or the third process die; returns when.
-- @param[opt] by_signal it does not listen to orders, but for signals
function Stage:kill(by_signal)
  local pid = self.way_of_third and self.third or self.victim.pid
  local number = self.way.signal
  if number then
    self.died_at = wait.now()
    signal.kill(pid, number)
    return self.died_at
  elseif by_signal and not self.way_of_third then
    signal.kill(pid, signal.SIGUSR1)
  elseif self.way_of_third then
    self.orders:send "die"
  else
    self.here:send "die"
  end
  self.died_at = self:expect "dies"
  return self.died_at
end

--- Notes when a waiter has been told of what could be known `since`.
function Stage:note(name, told_at, since)
  self.delays[#self.delays + 1] = { name = name, seconds = told_at - math.max(since, self.died_at) }
end

--- Waits until a client is told; returns what: whether it had an answer, the answer or the kind of the error, and
-- whether the operation may have run.
function Stage:told(client)
  local told_at, ok, result, may_have_run = client:receive(2 * wait.LIMIT)
  if not ok then
    self:note(client.name, told_at, self.since[client] or 0)
  end
  return ok, result, may_have_run
end

local parents_wait = {
  join = function(self) self.victim:join() end,
  iter = function(self)
    for value in self.victim:iter() do
      self.values = self.values or {}
      self.values[#self.values + 1] = #value
    end
  end,
  wait_until_listening = function(self)
    local ok, err = pcall(self.proxy.wait_until_listening, self.proxy, self.victim)
    check(not ok and err.kind == "ProcessDied", "wait_until_listening: %s %s", ok, ok or err)
  end,
}

--- The victim's parent, which is the case, waits for its end, in one of three ways.
function Stage:wait_for_victim(how)
  parents_wait[how](self)
  self:note(how, wait.now(), 0)
  check(self.victim:join(), "join gives false")
  deaths.check(self.victim, self.way)
end

--- Another process listens now, and all clients go on with it.
function Stage:succeed()
  local successor = processes.serve(self.proxy)
  for _, client in ipairs(self.clients) do
    client:send "again"
    local pid = client:result()
    check(pid == successor.pid, "%s goes on with %s", client.name, pid)
  end
  successor:stop()
end

--- Ends what is left; returns what each waiter needed longer than the control.
function Stage:finish()
  if self.third then
    signal.kill(self.third, signal.SIGKILL)
  end
  local least = self.watcher:result() - self.died_at
  for _, delay in ipairs(self.delays) do
    delay.seconds = delay.seconds - least
  end
  return self.delays
end

return crash
