-- Where each class library keeps the class of an object and the parent of a class.
local classes = require "remoteobj.classes"

--- Three levels in each style. Every class has `own`; `middle` is of the middle class alone,
-- `low` of the root, `over` of the root and the leaf. `root`, `middle`, `leaf`, `object`.
local styles = {}

local function fill(root, middle, leaf)
  function root.own() return "root" end
  function root.low() return "root" end
  function root.over() return "root" end
  function middle.own() return "middle" end
  function middle.middle() return "middle" end
  function leaf.own() return "leaf" end
  function leaf.over() return "leaf" end
end

styles["plain metatables"] = function()
  local root, middle, leaf = {}, {}, {}
  root.__index = root
  middle.__index = middle
  leaf.__index = leaf
  setmetatable(middle, { __index = root })
  setmetatable(leaf, { __index = middle })
  fill(root, middle, leaf)
  return { root = root, middle = middle, leaf = leaf, object = setmetatable({}, leaf) }
end

styles["metatables apart from their methods"] = function()
  local root, middle, leaf = {}, {}, {}
  setmetatable(middle, { __index = root })
  setmetatable(leaf, { __index = middle })
  fill(root, middle, leaf)
  return { root = root, middle = middle, leaf = leaf, object = setmetatable({}, { __index = leaf }) }
end

styles["prototypes"] = function()
  local root = {}
  function root.new(self, object)
    self.__index = self
    return setmetatable(object or {}, self)
  end
  local middle = root:new()
  local leaf = middle:new()
  fill(root, middle, leaf)
  return { root = root, middle = middle, leaf = leaf, object = leaf:new() }
end

styles["middleclass"] = function()
  local class = require "spec.support.class_middleclass"
  local root = class "Root"
  fill(root, {}, {})
  local middle = class("Middle", root)
  local leaf = class("Leaf", middle)
  fill(root, middle, leaf)
  return { root = root, middle = middle, leaf = leaf, object = leaf:new() }
end

styles["Penlight"] = function()
  local found, class = pcall(require, "pl.class")
  if not found then
    return nil
  end
  local root = class()
  fill(root, {}, {})
  function root:_init() self.made = true end
  local middle = class(root)
  fill({}, middle, {})
  local leaf = class(middle)
  fill({}, {}, leaf)
  return { root = root, middle = middle, leaf = leaf, object = leaf() }
end

styles["classic"] = function()
  local base = require "spec.support.class_classic"
  local root = base:extend()
  local middle = root:extend()
  local leaf = middle:extend()
  fill(root, middle, leaf)
  return { root = root, middle = middle, leaf = leaf, object = leaf(), above = base }
end

styles["30log"] = function()
  local class = require "spec.support.class_30log"
  local root = class "Root"
  fill(root, {}, {})
  local middle = root:extend "Middle"
  fill({}, middle, {})
  local leaf = middle:extend "Leaf"
  fill({}, {}, leaf)
  return { root = root, middle = middle, leaf = leaf, object = leaf:new() }
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if rawequal(item, value) then
      return true
    end
  end
  return false
end

for style, make in pairs(styles) do
  describe("classes: " .. style, function()
    local s
    before_each(function()
      s = make()
      if not s then
        pending("the package is not installed")
      end
    end)

    local function found(level, name)
      local value = classes.super_lookup(s.object, level, name)
      return value and value(s.object)
    end

    it("finds the class of an instance", function()
      assert.equal(s.leaf, classes.class_of(s.object))
    end)

    it("finds the parents up to the root", function()
      assert.equal(s.middle, (classes.parent_of(s.leaf)))
      assert.equal(s.root, (classes.parent_of(s.middle)))
      local above, hidden = classes.parent_of(s.root)
      assert.equal(s.above, above)
      assert.is_nil(hidden)
    end)

    it("lists the chain from the object's class to the root", function()
      assert.same(s.above and 4 or 3, #classes.chain_of(s.object))
      assert.equal(s.leaf, classes.chain_of(s.object)[1])
      assert.equal(s.middle, classes.chain_of(s.object)[2])
      assert.equal(s.root, classes.chain_of(s.object)[3])
    end)

    it("looks super up from the parent on, and one further up each time", function()
      assert.equal("middle", found(1, "own"))
      assert.equal("root", found(2, "own"))
      assert.is_nil(found(3, "own"))
    end)

    it("finds what the parent only inherits", function()
      assert.equal("root", found(1, "over"))
      assert.equal("root", found(1, "low"))
      assert.equal("root", found(2, "low"))
    end)

    it("finds nothing where no class has the name", function()
      assert.is_nil(found(1, "nowhere"))
      assert.is_nil(found(2, "middle"))
      assert.is_nil(found(9, "own"))
    end)

    it("ignores the fields of the object", function()
      rawset(s.object, "own", function() return "object" end)
      rawset(s.object, "nowhere", true)
      assert.equal("middle", found(1, "own"))
      assert.is_nil(found(1, "nowhere"))
    end)

    it("finds values that are no functions, false among them", function()
      s.middle.colour = "red"
      s.middle.flag = false
      assert.equal("red", classes.super_lookup(s.object, 1, "colour"))
      assert.is_false(classes.super_lookup(s.object, 1, "flag"))
    end)

    it("knows the classes and the metatable of the instances", function()
      local known = classes.known_classes(s.object)
      for _, class in ipairs { s.leaf, s.middle, s.root, getmetatable(s.object) } do
        assert.is_true(contains(known, class))
      end
      for i, class in ipairs(known) do
        for j = i + 1, #known do
          assert.is_false(rawequal(class, known[j]))
        end
      end
    end)

    it("knows the metatable of the parents' instances", function()
      for _, class in ipairs { s.leaf, s.middle, s.root } do
        assert.is_true(contains(classes.known_classes(s.object), classes.metatable_of_class(class)))
      end
    end)
  end)
end

describe("classes: corners", function()
  it("gives no class to a value without metatable", function()
    for _, value in ipairs { {}, 1, true, print } do
      assert.is_nil(classes.class_of(value))
      assert.same({}, classes.chain_of(value))
      assert.is_nil(classes.super_lookup(value, 1, "f"))
      assert.same({}, classes.known_classes(value))
    end
    assert.is_nil(classes.class_of(nil))
  end)

  it("finds the class of a string and nothing above it", function()
    assert.equal(string, classes.class_of "x")
    assert.is_nil(classes.super_lookup("x", 1, "upper"))
  end)

  it("believes a field `class` only if the metatable agrees", function()
    local school = setmetatable({ class = { "Ann", "Bob" } }, { __index = { f = print } })
    assert.is_nil(rawget(classes.class_of(school), 1))
    assert.equal(print, classes.class_of(school).f)
  end)

  it("sees through a protected metatable", function()
    local base = { f = print }
    local class = setmetatable({ __metatable = "locked" }, { __index = base, __metatable = false })
    class.__index = class
    assert.equal(print, classes.super_lookup(setmetatable({}, class), 1, "f"))
  end)

  it("says so where a function hides the parent", function()
    local base = { f = print }
    local by_function = setmetatable({}, { __index = function(_, key) return base[key] end })
    by_function.__index = by_function
    local parent, hidden = classes.parent_of(by_function)
    assert.is_nil(parent)
    assert.equal("hidden", hidden)
    assert.error_matches(function()
      classes.super_lookup(setmetatable({}, by_function), 1, "f")
    end, "function __index hides the parent")
    local direct = setmetatable({}, { __index = function(_, key) return base[key] end })
    assert.error_matches(function() classes.super_lookup(direct, 1, "f") end, "hides the parent")
  end)

  it("finds what stands below the hidden parent", function()
    local top = setmetatable({ f = print }, { __index = function() end })
    local class = setmetatable({}, { __index = top })
    class.__index = class
    local object = setmetatable({}, class)
    assert.equal(print, classes.super_lookup(object, 1, "f"))
    assert.error_matches(function() classes.super_lookup(object, 1, "g") end, "hides the parent")
  end)

  it("needs no parent's metatable where the class's own __index is a function", function()
    local base = { f = print }
    local class = setmetatable({ __index = function() error "not asked" end }, { __index = base })
    assert.equal(print, classes.super_lookup(setmetatable({}, class), 1, "f"))
  end)

  it("runs no metamethod of the classes", function()
    local function forbidden() error "a metamethod ran" end
    local meta = { __index = forbidden, __eq = forbidden, __len = forbidden, __pairs = forbidden, __call = forbidden }
    local base = setmetatable({ f = print, super = nil }, { __eq = forbidden, __len = forbidden })
    local class = setmetatable({ super = base }, meta)
    class.__index, class.__eq = class, forbidden
    local object = setmetatable({}, class)
    assert.is_true(rawequal(print, classes.super_lookup(object, 1, "f")))
    assert.equal(2, #classes.chain_of(object))
    assert.equal(2, #classes.known_classes(object))
  end)

  it("ends on chains that bite their tail", function()
    local a, b = { name = "a" }, { name = "b" }
    a.__index, b.__index = a, b
    setmetatable(a, b)
    setmetatable(b, a)
    local object = setmetatable({}, a)
    assert.same(2, #classes.chain_of(object))
    assert.equal("b", classes.super_lookup(object, 1, "name"))
    assert.is_nil(classes.super_lookup(object, 2, "name"))
    assert.is_nil(classes.super_lookup(object, 1, "nowhere"))
    local own = {}
    own.__index = own
    assert.same(1, #classes.chain_of(setmetatable(own, own)))
  end)

  it("tells the roots of Penlight with a handler from hidden parents", function()
    local found, class = pcall(require, "pl.class")
    if not found then
      pending "Penlight is not installed"
      return
    end
    local root = class()
    root:catch(function(_, name) return "caught " .. name end)
    local leaf = class(root)
    assert.is_nil(classes.super_lookup(root(), 1, "anything"))
    assert.is_nil(classes.super_lookup(leaf(), 1, "anything"))
  end)

  it("knows the parents of Penlight's classes with properties", function()
    local found, class = pcall(require, "pl.class")
    if not found then
      pending "Penlight is not installed"
      return
    end
    local root = class(class.properties)
    function root.own() return "root" end
    function root.get_area() return 5 end
    local leaf = class(root)
    function leaf.own() return "leaf" end
    local object = leaf()
    assert.equal("leaf", object:own())
    assert.equal("root", classes.super_lookup(object, 1, "own")())
    assert.equal(leaf, classes.class_of(object))
    assert.equal(root, (classes.parent_of(leaf)))
    assert.is_nil(classes.super_lookup(object, 3, "own"))
  end)

  it("knows the parents of middleclass's classes with an __index of their own", function()
    local class = require "spec.support.class_middleclass"
    local root = class "Root"
    local leaf = class("Leaf", root)
    function root.initialize() end
    function root.own() return "root" end
    function leaf.own() return "leaf" end
    root.__instanceDict.__index = function(_, key) return root.__instanceDict[key] or "made up" end
    leaf.__instanceDict.__index = function(_, key) return leaf.__instanceDict[key] or "made up" end
    local object = leaf:new()
    assert.equal("made up", object.nowhere)
    assert.equal("root", classes.super_lookup(object, 1, "own")())
    assert.is_nil(classes.super_lookup(object, 1, "nowhere"))
    assert.is_nil(classes.super_lookup(object, 2, "own"))
  end)

  it("takes a class itself for an object of its metatable", function()
    local account = {}
    account.__index = account
    function account.f() return "account" end
    local special = setmetatable({ f = print }, account)
    assert.equal(account, classes.class_of(special))
    assert.is_nil(classes.super_lookup(special, 1, "f"))
  end)
end)
