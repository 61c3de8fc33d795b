-- What becomes of values and errors on their way to the object and back.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"

local Point = {}
Point.__index = Point
function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
function Point:sum() return self.x + self.y end
Point.__eq = function(a, b) return a.x == b.x and a.y == b.y end

local Temperature = { __name = "spec.values.Temperature" }
Temperature.__index = Temperature
function Temperature.new(celsius)
  return setmetatable({ celsius = celsius, cache = coroutine.create(print) }, Temperature)
end
function Temperature:__pack() return self.celsius, "C" end
function Temperature.__unpack(celsius, unit) return Temperature.new(unit == "C" and celsius or nil) end

local Failure = { __name = "spec.values.Failure" }
Failure.__index = Failure
Failure.__tostring = function(self) return "failure " .. self.code end

local SubFailure = setmetatable({ __name = "spec.values.SubFailure" }, { __index = Failure })
SubFailure.__index = SubFailure
SubFailure.__tostring = Failure.__tostring

describe("values over a proxy:", function()
  local object, proxy, unserved, server

  setup(function()
    remoteobj.register(Point, "spec.values.Point")
    remoteobj.register(Temperature)
    remoteobj.register(Failure)
    remoteobj.register(SubFailure)
  end)

  before_each(function()
    object = { count = 0 }
    function object.echo(_, ...) return ... end
    function object.pair(...) return ... end
    function object.type(_, value) return math.type(value) or type(value) end
    function object.call(_, func, ...) return func(...) end
    function object.make(_, what) return object.things[what] end
    function object.add(self)
      self.count = self.count + 1
      return self.count
    end
    object.things = { coroutine = coroutine.create(print), file = io.stdout }
    object.things.nested = { items = { 1, 2, { file = io.stdout } } }
    object, proxy = fixture.open(object)
    unserved, server = remoteobj.Proxy {}, fixture.serve()
  end)
  after_each(fixture.close)

  local function there_and_back(value)
    return (proxy:echo(value))
  end

  local function unsendable(path, func, ...)
    local ok, err = pcall(func, ...)
    assert.is_false(ok)
    assert.equal(remoteobj.Error, getmetatable(err), tostring(err))
    assert.equal("Unsendable", err.kind)
    assert.equal("cannot send " .. path, err.message)
  end

  describe("plain ones", function()
    it("travel exactly", function()
      for _, value in ipairs { 0, 1, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, 2 ^ 31 // 1 | 0, -2 ^ 31 // 1 | 0,
        2 ^ 32 // 1 | 0, math.maxinteger, math.mininteger, 1.0, -1.5, 1e300, 5e-324, math.huge, -math.huge, true, false,
        "", "text", ("long"):rep(20000), "\0\1\xff\xfe binary", "ünïcödé" } do
        local back = there_and_back(value)
        assert.is_true(rawequal(value, back), tostring(value))
        assert.equal(math.type(value), math.type(back))
        assert.equal(math.type(value) or type(value), proxy:type(value))
      end
    end)

    it("that don't equal themselves, and negative zero", function()
      local nan = there_and_back(0 / 0)
      assert.is_true(nan ~= nan)
      assert.equal(-math.huge, 1 / there_and_back(-0.0))
      assert.equal("float", math.type(there_and_back(0.0)))
      assert.equal("integer", math.type(there_and_back(0)))
    end)

    it("that are nil, at any place", function()
      assert.same(table.pack(nil, 1, nil, nil), table.pack(proxy:echo(nil, 1, nil, nil)))
      assert.is_nil(there_and_back(nil))
    end)
  end)

  describe("tables", function()
    it("of any shape", function()
      for _, t in ipairs { {}, { 1, 2, 3 }, { a = 1, b = { c = { d = {} } } }, { 1, nil, 3, x = "y" },
        { { {}, {} }, {} }, { [1.5] = 1, [true] = 2, [-1] = 3, [math.maxinteger] = 4 } } do
        assert.same(t, there_and_back(t))
        proxy.t = t
        assert.same(t, proxy.t.__)
      end
    end)

    it("with cycles and shared parts", function()
      local t = { name = "t", part = {} }
      t.me, t.again = t, t.part
      t[t.part] = t
      local back = there_and_back(t)
      assert.is_true(rawequal(back, back.me))
      assert.is_true(rawequal(back.part, back.again))
      assert.is_true(rawequal(back, back[back.part]))
    end)

    it("shared between arguments and between results", function()
      local t = {}
      assert.is_true(proxy.call(nil, rawequal, t, t))
      local one, two = proxy:echo(t, { t })
      assert.is_true(rawequal(one, two[1]))
    end)

    it("in lists of any length", function()
      local list
      for i = 1, 100000 do
        list = { value = i, next = list }
      end
      local back = there_and_back(list)
      local count = 0
      while back do
        count = count + 1
        assert(back.value == 100001 - count)
        back = back.next
      end
      assert.equal(100000, count)
    end)

    it("of a size beyond what a pipe holds, both ways", function()
      local big = {}
      for i = 1, 200000 do
        big[i] = i
      end
      local back = there_and_back(big)
      assert.equal(200000, #back)
      assert.equal(12345, back[12345])
      local text = ("0123456789"):rep(800000)
      assert.is_true(text == there_and_back(text))
    end)
  end)

  describe("instances", function()
    it("of registered classes keep their metatables, both ways", function()
      local back = there_and_back(Point.new(1, 2))
      assert.equal(Point, getmetatable(back))
      assert.equal(3, back:sum())
      assert.equal(3, proxy:call(function(p) return p:sum() end, Point.new(1, 2)))
      proxy.at = { Point.new(3, 4) }
      assert.equal(7, proxy.at[1]:sum())
      assert.equal(Point, getmetatable(proxy.at.__[1]))
    end)

    it("of classes with __pack and __unpack are rebuilt by them", function()
      local back = there_and_back(Temperature.new(20))
      assert.equal(Temperature, getmetatable(back))
      assert.equal(20, back.celsius)
      assert.equal("thread", type(back.cache))
    end)

    it("of the object's own class are known unregistered", function()
      local Class = {}
      Class.__index = Class
      local Base = { hello = function(self) return "hello " .. self.name end }
      setmetatable(Class, { __index = Base })
      function Class.make(_, name) return setmetatable({ name = name }, Class) end
      function Class.base() return setmetatable({ name = "base" }, Base) end
      local other = remoteobj.Proxy(setmetatable({}, Class))
      local second = processes.serve(other)
      local made = other:make "Ann"
      assert.equal(Class, getmetatable(made))
      assert.equal("hello Ann", made:hello())
      assert.equal(Base, getmetatable(other:base()))
      second:stop()
    end)

    it("of unknown classes are an error, not a loss", function()
      local Unknown = {}
      Unknown.__index = Unknown
      local ok, err = pcall(there_and_back, { x = setmetatable({}, Unknown) })
      assert.is_false(ok)
      assert.equal("Unsendable", err.kind)
      assert.matches("^cannot send argument 1%.x: ", err.message)
    end)
  end)

  describe("functions", function()
    it("of loaded modules travel by name", function()
      assert.equal(print, there_and_back(print))
      assert.equal(string.format, there_and_back(string.format))
      assert.equal("1-2", proxy:call(table.concat, { 1, 2 }, "-"))
      assert.equal(unistd.getpid, there_and_back(unistd.getpid))
      assert.equal(server.pid, proxy:call(unistd.getpid))
    end)

    it("of the program travel with their upvalues", function()
      local factor, offset = 3, { value = 4 }
      assert.equal(19, proxy:call(function(x) return x * factor + offset.value end, 5))
      local function factorial(n) return n <= 1 and 1 or n * factorial(n - 1) end
      assert.equal(120, proxy:call(factorial, 5))
      local is_even
      local function is_odd(n) return n ~= 0 and is_even(n - 1) end
      function is_even(n) return n == 0 or is_odd(n - 1) end
      assert.is_true(proxy:call(is_even, 10))
      local count = 0
      local function up()
        count = count + 1
        return count
      end
      local function get() return count end
      assert.same({ 2, 2, 2 }, { proxy:call(function(a, b) return a() + a() - 1, b(), b() end, up, get) })
      assert.equal(0, count)
    end)

    it("see the globals of the receiver", function()
      assert.equal("there", proxy:passto(function()
        spec_values_global = "there" -- luacheck: ignore
        return spec_values_global -- luacheck: ignore
      end))
      assert.is_nil(rawget(_G, "spec_values_global"))
      assert.equal("there", proxy:passto(function() return spec_values_global end)) -- luacheck: ignore
    end)

    it("come back as results and work here", function()
      local base = 10
      proxy.maker = function(_, n) return function(x) return x + n + base end end
      local add = proxy:maker(5)
      assert.equal(16, add(1))
    end)

    it("become methods of the object", function()
      proxy.double = function(self, x) return x * 2, self.count end
      assert.same({ 8, 0 }, { proxy:double(4) })
    end)
  end)

  describe("what cannot be sent", function()
    it("is an error that names the path of an argument", function()
      local co = coroutine.create(print)
      unsendable("argument 1: thread", there_and_back, co)
      unsendable("argument 2.items[3].file: userdata FILE*", function()
        proxy:echo(1, { items = { 1, 2, { file = io.stdout } } })
      end)
      unsendable('argument 1["two words"][true]: thread', there_and_back, { ["two words"] = { [true] = co } })
      unsendable("argument 1: userdata FILE*", function() proxy.pair(io.stdout) end)
    end)

    it("counts arguments without self, and of passto after the function", function()
      local ok, err = pcall(proxy.passto, proxy, print, 1, io.stdout)
      assert.is_false(ok)
      assert.equal("Unsendable", err.kind)
      assert.matches("userdata FILE%*", err.message)
    end)

    it("is an error that names the path of a value", function()
      unsendable("value.file: userdata FILE*", function() proxy.x = { file = io.stdout } end)
      unsendable("value: thread", function() proxy:set_("x", coroutine.create(print)) end)
    end)

    it("is an error that names the path of a result", function()
      unsendable("result: thread", proxy.make, proxy, "coroutine")
      unsendable("result: userdata FILE*", proxy.make, proxy, "file")
      unsendable("result.items[3].file: userdata FILE*", proxy.make, proxy, "nested")
      unsendable("result.file: userdata FILE*", proxy.passto, proxy, function() return { file = io.stdout } end)
      unsendable("result 2: userdata FILE*", proxy.passto, proxy, function() return 1, io.stdout end)
    end)

    it("is an error that names upvalues", function()
      local co = coroutine.create(print)
      unsendable("argument 1.upvalue(co): thread", there_and_back, function() return co end)
    end)

    it("sends nothing", function()
      local before = proxy:stats_()
      pcall(there_and_back, coroutine.create(print))
      pcall(function() proxy.x = { file = io.stdout } end)
      pcall(proxy.echo, proxy, ("x"):rep(1000), io.stdout)
      assert.same(before, proxy:stats_())
      assert.equal(1, proxy:add())
    end)

    it("leaves the listener alive", function()
      for i = 1, 20 do
        assert.is_false(pcall(proxy.make, proxy, "coroutine"))
        assert.equal(i, proxy:add())
      end
    end)
  end)

  describe("frames", function()
    local ceiling
    before_each(function() ceiling = remoteobj.limits.frame end)
    after_each(function() remoteobj.limits.frame = ceiling end)

    it("have a limit of one gibibyte unless the program says otherwise", function()
      assert.equal(1 << 30, ceiling)
    end)

    it("too large are refused by the sender", function()
      remoteobj.limits.frame = 100000
      local ok, err = pcall(there_and_back, ("x"):rep(200000))
      assert.is_false(ok)
      assert.equal("Unsendable", err.kind)
      assert.equal(50000, #there_and_back(("x"):rep(50000)))
    end)

    it("too large are refused by a listener that sends them", function()
      proxy:passto(function() require("remoteobj").limits.frame = 100000 end)
      local ok, err = pcall(function() return proxy:passto(function() return ("x"):rep(200000) end) end)
      assert.is_false(ok)
      assert.equal("Unsendable", err.kind)
      assert.equal(1, proxy:add())
    end)

    it("too large are refused by who receives them, and end that connection alone", function()
      local other = processes.fork(function(link)
        link:send(proxy:add())
        link:receive()
        return proxy:add()
      end)
      assert.equal(1, other:receive())
      remoteobj.limits.frame = 100000
      local ok, err = pcall(function() return proxy:passto(function() return ("x"):rep(200000) end) end)
      assert.is_false(ok)
      assert.equal("Protocol", err.kind)
      assert.equal(2, proxy:add())
      other:send "go"
      assert.equal(3, other:result())
    end)
  end)

  describe("errors", function()
    local function raised(func, ...)
      local ok, err = pcall(func, ...)
      assert.is_false(ok)
      return err
    end

    local function raise_there(value, level)
      return raised(function()
        return proxy:passto(function(_, v, l) error(v, l) end, value, level)
      end)
    end

    it("that are strings become RemoteErrors that read like them", function()
      local err = raised(function()
        return proxy:passto(function() error("boom", 0) end)
      end)
      assert.equal(remoteobj.RemoteError, getmetatable(err))
      assert.equal("boom", err.value)
      assert.equal("boom", err.message)
      assert.equal(server.pid, err.pid)
      assert.equal("string", type(err.process))
      assert.equal("string", type(err.traceback))
      assert.equal("boom", err:match "boom")
      assert.equal("BOOM", err:upper())
      assert.equal(1, (err:find("boom", 1, true)))
      assert.equal(4, err:len())
      assert.equal("boom", tostring(err):sub(1, 4))
      assert.is_true(#tostring(err) > #err.message)
      assert.is_truthy(tostring(err):find(err.traceback, 1, true))
    end)

    it("carry the traceback of where they were raised, with every frame", function()
      proxy.outermost = load([[
        local function inner() local x = nil + 1 return x end
        local function middle() inner() return 1 end
        return function() middle() return 1 end
      ]], "=there.lua")()
      local err = raised(function() return proxy:outermost() end)
      local text = remoteobj.traceback(err)
      assert.equal("string", type(text))
      for _, name in ipairs { "inner", "middle", "there.lua:1", "there.lua:2", "there.lua:3" } do
        assert.is_truthy(text:find(name, 1, true), name .. " in " .. text)
      end
      assert.matches("there.lua:1: attempt to perform arithmetic", err.message)
      assert.is_nil(remoteobj.traceback "a local error")
      assert.is_nil(remoteobj.traceback(nil))
    end)

    it("of deep stacks carry the innermost and the outermost hundred frames", function()
      proxy.deep = load([[
        local function bottom() error "deep down" end
        local function down(n) if n == 0 then bottom() else down(n - 1) end return 1 end
        return function() down(1000) return 1 end
      ]], "=deep.lua")()
      local text = remoteobj.traceback(raised(function() return proxy:deep() end))
      local _, frames = text:gsub("\n[^\n]*deep%.lua", "")
      assert.is_true(frames >= 150 and frames <= 210, "frames: " .. frames)
      assert.is_truthy(text:find("deep.lua:1", 1, true))
      assert.is_truthy(text:find("deep.lua:3", 1, true))
    end)

    it("that are tables come back as copies with their metatables", function()
      local err = raise_there(setmetatable({ code = 42, detail = { 1 } }, Failure))
      assert.equal(Failure, getmetatable(err))
      assert.equal(42, err.code)
      assert.same({ 1 }, err.detail)
      assert.equal("failure 42", tostring(err))
      assert.equal("string", type(remoteobj.traceback(err)))
      err = raise_there(setmetatable({ code = 1 }, SubFailure))
      assert.equal(SubFailure, getmetatable(err))
      err = raise_there { code = 7 }
      assert.is_nil(getmetatable(err))
      assert.same({ code = 7 }, err)
      assert.equal("string", type(remoteobj.traceback(err)))
    end)

    it("that hold the object bring the root proxy", function()
      local err = raised(function()
        return proxy:passto(function(o) error { code = 1, me = o, deep = { o } } end)
      end)
      assert.equal(1, err.code)
      assert.equal(proxy, err.me)
      assert.equal(proxy, err.deep[1])
    end)

    it("that are other values become RemoteErrors", function()
      for _, value in ipairs { 5, 1.5, true, false } do
        local err = raise_there(value)
        assert.equal(remoteobj.RemoteError, getmetatable(err))
        assert.equal(value, err.value)
        assert.equal(tostring(value), err.message)
      end
      local err = raised(function() return proxy:passto(function() error(nil) end) end)
      assert.equal(remoteobj.RemoteError, getmetatable(err))
      assert.is_nil(err.value)
      assert.equal("nil", err.message)
    end)

    it("that cannot be sent become RemoteErrors with their text", function()
      local err = raised(function()
        return proxy:passto(function()
          error(setmetatable({ file = io.stdout }, { __tostring = function() return "with a file" end }))
        end)
      end)
      assert.equal(remoteobj.RemoteError, getmetatable(err))
      assert.is_nil(err.value)
      assert.equal("with a file", err.message)
      assert.equal("string", type(err.traceback))
      err = raised(function() return proxy:passto(function() error(coroutine.create(print)) end) end)
      assert.equal(remoteobj.RemoteError, getmetatable(err))
      assert.matches("^thread: ", err.message)
    end)

    it("whose own tostring fails are raised all the same", function()
      local err = raised(function()
        return proxy:passto(function()
          error(setmetatable({ io.stdout }, { __tostring = function() error "again" end }))
        end)
      end)
      assert.equal(remoteobj.RemoteError, getmetatable(err))
      assert.equal("string", type(err.message))
      assert.equal(1, proxy:add())
    end)

    it("of the library keep their kind", function()
      local err = raised(function() return proxy:passto(function(_, q) return q.x.__ end, unserved) end)
      assert.equal(remoteobj.Error, getmetatable(err))
      assert.equal("NotListening", err.kind)
    end)

    it("say so when a proxy is sent to a process that was forked before it was made", function()
      local err = raised(proxy.echo, proxy, remoteobj.Proxy {})
      assert.equal(remoteobj.Error, getmetatable(err))
      assert.equal(1, proxy:add())
    end)

    it("through several processes keep the innermost traceback", function()
      local first = {}
      first.fails = load([[
        local function innermost() error("boom", 0) end
        return function() innermost() return 1 end
      ]], "=first.lua")()
      local first_proxy = remoteobj.Proxy(first)
      local first_server = processes.serve(first_proxy)
      local second = { pass_on = function() return (first_proxy:fails()) end }
      function second.pass_on_table() return (first_proxy:passto(function() error { code = 3 } end)) end
      local second_proxy = remoteobj.Proxy(second)
      local second_server = processes.serve(second_proxy)
      local err = raised(function() return second_proxy:pass_on() end)
      assert.equal(remoteobj.RemoteError, getmetatable(err))
      assert.equal("boom", err.message)
      assert.equal(first_server.pid, err.pid)
      assert.is_truthy(remoteobj.traceback(err):find("innermost", 1, true))
      assert.is_truthy(remoteobj.traceback(err):find("first.lua:1", 1, true))
      err = raised(function() return second_proxy:pass_on_table() end)
      assert.same({ code = 3 }, err)
      first_server:stop()
      second_server:stop()
    end)

    it("are in the style of Lua where the proxy is misused", function()
      for _, misuse in ipairs {
        function() proxy:attrs_ {} end,
        function() proxy:passto() end,
        function() proxy:with_(1) end,
        function() remoteobj.Proxy() end,
        function() return proxy:item_() end,
      } do
        local err = raised(misuse)
        assert.equal("string", type(err))
        assert.matches("bad argument #%d to '[%w_]+'", err)
      end
    end)
  end)
end)
