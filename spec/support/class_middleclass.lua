-- A stand-in with the structure of middleclass, where the package itself is not to be had:
-- instances have a metatable apart from the class (`__instanceDict`) and name their class in
-- a field; methods that are assigned to a class are copied down to all its subclasses.

local function spread(class, name, value)
  class.__instanceDict[name] = value
  for subclass in pairs(class.subclasses) do
    if rawget(subclass.__declaredMethods, name) == nil then
      spread(subclass, name, value)
    end
  end
end

local function declare(class, name, value)
  class.__declaredMethods[name] = value
  spread(class, name, value)
end

local function create(name, super)
  local instances = {}
  instances.__index = instances
  local static = setmetatable({}, {
    __index = function(_, key)
      local value = rawget(instances, key)
      if value == nil and super then
        value = super.static[key]
      end
      return value
    end,
  })
  local class = {
    name = name, super = super, static = static, subclasses = setmetatable({}, { __mode = "k" }),
    __instanceDict = instances, __declaredMethods = {},
  }
  function static.new(self, ...)
    local object = setmetatable({ class = self }, self.__instanceDict)
    if object.initialize then
      object:initialize(...)
    end
    return object
  end
  return setmetatable(class, {
    __index = static,
    __newindex = declare,
    __call = function(self, ...)
      return self:new(...)
    end,
    __tostring = function()
      return "class " .. name
    end,
  })
end

--- class(name): a root; class(name, super): a subclass.
return function(name, super)
  local class = create(name, super)
  if super then
    for key, value in pairs(super.__instanceDict) do
      if key ~= "__index" then
        spread(class, key, value)
      end
    end
    super.subclasses[class] = true
  end
  return class
end
