--- Pools: what pool(n, options) gives.
-- @module remoteobj

local core = require "remoteobj.core"
local crews = require "remoteobj.crew"
local naming = require "remoteobj.naming"
local options = require "remoteobj.options"
local streams = require "remoteobj.stream"

local native = core._process
local unpack = table.unpack

-- Workers of one pool, at most.
local MOST_WORKERS = 1024

local methods = {}
local Pool = { __name = "remoteobj.Pool", __index = methods }

--- Makes a pool: processes that carry out tasks. They see all values as they are now, those that replace others as
-- they are then. They end with the pool: when it is closed or killed, when nobody has it any more and its tasks are
-- done, or with the program.
-- @function pool
-- @tparam[opt] integer n how many, by default as many as there are processors
-- @tparam[opt] table options what workers are like
-- @tparam[opt] function|table options.init called in each new worker, before its first task; or a list of that and its
-- arguments
-- @tparam[opt] function|table options.object called in each new worker after that: what it returns is the first
-- argument of every task there
-- @tparam[opt=0] integer options.retries how often a task is tried again whose worker has died of it
-- @tparam[opt] string options.name by default "pool" and a number; workers have numbers too
-- @treturn Pool for `<close>`: the end of the block waits for all tasks
-- @raise for bad arguments, and when the system refuses processes
-- @usage
-- local pool <close> = remoteobj.pool()
-- print(table.concat(pool:map(string.upper, { "a", "b" })))

--- Several processes that carry out tasks, as `pool` gives them. It moves on while the program waits inside the
-- library, for whatever that be, and at each of its methods. A worker that dies is replaced. Functions travel to it as
-- they do to a proxy: what they change in their upvalues stays there, or is lost.
-- @type Pool

-- ---- checks ----

--- The crew of a pool that can be used here.
local function crew_of(self, what)
  if getmetatable(self) ~= Pool then
    error(("bad self of '%s' (a pool expected, got %s): call it with a colon"):format(what, type(self)), 3)
  elseif self._owner ~= native.getpid() then
    error(("%s: pool '%s' belongs to process %d, which made it"):format(what, self.name, self._owner), 3)
  elseif self._closed and what ~= "close" and what ~= "kill" then
    error(("%s: pool '%s' is closed"):format(what, self.name), 3)
  end
  return self._crew
end

local function check_function(what, func)
  local good = options.callable(func)
  if not good then
    error(("bad argument #1 to '%s' (function expected, got %s)"):format(what, type(func)), 3)
  end
end

local function check_source(what, source)
  if type(source) ~= "table" and type(source) ~= "function" then
    error(("bad argument #2 to '%s' (list or iterator function expected, got %s)"):format(what, type(source)), 3)
  end
end

local function at_least_1(value)
  return math.type(value) == "integer" and value >= 1, "an integer from 1 on"
end

local map_options = {
  chunk = at_least_1,
  progress = function(value)
    return type(value) == "boolean" or type(value) == "string", "a boolean, or a label,"
  end,
}

local imap_options = { chunk = map_options.chunk, progress = map_options.progress, window = at_least_1 }

local function label_of(self, given)
  return given.progress == true and self.name or given.progress or nil
end

-- ---- methods ----

--- Its name: the option `name`, or "pool" and a number.
-- @tfield string name

--- Calls a function with each item of a list, in the workers.
-- @function Pool:map
-- @tparam function func called as `func(item)`; as `func(object, item)` where workers have objects
-- @tparam table|function list a list; or a function that gives an item whenever it is called, and nil at the end
-- @tparam[opt] table options how
-- @tparam[opt] integer options.chunk how many items travel together; by default more and more, until that takes 2 ms
-- @tparam[opt=false] boolean|string options.progress show how far it is, if standard error is a terminal; a string is a
-- label for that
-- @treturn table the first result of each, in the order of the list
-- @treturn integer how many there are, the nils among them counted
-- @raise the error of the first item whose call has raised one, with a traceback that names it; then what was not begun
-- is left undone
-- @usage local squares = pool:map(function(x) return x * x end, { 1, 2, 3 })
function methods:map(func, list, given)
  local crew = crew_of(self, "map")
  check_function("map", func)
  check_source("map", list)
  given = options.named("map", 3, map_options, given)
  local stream <close> = streams.open(crew, func, list, { chunk = given.chunk, label = label_of(self, given) })
  local all = {}
  for results, count, index in stream.next, stream do
    table.move(results, 1, count, index, all)
  end
  return all, stream.taken
end

--- Gives the results of one call after the other, of chunk after chunk, to whichever thread asks.
local function one_by_one(stream)
  local results, count, first
  local i = 0
  local function is_over()
    return not results or i == count or stream.over
  end
  local function take()
    if is_over() then
      stream:prepare()
    end
    if is_over() then -- else another thread has gone on to the next chunk meanwhile
      local future
      future, results, count, first = stream:take()
      i = 0
      if not results then
        return future
      end
    end
    i = i + 1
    return nil, results[i], first + i - 1
  end
  return function()
    local values, index = streams.await(take)
    if not values then
      return nil
    elseif values[1] == nil then
      error(("task %d of 'imap' has given nil, which would end the loop: have it return something else"):format(
        index), 0)
    end
    return unpack(values, 1, values.n)
  end
end

--- As `map`, but gives the results one after the other, as soon as they and all before are there. Items are
-- taken as results are asked for; leaving the loop early leaves undone what was not begun. Several threads may share
-- what it gives: each result goes to one of them, in order.
-- @function Pool:imap
-- @tparam function func called as `func(item)`; as `func(object, item)` where workers have objects. Its first result
-- must not be nil
-- @tparam table|function list a list; or a function that gives an item whenever it is called, and nil at the end
-- @tparam[opt] table options how
-- @tparam[opt=1] integer options.chunk how many items travel together: an error in one is that of all
-- @tparam[opt] integer options.window how many items are taken before their turn, at most; by default four times as
-- many as there are workers, times `chunk`
-- @tparam[opt=false] boolean|string options.progress as of `map`
-- @return what a generic `for` needs: it gives all results of each call
-- @raise when its turn comes, the error of a call
-- @usage for line in pool:imap(compute, io.lines "data") do print(line) end
function methods:imap(func, list, given)
  local crew = crew_of(self, "imap")
  check_function("imap", func)
  check_source("imap", list)
  given = options.named("imap", 3, imap_options, given)
  local chunk = given.chunk or 1
  local stream = streams.open(crew, func, list, {
    chunk = chunk,
    window = given.window or 4 * chunk * #crew.members,
    whole = true,
    label = label_of(self, given),
  })
  return one_by_one(stream), nil, nil, stream
end

-- A task that was submitted.
local Call = {}

function Call.send(remote, number, task)
  local arguments = task.arguments
  return remote:call(number, task.index, task.func, unpack(arguments, 1, arguments.n))
end

-- In place of what its own call sends, the error names what the program has given.
function Call.mend(problem)
  if getmetatable(problem) == core.Error and problem.kind == "Unsendable" then
    problem.message = problem.message:gsub("^cannot send argument (%d+)", function(number)
      return ("cannot send argument %d"):format(number - 2)
    end)
  end
end

--- Has a function called by a worker.
-- @function Pool:submit
-- @tparam function func called as `func(...)`; as `func(object, ...)` where workers have objects
-- @param ... its arguments
-- @treturn Future for its results
-- @raise when the pool can't be used; all else shows at the future
-- @usage local future = pool:submit(string.rep, "x", 10)
function methods:submit(func, ...)
  local crew = crew_of(self, "submit")
  check_function("submit", func)
  crew:look()
  local task = crew:new_task(Call, nil, self._submitted + 1, 1, func, table.pack(...))
  self._tasks[task.future] = task
  self._submitted = task.index
  crew:add(task)
  return task.future
end

--- Takes back what was submitted, unless a worker has it already. Its future raises `NotListening` then.
-- @function Pool:cancel
-- @tparam Future future of `submit`
-- @treturn boolean was it taken back
-- @raise for a future that this pool has not given
function methods:cancel(future)
  local crew = crew_of(self, "cancel")
  local task = self._tasks[future]
  if not task then
    error("bad argument #1 to 'cancel' (a future of this pool's submit expected)", 2)
  end
  return crew:cancel(task)
end

--- Waits until all that was submitted is finished, then ends the workers. Safe to call twice.
-- @function Pool:close
-- @raise what has kept a worker from becoming ready, unless a task has raised that
function methods:close()
  local crew = crew_of(self, "close")
  self._closed = true
  if crew.dismissed then
    return
  elseif crew.killed then
    return crew:kill() -- which was torn
  end
  crew:finish()
  local problem = crew:dismiss()
  if problem then
    error(problem, 0)
  end
end

--- Ends the workers at once. What they were doing raises `ProcessDied`, what they had not begun `NotListening`.
-- @function Pool:kill
function methods:kill()
  local crew = crew_of(self, "kill")
  self._closed = true
  if not crew.dismissed then
    crew:kill()
  end
end

--- Closes it.
-- @function Pool:__close
Pool.__close = methods.close

--- How many workers it has.
-- @function Pool:__len
-- @treturn integer
function Pool:__len()
  return #self._crew.members
end

--- Its name, and how it goes.
-- @function Pool:__tostring
-- @treturn string text for messages
function Pool:__tostring()
  local state = self._closed and "closed" or ("%d unfinished"):format(self._crew:unfinished())
  return ("<pool %s: %d workers, %s>"):format(self.name, #self, state)
end

-- ---- making one ----

--- A function, or a list of one and its arguments: as a function without arguments. Or nil.
local function bound(value)
  if type(value) ~= "table" or options.callable(value) then
    return value
  end
  local n = value.n or #value
  return function()
    return value[1](unpack(value, 2, n))
  end
end

local function is_start(value)
  local good = options.callable(value) or type(value) == "table" and options.callable(value[1])
  return good, "a function, or a list of one and its arguments,"
end

local known = {
  init = is_start,
  name = options.string,
  object = is_start,
  retries = function(value)
    return math.type(value) == "integer" and value >= 0, "an integer from 0 on"
  end,
}

local function pool(n, given)
  if n ~= nil and (math.type(n) ~= "integer" or n < 1 or n > MOST_WORKERS) then
    error(("bad argument #1 to 'pool' (a number of workers, 1 to %d, expected, got %s)"):format(MOST_WORKERS,
      type(n) == "number" and n or type(n)), 2)
  end
  given = options.named("pool", 2, known, given)
  local name = given.name or naming.numbered("pool", "pool")
  return setmetatable({
    name = name,
    _owner = native.getpid(),
    _crew = crews.new(name, n or native.processors(), {
      init = bound(given.init), object = bound(given.object), retries = given.retries or 0,
    }),
    _closed = false,
    _submitted = 0,
    _tasks = setmetatable({}, { __mode = "k" }), -- future -> task
  }, Pool)
end

return { pool = pool }
