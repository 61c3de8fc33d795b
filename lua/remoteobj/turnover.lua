--- The workers of a pool that come and go: processes are started, lost and replaced, and what one that has died leaves
-- goes to others. `self` is the crew (`crew.lua`).

local core = require "remoteobj.core"
local desk = require "remoteobj.desk"
local members = require "remoteobj.member"
local spawn = require "remoteobj.spawn"
local tasks = require "remoteobj.task"

local native = core._process
local leave = core._future.leave
local ABSENT, STARTING, READY, LOST, DEAD = members.ABSENT, members.STARTING, members.READY, members.LOST, members.DEAD

-- A worker that so often in a row could not be started, or was lost before it had begun anything, is given up.
local MOST_STARTS = 3

-- Seconds that the process of a lost connection has to end by itself.
local PATIENCE = 1

-- ---- its process ----

--- Could it be started?
local function has_process(member)
  return member.process and member.process.pid
end

--- The error that says why the process of a worker has ended.
local function cause_of(process, text, ...)
  local cause = process:_outcome()
  if not cause then
    cause = tasks.library_error("ProcessDied", "process '%s' (pid %d) " .. text, process.name, process.pid, ...)
    cause.exitcode, cause.pid, cause.process = process.exitcode, process.pid, process.name
  end
  return cause
end

--- Waits for the process of a lost worker. Should only the connection have been lost, it is ended.
local function await_end(_, member)
  local process, problem = member.process, members.problem_of(member)
  local goes_on = problem and problem.kind == "Protocol"
  if process:join(goes_on and 0 or PATIENCE) then
    member.cause = cause_of(process, "has ended with exit code %d", process.exitcode)
  else
    process:kill()
    process:join()
    member.cause = cause_of(process, "was ended: %s", tostring(problem or "it does not listen"))
  end
  member.state = DEAD
end

--- Starts the process of a worker, which may be one of several in turn. It ends with its handle.
local function launch(self, member)
  self.cells:set(member.slot, desk.STARTING)
  local process = spawn.process {
    desk.run, member.desk, member.remote, self.init, self.object,
    name_ = member.name, raises_ = false,
  }
  process._bound = true
  member.sent, member.room, member.process = 0, 1, process
  process:start()
  member.state = STARTING
  if self.over then -- since that began
    process:kill()
  end
  self.problem = self.broken and self.problem
end

local IF_ANY = { fail = false }

--- Waits until the worker can be sent tasks.
local function admit(_, member)
  local listens = member.remote:wait_until_listening(member.process, IF_ANY)
  if member.state == STARTING then
    member.state = listens and READY or LOST
  end
end

-- ---- what has to be waited for ----

local function attend(self, member, step)
  member.attended = true
  step(self, member)
end

--- Does what has to be waited for. Who comes meanwhile does not wait for the same.
local function see_to(self, member, step)
  if member.attended then
    return true
  end
  local ok, problem = pcall(attend, self, member, step)
  member.attended = false
  return ok, problem
end

local function must_see_to(...)
  local ok, problem = see_to(...)
  if not ok then
    error(problem, 0)
  end
end

-- ---- what it leaves ----

--- What a worker had that has died: what it had begun has crashed it, what it had not goes to others.
local function hand_back(self, member, place, begun)
  local task, crashed = place.task, place.at <= begun
  local crashes = task.crashes + (crashed and 1 or 0)
  if place.answer then
    leave(place.answer)
  end
  if crashed and crashes > self.retries or self.over then
    members.settle(member, place, task, false,
      crashed and tasks.died(self, task, begun - place.at + 1, member.cause) or tasks.ended(self))
  else
    tasks.push_front(self.queue, task)
    task.crashes, task.place = crashes, false
    members.clear(member, place, task)
  end
end

--- Is there a worker that does something, or will?
local function has_worker(self)
  for _, member in ipairs(self.members) do
    if member.state ~= ABSENT then
      return true
    end
  end
  return false
end

--- A worker can't be had now. Should there be no other, the tasks that wait hear why; the next one has it tried again.
local function give_up(self, member, problem)
  member.failures, member.state, member.rests = 0, ABSENT, true
  self.lacks = true
  if not has_worker(self) then
    self.problem = problem
    tasks.turn_away(self, problem)
  end
end

--- The worker may be replaced, unless that has led nowhere. An initializer that has raised an error, or crashes each
-- time, is the end of all.
local function bury(self, member, begun)
  local cause = member.cause
  local crashed = getmetatable(cause) == core.Error and cause.kind == "ProcessDied"
  local failures = begun > desk.READY and 0 or member.failures + 1
  member.failures, member.state, member.cause = failures, ABSENT, false
  if begun == desk.LISTENING and not (crashed and failures < MOST_STARTS) then
    self.broken, self.problem = true, cause
  elseif failures >= MOST_STARTS then
    give_up(self, member, cause)
  end
end

--- What follows from the end of a worker: for its tasks, and whether there will be another.
local function take_leave(self, member)
  local begun = self.cells:get(member.slot)
  local place = members.last_place(member)
  while place and member.state == DEAD do
    hand_back(self, member, place, begun)
    place = members.last_place(member)
  end
  if member.state == DEAD then -- and not replaced meanwhile
    bury(self, member, begun)
  end
end

-- ---- all that ----

local function try_to_launch(self, member)
  local throws = native.throws()
  local ok, problem = see_to(self, member, launch)
  if not ok then
    if native.is_thrown(problem, throws) then
      error(problem, 0)
    end
    give_up(self, member, problem)
  end
end

--- Goes a step on with a worker that is not ready. Returns whether that has led anywhere.
local function tend(self, member)
  local state = member.state
  if state == LOST and members.is_let_go(member) then
    must_see_to(self, member, await_end)
  elseif state == DEAD then
    take_leave(self, member)
  elseif state == ABSENT and not member.rests and not self.broken then
    try_to_launch(self, member)
  elseif state == STARTING then
    must_see_to(self, member, admit)
  end
  return member.state ~= state
end

return { has_process = has_process, launch = launch, take_leave = take_leave, tend = tend }
