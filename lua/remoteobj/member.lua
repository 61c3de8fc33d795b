--- A worker of a pool, as the process that has made the pool knows it: the state that it is in, and the tasks that it
-- was sent, until they are answered. How its processes begin and end is in `turnover.lua`, what it does itself in
-- `desk.lua`. `self` is the crew (`crew.lua`).

local core = require "remoteobj.core"
local desk = require "remoteobj.desk"

local native = core._process
local futures = core._future
local settle_future, is_done = futures.settle, futures.is_done
local follow, outcome = futures.follow, futures.outcome

-- A worker whose tasks take no longer than this (nanoseconds) gets the next one before it has finished the last, so
-- that it never idles. One whose tasks take long does not: they could be done by another.
local QUICK = 5000000

-- Such a worker has as many as it does in this time, so that neither side sleeps between two; but no more than that.
local AT_ONCE = 200000
local MOST_AT_ONCE = 8

-- What is known of a worker.
local ABSENT = "absent"     -- it has no process; one is started
local STARTING = "starting" -- its process runs, but may not listen yet
local READY = "ready"       -- it can be sent tasks
local LOST = "lost"         -- its process is gone, or doesn't answer
local DEAD = "dead"         -- that has ended, and it is known why

-- ---- a worker ----

-- A place for a task that it was sent. All are there from the beginning. Their fields never become nil: then none would
-- need memory to be set.
local function new_place(member, number)
  return {
    member = member,
    number = number, -- among all places of the crew
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

--- The worker of that number, which has no process yet.
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
    local number = (slot - 1) * MOST_AT_ONCE + i
    member.places[i] = new_place(member, number)
    self.places[number] = member.places[i]
  end
  return member
end

-- ---- its places ----

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

--- Is of all that was sent to it known that no answer will come?
local function is_let_go(member)
  for _, place in ipairs(member.places) do
    if place.task and not place.lost then
      return false
    end
  end
  return true
end

--- An error of its connection, if it was sent anything.
local function problem_of(member)
  for _, place in ipairs(member.places) do
    if place.problem then
      return place.problem
    end
  end
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

-- Errors of a connection, rather than of a task.
local LOSSES = { Disconnected = true, NotListening = true, Protocol = true }

--- Does the error say that the worker, or the way to it, is gone? One that a task has raised has a traceback.
local function is_loss(problem)
  return getmetatable(problem) == core.Error and LOSSES[problem.kind] and core.traceback(problem) == nil
end

--- Puts into the program's words what could not be sent, once.
local function mend(place, task, problem)
  if task.kind.mend and not place.mended then
    task.kind.mend(problem, task)
    place.mended = true
  end
end

--- Takes in what has become of a task that was sent. A worker that is not ready begins none, and ends.
local function answered(self, member, place, task, ok, ...)
  if not ok then
    local problem = ...
    if is_loss(problem) or self.cells:get(member.slot) < desk.READY then
      place.lost, place.problem = true, problem
      member.state = LOST
      return
    end
    mend(place, task, problem)
  end
  learn(member, place, task)
  settle(member, place, task, ok, ...)
end

local function take_answer(self, member, place, task, answer)
  if is_done(task.future) then -- settled further out, where that is being told
    clear(member, place, task)
  else
    answered(self, member, place, task, outcome(answer))
  end
end

--- Takes in what has become of the task at a place, if that is known.
local function look_at(self, place)
  local member, task, answer = place.member, place.task, place.answer
  if place.failed then
    mend(place, task, place.problem)
    settle(member, place, task, false, place.problem)
  elseif answer and not place.lost then
    place.followed = place.followed or not follow(answer, self.duty, place.number)
    if is_done(answer) then
      take_answer(self, member, place, task, answer)
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

--- The same. What has failed is what has become of the task.
local function try_to_send(self, member, place, task)
  local ok, problem = native.aside(send, member, place, task)
  if place.task ~= task then
    if not ok and not task.place then
      error(problem, 0)
    end
    return
  elseif not ok then
    place.problem, place.failed = problem, true
  end
  look_at(self, place)
end

return {
  ABSENT = ABSENT,
  STARTING = STARTING,
  READY = READY,
  LOST = LOST,
  DEAD = DEAD,
  new = new_member,
  free_place = free_place,
  last_place = last_place,
  is_let_go = is_let_go,
  problem_of = problem_of,
  settle = settle,
  clear = clear,
  look_at = look_at,
  try_to_send = try_to_send,
}
