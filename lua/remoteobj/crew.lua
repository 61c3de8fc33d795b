--- The workers of a pool and the tasks that wait for one, in the process that has made the pool. Everything moves
-- on when an answer comes: while the program waits inside the library, for whatever that be.
--
-- A task is a table:
--   send(remote, number, task) -> future   asks a worker for it
--   index, count                           what the pool calls the (first) task, and how many it stands for
--   future                                 is settled by what comes of it
--   mend(problem, task)                    optional: says in the program's words what could not be sent

local core = require "remoteobj.core"
local spawn = require "remoteobj.spawn"
local desk = require "remoteobj.desk"

local native = core._process
local new_future, settle_future = core._future.new, core._future.settle

-- A worker whose tasks take no longer than this (nanoseconds) gets the next one before it has finished the last, so
-- that it never idles. One whose tasks take long does not: they could be done by another.
local QUICK = 5000000

-- Such a worker has as many as it does in this time, so that neither side sleeps between two; but no more than that.
local AT_ONCE = 200000
local MOST_AT_ONCE = 8

-- A worker that so often in a row is killed before it is ready is given up.
local MOST_STARTS = 3

local Crew = {}
Crew.__index = Crew

-- ---- errors ----

local function library_error(kind, text, ...)
  return setmetatable({ kind = kind, message = text:format(...) }, core.Error)
end

--- Does the error say that the worker is gone? One that a task has raised has a traceback.
local function is_loss(problem)
  return getmetatable(problem) == core.Error and (problem.kind == "Disconnected" or problem.kind == "NotListening")
    and core.traceback(problem) == nil
end

--- The error of a task whose worker has died; `position` of those that it stands for.
local function died(self, task, position, cause)
  local index = task.index + math.max(0, math.min(position, task.count) - 1)
  local err = library_error("ProcessDied", "task %d of pool '%s': %s", index, self.name, tostring(cause))
  err.exitcode, err.signal, err.pid, err.process = cause.exitcode, cause.signal, cause.pid, cause.process
  return err
end

-- Seconds that the process of a lost connection has to end by itself.
local PATIENCE = 1

--- Why the process of a lost worker has ended. Should only the connection have been lost, it is ended.
local function cause_of(process)
  local ok, ended = pcall(process.join, process, PATIENCE)
  if ok and not ended then
    process:kill()
    process:join()
  elseif not ok then
    return ended
  end
  local err = library_error("ProcessDied", "process '%s' (pid %d) has ended with exit code %d", process.name,
    process.pid, process.exitcode)
  err.exitcode, err.pid, err.process = process.exitcode, process.pid, process.name
  return err
end

-- ---- the queue ----

local function push(queue, task)
  queue.last = queue.last + 1
  queue[queue.last] = task
end

local function push_front(queue, task)
  queue.first = queue.first - 1
  queue[queue.first] = task
end

--- Takes out the first task that still is to be done.
local function pop(queue)
  while queue.first <= queue.last do
    local task = queue[queue.first]
    queue[queue.first] = nil
    queue.first = queue.first + 1
    if not task.over then
      return task
    end
  end
end

--- Settles a task, once.
local function settle(self, task, ...)
  task.over = true
  self.unsettled = self.unsettled - 1
  settle_future(task.future, ...)
  if self.unsettled == 0 and self.idle then
    settle_future(self.idle, true)
  end
end

-- ---- workers ----

--- Starts the process of a worker, which may be one of several in turn.
local function launch(self, member)
  self.cells:set(member.slot, desk.STARTING)
  member.flight, member.sent, member.room, member.ready = {}, 0, 1, false
  member.process = spawn.process {
    desk.run, member.desk, member.remote, self.init, self.object,
    name_ = member.name,
  }
  member.process:start()
end

local lost

--- Waits until the worker can be sent tasks.
local function admit(self, member)
  local process = member.process
  local ok, problem = pcall(member.remote.wait_until_listening, member.remote, process)
  if ok then
    member.ready = true
  elseif process:is_alive() then -- the wait was interrupted
    error(problem, 0)
  else
    lost(self, member)
  end
end

--- No worker can be had (`problem`, unless that is known): all that waits for one fails.
local function break_off(self, problem)
  local broken = self.broken or { problem = problem, told = false }
  self.broken = broken
  for task in pop, self.queue do
    broken.told = true
    settle(self, task, false, broken.problem)
  end
end

--- Replaces a worker, unless it could not even begin.
local function replace(self, member, was_ready, cause)
  local crashed = getmetatable(cause) == core.Error and cause.kind == "ProcessDied"
  member.failures = was_ready and 0 or member.failures + 1
  if self.over then
    return
  elseif not was_ready and (not crashed or member.failures >= MOST_STARTS) then
    return break_off(self, cause)
  end
  local ok, problem = pcall(launch, self, member)
  if ok then
    admit(self, member)
  else
    break_off(self, problem)
  end
end

--- A worker is gone. What it had not begun goes to others; what it had begun has crashed it.
function lost(self, member)
  member.ready = false
  local cause = cause_of(member.process)
  local begun = self.cells:get(member.slot)
  local flight = member.flight
  member.flight = {}
  for i = #flight, 1, -1 do
    local task, at = flight[i].task, flight[i].at
    local crashed = at <= begun
    task.crashes = (task.crashes or 0) + (crashed and 1 or 0)
    if crashed and task.crashes > self.retries then
      settle(self, task, false, died(self, task, begun - at + 1, cause))
    else
      push_front(self.queue, task)
    end
  end
  replace(self, member, begun ~= desk.STARTING, cause)
  self:dispatch()
end

-- ---- tasks on their way ----

local function remove(list, value)
  for i, other in ipairs(list) do
    if other == value then
      table.remove(list, i)
      return true
    end
  end
end

--- The worker may only be given up when all that was sent to it is known to be lost, or answered.
local function note_loss(self, member, entry)
  entry.lost = true
  member.ready = false
  for _, other in ipairs(member.flight) do
    if not other.lost then
      return
    end
  end
  lost(self, member)
end

--- How many tasks a worker may have whose last one has taken so long.
local function room_for(duration)
  if duration >= QUICK then
    return 1
  end
  return math.max(2, math.min(MOST_AT_ONCE, AT_ONCE // math.max(duration, 1)))
end

--- Takes in what has become of a task that was sent.
local function answered(self, entry, ok, ...)
  local member, task = entry.member, entry.task
  local problem = ...
  if not ok and is_loss(problem) then
    return note_loss(self, member, entry)
  end
  local now = native.now()
  task.duration = now - math.max(entry.sent, member.answered)
  member.answered, member.room = now, room_for(task.duration)
  remove(member.flight, entry)
  if not ok and task.mend then
    task.mend(problem, task)
  end
  settle(self, task, ok, ...)
  self:dispatch()
end

local function send(self, member, task)
  local entry = { member = member, task = task, at = member.sent + 1, sent = native.now() }
  member.sent = member.sent + task.count
  local flight = member.flight
  flight[#flight + 1] = entry
  local ok, future = pcall(task.send, member.asking, entry.at, task)
  if ok then
    entry.answer = future
    future:on_done(function(f)
      if member.flight == flight and not task.over then
        answered(self, entry, pcall(f.get, f))
      end
    end)
  elseif member.flight == flight then
    answered(self, entry, false, future)
  end
end

--- The worker with least to do that may get a task.
local function free_member(self)
  local best, least = nil, math.huge
  for _, member in ipairs(self.members) do
    local load = #member.flight
    if member.ready and load < least and load < member.room then
      best, least = member, load
    end
  end
  return best
end

--- Sends tasks to workers as long as there are both.
function Crew:dispatch()
  local queue = self.queue
  if self.broken then
    return break_off(self)
  end
  while queue.first <= queue.last do
    local member = free_member(self)
    local task = member and pop(queue)
    if not task then
      return
    end
    send(self, member, task)
  end
end

--- Takes a task; its future is settled later.
function Crew:add(task)
  task.future = new_future()
  self.unsettled = self.unsettled + 1
  push(self.queue, task)
  self:dispatch()
  return task.future
end

--- Takes in what answers there are, without waiting, if tasks wait for them.
function Crew:look()
  if self.queue.first <= self.queue.last then
    core.sleep(0)
  end
end

--- Takes back a task that was not sent yet. Returns whether that was so.
function Crew:cancel(task)
  local queue = self.queue
  if task.over then
    return false
  end
  for i = queue.first, queue.last do
    if queue[i] == task then
      settle(self, task, false, library_error("NotListening", "task %d of pool '%s' was cancelled", task.index,
        self.name))
      return true
    end
  end
  return false
end

-- ---- the end ----

--- Waits until every task is settled.
function Crew:finish()
  while self.unsettled > 0 do
    local idle = self.idle or new_future()
    self.idle = idle
    idle:get()
    self.idle = nil
  end
end

--- Could its process be started?
local function has_process(member)
  return member.process and member.process.pid
end

--- Waits for the processes.
local function join_all(self)
  for _, member in ipairs(self.members) do
    if has_process(member) then
      local ok, problem = pcall(member.process.join, member.process)
      if not ok and self.cells:get(member.slot) == desk.STARTING then
        break_off(self, problem)
      end
    end
  end
end

--- Ends the workers, which have nothing to do any more, and waits for them. Returns why none could be had, if no task
-- was told.
function Crew:dismiss()
  self.over = true
  for _, member in ipairs(self.members) do
    pcall(member.asking.stop, member.asking)
  end
  join_all(self)
  local broken = self.broken
  return broken and not broken.told and broken.problem or nil
end

--- Ends the worker at once, and gives what it was sent.
local function kill_member(member)
  local flight = member.flight or {}
  member.flight, member.ready = {}, false
  if has_process(member) then
    member.process:kill()
  end
  return flight
end

--- Waits until the connections know that the workers are gone: what waits for their answers is let go.
local function await_loss(flights)
  local answers = {}
  for _, flight in ipairs(flights) do
    for _, entry in ipairs(flight) do
      answers[#answers + 1] = entry.answer
    end
  end
  core.wait(answers, { timeout = PATIENCE })
end

--- Ends the workers at once; what was not finished fails.
function Crew:kill()
  local reason = library_error("ProcessDied", "the pool was killed")
  local flights = {}
  self.over, self.broken = true, nil
  for slot, member in ipairs(self.members) do
    flights[slot] = kill_member(member)
  end
  break_off(self, library_error("NotListening", "pool '%s' was killed", self.name))
  join_all(self)
  await_loss(flights)
  for slot, flight in ipairs(flights) do
    for _, entry in ipairs(flight) do
      settle(self, entry.task, false, died(self, entry.task, self.cells:get(slot) - entry.at + 1, reason))
    end
  end
end

local function new_member(self, slot)
  local own = desk.new(self.name, self.cells, slot)
  local remote = core.Proxy(own)
  return {
    slot = slot,
    name = ("%s:%d"):format(self.name, slot),
    desk = own,
    remote = remote,
    asking = remote:with_ { async = true },
    process = nil, -- the present one; with it
    flight = nil, -- what it was sent and has not answered, in order,
    sent = nil, -- how many tasks it was sent, those that came together counted singly,
    room = nil, -- how many it may have, and
    ready = nil, -- may it be sent tasks
    answered = 0, -- when its last answer came
    failures = 0, -- how many processes in a row have ended before they were ready
  }
end

local function start_all(self)
  for _, member in ipairs(self.members) do
    launch(self, member)
  end
  for _, member in ipairs(self.members) do
    admit(self, member)
  end
end

--- A crew of `count` workers.
-- @param name of the pool
-- @param count how many
-- @param start `init`, `object` (functions without arguments, or nil) and `retries`
local function new_crew(name, count, start)
  local self = setmetatable({
    name = name,
    init = start.init,
    object = start.object,
    retries = start.retries,
    cells = native.cells(count),
    members = {},
    queue = { first = 1, last = 0 },
    unsettled = 0, -- tasks
    idle = nil, -- a future for the moment when there are none
    broken = nil, -- or why no worker can be had
    over = false, -- is anybody replaced
  }, Crew)
  for slot = 1, count do
    self.members[slot] = new_member(self, slot)
  end
  local ok, problem = pcall(start_all, self)
  if not ok then
    self:kill()
    error(problem, 0)
  end
  return self
end

return { new = new_crew }
