--- The arguments of process(func, ...) and process{ func, ..., name_ = … }: one form for all
-- that runs a function elsewhere.

local contexts = require "remoteobj.context"

local options = {}

local function describe(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function of_type(kind)
  return function(value)
    return type(value) == kind, "a " .. kind
  end
end

local checks = {
  name_ = of_type "string",
  daemon_ = of_type "boolean",
  raises_ = of_type "boolean",
  results_ = of_type "boolean",
  group_ = function()
    return true
  end,
  timeout_ = function(value)
    return type(value) == "number" and value >= 0, "a number of seconds, not negative,"
  end,
  close_ = function(value)
    return contexts.is_callable(value), "a function"
  end,
}

--- The names of all options, for errors.
local function known_names(extra)
  local list = {}
  for _, names in ipairs { checks, extra } do
    for name in pairs(names) do
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return table.concat(list, ", ")
end

--- Sorts the keys of a table of options: arguments by their position, options by their names.
local function sort(given, extra)
  local found, last = {}, 0
  for key, value in next, given do
    if math.type(key) == "integer" and key >= 1 then
      last = math.max(last, key)
    elseif key == "n" and math.type(value) == "integer" then -- as table.pack leaves it
      last = math.max(last, value)
    else
      local check = extra[key] or checks[key]
      if not check then
        error(("unknown option '%s' (there are %s)"):format(tostring(key), known_names(extra)), 0)
      end
      local good, expected = check(value)
      if not good then
        error(("option '%s': %s expected, got %s (%s)"):format(key, expected, describe(value), type(value)), 0)
      end
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
    ok, found, arguments = pcall(sort, func, extra)
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

return options
