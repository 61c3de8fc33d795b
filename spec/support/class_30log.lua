-- A stand-in with the structure of 30log: a class is the metatable of its instances and of
-- its subclasses; everything is copied down, and tables of a class into each instance too,
-- so that `super` and `class` are fields of the instance as well.

local class_of_classes = {}

local function copy_into(target, source, only)
  for key, value in pairs(source) do
    if only == nil or type(value) == only then
      target[key] = value
    end
  end
  return target
end

local function new(class, ...)
  local object = copy_into({}, class, "table")
  object.class, object.__index, object.subclasses = class, nil, nil
  setmetatable(object, class)
  if class.init then
    class.init(object, ...)
  end
  return object
end

local function extend(parent, name, fields)
  local class = copy_into(copy_into({}, parent), fields or {})
  class.name, class.super, class.__index, class.subclasses = name, parent, class, {}
  parent.subclasses[class] = true
  return setmetatable(class, parent)
end

--- class(name, fields): a root class.
return function(name, fields)
  local class = copy_into({}, fields or {})
  class.name, class.__index, class.subclasses = name, class, {}
  class.new, class.extend = new, extend
  class.__call = function(self, ...)
    return self:new(...)
  end
  class_of_classes.__call = class.__call
  return setmetatable(class, class_of_classes)
end
