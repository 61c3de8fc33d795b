--- What the caller of a library function calls the function that it passes: for default
-- names of processes and threads.

local lua_caller = require("remoteobj.core")._process.lua_caller

local naming = {}

local debug, rawequal, type = debug, rawequal, type

local PARENTHESIS = ("("):byte()

-- Most fields of a table of the caller's that are looked through.
local MOST_FIELDS = 1000

--- Names of locals that the program has not given ("(temporary)" and the like) begin so.
local function is_given(name)
  return name:byte() ~= PARENTHESIS
end

--- The local that holds `wanted` in the function at a stack level: the one declared last.
local function local_name(wanted, level)
  local found
  local i, name, value = 1, debug.getlocal(level + 1, 1)
  while name do
    if is_given(name) and rawequal(value, wanted) then
      found = name
    end
    i = i + 1
    name, value = debug.getlocal(level + 1, i)
  end
  return found
end

local function upvalue_name(wanted, func)
  local i, name, value = 1, debug.getupvalue(func, 1)
  while name do
    if name ~= "" and rawequal(value, wanted) then
      return name
    end
    i = i + 1
    name, value = debug.getupvalue(func, i)
  end
end

--- The field of a table that holds `wanted`: of several the first by the alphabet.
local function field_name(wanted, t, most)
  local found
  for key, value in next, t do
    if rawequal(value, wanted) and type(key) == "string" and (not found or key < found) then
      found = key
    end
    most = most - 1
    if most <= 0 then
      break
    end
  end
  return found
end

local function module_field(wanted)
  local found
  for _, module in next, package.loaded do
    local name = type(module) == "table" and field_name(wanted, module, math.huge)
    if name and (not found or name < found) then
      found = name
    end
  end
  return found
end

--- A field of one of the tables that the caller has in locals and upvalues: a module being made.
local function field_of_callers(wanted, level, func)
  local function look(getter, subject)
    local i, name, value = 1, getter(subject, 1)
    while name do
      local found = type(value) == "table" and field_name(wanted, value, MOST_FIELDS)
      if found then
        return found
      end
      i = i + 1
      name, value = getter(subject, i)
    end
  end
  -- `look` and the getter are between this function and the caller.
  local function get_local(at, i)
    return debug.getlocal(at, i)
  end
  return look(get_local, level + 3) or look(debug.getupvalue, func)
end

--- Where a function was written: "file.lua:12".
local function place(func)
  local info = debug.getinfo(func, "S")
  if info.what == "C" then
    return "C function"
  end
  local file = info.source:match "^@.-([^/\\]*)$" or info.short_src
  return ("%s:%d"):format(file, info.linedefined)
end

--- The caller's name for a function, or where it was written.
-- @param wanted the function, or what is called in the place of one
-- @param func the function proper, when `wanted` is an object that can be called
-- @param level stack level of the caller, as seen from the function that calls this one
-- @return the name, and whether it is one that the program has given
function naming.of(wanted, func, level)
  local caller, at = lua_caller(level + 1)
  local name = caller
      and (local_name(wanted, at) or upvalue_name(wanted, caller))
    or field_name(wanted, _G, math.huge)
    or module_field(wanted)
    or caller and field_of_callers(wanted, at, caller)
  if name then
    return name, true
  end
  return place(func), false
end

-- kind -> name -> how many have had it.
local counts = {}

--- The name with its number among those of its kind.
function naming.numbered(kind, name)
  local of_kind = counts[kind] or {}
  counts[kind] = of_kind
  of_kind[name] = (of_kind[name] or 0) + 1
  return ("%s-%d"):format(name, of_kind[name])
end

return naming
