--- The arguments of process(func, ...) and process{ func, ..., name_ = … }: one form for all
-- that runs a function elsewhere.

local book = require "remoteobj.book"
local contexts = require "remoteobj.context"
local native = require("remoteobj.core")._process

local options = {}

local function describe(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function of_type(kind)
  return function(value)
    return type(value) == kind, "a " .. kind
  end
end

--- Checks of kinds of values that options have: value -> is it good, what is.
options.boolean, options.string = of_type "boolean", of_type "string"

function options.seconds(value)
  return type(value) == "number" and value >= 0, "a number of seconds, not negative,"
end

function options.callable(value)
  return contexts.is_callable(value), "a function"
end

function options.except(value)
  return book.is_except(value), "an Except"
end

-- Of what all that runs a function elsewhere takes.
local checks = {
  name_ = options.string,
  daemon_ = options.boolean,
  raises_ = options.boolean,
  results_ = options.boolean,
  group_ = function()
    return true
  end,
  timeout_ = options.seconds,
  close_ = options.callable,
}

--- The names of all options, for errors.
local function known_names(known)
  local list = {}
  for name in pairs(known) do
    list[#list + 1] = name
  end
  table.sort(list)
  return table.concat(list, ", ")
end

--- Raises, as a text without a place, for an option that is not known, or has a value that it can't have.
local function check_option(key, value, known)
  local check = known[key]
  if not check then
    error(("unknown option '%s' (there are %s)"):format(tostring(key), known_names(known)), 0)
  end
  local good, expected = check(value)
  if not good then
    error(("option '%s': %s expected, got %s (%s)"):format(key, expected, describe(value), type(value)), 0)
  end
end

--- The checks of all that runs a function elsewhere, and further ones.
function options.with(extra)
  local all = {}
  for _, some in ipairs { checks, extra } do
    for name, check in pairs(some) do
      all[name] = check
    end
  end
  return all
end

--- Sorts the keys of a table of options: arguments by their position, options by their names.
local function sort(given, known)
  local found, last = {}, 0
  for key, value in next, given do
    if math.type(key) == "integer" and key >= 1 then
      last = math.max(last, key)
    elseif key == "n" and math.type(value) == "integer" then -- as table.pack leaves it
      last = math.max(last, value)
    else
      check_option(key, value, known)
      found[key] = value
    end
  end
  return found, table.pack(table.unpack(given, 2, last))
end

-- What most calls give; nobody writes into them.
local NONE, NO_ARGUMENTS = {}, { n = 0 }

--- Reads the arguments of a constructor.
-- @param what its name, for errors
-- @param extra checks of further options: name -> function(value) -> is it good, what is
-- @return func, its arguments packed, the options; or nil and what is wrong
function options.read(what, extra, ...)
  local func = ...
  local found, arguments
  if select("#", ...) == 1 and type(func) == "table" and not contexts.is_callable(func) then
    local ok
    ok, found, arguments = native.attempt(sort, func, options.with(extra))
    if not ok then
      return nil, ("bad argument #1 to '%s' (%s)"):format(what, found)
    end
    func = func[1]
  else
    found, arguments = NONE, select("#", ...) > 1 and table.pack(select(2, ...)) or NO_ARGUMENTS
  end
  if not contexts.is_callable(func) then
    local got = select("#", ...) == 0 and "no value" or type(func)
    return nil, ("bad argument #1 to '%s' (function expected, got %s)"):format(what, got)
  end
  return func, arguments, found
end

local function copy_options(given, known)
  if given ~= nil and type(given) ~= "table" then
    error(("table of options expected, got %s"):format(type(given)), 0)
  end
  local copy = {}
  for key, value in next, given or {} do
    check_option(key, value, known)
    copy[key] = value
  end
  return copy
end

--- Reads a table that has nothing but options, or nil; raises an argument error of the function that called the caller.
-- @param what the name of that function
-- @param argument which of its arguments it is
-- @param known checks of the options: name -> function(value) -> is it good, what is
-- @param given what it was given
-- @return a copy
function options.named(what, argument, known, given)
  local ok, result = native.attempt(copy_options, given, known)
  if not ok then
    error(("bad argument #%d to '%s' (%s)"):format(argument, what, result), 3)
  end
  return result
end

return options
