--- Many tasks of one function: chunks of items are taken from where they come from as workers have time for them, and
-- their results are given in the order of the items.

local core = require "remoteobj.core"
local progress = require "remoteobj.progress"

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

--- In place of what its own call sends, the error names what the program has given: func, list.
local function mend(problem, task)
  if getmetatable(problem) ~= core.Error or problem.kind ~= "Unsendable" then
    return
  end
  local message = problem.message
  message = message:gsub("^cannot send argument 3", "cannot send argument 1")
  message = message:gsub("^cannot send argument 4%[(%d+)%]", function(i)
    return ("cannot send argument 2[%d]"):format(task.index + i - 1)
  end)
  if task.stream.whole then
    message = message:gsub("^(cannot send result%[%d+%])%[(%d+)%]", "%1 %2")
  end
  message = message:gsub("^cannot send result%[(%d+)%]", function(i)
    return ("task %d: cannot send result"):format(task.index + i - 1)
  end)
  problem.message = message
end

local function send(remote, number, task)
  local stream = task.stream
  return remote:map(number, task.index, stream.func, task.items, stream.whole)
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

--- The next chunk of items; nil when there are none.
local function next_chunk(self)
  local items, count = {}, next_size(self)
  for i = 1, count do
    local item = self.next_item()
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
  self.taken = self.taken + count
  return { stream = self, send = send, mend = mend, items = items, index = self.taken - count + 1, count = count }
end

--- Chunks grow until one takes long enough.
local function adapt(self, task)
  if self.adapts and task.duration then
    local fitting = math.floor(FITTING * task.count / math.max(task.duration, 1))
    self.size = math.max(1, math.min(fitting, 2 * task.count))
  end
end

local feed

local function finished(self, task)
  self.running = self.running - 1
  if self.bar then
    self.bar:advance(task.count)
  end
  if not self.over then
    adapt(self, task)
    feed(self)
  end
end

--- Adds chunks as long as workers and the window have room.
function feed(self)
  while not self.exhausted and self.running < AHEAD * self.workers and self.taken - self.given < self.window do
    local task = next_chunk(self)
    if not task then
      return
    end
    self.running = self.running + 1
    self.last = self.last + 1
    self[self.last] = task
    self.crew:add(task):on_done(function()
      finished(self, task)
    end)
  end
end

--- The results of the next chunk and how many there are, waiting for them; nil at the end.
function Stream:next()
  self.given = self.given + self.out
  self.out = 0
  feed(self)
  local task = self[self.first]
  if not task then
    self:close()
    return nil
  end
  self[self.first] = nil
  self.first = self.first + 1
  local results = task.future:get()
  self.out = task.count
  return results, task.count, task.index
end

--- Nothing more is asked for: what was not begun will not be.
function Stream:close()
  if self.over then
    return
  end
  self.over = true
  self.exhausted = true
  for i = self.first, self.last do
    self.crew:cancel(self[i])
  end
  if self.bar then
    self.bar:finish()
  end
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
  return setmetatable({
    crew = crew,
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
    running = 0, -- chunks that are not finished
    taken = 0, -- items
    out = 0, -- of them, whose results were given last, and
    given = 0, -- before
    exhausted = false, -- are there no more items
    over = false,
  }, Stream)
end

return { open = open }
