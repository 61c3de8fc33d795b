--- The workers of a pool and the tasks that wait for one, in the process that has made the pool.
--
-- There is one way in which everything moves on, `advance`: it looks what has become of the requests under way and of
-- the workers, and does what follows from that. It is the crew's duty (`src/future/duty.h`), done when an answer has
-- come, while the program waits inside the library, for whatever that be. It may be torn at any point, by an error that
-- is thrown in or for want of memory, and be done again inside itself, where it calls functions of the program: so what
-- is true of a task or a worker is written in one place, in tables that are there from the beginning, and it looks anew
-- after whatever may take time. What is not done yet is done the next time; who waits for a task hears of what has
-- failed. Other threads come in between only there: duties are atomic, and so is what else touches the crew.

local core = require "remoteobj.core"
local spawn = require "remoteobj.spawn"
local desk = require "remoteobj.desk"

local native = core._process
local futures = core._future
local new_future, settle_future, is_done = futures.new, futures.settle, futures.is_done
local follow, leave, outcome, perform = futures.follow, futures.leave, futures.outcome, futures.perform
local atomic = futures.atomic

-- A worker whose tasks take no longer than this (nanoseconds) gets the next one before it has finished the last, so
-- that it never idles. One whose tasks take long does not: they could be done by another.
local QUICK = 5000000

-- Such a worker has as many as it does in this time, so that neither side sleeps between two; but no more than that.
local AT_ONCE = 200000
local MOST_AT_ONCE = 8

-- A worker that so often in a row could not be started, or was lost before it had begun anything, is given up.
local MOST_STARTS = 3

-- What is known of a worker.
local ABSENT = "absent"     -- it has no process; one is started
local STARTING = "starting" -- its process runs, but may not listen yet
local READY = "ready"       -- it can be sent tasks
local LOST = "lost"         -- its process is gone, or doesn't answer
local DEAD = "dead"         -- that has ended, and it is known why

local Crew = {}
Crew.__index = Crew

-- ---- errors ----

local function library_error(kind, text, ...)
  return setmetatable({ kind = kind, message = text:format(...) }, core.Error)
end

-- Errors of a connection, rather than of a task.
local LOSSES = { Disconnected = true, NotListening = true, Protocol = true }

--- Does the error say that the worker, or the way to it, is gone? One that a task has raised has a traceback.
local function is_loss(problem)
  return getmetatable(problem) == core.Error and LOSSES[problem.kind] and core.traceback(problem) == nil
end

--- The error of a task whose worker has died; `position` of those that it stands for.
local function died(self, task, position, cause)
  local index = task.index + math.max(0, math.min(position, task.count) - 1)
  local err = library_error("ProcessDied", "task %d of pool '%s': %s", index, self.name, tostring(cause))
  err.exitcode, err.signal, err.pid, err.process = cause.exitcode, cause.signal, cause.pid, cause.process
  return err
end

--- The error of a task that was not begun when the pool ended.
local function ended(self)
  return library_error("NotListening", self.killed and "pool '%s' was killed" or "pool '%s' is closed", self.name)
end

-- ---- the queue ----

local function push(queue, task)
  queue[queue.last + 1] = task
  queue.last = queue.last + 1
end

local function push_front(queue, task)
  queue[queue.first - 1] = task
  queue.first = queue.first - 1
end

--- Does the task still wait for a worker?
local function waits(task)
  return not task.place and not (task.group and task.group.over) and not is_done(task.future)
end

--- The first task that waits for a worker. What is in front of it goes.
local function first_waiting(queue)
  while queue.first <= queue.last do
    local task = queue[queue.first]
    if task and waits(task) then
      return task
    end
    queue[queue.first] = nil
    queue.first = queue.first + 1
  end
end

-- ---- the places of a worker, at which its tasks are ----

-- All are there from the beginning. Their fields never become nil: then none would need memory to be set.
local function new_place()
  return {
    task = false,
    at = 0, -- the number of the (first) task in its process
    sent = 0, -- when
    answer = false, -- the future of the request, when it has been sent,
    followed = false, -- and the duty follows that; or
    failed = false, -- it could not be sent
    problem = false, -- since
    mended = false, -- has that been put into the program's words
    lost = false, -- no answer will come
  }
end

local function free_place(member)
  local places = member.places
  for i = 1, MOST_AT_ONCE do
    if not places[i].task then
      return places[i]
    end
  end
end

--- The task leaves the place, if it is still there.
local function clear(member, place, task)
  if place.task == task then
    member.load = member.load - 1
    place.task, place.answer, place.problem = false, false, false
  end
end

--- Settles a task at a place, which it leaves. Whom it tells may do anything, with the pool too.
local function settle(member, place, task, ...)
  settle_future(task.future, ...)
  clear(member, place, task)
end

-- ---- tasks on their way ----

--- How many tasks a worker may have whose last one has taken so long.
local function room_for(duration)
  if duration >= QUICK then
    return 1
  end
  return math.max(2, math.min(MOST_AT_ONCE, AT_ONCE // math.max(duration, 1)))
end

--- Notes how long a task has taken.
local function learn(member, place, task)
  local now = native.now()
  task.duration = now - math.max(place.sent, member.answered)
  member.answered, member.room = now, room_for(task.duration)
end

--- Puts into the program's words what could not be sent, once.
local function mend(place, task, problem)
  if task.kind.mend and not place.mended then
    task.kind.mend(problem, task)
    place.mended = true
  end
end

--- Takes in what has become of a task that was sent.
local function answered(member, place, task, ok, ...)
  if not ok then
    local problem = ...
    if is_loss(problem) then
      place.lost, place.problem = true, problem
      member.state = LOST
      return
    end
    mend(place, task, problem)
  end
  learn(member, place, task)
  settle(member, place, task, ok, ...)
end

--- Takes in what has become of the task at a place, if that is known.
local function look_at(self, member, place)
  local task, answer = place.task, place.answer
  if place.failed then
    mend(place, task, place.problem)
    settle(member, place, task, false, place.problem)
  elseif answer and not place.lost then
    place.followed = place.followed or not follow(answer, self.duty)
    if is_done(answer) then
      answered(member, place, task, outcome(answer))
    end
  end
end

local function take_in(self, member)
  local places = member.places
  for i = 1, MOST_AT_ONCE do
    local place = places[i]
    if place.task then
      look_at(self, member, place)
    end
  end
end

--- Sends a task to a worker. If that fails it was not sent, or is at the place.
local function send(member, place, task)
  local now = native.now()
  place.at, place.sent, place.answer, place.failed = member.sent + 1, now, false, false
  place.followed, place.mended, place.lost = false, false, false
  task.place, place.task = place, task
  member.load = member.load + 1
  member.sent = member.sent + task.count
  place.answer = task.kind.send(member.asking, place.at, task)
end

local function try_to_send(self, member, place, task)
  local ok, problem = pcall(send, member, place, task)
  if place.task ~= task then
    if not ok and not task.place then
      error(problem, 0)
    end
    return
  elseif not ok then
    place.problem, place.failed = problem, true
  end
  look_at(self, member, place)
end

--- The worker with least to do that may get a task.
local function free_member(self)
  local best, least = nil, math.huge
  for _, member in ipairs(self.members) do
    local load = member.load
    if member.state == READY and load < least and load < member.room then
      best, least = member, load
    end
  end
  return best
end

--- Tells all tasks that wait that they can't be done.
local function turn_away(self, problem)
  local task = first_waiting(self.queue)
  while task do
    self.told = true
    settle_future(task.future, false, problem)
    task = first_waiting(self.queue)
  end
end

--- Sends tasks to workers as long as there are both.
local function dispatch(self)
  local task = first_waiting(self.queue)
  if task and (self.over or self.broken) then
    return turn_away(self, self.over and ended(self) or self.problem)
  end
  local member = task and free_member(self)
  while member do
    try_to_send(self, member, free_place(member), task)
    task = first_waiting(self.queue)
    member = task and free_member(self)
  end
end

-- ---- workers that come and go ----

--- Could its process be started?
local function has_process(member)
  return member.process and member.process.pid
end

-- Seconds that the process of a lost connection has to end by itself.
local PATIENCE = 1

--- The error that says why the process of a worker has ended.
local function cause_of(process, text, ...)
  local cause = process:_outcome()
  if not cause then
    cause = library_error("ProcessDied", "process '%s' (pid %d) " .. text, process.name, process.pid, ...)
    cause.exitcode, cause.pid, cause.process = process.exitcode, process.pid, process.name
  end
  return cause
end

--- An error of its connection, if it was sent anything.
local function problem_of(member)
  for _, place in ipairs(member.places) do
    if place.problem then
      return place.problem
    end
  end
end

--- Waits for the process of a lost worker. Should only the connection have been lost, it is ended.
local function await_end(_, member)
  local process, problem = member.process, problem_of(member)
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

--- The place whose task was sent last.
local function last_place(member)
  local last = nil
  for _, place in ipairs(member.places) do
    if place.task and (not last or place.at > last.at) then
      last = place
    end
  end
  return last
end

--- What a worker had that has died: what it had begun has crashed it, what it had not goes to others.
local function hand_back(self, member, place, begun)
  local task, crashed = place.task, place.at <= begun
  local crashes = task.crashes + (crashed and 1 or 0)
  if place.answer then
    leave(place.answer)
  end
  if crashed and crashes > self.retries or self.over then
    settle(member, place, task, false,
      crashed and died(self, task, begun - place.at + 1, member.cause) or ended(self))
  else
    push_front(self.queue, task)
    task.crashes, task.place = crashes, false
    clear(member, place, task)
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
    turn_away(self, problem)
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

local function take_leave(self, member)
  local begun = self.cells:get(member.slot)
  local place = last_place(member)
  while place and member.state == DEAD do
    hand_back(self, member, place, begun)
    place = last_place(member)
  end
  if member.state == DEAD then -- and not replaced meanwhile
    bury(self, member, begun)
  end
end

--- Is of all that was sent to it known that no answer will come?
local function is_let_go(member)
  for _, place in ipairs(member.places) do
    if place.task and not place.lost then
      return false
    end
  end
  return true
end

local function try_to_launch(self, member)
  local ok, problem = see_to(self, member, launch)
  if not ok then
    give_up(self, member, problem)
  end
end

--- Goes a step on with a worker that is not ready. Returns whether that has led anywhere.
local function tend(self, member)
  local state = member.state
  if state == LOST and is_let_go(member) then
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

local function is_idle(self)
  for _, member in ipairs(self.members) do
    if member.load > 0 then
      return false
    end
  end
  return first_waiting(self.queue) == nil
end

local function tend_all(self)
  local moved = false
  for _, member in ipairs(self.members) do
    if member.state ~= READY then
      moved = tend(self, member) or moved
    end
  end
  return moved
end

--- Takes in what has happened, and does what follows from it.
local function advance(self)
  repeat
    for _, member in ipairs(self.members) do
      if member.load > 0 then
        take_in(self, member)
      end
    end
    dispatch(self)
  until self.over or not tend_all(self)
  if self.idle and is_idle(self) then
    settle_future(self.idle, true)
    self.idle = false
  end
end

-- ---- for pools ----

--- A task, which waits until it is added.
-- @param kind has `send(remote, number, task)`, which gives a future: asks a worker for it; and optionally
-- `mend(problem, task)`: says in the program's words what could not be sent
-- @param group nil, or what the task belongs to: once its field `over` is true, it is not begun any more
-- @param index what the pool calls the (first) task
-- @param count how many it stands for
-- @param func of the task
-- @param arguments of the task
-- @return a table, whose field `future` is settled by what comes of it
function Crew:new_task(kind, group, index, count, func, arguments)
  return {
    kind = kind,
    group = group or false,
    index = index,
    count = count,
    func = func,
    arguments = arguments,
    future = new_future(self.duty),
    queued = false, -- was it added
    place = false, -- where it is, or was
    crashes = 0, -- how many workers have died of it
    duration = false, -- how long it has taken
  }
end

--- Has workers tried again that were given up.
local function rouse(self)
  self.lacks = false
  for _, member in ipairs(self.members) do
    member.rests = false
  end
end

local function enqueue(self, task)
  if self.lacks then
    rouse(self)
  end
  push(self.queue, task)
  task.queued = true
  perform(self.duty)
end

--- Takes a task; its future is settled later. An error means that it was not taken.
function Crew:add(task)
  local ok, problem = pcall(atomic, enqueue, self, task)
  if not ok and not task.queued then
    error(problem, 0)
  end
end

--- Takes in what answers there are, without waiting, if tasks wait for them.
function Crew:look()
  if self.queue.first <= self.queue.last then
    core.sleep(0)
  end
end

local function cancel(self, task)
  return waits(task) and settle_future(task.future, false,
    library_error("NotListening", "task %d of pool '%s' was cancelled", task.index, self.name))
end

--- Takes back a task that was not sent yet. Returns whether that was so.
function Crew:cancel(task)
  return atomic(cancel, self, task)
end

local function count_unfinished(self)
  local n, queue = 0, self.queue
  for i = queue.first, queue.last do
    n = n + (queue[i] and waits(queue[i]) and 1 or 0)
  end
  for _, member in ipairs(self.members) do
    n = n + member.load
  end
  return n
end

--- How many tasks are not finished.
function Crew:unfinished()
  return atomic(count_unfinished, self)
end

--- A future for the moment when every task is finished; nil when that is so.
local function await_idle(self)
  if not is_idle(self) then
    self.idle = self.idle or new_future(self.duty)
    perform(self.duty)
    return self.idle or nil
  end
end

--- Waits until every task is finished.
function Crew:finish()
  local idle = atomic(await_idle, self)
  while idle do
    idle:get()
    idle = atomic(await_idle, self)
  end
end

--- Asks a worker to end, once.
local function ask_to_end(member)
  if member.stopping == nil then
    member.stopping = false
    local ok, answer = pcall(member.asking.stop, member.asking)
    member.stopping = ok and answer
  end
end

--- Waits for the end of a worker that was asked. One that could not be, or has not understood, is killed.
local function await_leaving(self, member)
  local process, answer = member.process, member.stopping
  if answer then
    core.wait { answer }
  end
  if not answer or not outcome(answer) then
    process:kill()
  end
  process:join()
  if self.cells:get(member.slot) < desk.READY then
    self.problem = self.problem or process:_outcome() or false
  end
end

--- Ends the workers, which have nothing to do any more, and waits for them. May be called again if it was torn. Returns
-- why none could be had, if no task was told.
function Crew:dismiss()
  self.over = true
  for _, member in ipairs(self.members) do
    if has_process(member) then
      ask_to_end(member)
    end
  end
  for _, member in ipairs(self.members) do
    if has_process(member) then
      await_leaving(self, member)
    end
  end
  self.dismissed = true
  return not self.told and self.problem or nil
end

--- Kills all workers, though one of them may not be possible.
local function kill_all(self)
  local done, first = true, nil
  for _, member in ipairs(self.members) do
    if has_process(member) then
      local ok, problem = pcall(member.process.kill, member.process)
      done, first = done and ok, first or not ok and problem
    end
  end
  if not done then
    error(first, 0)
  end
end

--- Ends the workers at once; what was not finished fails. May be called again if it was torn.
function Crew:kill()
  self.over, self.killed = true, true
  kill_all(self)
  turn_away(self, ended(self))
  local cause = library_error("ProcessDied", "the pool was killed")
  for _, member in ipairs(self.members) do
    if has_process(member) then
      member.process:join()
      member.state, member.cause = DEAD, cause
      atomic(take_leave, self, member)
    end
  end
  perform(self.duty) -- that nothing is left of it
  self.dismissed = true
end

local function new_member(self, slot)
  local own = desk.new(self.name, self.cells, slot)
  local remote = core.Proxy(own)
  local member = {
    slot = slot,
    name = ("%s:%d"):format(self.name, slot),
    desk = own,
    remote = remote,
    asking = remote:with_ { async = true },
    state = ABSENT,
    rests = false, -- is it given up, until there is a task more
    attended = false, -- does somebody wait for what becomes of it
    process = false, -- the present one, or the last; with it
    sent = 0, -- how many tasks it was sent, those that came together counted singly,
    room = 1, -- how many it may have,
    cause = false, -- and why it has died
    stopping = nil, -- the future of the request to end; false when it could not be sent
    places = {},
    load = 0, -- how many of these are taken
    answered = 0, -- when its last answer came
    failures = 0, -- how many processes in a row have ended before they had begun anything
  }
  for i = 1, MOST_AT_ONCE do
    member.places[i] = new_place()
  end
  return member
end

local function start_all(self)
  for _, member in ipairs(self.members) do
    launch(self, member)
  end
  advance(self)
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
    duty = nil,
    idle = false, -- a future for the moment when all tasks are finished, if somebody waits for that
    lacks = false, -- is a worker given up
    broken = false, -- can none ever be had
    problem = false, -- why there is none
    told = false, -- was a task told that
    over = false, -- is nothing sent, and nobody replaced
    killed = false,
    dismissed = false, -- are all workers gone
  }, Crew)
  self.duty = futures.duty(function()
    advance(self)
  end, true)
  for slot = 1, count do
    self.members[slot] = new_member(self, slot)
  end
  local ok, problem = pcall(atomic, start_all, self)
  if not ok then
    pcall(self.kill, self) -- else they end with their handles
    error(problem, 0)
  end
  return self
end

return { new = new_crew }
