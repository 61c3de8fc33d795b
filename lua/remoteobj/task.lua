--- The tasks of a pool, the queue of those that wait for a worker, and the errors that say why one was not done.
-- `self` is the crew (`crew.lua`).

local core = require "remoteobj.core"

local futures = core._future
local new_future, settle_future, is_done = futures.new, futures.settle, futures.is_done

-- ---- errors ----

--- An error of the library's own.
local function library_error(kind, text, ...)
  return setmetatable({ kind = kind, message = text:format(...) }, core.Error)
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

-- ---- a task ----

--- A task of the crew, to be added to it.
-- @param kind has `send(remote, number, task)`, which gives a future: asks a worker for it; and optionally
-- `mend(problem, task)`: says in the program's words what could not be sent
-- @param group nil, or what the task belongs to: once its field `over` is true, it is not begun any more
-- @param index what the pool calls the (first) task
-- @param count how many it stands for
-- @param func of the task
-- @param arguments of the task
-- @return a table, whose field `future` is settled by what comes of it
local function new_task(self, kind, group, index, count, func, arguments)
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
    noted = false, -- has its group taken in what has come of it
  }
end

--- Does the task still wait for a worker?
local function waits(task)
  return not task.place and not (task.group and task.group.over) and not is_done(task.future)
end

-- ---- the queue ----

local function new_queue()
  return { first = 1, last = 0 }
end

local function push(queue, task)
  queue[queue.last + 1] = task
  queue.last = queue.last + 1
end

local function push_front(queue, task)
  queue[queue.first - 1] = task
  queue.first = queue.first - 1
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

--- Tells all tasks that wait that they can't be done.
local function turn_away(self, problem)
  local task = first_waiting(self.queue)
  while task do
    self.told = true
    settle_future(task.future, false, problem)
    task = first_waiting(self.queue)
  end
end

return {
  library_error = library_error,
  died = died,
  ended = ended,
  new = new_task,
  waits = waits,
  new_queue = new_queue,
  push = push,
  push_front = push_front,
  first_waiting = first_waiting,
  turn_away = turn_away,
}
