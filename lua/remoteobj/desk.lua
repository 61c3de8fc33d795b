--- What a worker of a pool does, in its process: its tasks, one after the other.

local core = require "remoteobj.core"

local native = core._process
local pack, unpack = table.pack, table.unpack

--- What the cell of a worker holds before it listens, and before it is ready. Then it holds the number of the task that
-- was begun last, 0 at first: who finds the worker dead knows from it which task that was.
local STARTING, LISTENING, READY = -2, -1, 0

--- The object that a worker listens for. Tasks count from 1 on in each worker; `index` is what the pool calls a task.
local Desk = {}
Desk.__index = Desk

local function call(self, func, ...)
  if self.object ~= nil then
    return func(self.object, ...)
  end
  return func(...)
end

--- Gives what a guarded call has given, or raises its error with a traceback that says which task it was.
local function give(self, index, ok, ...)
  if ok then
    return ...
  end
  local failure = ...
  local where = ("%s\n\tin task %d of pool '%s'"):format(native.traceback_of(failure), index, self.pool)
  native.rethrow(native.failure_with(native.value_of(failure), where))
end

--- What was sent to a worker that could not make itself ready, which is asked for it at the end, is not begun.
local function check_ready(self)
  if self.failure then
    native.rethrow(self.failure)
  end
end

--- One task: func(...).
function Desk:call(number, index, func, ...)
  check_ready(self)
  self.cells:set(self.slot, number)
  return give(self, index, native.guard(call, self, func, ...))
end

--- Tells where it is, and runs the task of an item.
local function each(self, number, done, func, item)
  self.cells:set(self.slot, number + done)
  self.done = done
  return call(self, func, item)
end

local function first_results(self, number, func, items)
  local results = {}
  for i = 1, #items do
    results[i] = each(self, number, i - 1, func, items[i])
  end
  return results
end

local function all_results(self, number, func, items)
  local results = {}
  for i = 1, #items do
    results[i] = pack(each(self, number, i - 1, func, items[i]))
  end
  return results
end

--- Several tasks that have come together: func(item) of each. Gives a list of their first results, or of all packed.
function Desk:map(number, index, func, items, whole)
  check_ready(self)
  local run = whole and all_results or first_results
  local outcome = pack(native.guard(run, self, number, func, items))
  return give(self, index + self.done, unpack(outcome, 1, outcome.n))
end

--- No task will come any more.
function Desk:stop()
  self.stopped = true
end

for _, func in ipairs { call, give, each, first_results, all_results, Desk.call, Desk.map } do
  native.name_function(func)
end

--- The desk of a worker: made before its process, which may be followed by others.
local function new_desk(pool, cells, slot)
  return setmetatable({
    pool = pool,
    cells = cells,
    slot = slot,
    done = 0,
    stopped = false,
    object = nil,
    failure = nil, -- why it is not ready
  }, Desk)
end

local function make_ready(desk, init, object)
  if init then
    init()
  end
  if object then
    desk.object = object()
  end
end

--- All that the process does. It listens at once, so that tasks may be sent while it makes itself ready.
local function run(desk, remote, init, object)
  local _ <close> = remote:listen_ { bg = false }
  desk.cells:set(desk.slot, LISTENING)
  local ready, failure = native.guard(make_ready, desk, init, object)
  if not ready then
    desk.failure = failure
    native.rethrow(failure)
  end
  desk.cells:set(desk.slot, READY)
  while not desk.stopped do
    remote:poll(math.huge)
  end
end
native.name_function(make_ready)
native.name_function(run)

return { STARTING = STARTING, LISTENING = LISTENING, READY = READY, new = new_desk, run = run }
