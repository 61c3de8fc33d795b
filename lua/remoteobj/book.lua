--- Books of errors: Except, which all processes forked later write into, and LocalExcept.
-- @module remoteobj

local core = require "remoteobj.core"
local channels = require "remoteobj.channel"
local contexts = require "remoteobj.context"

local native = core._process
local tick, new_context = channels.tick, contexts.new
local unpack, pack = table.unpack, table.pack
local metatable_of = debug and debug.getmetatable or getmetatable

-- Stands for the group without a name where nil can't be a key.
local DEFAULT = {}

local methods, Except, LocalExcept = {}, { __name = "remoteobj.Except" }, { __name = "remoteobj.LocalExcept" }

--- Enters a record where its time puts it, once. Where it can't be, nothing is changed.
local function insert(self, record)
  local records, by_id = self._records, self._by_id
  local i = #records
  if by_id[record.id] then
    return
  end
  by_id[record.id] = false -- there is room for it
  while i > 0 and records[i].time > record.time do
    records[i + 1] = records[i]
    i = i - 1
  end
  records[i + 1] = record
  by_id[record.id] = record
end

-- Records a failure in this process, and tells the owner of the book if that is another one.
-- Returns what tells the record from others.
function methods:_record(failure, value, group)
  local time, number, channel = native.now(), tick(), self._channel
  local id = native.getpid() .. ":" .. number
  insert(self, { value = value, group = group, time = time, id = id })
  if channel and channel.journal and not channel:mine() then
    channel.journal:append_failure(channels.ERROR, time, number, group, failure)
  end
  return id
end

-- What was caught outside of any context: the failure that has ended a process begun at `since`.
-- Returns the id of its record, or nil when the book doesn't want it.
function methods:_take(failure, group, since)
  contexts.take(self, group, self._options, failure, since)
  return native.marks_of(failure)[self]
end

-- Notes that an error about to be raised is in the book already, if the book keeps such accounts.
function methods:_mark(value)
  if self._options.catch_once and (type(value) == "table" or type(value) == "userdata") then
    self._marks[value] = tick()
  end
end

-- Takes in an error value that came another way.
function methods:_insert(value, group, time, id)
  insert(self, { value = value, group = group, time = time, id = id })
end

-- The value recorded under an id in this process, in a table; nil when there is none.
function methods:_recorded(id)
  return self._by_id[id] or nil
end

-- A record from another process.
function methods:_arrived(kind, body, time, id, group)
  if kind == channels.RESULT then
    self:_keep_result(time, body)
    return
  end
  -- An error that can't be understood here is no reason to lose that there was one.
  local _, value = native.attempt(body.failure, body)
  self:_insert(value, group, time, id)
end

function methods:_keep_result(time, result)
  if time >= self._result_time then
    self._result_time, self._result = time, result
  end
end

--- Errors recorded under names: what `Except` and `LocalExcept` give. A `<close>` variable of it records what leaves
-- its block, in the group without a name.
-- @type Except

--- The first error of all that are there, nil when there is none.
-- @tfield any first

--- The last error of all that are there, nil when there is none.
-- @tfield any last

--- Takes in what other processes have recorded. All that reads the book does so by itself.
-- @function Except:pull
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

--- The last error of a group.
-- @function Except:get
-- @param[opt] name of the group; nil is the one without a name
-- @return the error, nil when there is none
function methods:get(name)
  local record = last_record(self, name)
  return record and record.value
end

--- All errors of a group.
-- @function Except:group
-- @param[opt] name of the group; nil is the one without a name
-- @treturn {any,...} a list, in the order in which they were raised
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

--- All errors.
-- @function Except:all
-- @treturn {any,...} a list, in the order in which they were raised, across processes
function methods:all()
  local list = {}
  for i, record in ipairs(records_of(self)) do
    list[i] = record.value
  end
  return list
end

--- Iterates over the errors that are there now.
-- @function Except:iter
-- @treturn function an iterator
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
-- @function Except:raise_any
-- @param[opt] name of the group; nil is the one without a name
function methods:raise_any(...)
  local record = last_record(self, ...)
  if record then
    error(record.value, 0)
  end
end

--- Forgets the errors and the result that this process knows of.
-- @function Except:clear
function methods:clear()
  self:pull()
  self._records, self._by_id = {}, {}
  self:clear_result()
end

--- A function that does what func does, but records and swallows errors and keeps the results.
-- @function Except:wrap
-- @tparam function func what to call
-- @treturn function a function with the same parameters and results
function methods:wrap(func)
  if not contexts.is_callable(func) then
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

--- Keeps results, for the process that made the book too.
-- @function Except:set_result
-- @param ... the results
function methods:set_result(...)
  local channel, time = self._channel, native.now()
  if channel and channel.journal and not channel:mine() then
    channel.journal:append_values(channels.RESULT, time, tick(), nil, ...)
  end
  self:_keep_result(time, pack(...))
end

--- The results kept last, from whichever process.
-- @function Except:get_result
-- @return the results; nothing when there are none
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

--- Forgets the results kept last.
-- @function Except:clear_result
function methods:clear_result()
  self:pull()
  self._result = nil
end

local function pop(self, ...)
  self._result = nil
  return ...
end

--- The results kept last, which are then forgotten.
-- @function Except:pop_result
-- @return the results; nothing when there are none
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

--- A context, to be called with a function or kept in a `<close>` variable. Given a function, runs it with the other
-- arguments in a context without a name and gives its results.
-- @function Except:__call
-- @param[opt] name of the group that errors are recorded in, or a function to run
-- @tparam[opt] table options what differs from the options of the Except; they may stand first
-- @tparam[opt] {any,...} options.types what to catch: classes, predicates, patterns
-- @tparam[opt=true] boolean options.raises raise again what was recorded
-- @tparam[opt=true] boolean options.catch_once outer contexts don't record again what this one has
-- @tparam[opt] function options.log called with the error, its group and its traceback when it is recorded
-- @treturn Context the context
-- @usage
-- exc "init" (initialize)
-- exc("work", { raises = false })(work, arg)
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

--- How many errors are there.
-- @function Except:__len
-- @treturn integer

--- The groups with their numbers of errors.
-- @function Except:__tostring
-- @treturn string text for messages

--- Records what leaves the block; the error goes on.
-- @function Except:__close

-- What both classes have.
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
      contexts.close(self, new_context(self, nil, nil, 1), value, native.depth() - 1, 0)
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
      local ok, message = native.attempt(contexts.check_type, (select(i, ...)))
      if not ok then
        error(message, 3)
      end
    end
  end
  local defaults = { raises = true, catch_once = true }
  local made = {
    _options = contexts.merge(3, {}, options or {}, defaults),
    _records = {},
    _by_id = {},
    _marks = setmetatable({}, { __mode = "k" }),
    _result_time = math.mininteger,
    _result = nil,
    _channel = nil,
  }
  return setmetatable(made, class)
end

local book = {}

--- @section end

--- A book of errors that every process forked later shares: what they record reaches the one that made it.
-- @function Except
-- @tparam[opt] table|function|string options a table of options; or the types, one or several: only what matches one
-- of them is caught. A type is a class (the error's metatable, or one of its ancestors), a function (of the error, true
-- for a match), or a string (a pattern on its text); a sole table is always options
-- @tparam[opt] {any,...} options.types what to catch
-- @tparam[opt=true] boolean options.raises contexts raise again what they have recorded
-- @tparam[opt=true] boolean options.catch_once what one context has recorded, outer ones don't record again
-- @tparam[opt] function options.log called with each error, its group and its traceback when it is recorded
-- @param ... further types
-- @treturn Except
-- @usage
-- local exc = remoteobj.Except()
-- exc "work" (work)
function book.Except(...)
  local made = new_book(Except, ...)
  made._channel = channels.new()
  made._channel.exc = made
  return made
end

function channels.make_book(channel)
  local made = new_book(Except)
  made._channel = channel
  return made
end

--- A book of errors of this process alone, which hands out the very error values.
-- @function LocalExcept
-- @tparam[opt] table|function|string options a table of options; or the types, one or several: only what matches one
-- of them is caught. A type is a class (the error's metatable, or one of its ancestors), a function (of the error, true
-- for a match), or a string (a pattern on its text); a sole table is always options
-- @tparam[opt] {any,...} options.types what to catch
-- @tparam[opt=true] boolean options.raises contexts raise again what they have recorded
-- @tparam[opt=true] boolean options.catch_once what one context has recorded, outer ones don't record again
-- @tparam[opt] function options.log called with each error, its group and its traceback when it is recorded
-- @param ... further types
-- @treturn Except
function book.LocalExcept(...)
  local made = new_book(LocalExcept, ...)
  return made
end

-- Is the value an Except?
function book.is_except(value)
  return type(value) == "table" and metatable_of(value) == Except
end

-- Is the value a LocalExcept?
function book.is_local(value)
  return type(value) == "table" and metatable_of(value) == LocalExcept
end

-- What runs between the program's own frames has no place in tracebacks.
native.name_function(call)

return book
