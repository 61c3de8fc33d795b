-- A stand-in with the structure of classic: a class is the metatable of its instances and has
-- its parent both as `super` and as its own metatable; only metamethods are copied down.

local Object = {}
Object.__index = Object

function Object.new()
end

function Object.extend(parent)
  local class = {}
  for key, value in pairs(parent) do
    if type(key) == "string" and key:sub(1, 2) == "__" then
      class[key] = value
    end
  end
  class.__index, class.super = class, parent
  return setmetatable(class, parent)
end

function Object.__call(class, ...)
  local object = setmetatable({}, class)
  object:new(...)
  return object
end

function Object.__tostring()
  return "Object"
end

return Object
