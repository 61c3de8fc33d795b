-- p.super, against a listener in another process, for each way to write classes in Lua.
local fixture = require "spec.support.fixture"

--- Three classes in each style; `leaf` makes the object. Every class has `own` and `greet`;
-- `low` is the root's, `over` of root and leaf. Methods tell whose they are and whether self is the object.
local styles = {}

local function methods(name, object_of)
  local function report(self, ...)
    return name, rawequal(self, object_of()), ...
  end
  local function greet(self, word)
    return word .. " from " .. name .. " to " .. self.called
  end
  local all = { own = report, greet = greet }
  if name ~= "middle" then
    all.over = report
  end
  if name == "root" then
    all.low = report
    all.value = "the root's value"
  end
  return all
end

local function copy(from, to)
  for key, value in pairs(from) do
    to[key] = value
  end
  return to
end

styles["plain metatables"] = function(parts)
  local root = copy(parts.root, {})
  root.__index = root
  local middle = copy(parts.middle, setmetatable({}, { __index = root }))
  middle.__index = middle
  local leaf = copy(parts.leaf, setmetatable({}, { __index = middle }))
  leaf.__index = leaf
  return function() return setmetatable({}, leaf) end
end

styles["chains of metatables as classes"] = function(parts)
  local root = copy(parts.root, {})
  root.__index = root
  local middle = copy(parts.middle, setmetatable({}, root))
  middle.__index = middle
  local leaf = copy(parts.leaf, setmetatable({}, middle))
  leaf.__index = leaf
  return function() return setmetatable({}, leaf) end
end

styles["prototypes"] = function(parts)
  local root = copy(parts.root, {})
  function root.new(self, object)
    self.__index = self
    return setmetatable(object or {}, self)
  end
  local middle = copy(parts.middle, root:new())
  local leaf = copy(parts.leaf, middle:new())
  return function() return leaf:new() end
end

styles["middleclass"] = function(parts)
  local class = require "spec.support.class_middleclass"
  local root = copy(parts.root, class "Root")
  local middle = copy(parts.middle, class("Middle", root))
  return copy(parts.leaf, class("Leaf", middle))
end

styles["Penlight"] = function(parts)
  local found, class = pcall(require, "pl.class")
  if not found then
    return nil
  end
  local root = copy(parts.root, class())
  local middle = copy(parts.middle, class(root))
  return copy(parts.leaf, class(middle))
end

styles["classic"] = function(parts)
  local root = copy(parts.root, require("spec.support.class_classic"):extend())
  local middle = copy(parts.middle, root:extend())
  return copy(parts.leaf, middle:extend())
end

styles["30log"] = function(parts)
  local root = require "spec.support.class_30log"("Root", parts.root)
  local middle = root:extend("Middle", parts.middle)
  return middle:extend("Leaf", parts.leaf)
end

for style, make in pairs(styles) do
  describe("super, with " .. style, function()
    local object, holder, proxy, server

    before_each(function()
      local function object_of() return object end
      local leaf = make {
        root = methods("root", object_of),
        middle = methods("middle", object_of),
        leaf = methods("leaf", object_of),
      }
      if not leaf then
        pending "the package is not installed"
        return
      end
      object = leaf()
      object.called = "Ann"
      holder = { inner = { object = object }, get = function() return object end }
      object, proxy = fixture.open(object)
      server = fixture.serve()
    end)
    after_each(fixture.close)

    it("calls the parent's method with the object as self", function()
      assert.same({ "leaf", true }, { proxy:own() })
      assert.same({ "middle", true }, { proxy.super:own() })
      assert.equal("hello from middle to Ann", proxy.super:greet "hello")
    end)

    it("goes one further up each time", function()
      assert.same({ "root", true }, { proxy.super.super:own() })
      assert.equal("hello from root to Ann", proxy.super.super:greet "hello")
    end)

    it("finds what the parent inherits", function()
      assert.same({ "leaf", true }, { proxy:over() })
      assert.same({ "root", true }, { proxy.super:over() })
      assert.same({ "root", true }, { proxy.super.super:over() })
      assert.same({ "root", true }, { proxy.super:low() })
      assert.same({ "root", true }, { proxy.super.super:low() })
    end)

    it("finds nothing above the root", function()
      assert.is_nil(proxy.super.super.super.own.__)
      local ok, err = pcall(function() return proxy.super.super.super:own() end)
      assert.is_false(ok)
      assert.matches("nil value", tostring(err))
      assert.is_nil(proxy.super.nowhere.__)
      assert.is_nil(proxy.super.super.super.super.super.super.low.__)
    end)

    it("ignores the fields of the object", function()
      proxy:passto(function(o)
        rawset(o, "own", function() return "field" end)
        rawset(o, "nowhere", "field")
      end)
      assert.equal("field", (proxy:own()))
      assert.same({ "middle", true }, { proxy.super:own() })
      assert.is_nil(proxy.super.called.__)
      assert.is_nil(proxy.super.nowhere.__)
    end)

    it("gives values as well as methods, and functions without self", function()
      assert.equal("the root's value", proxy.super.value.__)
      assert.is_true(proxy.super.value:passto(rawequal, "the root's value"))
      assert.same({ "middle", false, 1 }, { proxy.super.own(nil, 1) })
      assert.same({ "middle", true, 1 }, { proxy.super.own(proxy, 1) })
    end)

    it("is the same object for everything but names", function()
      assert.equal(proxy, proxy.super.__)
      assert.is_true(proxy.super:passto(function(o) return o.called == "Ann" end))
      assert.is_true(proxy.super:contains_ "own")
      assert.is_false(proxy.super:contains_ "called")
      assert.is_true(proxy:contains_ "called")
    end)

    it("is one request", function()
      local before = proxy:stats_().requests
      proxy.super.super:own()
      assert.equal(before + 1, proxy:stats_().requests)
    end)

    it("works on views", function()
      server:stop()
      local _, held = fixture.open(holder)
      fixture.serve()
      assert.same({ "leaf", true }, { held.inner.object:own() })
      assert.same({ "middle", true }, { held.inner.object.super:own() })
      assert.same({ "root", true }, { held.inner.object.super.super:own() })
      assert.same({ "middle", true }, { held:with_ { proxy = true }:get().super:own() })
    end)

    it("works in the listener's own process", function()
      server:stop()
      local _ <close> = proxy:listen_()
      assert.same({ "middle", true }, { proxy.super:own() })
      assert.same({ "root", true }, { proxy.super.super:own() })
      assert.is_nil(proxy.super.super.super.own.__)
    end)

    it("leaves instances sendable by class", function()
      local back = proxy:passto(function(o)
        return setmetatable({ called = "Bob" }, getmetatable(o))
      end)
      assert.equal(getmetatable(object), getmetatable(back))
      assert.equal("hi from leaf to Bob", back:greet "hi")
    end)
  end)
end

describe("super, beyond classes:", function()
  after_each(fixture.close)

  local function serve(object)
    local _, proxy = fixture.open(object)
    fixture.serve()
    return proxy
  end

  it("a function __index that hides the parent is an error", function()
    local base = { f = function() return "base" end }
    local class = setmetatable({}, { __index = function(_, key) return base[key] end })
    class.__index = class
    local proxy = serve(setmetatable({}, class))
    assert.equal("base", proxy:f())
    local ok, err = pcall(function() return proxy.super:f() end)
    assert.is_false(ok)
    assert.matches("__index", tostring(err))
    assert.equal("base", proxy:f())
  end)

  it("so is one of the object's own metatable", function()
    local proxy = serve(setmetatable({}, { __index = function(_, key) return key end }))
    local ok, err = pcall(function() return proxy.super.f.__ end)
    assert.is_false(ok)
    assert.matches("__index", tostring(err))
  end)

  it("an object without a class has nothing above it", function()
    local proxy = serve { f = function() return "own" end, text = "x" }
    assert.equal("own", proxy:f())
    assert.is_nil(proxy.super.f.__)
    assert.is_nil(proxy.text.super.upper.__)
  end)

  it("a chain that bites its tail ends", function()
    local a, b = { name = "a" }, { name = "b" }
    a.__index, b.__index = a, b
    setmetatable(a, b)
    setmetatable(b, a)
    local proxy = serve(setmetatable({}, a))
    assert.equal("b", proxy.super.name.__)
    assert.is_nil(proxy.super.nowhere.__)
  end)

  it("assignment through super is none of the object's business", function()
    local class = { f = 1 }
    class.__index = class
    local proxy = serve(setmetatable({}, class))
    assert.error_matches(function() proxy.super = 1 end, "set_")
  end)
end)
