-- A module that has classes and functions as fields, for the specs of values.

local classes = {}

classes.Point = {}
classes.Point.__index = classes.Point
function classes.Point.new(x, y) return setmetatable({ x = x, y = y }, classes.Point) end
function classes.Point:sum() return self.x + self.y end

-- Its instances have a metatable of their own, which only leads to the class.
classes.Loose = {}
function classes.Loose.new(x) return setmetatable({ x = x }, { __index = classes.Loose }) end
function classes.Loose:double() return 2 * self.x end

local calls = 0
function classes.count()
  calls = calls + 1
  return calls
end

return classes
