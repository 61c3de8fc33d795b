--- Many tasks of one function: chunks of items are taken from where they come from as workers have time for them, and
-- their results are given in the order of the items.

local core = require "remoteobj.core"
local progress = require "remoteobj.progress"

local aside = core._process.aside
local futures = core._future
local new_future, settle_future = futures.new, futures.settle
local await_future, follow, is_done, outcome = futures.await, futures.follow, futures.is_done, futures.outcome
local atomic, preemptible = futures.atomic, futures.preemptible

-- How long a chunk should take, in nanoseconds: much longer than sending it.
local FITTING = 2000000

-- Chunks that may be unfinished, per worker: what is on its way, and what comes next.
local AHEAD = 4

-- Chunks per worker that the last items are spread over, so that all workers end at the same time.
local LAST_CHUNKS = 4

local Stream = {}
Stream.__index = Stream

--- A function that gives the next item of a list, or nil; and how many there are.
local function items_of(list)
  local i, count = 0, #list
  return function()
    i = i + 1
    if i <= count then
      return list[i]
    end
  end, count
end

-- A task of several items.
local Chunk = {}

--- In place of what its own call sends, the error names what the program has given: func, list.
function Chunk.mend(problem, task)
  if getmetatable(problem) ~= core.Error or problem.kind ~= "Unsendable" then
    return
  end
  local message = problem.message
  message = message:gsub("^cannot send argument 3", "cannot send argument 1")
  message = message:gsub("^cannot send argument 4%[(%d+)%]", function(i)
    return ("cannot send argument 2[%d]"):format(task.index + i - 1)
  end)
  if task.group.whole then
    message = message:gsub("^(cannot send result%[%d+%])%[(%d+)%]", "%1 %2")
  end
  message = message:gsub("^cannot send result%[(%d+)%]", function(i)
    return ("task %d: cannot send result"):format(task.index + i - 1)
  end)
  problem.message = message
end

function Chunk.send(remote, number, task)
  return remote:map(number, task.index, task.func, task.arguments, task.group.whole)
end

--- How many items the next chunk may have.
local function next_size(self)
  local size = self.size
  if self.total and self.adapts then
    local left = self.total - self.taken
    size = math.min(size, (left - 1) // (LAST_CHUNKS * self.workers) + 1)
  end
  return math.min(size, self.window - (self.taken - self.given))
end

--- The next chunk of items; nil when there are none. Calls a function of the program, which may do anything.
local function next_chunk(self)
  local items, count = {}, next_size(self)
  self.taking = coroutine.running()
  for i = 1, count do
    local item = preemptible(self.next_item)
    if item == nil then
      self.exhausted = true
      count = i - 1
      break
    end
    items[i] = item
  end
  if count <= 0 then
    return nil
  end
  local task = self.crew:new_task(Chunk, self, self.taken + 1, count, self.func, items)
  self.taken = self.taken + count
  return task
end

--- The same. Where that fails the stream ends, with an error when all before it has been given.
local function try_next_chunk(self)
  local ok, task = aside(next_chunk, self)
  self.taking = false
  if self.taken_in then
    settle_future(self.taken_in, true)
    self.taken_in = false
  end
  if ok then
    return task
  end
  self.exhausted, self.failed, self.problem = true, true, task
end

--- Chunks grow until one takes long enough.
local function adapt(self, task)
  if self.adapts and task.duration then
    local fitting = math.floor(FITTING * task.count / math.max(task.duration, 1))
    self.size = math.max(1, math.min(fitting, 2 * task.count))
  end
end

--- Takes note of a chunk that is finished.
local function note(self, task)
  if task.noted then
    return
  end
  self.running, task.noted = self.running - 1, true
  adapt(self, task)
  if self.bar then
    self.bar:advance(task.count)
  end
end

--- Takes in what has become of the chunks from `first` to `last` whose results were not given yet.
local function look(self, first, last)
  for i = first, last do
    local task = self[i]
    if task and is_done(task.future) then
      note(self, task)
    end
  end
end

local function has_room(self)
  return not self.exhausted and not self.taking and self.running < AHEAD * self.workers
    and self.taken - self.given < self.window
end

--- Hands the last chunk over, if that has not been done.
local function add_last(self)
  local task = self[self.last]
  if task and not task.queued then
    self.crew:add(task)
    if follow(task.future, self.duty, self.last) then
      note(self, task)
    end
  end
end

--- Adds chunks as long as workers and the window have room.
local function feed(self)
  add_last(self)
  while has_room(self) do
    local task = self.chunk or try_next_chunk(self)
    if not task then
      return
    end
    self.chunk = task
    self[self.last + 1] = task
    self.last, self.running, self.chunk = self.last + 1, self.running + 1, false
    add_last(self)
  end
end

--- Takes in what has become of a chunk, or of all, and adds others.
local function advance(self, number)
  if not self.over then
    look(self, number or self.first, number or self.last)
    feed(self)
  end
end

--- Shows no more how far it is.
local function finish(self)
  local bar = self.bar
  self.bar = nil
  if bar then
    bar:finish()
  end
end

--- Gives the results of the first task, which is done, or raises its error.
local function give(self, task, ok, results)
  note(self, task)
  self[self.first] = nil
  self.first, self.out = self.first + 1, self.out + task.count
  if not ok then
    error(results, 0)
  end
  return nil, results, task.count, task.index
end

--- A future for the moment when the items are there that are being taken.
local function await_items(self)
  if self.taking == coroutine.running() then
    error("the items of 'imap' can't be taken from its own results", 0)
  end
  self.taken_in = self.taken_in or new_future()
  return self.taken_in
end

--- To be called before `take`: what was given has been taken by now, and what there is room for is sent. That may wait,
-- and let other threads take results.
function Stream:prepare()
  if not self.over then
    self.given, self.out = self.given + self.out, 0
    feed(self)
  end
end

--- Takes the results of the next chunk without waiting; to be called by `await`, whose thread alone gets them then.
-- @return nil, or a future that is done once there is more to tell; then nothing else
-- @return the results; nil at the end
-- @return how many there are
-- @return which item the first of them is of
-- @raise the error of a chunk, once; and at the end, why there are no more items
function Stream:take()
  local task = self[self.first]
  if self.over then
    return nil
  elseif task and is_done(task.future) then
    return give(self, task, outcome(task.future))
  elseif task then
    return task.future
  elseif self.taking then
    return await_items(self)
  end
  finish(self)
  if self.failed then
    error(self.problem, 0)
  end
end

local function await_taken(take, argument, future, ...)
  if not future then
    return ...
  end
  await_future(future)
  return await_taken(take, argument, atomic(take, argument))
end

--- Waits until `take(argument)` doesn't give a future to be waited for any more, and gives the rest of what it gives.
-- Several threads may take from one stream: each looks again after it has waited.
local function await(take, argument)
  return await_taken(take, argument, atomic(take, argument))
end

local function prepare_and_take(self)
  self:prepare()
  return self:take()
end

--- The results of the next chunk, how many there are, and which item the first is of, waiting for them; nil at the end.
function Stream:next()
  return await(prepare_and_take, self)
end

--- Nothing more is asked for: what was not begun will not be. It is the end for other threads too.
function Stream:close()
  self.over, self.exhausted, self.failed = true, true, false
  local task = self[self.first]
  if task then
    settle_future(task.future, false) -- should another thread wait for it
  end
  finish(self)
end

Stream.__close = Stream.close

--- Begins.
-- @param crew the workers
-- @param func what is called with each item
-- @param source a list, or a function that gives an item whenever it is called, and nil at the end
-- @param options `chunk` (items that go together; nil: as many as it takes), `window` (items that are taken and whose
-- results are not given yet, at most), `whole` (all results of each, packed; else the first), `label` (for the
-- progress, if it is to be shown)
local function open(crew, func, source, options)
  local next_item, total = source, nil
  if type(source) == "table" then
    next_item, total = items_of(source)
  end
  local self = setmetatable({
    crew = crew,
    duty = nil,
    func = func,
    next_item = next_item,
    total = total,
    whole = options.whole,
    workers = #crew.members,
    adapts = options.chunk == nil,
    size = options.chunk or 1,
    window = options.window or math.huge,
    bar = options.label and progress.open(options.label, total),
    first = 1, -- of the chunks whose results are to be given,
    last = 0,
    chunk = false, -- the next one, if it could not be added yet
    running = 0, -- how many may not be finished
    taken = 0, -- items
    out = 0, -- of them, whose results were given since the last was sent, and
    given = 0, -- before
    taking = false, -- the coroutine that is taking items
    taken_in = false, -- a future for the end of that, if somebody waits for it
    exhausted = false, -- are there no more items,
    failed = false, -- for an error, to be raised at the end:
    problem = nil,
    over = false,
  }, Stream)
  self.duty = futures.duty(function(number)
    advance(self, number)
  end)
  return self
end

return { open = open, await = await }
