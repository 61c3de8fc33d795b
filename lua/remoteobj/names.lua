--- What classes, modules and functions are called, so that they travel by name.
--
-- A class is known in one of three ways: it was registered; it belongs to a proxied object;
-- or it is reachable as `module`, `module.field` in package.loaded. "Class" is the table
-- that users think of; the metatable of its instances is the same table, except for
-- middleclass, which keeps it in `__instanceDict`. No metamethod of the classes runs here.
-- @module remoteobj

local names = {}

local loaded = package.loaded
local rawget, rawequal, type, next = rawget, rawequal, type, next

local weak_keys = { __mode = "k" }
local registered = {} -- name -> class
local proxied = setmetatable({}, { __mode = "v" }) -- name -> class
local known = setmetatable({}, weak_keys) -- class -> the name it was registered with or proxied under
local owner = setmetatable({}, weak_keys) -- metatable -> known class that it belongs to, where the two differ
local found = setmetatable({}, weak_keys) -- class, metatable or function -> name in the loaded modules, as last found
local nameless = setmetatable({}, weak_keys) -- Lua function -> true: it had no name when it was first looked for
local index_only = setmetatable({}, weak_keys) -- class -> metatable { __index = class } made here

-- The libraries of Lua itself are no classes: data from elsewhere can't reach them so.
local standard = { [loaded._G] = true }
for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" } do
  if loaded[name] then standard[loaded[name]] = true end
end

-- Marks the name of a metatable that has nothing but `__index = CLASS`, after the class's name.
local INDEX = "/__index"

-- The same of a parent that only its child is known by.
local SUPER = "/super"

names.known = known

local function metatable_of(class)
  local dict = rawget(class, "__instanceDict")
  return type(dict) == "table" and dict or class
end

local function field(container, key)
  if type(container) == "table" then return rawget(container, key) end
end

-- The value called `name`: a module, a field of one, or a field of such a field. Names of
-- modules and fields may contain dots themselves.
local function resolve(name)
  if rawget(loaded, name) ~= nil then return rawget(loaded, name) end
  local dot = name:find(".", 1, true)
  while dot do
    local module, rest = rawget(loaded, name:sub(1, dot - 1)), name:sub(dot + 1)
    if module ~= nil then
      local value = field(module, rest)
      local inner = rest:find(".", 1, true)
      while value == nil and inner do
        value = field(field(module, rest:sub(1, inner - 1)), rest:sub(inner + 1))
        inner = rest:find(".", inner + 1, true)
      end
      if value ~= nil then return value end
    end
    dot = name:find(".", dot + 1, true)
  end
end

-- Calls visit(table, name of the module) for every loaded module, the globals last.
local function search_modules(visit)
  for name, module in next, loaded do
    if type(name) == "string" and name ~= "_G" then
      local result = visit(module, name)
      if result then return result end
    end
  end
  return visit(loaded._G, "_G")
end

local function function_in(container, target)
  for key, value in next, container do
    if value == target and type(key) == "string" then return key end
  end
end

local function search_function(target)
  return search_modules(function(module, name)
    if module == target then return name end
    if type(module) ~= "table" then return end
    local key = function_in(module, target)
    if key then return name .. "." .. key end
    for outer, value in next, module do
      if type(value) == "table" and type(outer) == "string" and not (name == "_G" and loaded[outer]) then
        key = function_in(value, target)
        if key then return name .. "." .. outer .. "." .. key end
      end
    end
  end)
end

-- The name that a function was last found under, if it still has it; false for one that travels as code.
function names.last_function_name(func)
  if nameless[func] then return false end
  local name = found[func]
  if name and resolve(name) == func then return name end
end

-- A function that has no name goes on to travel as code whatever becomes of it: receivers need not know a name that it
-- is given later, and looking through all modules takes longer than all else.
function names.note_nameless(func)
  nameless[func] = true
end

-- The name of a function that both sides know, or nil.
function names.function_name(func)
  local name = search_function(func)
  found[func] = name
  return name
end

function names.find_function(name)
  local func = resolve(name)
  return type(func) == "function" and func or nil
end

function names.module_name(module)
  for name, value in next, loaded do
    if type(name) == "string" and rawequal(value, module) then return name end
  end
end

function names.find_module(name)
  return rawget(loaded, name)
end

local function search_class(target, wanted)
  return search_modules(function(module, name)
    if type(module) ~= "table" then return end
    if rawequal(wanted(module), target) then return name end
    for key, value in next, module do
      if type(value) == "table" and type(key) == "string" and rawequal(wanted(value), target) then
        return name .. "." .. key
      end
    end
  end)
end

local function itself(class)
  return class
end

-- The name in the loaded modules of the class whose metatable (or which itself, according to `wanted`) is `target`.
local function loaded_name(target, wanted)
  local name = found[target]
  local class = name and resolve(name)
  if type(class) == "table" and rawequal(wanted(class), target) then return name, class end
  name = search_class(target, wanted)
  found[target] = name
  class = name and resolve(name)
  if type(class) == "table" and rawequal(wanted(class), target) then return name, class end
end

-- The class of a metatable whose only field is `__index = class`, if it is known.
local function indexed_class(mt)
  local class = rawget(mt, "__index")
  if type(class) ~= "table" or rawequal(class, mt) or getmetatable(mt) ~= nil then return end
  if next(mt, next(mt)) ~= nil then return end
  if known[class] then return known[class] .. INDEX, class end
  local name = loaded_name(class, itself)
  if name then return name .. INDEX, class end
end

local function class_name(mt)
  if known[mt] then return known[mt], mt end
  local class = owner[mt]
  if class and known[class] and rawequal(metatable_of(class), mt) then return known[class], class end
  local name
  name, class = loaded_name(mt, metatable_of)
  if name then return name, class end
  return indexed_class(mt)
end

local function hook(mt, class, name)
  local value = rawget(mt, name)
  if value == nil then value = rawget(class, name) end
  return value
end

local function is_lent(name)
  return name:sub(1, 1) == "@" or name:sub(-#SUPER) == SUPER
end

-- Instances and classes of some libraries hold the parent in a field: it is known by its child.
local function lend_name(class, name)
  local super = rawget(class, "super")
  while type(super) == "table" and not known[super] do
    name = name .. SUPER
    known[super] = name
    local mt = metatable_of(super)
    if not rawequal(mt, super) then owner[mt] = super end
    super = rawget(super, "super")
  end
end

local function described(mt)
  local name = rawget(mt, "__name")
  return type(name) == "string" and name or nil
end

-- How instances with metatable `mt` travel: name, __pack or nil, class; or nil and why they can't.
function names.describe(mt)
  local name, class = class_name(mt)
  if not name then
    local label = described(mt)
    return nil, ("unknown metatable%s (remoteobj.register makes a class known)"):format(
      label and " " .. label or "")
  end
  lend_name(class, name)
  local pack = hook(mt, class, "__pack")
  if pack and not hook(mt, class, "__unpack") then
    return nil, ("instance of %s, which has __pack but no __unpack"):format(name)
  end
  return name, pack, class
end

-- The name by which a class travels as a value although it was never registered, or nil.
function names.class_value_name(class)
  return (loaded_name(class, itself))
end

-- The class called `name`, and whether it was registered or proxied.
local function named_class(name)
  local class = registered[name]
  if class == nil then class = proxied[name] end
  if class ~= nil then return class, true end
  class = resolve(name)
  if class == nil and name:sub(-#SUPER) == SUPER then
    class = named_class(name:sub(1, -#SUPER - 1))
    class = type(class) == "table" and rawget(class, "super") or nil
  end
  return class, false
end

-- The metatable called `name`, its __unpack, and whether it has a finalizer; or nothing.
function names.find_metatable(name)
  local class = named_class(name)
  local mt
  if standard[class] then return end
  if type(class) == "table" then
    mt = metatable_of(class)
  elseif name:sub(-#INDEX) == INDEX then
    class = named_class(name:sub(1, -#INDEX - 1))
    if type(class) ~= "table" or standard[class] then return end
    mt = index_only[class] or { __index = class }
    index_only[class] = mt
  else
    return
  end
  return mt, hook(mt, class, "__unpack"), rawget(mt, "__gc") ~= nil
end

-- The class called `name` as a value. Of the loaded modules only what looks like a class, so
-- that data from elsewhere can't ask for any module.
function names.find_class(name)
  local class, certain = named_class(name)
  if certain then return class end
  if type(class) ~= "table" or standard[class] then return end
  if rawget(class, "__index") ~= nil or debug.getmetatable(class) ~= nil then return class end
end

local function learn(class, name)
  known[class] = name
  local mt = metatable_of(class)
  if not rawequal(mt, class) then owner[mt] = class end
  lend_name(class, name)
end

-- Names a class for the processes related by fork. A name given before stays.
function names.name_class(class, name)
  if known[class] then return end
  proxied[name] = class
  learn(class, name)
end

-- What a class calls itself: __name, in Penlight _name, in middleclass name.
local function own_name(class)
  local name = rawget(class, "__name") or rawget(class, "_name")
  if not name and rawget(class, "__instanceDict") then name = rawget(class, "name") end
  return type(name) == "string" and name or nil
end

local function misuse(position, text, ...)
  error(("bad argument #%d to 'register' (%s)"):format(position, text:format(...)), 3)
end

--- Makes a class known, so that its instances travel. It must be registered on both sides, under the same name; a
-- process that is forked later has it too. Methods `__pack(self)` and `__unpack(values...)` of the class replace the
-- plain copy.
-- @function register
-- @tparam table class the metatable of its instances, or a class of a class library
-- @tparam[opt] string name by default what the class calls itself in `__name`
-- @treturn table the class
-- @raise for a class without a name, or a name that another class has
function names.register(class, name)
  if type(class) ~= "table" then misuse(1, "class (a table) expected, got %s", type(class)) end
  if name == nil then
    name = own_name(class)
    if not name then misuse(1, "the class has no __name: give a name") end
  elseif type(name) ~= "string" then
    misuse(2, "name (a string) expected, got %s", type(name))
  end
  if name == "" or name:sub(1, 1) == "@" then misuse(2, "name %q is not allowed", name) end
  if registered[name] ~= nil and not rawequal(registered[name], class) then
    misuse(2, "another class is registered as %q", name)
  end
  registered[name] = class
  if not known[class] or is_lent(known[class]) then learn(class, name) end
  return class
end

return names
