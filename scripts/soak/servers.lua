-- Whoever listens for the store of a house: in one of several manners, stopping and beginning anew, taking over from
-- one another, dying.
local check = require "scripts.soak.check"
local private_pipe = require "spec.support.pipe"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local Servers = {}
Servers.__index = Servers

-- Exit codes of `leave`.
local LEFT = 3

-- ---- the plan ----

local function plan_death(dice)
  return { after = dice:seconds(0.06), how = dice:pick { "SIGKILL", "SIGSEGV", "SIGTERM", "leaves" } }
end

local function plan(dice)
  local made = {
    kind = dice:pick { "process", "process", "several", "util", "here" },
    manner = dice:pick { "sleeps", "computes", "polls", "by_hand", "refuses" },
    preempt = not dice:one_in(4),
    turns = dice:one_in(3) and dice:roll(100) or nil, -- after which it stops, and begins anew
    fulfill_final = not dice:one_in(4),
  }
  if made.kind == "several" then
    made.count, made.turns = dice:roll(2) + 1, made.turns or dice:roll(20)
  end
  if made.kind ~= "here" then
    made.death = dice:one_in(3) and plan_death(dice) or nil
    made.pause = dice:one_in(6) and dice:seconds(0.05) or nil
  end
  return made
end

--- Is all served that was sent?
local function is_steady(plan_)
  return plan_.fulfill_final and not plan_.death and plan_.manner ~= "refuses"
end

-- ---- serving ----

local READABLE = { events = { IN = true } }

--- Waits some seconds, or until the end.
local function rest(self, seconds)
  return remoteobj.poll({ [self.ending] = READABLE }, seconds) > 0
end

local function compute()
  local sum = 0
  for i = 1, 20000 do
    sum = sum + i
  end
  return sum
end

-- One turn each; gives whether it is the end.
local manners = {
  sleeps = function(self) return rest(self, 0.001) end,
  computes = function(self)
    compute()
    return rest(self, 0)
  end,
  polls = function(self)
    self.remote:poll(0.002)
    return rest(self, 0)
  end,
  by_hand = function(self)
    local ready = { [self.remote:fileno_()] = READABLE, [self.ending] = READABLE }
    remoteobj.poll(ready, check.LIMIT)
    self.remote:process_requests(5)
    return rest(self, 0)
  end,
  refuses = function(self)
    rest(self, 0.001)
    self.remote:cancel_requests()
    self.remote:poll(0.001)
    return rest(self, 0)
  end,
}

local in_background = { sleeps = true, computes = true }

--- Begins to listen, and takes turns until it is time to stop, or for the end. Gives whether it is that. Where another
-- listens, waits a moment.
local function listen(self)
  local ok, listening = pcall(self.remote.listen_, self.remote, {
    bg = in_background[self.plan.manner] or false,
    preempt = self.plan.preempt,
  })
  if not ok then
    check.that(self.plan.kind == "several" and listening:find "listening already", "%s", listening)
    return rest(self, 0.001)
  end
  local _ <close> = listening
  local turns = 0
  repeat
    local ended = manners[self.plan.manner](self)
    turns = turns + 1
  until ended or turns == self.plan.turns
  return rest(self, 0)
end

local function serve(self)
  self.witness:attend()
  repeat
    local ended = listen(self)
  until ended
end

-- ---- the other side ----

local starts = {}

function starts.process(self)
  return { remoteobj.process { serve, self, raises_ = false }:start() }
end

function starts.several(self)
  local list = {}
  for i = 1, self.plan.count do
    list[i] = remoteobj.process { serve, self, raises_ = false }:start()
  end
  return list
end

function starts.here(self)
  return { remoteobj.thread { serve, self, raises_ = false }:start() }
end

function starts.util(self)
  local bg = in_background[self.plan.manner] or false
  return { (remoteobj.util.listener(self.object, { callback = bg and compute or nil, bg = bg, raises_ = false })) }
end

--- Starts them; returns when one listens. The end of the block ends them all.
local function open(plan_, object, witness)
  local ending, finish = private_pipe()
  local self = setmetatable({
    plan = plan_, object = object, remote = object.remote, witness = witness, ending = ending, finish = finish,
  }, Servers)
  self.list = starts[plan_.kind](self)
  self.remote:wait_until_listening { timeout = check.LIMIT }
  return self
end

--- Has the first one end as planned.
local function die(self)
  local death, first = self.plan.death, self.list[1]
  remoteobj.sleep(death.after)
  if death.how == "leaves" then
    pcall(self.remote.leave, self.remote, LEFT) -- whoever of them listens now
  else
    signal.kill(first.pid, signal[death.how])
    check.ends(first, "a server after " .. death.how)
    check.that(first.exitcode == -signal[death.how], "exit code %s after %s", first.exitcode, death.how)
    check.that(first.exc.last.kind == "ProcessDied", "%s after %s", first.exc.last, death.how)
  end
end

--- Stops the first one for a moment.
local function pause(self)
  signal.kill(self.list[1].pid, signal.SIGSTOP)
  remoteobj.sleep(self.plan.pause)
  signal.kill(self.list[1].pid, signal.SIGCONT)
end

--- Does to them what is planned; returns when it is done.
function Servers:trouble()
  if self.plan.pause then
    pause(self)
  end
  if self.plan.death then
    die(self)
  end
end

--- Has one ended that should not have?
local function check_end(self, server)
  local left = self.plan.death and server.exitcode == LEFT
  local killed = self.plan.death and server == self.list[1] and server.exitcode < 0
  if not left and not killed then
    server:raise_any()
    check.that(server.exitcode == 0, "a server has ended with %s", server.exitcode)
  end
end

--- Ends them.
function Servers:stop()
  unistd.write(self.finish, "x")
  for _, server in ipairs(self.list) do
    if self.plan.kind == "util" then
      getmetatable(server).__close(server)
    end
    check.ends(server, "a server")
    check_end(self, server)
  end
end

function Servers:__close()
  unistd.close(self.ending)
  unistd.close(self.finish)
end

return { plan = plan, open = open, is_steady = is_steady }
