--- Where the class libraries of Lua keep what `super` needs: the class of an object and the
-- parent of a class. Plain metatables, prototypes, middleclass, Penlight, classic and 30log
-- are told apart by raw fields alone, so that no metamethod of the user's runs here.
--
-- A *class* is the table in which an instance looks names up first; a library may keep the
-- names themselves, or the metatable of instances, in a table beside it (middleclass does).

local classes = {}

local rawget, type, error = rawget, type, error

-- A class may protect its metatable with `__metatable`; hosts without `debug` see what is shown.
local metatable_of = debug and debug.getmetatable or getmetatable

--- A raw field of a table, if the value there is a table.
local function table_field(t, key)
  local value = rawget(t, key)
  if type(value) == "table" then
    return value
  end
end

--- The tables that middleclass and 30log name in each instance: believed only if the
-- object's metatable says the same, since "class" is an ordinary name for a field of data.
local function declared_class(object, metatable)
  local class = type(object) == "table" and table_field(object, "class")
  if class and (metatable == class or metatable == rawget(class, "__instanceDict")) then
    return class
  end
end

--- Does the table carry the mark of a class library, whatever its `__index` says?
local function is_library_class(t)
  return table_field(t, "super") ~= nil or table_field(t, "_base") ~= nil or rawget(t, "_class") == t
end

--- The class of an instance, or nil.
-- @param object any value
function classes.class_of(object)
  local metatable = metatable_of(object)
  if type(metatable) ~= "table" then
    return nil
  end
  local declared = declared_class(object, metatable)
  if declared then
    return declared
  end
  -- A metatable apart from the table of methods is only the way there.
  local methods = table_field(metatable, "__index")
  if methods and methods ~= metatable and not is_library_class(metatable) then
    return methods
  end
  return metatable
end

--- The parent of a class by its metatable: a table, or nil and whether a function hides it.
local function inherited_from(class)
  local metatable = metatable_of(class)
  local index = type(metatable) == "table" and rawget(metatable, "__index")
  if type(index) == "table" and index ~= class then
    return index
  end
  if index and index ~= class then
    return nil, "hidden"
  end
  -- A root, unless the class finds its names by a function: that may ask anybody.
  local own = rawget(class, "__index")
  if own ~= nil and type(own) ~= "table" then
    return nil, "hidden"
  end
end

--- The parent of a class; or nil, and "hidden" where a function `__index` stands between
-- the class and a parent that may or may not be there.
-- @param class a table
function classes.parent_of(class)
  if type(class) ~= "table" then
    return nil
  end
  local parent = table_field(class, "super") or table_field(class, "_base")
  if parent then
    return parent
  end
  -- The roots of middleclass and of Penlight: what their metatables hold is not inheritance.
  if table_field(class, "__instanceDict") or rawget(class, "_class") == class then
    return nil
  end
  return inherited_from(class)
end

--- The table that holds the names and metamethods of the instances of a class.
-- @param class a table
function classes.metatable_of_class(class)
  return table_field(class, "__instanceDict") or class
end

--- Iterates over `class` and its parents, each once; yields the class and, with the last
-- one, "hidden" if nobody can tell what is above it.
local function lineage(class)
  local seen = {}
  return function()
    local current = class
    if not current or seen[current] then
      return nil
    end
    seen[current] = true
    local hidden
    class, hidden = classes.parent_of(current)
    return current, hidden
  end
end

--- The classes of an object, from its own up to the root. Ends on cyclic chains too.
-- @param object any value
function classes.chain_of(object)
  local chain = {}
  for class in lineage(classes.class_of(object)) do
    chain[#chain + 1] = class
  end
  return chain
end

--- What `super` finds: the value of `name`, looked up from the `level`-th parent of the
-- object's class on. Fields of the object itself don't count; above the root there is
-- nothing. Raises an error where a function `__index` hides what is to be asked.
-- @param object any value
-- @param level 1 for the parent, 2 for its parent ...
-- @param name the key, any value
-- @return the value found or nil
function classes.super_lookup(object, level, name)
  local depth = 0
  for class, hidden in lineage(classes.class_of(object)) do
    if depth >= level then
      local value = rawget(classes.metatable_of_class(class), name)
      if value ~= nil then
        return value
      end
    end
    if hidden then
      error("super: a function __index hides the parent of the object's class", 0)
    end
    depth = depth + 1
  end
  return nil
end

--- The tables that stand as a metatable, or as what one refers to, in the object and the
-- instances of its classes: each once, always in the same order.
-- @param object any value
function classes.known_classes(object)
  local list, seen = {}, {}
  local function add(t)
    if type(t) == "table" and not seen[t] then
      seen[t] = true
      list[#list + 1] = t
    end
  end
  if type(object) ~= "table" and type(object) ~= "userdata" then
    return list
  end
  for _, class in ipairs(classes.chain_of(object)) do
    add(class)
    add(classes.metatable_of_class(class))
  end
  add(metatable_of(object))
  return list
end

return classes
