--- Contexts: where errors are caught, recorded and passed on.
--
-- What is hard here is to tell *one raise seen by several contexts* from *two raises of equal
-- values*. Three signs tell: a failure (the object that the message handler makes of a raise)
-- carries who has recorded it, and contexts pass the very failure on; contexts that end as
-- `<close>` values see no failure, but the frame that catches, whose depth is the same for all
-- contexts that one raise leaves; and an error that is a table, caught and raised again by the
-- program, is known by itself.
-- @module remoteobj

local core = require "remoteobj.core"
local classes = require "remoteobj.classes"
local tick = require("remoteobj.channel").tick

local native = core._process
local running, unpack = coroutine.running, table.unpack
local metatable_of = debug and debug.getmetatable or getmetatable

-- Coroutine -> the raise that was seen last on its way through it.
local flights = setmetatable({}, { __mode = "k" })

-- ---- options ----

local function describe(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function expect(name, value, what)
  error(("option '%s': %s expected, got %s (%s)"):format(name, what, describe(value), type(value)), 0)
end

local function check_type(value)
  local kind = type(value)
  if kind == "string" then
    if not native.attempt(string.find, "", value) then
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
  local ok, result = native.attempt(merge, ...)
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

-- ---- contexts ----

--- Where errors are caught: what calling an `Except` gives. As a `<close>` variable it records what leaves the block,
-- and the error goes on.
-- @type Context

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

--- Runs a function, and records what it raises.
-- @function Context:__call
-- @tparam function func what to run
-- @param ... its arguments
-- @return its results; nothing when an error was recorded and not raised again
-- @raise what it has recorded, unless `raises` is false
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

--- Records what leaves the block; the error goes on.
-- @function Context:__close
function Context:__close(value)
  if value ~= nil then
    close(self, self, value, native.depth() - 1, self.since)
  end
end

--- Its name and its Except.
-- @function Context:__tostring
-- @treturn string text for messages
function Context:__tostring()
  return ("context %s of %s"):format(self.name == nil and "(default)" or describe(self.name), tostring(self.exc))
end

local function new_context(exc, name, options, level)
  local context = { exc = exc, name = name, since = tick() }
  return setmetatable(merge_for_caller(level + 1, context, options or {}, exc._options), Context)
end

-- What runs between the program's own frames has no place in tracebacks.
for _, hidden in ipairs { Context.__call, settle, pass_on, take, close, Context.__close, Passing.__close } do
  native.name_function(hidden)
end

return {
  new = new_context,
  close = close,
  take = take,
  merge = merge_for_caller,
  check_type = check_type,
  is_callable = is_callable,
}
