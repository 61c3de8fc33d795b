--- Books of errors: Except, which all processes forked later write into, and LocalExcept.
--
-- What is hard here is to tell *one raise seen by several contexts* from *two raises of equal
-- values*. Three signs tell: a failure (the object that the message handler makes of a raise)
-- carries who has recorded it, and contexts pass the very failure on; contexts that end as
-- `<close>` values see no failure, but the frame that catches, whose depth is the same for all
-- contexts that one raise leaves; and an error that is a table, caught and raised again by the
-- program, is known by itself.

local core = require "remoteobj.core"
local classes = require "remoteobj.classes"

local native = core._process
local running, unpack, pack = coroutine.running, table.unpack, table.pack
local metatable_of = debug and debug.getmetatable or getmetatable

-- Kinds of records in a journal.
local ERROR, RESULT, RETURNED, FAILED = 1, 2, 3, 4

-- Stands for the group without a name where nil can't be a key.
local DEFAULT = {}

local weak_keys, weak_values = { __mode = "k" }, { __mode = "v" }

-- Counts records, contexts and raises: what came earlier has the smaller number.
local count = 0

local function tick()
  count = count + 1
  return count
end

-- Coroutine -> the raise that was seen last on its way through it.
local flights = setmetatable({}, weak_keys)

---------------------------------------------------------------------------------------------
-- Channels: a journal together with those who want what is in it.

local Channel = {}
Channel.__index = Channel

--- A channel from all processes forked later to this one.
local function new_channel(exc)
  return setmetatable({
    journal = native.journal(),
    owner = native.getpid(),
    exc = exc,
    processes = setmetatable({}, weak_values), -- token -> who waits for the outcome of a process
  }, Channel)
end

--- Does this process read the channel? All others write into it.
function Channel:mine()
  return native.getpid() == self.owner
end

--- A number that tells the outcome of `process` from others.
function Channel:register(process)
  local token = tick()
  self.processes[token] = process
  return token
end

--- Hands out what has come since the last time.
function Channel:pull()
  if not self:mine() then
    return
  end
  for body, kind, token, time, pid, number, group in self.journal.next, self.journal do
    local id = pid .. ":" .. number
    if kind == RETURNED or kind == FAILED then
      local process = self.processes[token]
      if process then
        process:_arrived(kind == FAILED, body, time, id)
      end
    elseif self.exc then
      self.exc:_arrived(kind, body, time, id, group)
    end
  end
end

---------------------------------------------------------------------------------------------
-- Options

local function describe(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function expect(name, value, what)
  error(("option '%s': %s expected, got %s (%s)"):format(name, what, describe(value), type(value)), 0)
end

local function check_type(value)
  local kind = type(value)
  if kind == "string" then
    if not pcall(string.find, "", value) then
      error(("option 'types': malformed pattern %q"):format(value), 0)
    end
  elseif kind ~= "table" and kind ~= "function" then
    expect("types", value, "a class, a function or a pattern as element")
  end
end

local function check_flag(name)
  return function(value)
    if type(value) ~= "boolean" then
      expect(name, value, "a boolean")
    end
    return value
  end
end

local checks = {
  raises = check_flag "raises",
  catch_once = check_flag "catch_once",
  types = function(value)
    if type(value) ~= "table" or #value == 0 then
      expect("types", value, "a list of classes, functions and patterns")
    end
    for i = 1, #value do
      check_type(value[i])
    end
    return { unpack(value) }
  end,
  log = function(value)
    if value ~= false and type(value) ~= "function" then
      expect("log", value, "a function")
    end
    return value
  end,
}

--- Copies the given options over the inherited ones.
local function merge(target, options, inherited)
  for name in pairs(checks) do
    target[name] = inherited[name]
  end
  for name, value in pairs(options) do
    local check = checks[name]
    if not check then
      error(("unknown option '%s' (there are raises, types, catch_once, log)"):format(tostring(name)), 0)
    end
    target[name] = check(value)
  end
  return target
end

--- Calls merge so that its errors point at the caller of the public function.
local function merge_for_caller(level, ...)
  local ok, result = pcall(merge, ...)
  if not ok then
    error(result, level + 1)
  end
  return result
end

local function is_a(value, class)
  if metatable_of(value) == class then
    return true
  end
  for _, ancestor in ipairs(classes.chain_of(value)) do
    if ancestor == class or classes.metatable_of_class(ancestor) == class then
      return true
    end
  end
  return false
end

local function matches(types, value)
  if not types then
    return true
  end
  for _, wanted in ipairs(types) do
    local kind = type(wanted)
    local found
    if kind == "string" then
      found = tostring(value):find(wanted)
    elseif kind == "function" then
      found = wanted(value)
    else
      found = is_a(value, wanted)
    end
    if found then
      return true
    end
  end
  return false
end

---------------------------------------------------------------------------------------------
-- Contexts

local Context = { __name = "remoteobj.Context" }

--- Has an inner context recorded this raise? `since` is when the asking context began.
local function is_recorded(exc, failure, value, since)
  if native.marks_of(failure)[exc] then
    return true
  end
  local kind = type(value)
  local marked = (kind == "table" or kind == "userdata") and exc._marks[value]
  return marked and marked > since
end

local function mark(exc, failure, value, id)
  local kind = type(value)
  native.marks_of(failure)[exc] = id
  if kind == "table" or kind == "userdata" then
    exc._marks[value] = tick()
  end
end

--- Records the failure unless an inner context has. Returns whether it is one to be caught.
local function take(exc, group, options, failure, since)
  local value = native.value_of(failure)
  if not matches(options.types, value) then
    return false
  end
  if not is_recorded(exc, failure, value, since) then
    local id = exc:_record(failure, value, group)
    if options.catch_once then
      mark(exc, failure, value, id)
    end
    if options.log then
      options.log(value, group, native.traceback_of(failure))
    end
  end
  return true
end

-- Notes, while a failure that is passed on leaves the context, which frame catches it.
local Passing = {
  __close = function(self, value)
    flights[running()] = { value = value, depth = native.depth() - 1, at = tick(), failure = self[1] }
  end,
}

local function pass_on(failure)
  local _ <close> = setmetatable({ failure }, Passing)
  native.rethrow(failure)
end

local function settle(context, since, ok, ...)
  if ok then
    return ...
  end
  local failure = ...
  if not take(context.exc, context.name, context, failure, since) or context.raises then
    pass_on(failure)
  end
  local value = native.value_of(failure)
  if type(value) == "table" or type(value) == "userdata" then
    context.exc._marks[value] = nil -- this raise is over: another of the same value is a new one
  end
end

local function is_callable(value)
  local metatable = type(value) ~= "function" and metatable_of(value)
  return type(value) == "function" or type(metatable) == "table" and rawget(metatable, "__call") ~= nil
end

--- Runs func(...) in the context; gives its results.
function Context:__call(func, ...)
  if not is_callable(func) then
    error(("a context calls a function, got %s"):format(type(func)), 2)
  end
  return settle(self, tick(), native.guard(func, ...))
end

--- The failure of the raise that a `<close>` context sees as `value`; `depth` is that of the frame that catches it.
local function failure_at_close(closed, value, depth, since)
  local flight = flights[running()]
  local seen = flight and flight.by ~= closed and flight.at > since
  if seen and rawequal(flight.value, value) and flight.depth == depth then
    return flight.failure
  end
  return native.flying(value) or native.failure_of(value)
end

--- Records what leaves a block; the error goes on by itself.
local function close(closed, context, value, depth, since)
  local failure = failure_at_close(closed, value, depth, since)
  flights[running()] = { value = value, depth = depth, at = tick(), failure = failure, by = closed }
  take(context.exc, context.name, context, failure, closed == context and since or math.maxinteger)
end

function Context:__close(value)
  if value ~= nil then
    close(self, self, value, native.depth() - 1, self.since)
  end
end

function Context:__tostring()
  return ("context %s of %s"):format(self.name == nil and "(default)" or describe(self.name), tostring(self.exc))
end

local function new_context(exc, name, options, level)
  local context = { exc = exc, name = name, since = tick() }
  return setmetatable(merge_for_caller(level + 1, context, options or {}, exc._options), Context)
end

---------------------------------------------------------------------------------------------
-- Books

local methods, Except, LocalExcept = {}, { __name = "remoteobj.Except" }, { __name = "remoteobj.LocalExcept" }

--- Enters a record where its time puts it.
local function insert(self, record)
  local records = self._records
  local i = #records
  while i > 0 and records[i].time > record.time do
    records[i + 1] = records[i]
    i = i - 1
  end
  records[i + 1] = record
  self._by_id[record.id] = record
end

--- Records a failure in this process, and tells the owner of the book if that is another one.
-- @return what tells the record from others
function methods:_record(failure, value, group)
  local time, number, channel = native.now(), tick(), self._channel
  local id = native.getpid() .. ":" .. number
  insert(self, { value = value, group = group, time = time, id = id })
  if channel and not channel:mine() then
    channel.journal:append_failure(ERROR, 0, time, number, group, failure)
  end
  return id
end

--- What was caught outside of any context: the failure that has ended a process begun at `since`.
-- @return the id of its record, or nil when the book doesn't want it
function methods:_take(failure, group, since)
  take(self, group, self._options, failure, since)
  return native.marks_of(failure)[self]
end

--- Takes in an error value that came another way.
function methods:_insert(value, group, time, id)
  insert(self, { value = value, group = group, time = time, id = id })
end

--- The value recorded under an id in this process, in a table; nil when there is none.
function methods:_recorded(id)
  return self._by_id[id]
end

--- A record from another process.
function methods:_arrived(kind, body, time, id, group)
  if kind == RESULT then
    self:_keep_result(time, body)
    return
  end
  -- An error that can't be understood here is no reason to lose that there was one.
  local _, value = pcall(body.failure, body)
  self:_insert(value, group, time, id)
end

function methods:_keep_result(time, result)
  if time >= self._result_time then
    self._result_time, self._result = time, result
  end
end

--- Takes in what other processes have recorded. All that reads the book does so by itself.
function methods:pull()
  if self._channel then
    self._channel:pull()
  end
end

--- The records, in the order in which the errors were raised.
local function records_of(self)
  self:pull()
  return self._records
end

local function last_record(self, ...)
  local records = records_of(self)
  if select("#", ...) == 0 then
    return records[#records]
  end
  local name = ...
  for i = #records, 1, -1 do
    if rawequal(records[i].group, name) then
      return records[i]
    end
  end
end

--- The last error of a group, nil when there is none.
function methods:get(name)
  local record = last_record(self, name)
  return record and record.value
end

--- All errors of a group.
function methods:group(name)
  local list, n = {}, 0
  for _, record in ipairs(records_of(self)) do
    if rawequal(record.group, name) then
      n = n + 1
      list[n] = record.value
    end
  end
  return list
end

--- All errors, in the order in which they were raised.
function methods:all()
  local list = {}
  for i, record in ipairs(records_of(self)) do
    list[i] = record.value
  end
  return list
end

--- Iterates over the errors that are there now.
function methods:iter()
  local records, i = records_of(self), 0
  local list = table.move(records, 1, #records, 1, {})
  return function()
    i = i + 1
    if list[i] then
      return list[i].value
    end
  end
end

--- Raises the last error caught, or the last of a group; nothing when there is none.
function methods:raise_any(...)
  local record = last_record(self, ...)
  if record then
    error(record.value, 0)
  end
end

--- Forgets the errors and the result that this process knows of.
function methods:clear()
  self:pull()
  self._records, self._by_id = {}, {}
  self:clear_result()
end

--- A function that does what func does, but records and swallows errors and keeps the result.
function methods:wrap(func)
  if not is_callable(func) then
    error(("bad argument #1 to 'wrap' (function expected, got %s)"):format(type(func)), 2)
  end
  local function keep(...)
    self:set_result(...)
    return ...
  end
  local function run(...)
    return keep(func(...))
  end
  native.name_function(run)
  return function(...)
    return new_context(self, nil, { raises = false }, 1)(run, ...)
  end
end

--- Keeps a function's results, for the process that made the book too.
function methods:set_result(...)
  local channel, time = self._channel, native.now()
  if channel and not channel:mine() then
    channel.journal:append_values(RESULT, 0, time, tick(), nil, ...)
  end
  self:_keep_result(time, pack(...))
end

--- The results kept last, from whichever process.
function methods:get_result()
  self:pull()
  local result = self._result
  if type(result) == "userdata" then
    result = pack(result:values())
    self._result = result
  end
  if result then
    return unpack(result, 1, result.n)
  end
end

function methods:clear_result()
  self:pull()
  self._result = nil
end

local function pop(self, ...)
  self._result = nil
  return ...
end

--- The results kept last, which are then forgotten.
function methods:pop_result()
  return pop(self, self:get_result())
end

local getters = {
  first = function(self)
    local record = records_of(self)[1]
    return record and record.value
  end,
  last = function(self)
    local record = last_record(self)
    return record and record.value
  end,
}

--- exc(), exc(name [, options]), exc(options): a context; exc(func, ...): runs func in the default one.
local function call(self, ...)
  local name, options = ...
  local given = select("#", ...)
  if type(name) == "function" then
    return new_context(self, nil, nil, 2)(...)
  elseif given == 1 and type(name) == "table" then
    name, options = nil, name
  elseif given > 2 or options ~= nil and type(options) ~= "table" then
    error("a context takes a name and a table of options; call what it gives with the function", 2)
  end
  local context = new_context(self, name, options, 2) -- no tail call: errors point at the caller
  return context
end

local function count_groups(self)
  local counts, names = {}, {}
  for _, record in ipairs(records_of(self)) do
    local key = record.group == nil and DEFAULT or record.group
    if not counts[key] then
      counts[key] = 0
      names[#names + 1] = key
    end
    counts[key] = counts[key] + 1
  end
  return counts, names
end

local function show(self)
  local counts, names = count_groups(self)
  local parts = {}
  for i, key in ipairs(names) do
    parts[i] = ("%s: %d"):format(key == DEFAULT and "(default)" or tostring(key), counts[key])
  end
  local content = #parts > 0 and table.concat(parts, ", ") or "no errors"
  return ("<%s raises=%s %s>"):format(metatable_of(self).__name:match "%w+$", self._options.raises, content)
end

for _, class in ipairs { Except, LocalExcept } do
  class.__index = function(self, key)
    local getter = getters[key]
    if getter then
      return getter(self)
    end
    return methods[key]
  end
  class.__call = call
  class.__len = function(self)
    return #records_of(self)
  end
  class.__tostring = show
  class.__close = function(self, value)
    if value ~= nil then
      close(self, new_context(self, nil, nil, 1), value, native.depth() - 1, 0)
    end
  end
end

local function new_book(class, ...)
  local given, options = select("#", ...), nil
  if given == 1 and type((...)) == "table" then
    options = ...
  elseif given > 0 then
    options = { types = { ... } }
    for i = 1, given do
      local ok, message = pcall(check_type, (select(i, ...)))
      if not ok then
        error(message, 3)
      end
    end
  end
  local defaults = { raises = true, catch_once = true }
  local made = {
    _options = merge_for_caller(3, {}, options or {}, defaults),
    _records = {},
    _by_id = {},
    _marks = setmetatable({}, weak_keys),
    _result_time = math.mininteger,
    _result = nil,
    _channel = nil,
  }
  return setmetatable(made, class)
end

local book = {
  RETURNED = RETURNED,
  FAILED = FAILED,
  new_channel = new_channel,
  is_callable = is_callable,
  tick = tick,
}

--- A book that every process forked later shares.
function book.Except(...)
  local made = new_book(Except, ...)
  made._channel = new_channel(made)
  return made
end

--- A book of this process alone, which hands out the very errors.
function book.LocalExcept(...)
  local made = new_book(LocalExcept, ...)
  return made
end

--- Is the value an Except?
function book.is_except(value)
  return type(value) == "table" and metatable_of(value) == Except
end

--- Is the value a LocalExcept?
function book.is_local(value)
  return type(value) == "table" and metatable_of(value) == LocalExcept
end

-- What runs between the program's own frames has no place in tracebacks.
for _, hidden in ipairs { Context.__call, settle, pass_on, call, take, close, Context.__close, Passing.__close } do
  native.name_function(hidden)
end

return book
