--- The workers of a pool and the tasks that wait for one, in the process that has made the pool.
--
-- There is one way in which everything moves on, `advance`: it looks what has become of the requests under way and of
-- the workers, and does what follows from that. It is the crew's duty (`src/future/duty.h`), done when an answer has
-- come, while the program waits inside the library, for whatever that be. It may be torn at any point, by an error that
-- is thrown in or for want of memory, and be done again inside itself, where it calls functions of the program: so what
-- is true of a task or a worker is written in one place, in tables that are there from the beginning, and it looks anew
-- after whatever may take time. What is not done yet is done the next time; who waits for a task hears of what has
-- failed. Other threads come in between only there: duties are atomic, and so is what else touches the crew.
--
-- Here is what moves everything on, and what pools call. Tasks and their queue are in `task.lua`, a worker with the
-- tasks that it was sent in `member.lua`, the processes of workers in `turnover.lua`.

local core = require "remoteobj.core"
local desk = require "remoteobj.desk"
local members = require "remoteobj.member"
local tasks = require "remoteobj.task"
local turnover = require "remoteobj.turnover"

local native = core._process
local aside = native.aside
local futures = core._future
local new_future, settle_future = futures.new, futures.settle
local atomic, outcome, perform = futures.atomic, futures.outcome, futures.perform
local first_waiting, waits, turn_away = tasks.first_waiting, tasks.waits, tasks.turn_away
local has_process = turnover.has_process
local free_place, look_at, try_to_send = members.free_place, members.look_at, members.try_to_send
local READY, DEAD = members.READY, members.DEAD

-- The number of no place: no answer has come, but there is a task more.
local NOWHERE = 0

local Crew = {}
Crew.__index = Crew

-- ---- moving on ----

--- The worker with least to do that may get a task.
local function free_member(self)
  local list, best, least = self.members, nil, math.huge
  for i = 1, #list do
    local member = list[i]
    local load = member.load
    if member.state == READY and load < least and load < member.room then
      best, least = member, load
    end
  end
  return best
end

--- Sends tasks to workers as long as there are both.
local function dispatch(self)
  local task = first_waiting(self.queue)
  if task and (self.over or self.broken) then
    return turn_away(self, self.over and tasks.ended(self) or self.problem)
  end
  local member = task and free_member(self)
  while member do
    try_to_send(self, member, free_place(member), task)
    task = first_waiting(self.queue)
    member = task and free_member(self)
  end
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
  local list, moved = self.members, false
  for i = 1, #list do
    local member = list[i]
    if member.state ~= READY then
      moved = turnover.tend(self, member) or moved
    end
  end
  return moved
end

--- Takes in what has become of the task at the place of that number, or of all.
local function take_in(self, number)
  local places = self.places
  for i = number or 1, number or #places do
    local place = places[i]
    if place and place.task then
      look_at(self, place)
    end
  end
end

--- Takes in what has happened, at the place of a number or anywhere, and does what follows from it.
local function advance(self, number)
  repeat
    take_in(self, number)
    number = nil
    dispatch(self)
  until self.over or not tend_all(self)
  if self.idle and is_idle(self) then
    settle_future(self.idle, true)
    self.idle = false
  end
end

-- ---- its tasks ----

Crew.new_task = tasks.new

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
  tasks.push(self.queue, task)
  task.queued = true
  perform(self.duty, NOWHERE)
end

--- Takes a task; its future is settled later. An error means that it was not taken, but for one that is thrown in.
function Crew:add(task)
  local throws = native.throws()
  local ok, problem = pcall(atomic, enqueue, self, task)
  if not ok and (not task.queued or native.is_thrown(problem, throws)) then
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
    tasks.library_error("NotListening", "task %d of pool '%s' was cancelled", task.index, self.name))
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

-- ---- its end ----

--- Asks a worker to end, once.
local function ask_to_end(member)
  if member.stopping == nil then
    member.stopping = false
    local ok, answer = aside(member.asking.stop, member.asking)
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
  turn_away(self, tasks.ended(self))
  local cause = tasks.library_error("ProcessDied", "the pool was killed")
  for _, member in ipairs(self.members) do
    if has_process(member) then
      member.process:join()
      member.state, member.cause = DEAD, cause
      atomic(turnover.take_leave, self, member)
    end
  end
  perform(self.duty) -- that nothing is left of it
  self.dismissed = true
end

-- ---- making one ----

local function start_all(self)
  for _, member in ipairs(self.members) do
    turnover.launch(self, member)
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
    places = {}, -- of all members
    queue = tasks.new_queue(),
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
  self.duty = futures.duty(function(number)
    advance(self, number)
  end, true)
  for slot = 1, count do
    self.members[slot] = members.new(self, slot)
  end
  local ok, problem = pcall(atomic, start_all, self)
  if not ok then
    aside(self.kill, self) -- else they end with their handles
    error(problem, 0)
  end
  return self
end

return { new = new_crew }
