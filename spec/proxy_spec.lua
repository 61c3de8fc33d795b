-- Every form of a proxy, against a listener in another process.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"

local function new_object()
  local object = {
    count = 0,
    list = { 10, 20, 30 },
    sub = { name = "sub", deep = { er = { value = "found" } } },
    words = { ["two words"] = 2, ["end"] = "keyword", [true] = "yes", [false] = "no", [1.5] = "float", [""] = "empty" },
    flag = false,
  }
  function object.sub.whoami(self, ...) return self.name, ... end
  function object.sub.parent() return object end
  function object.inc(self, by)
    self.count = self.count + (by or 1)
    return self.count
  end
  function object.chain(self)
    self.count = self.count + 1
    return self
  end
  function object.several() return 1, nil, "three", nil end
  function object.nothing() end
  function object.count_arguments(...) return select("#", ...) end
  function object.echo(_, ...) return ... end
  function object.pair(...) return ... end
  function object.is_self(self, other) return rawequal(self, object), rawequal(other, object) end
  function object.is_list(self, value) return rawequal(value, self.list) end
  function object.inside(self, t) return rawequal(t[1].list, self.list), rawequal(t.me, self), t.name end
  function object.fails(_, err) error(err, 0) end
  function object.in_table(self) return { deep = { self, list = { me = self } } }, "second" end
  return object
end

describe("a proxy", function()
  local object, proxy, server

  before_each(function()
    object, proxy = fixture.open(new_object())
    server = fixture.serve()
  end)
  after_each(fixture.close)

  local function requests()
    return proxy:stats_().requests
  end

  it("and every view is a full userdata with all its metamethods", function()
    for _, value in ipairs { proxy, proxy.a, proxy.a.b[1], proxy.super, proxy:with_ { default = 1 } } do
      assert.equal("userdata", type(value))
      local metatable = debug.getmetatable(value)
      for _, name in ipairs { "__index", "__newindex", "__call", "__len", "__pairs", "__eq", "__tostring" } do
        assert.is_not_nil(rawget(metatable, name), name)
      end
      assert.equal("string", type(metatable.__name))
    end
  end)

  describe("builds views that", function()
    it("touch no wire", function()
      local before = proxy:stats_()
      local _ = proxy.a.b[1][true]["x y"].super.c
      _ = proxy:attrs_("a.b", "c"):with_ { default = 1 }:item_ "z"
      _ = tostring(_)
      assert.same(before, proxy:stats_())
    end)

    it("need nobody who listens", function()
      server:stop()
      assert.equal("userdata", type(proxy.a.b.c))
    end)

    it("can be kept and evaluated again and again", function()
      local view = proxy.count
      assert.equal(0, view.__)
      proxy:inc()
      assert.equal(1, view.__)
      assert.equal(1, view:get_())
      local inc = proxy.inc
      assert.equal(2, inc(proxy))
      assert.equal(3, inc(proxy))
    end)

    it("share what they have in common without disturbing each other", function()
      local sub = proxy.sub
      local deep, name = sub.deep, sub.name
      assert.equal("found", deep.er.value.__)
      assert.equal("sub", name.__)
      assert.equal("found", deep.er.value.__)
    end)

    it("know their own fields and options, however many of a proxy's fields are named and named again", function()
      local function chain(view)
        return tostring(view):match "%((.*)%)>$"
      end
      local missing = proxy:with_ { default = "missing" }
      for _ = 1, 2 do
        for i = 1, 200 do
          for _, name in ipairs { "field" .. i, ("long"):rep(20) .. i } do
            assert.are.equal("?." .. name, chain(proxy[name]))
            assert.are.equal("?." .. name .. ".x", chain(proxy[name].x))
            assert.are.equal("?." .. name .. ".x.y", chain(proxy[name].x.y))
            assert.are.equal("?." .. name, chain(missing[name]))
          end
        end
      end
      server:stop()
      assert.are.equal("missing", missing.field1.__)
      assert.has_error(function() return proxy.field1.__ end)
      assert.are.equal("missing", missing.field1.__)
    end)

    it("take the same memory for each step, however long the chain", function()
      local function cost(view, steps)
        local kept = { view }
        collectgarbage() collectgarbage()
        local before = collectgarbage "count"
        for i = 1, steps do
          kept[i + 1] = kept[i].x
        end
        collectgarbage() collectgarbage()
        return (collectgarbage "count" - before) * 1024 / steps, kept[steps + 1]
      end
      local short, view = cost(proxy, 1000)
      for _ = 1, 50000 do
        view = view.x
      end
      local long = cost(view, 1000)
      assert.is_true(long < 2 * short + 16, ("%g bytes a step, then %g"):format(short, long))
    end)

    it("can be thousands of steps long", function()
      proxy:passto(function(o) o.loop = o end)
      local view = proxy
      for _ = 1, 5000 do
        view = view.loop
      end
      assert.equal(0, view.count.__)
      assert.equal(1, view:inc())
    end)
  end)

  describe("indexes", function()
    it("with strings of any kind", function()
      assert.equal(2, proxy.words["two words"].__)
      assert.equal("keyword", proxy.words["end"].__)
      assert.equal("empty", proxy.words[""].__)
      local key = "\0\xff\n"
      proxy.words[key] = "binary"
      assert.equal("binary", proxy.words[key].__)
    end)

    it("with numbers and booleans", function()
      assert.equal(20, proxy.list[2].__)
      assert.equal("float", proxy.words[1.5].__)
      assert.equal(20, proxy.list[2.0].__)
      assert.equal("yes", proxy.words[true].__)
      assert.equal("no", proxy.words[false].__)
    end)

    it("with tables by value", function()
      proxy:passto(function(o)
        o.grid = setmetatable({}, {
          __index = function(_, at) return at.x .. "/" .. at.y end,
        })
      end)
      assert.equal("3/4", proxy.grid[{ x = 3, y = 4 }].__)
    end)

    it("gives nil for what is not there, and an error beyond it", function()
      assert.is_nil(proxy.missing.__)
      local ok, err = pcall(remoteobj.get, proxy.missing.beyond)
      assert.is_false(ok)
      assert.matches("index a nil value", tostring(err))
    end)

    it("runs the object's own __index", function()
      proxy:passto(function(o)
        setmetatable(o, { __index = function(_, key) return "made " .. key end })
      end)
      assert.equal("made up", proxy.up.__)
    end)
  end)

  describe("calls", function()
    it("methods with the object that the name was looked up on as self", function()
      assert.equal(5, proxy:inc(5))
      assert.equal("sub", (proxy.sub:whoami()))
      assert.same({ true, false }, { proxy:is_self() })
    end)

    it("functions without self", function()
      assert.equal(0, proxy.count_arguments())
      assert.equal(2, proxy.count_arguments(nil, nil))
      assert.equal(1, proxy:count_arguments())
      assert.equal(3, proxy:count_arguments("a", nil))
      assert.same({ "a", "b" }, { proxy.pair("a", "b") })
    end)

    it("and brings all values back, nils too", function()
      assert.equal(4, select("#", proxy:several()))
      assert.same(table.pack(1, nil, "three", nil), table.pack(proxy:several()))
      assert.equal(0, select("#", proxy:nothing()))
      assert.equal(3, select("#", proxy:echo(nil, nil, nil)))
    end)

    it("with hundreds of arguments and results", function()
      local values = {}
      for i = 1, 5000 do
        values[i] = i
      end
      local back = table.pack(proxy:echo(table.unpack(values)))
      assert.equal(5000, back.n)
      for i = 1, 5000 do
        assert.equal(i, back[i])
      end
    end)

    it("methods that are kept apart from their proxy", function()
      local whoami = proxy.sub.whoami
      assert.equal("sub", (whoami(proxy.sub)))
      assert.equal("sub", (proxy.sub.whoami(proxy.sub)))
    end)

    it("the object itself where it can be called", function()
      proxy:passto(function(o)
        setmetatable(o, { __call = function(self, a, b) return rawequal(self, o), a, b end })
      end)
      assert.same({ true, "a", "b" }, { proxy("a", "b") })
    end)

    it("and raises the error of the call", function()
      local ok, err = pcall(proxy.fails, proxy, "boom")
      assert.is_false(ok)
      assert.matches("boom", tostring(err))
      ok, err = pcall(function() return proxy:missing() end)
      assert.is_false(ok)
      assert.matches("call a nil value", tostring(err))
      ok = pcall(function() return proxy.count() end)
      assert.is_false(ok)
    end)

    it("methods reached through keys of any kind", function()
      assert.equal("found", proxy.sub.deep.er:get_().value)
      assert.equal("sub", (proxy:item_ "sub":whoami()))
    end)
  end)

  describe("assigns", function()
    it("values, at once, by value", function()
      proxy.colour = "red"
      assert.equal("red", proxy.colour.__)
      local t = { 1, { 2 } }
      proxy.t = t
      t[2][1] = "changed"
      assert.same({ 1, { 2 } }, proxy.t.__)
      assert.is_nil(rawget(object, "colour"))
    end)

    it("false, and nil, which deletes", function()
      proxy.flag = true
      assert.is_true(proxy.flag.__)
      proxy.flag = false
      assert.is_false(proxy.flag.__)
      proxy.list[3] = nil
      assert.same({ 10, 20 }, proxy.list.__)
      proxy.sub = nil
      assert.is_false(proxy:contains_ "sub")
    end)

    it("with keys of any kind", function()
      proxy.words[true] = "changed"
      proxy.words["two words"] = nil
      proxy.list[#proxy.list + 1] = 40
      assert.equal("changed", proxy.words[true].__)
      assert.is_nil(proxy.words["two words"].__)
      assert.same({ 10, 20, 30, 40 }, proxy.list.__)
    end)

    it("to deep places in one request", function()
      local before = requests()
      proxy.sub.deep.er.value = "new"
      assert.equal(before + 1, requests())
      assert.equal("new", proxy.sub.deep.er.value.__)
    end)

    it("through the object's own __newindex", function()
      proxy:passto(function(o)
        setmetatable(o, { __newindex = function(t, key, value) rawset(t, key, value .. "!") end })
      end)
      proxy.fresh = "hello"
      assert.equal("hello!", proxy.fresh.__)
    end)

    it("and raises what goes wrong there", function()
      local ok, err = pcall(function() proxy.missing.x = 1 end)
      assert.is_false(ok)
      assert.matches("nil value", tostring(err))
    end)
  end)

  describe("asks for", function()
    it("the length", function()
      assert.equal(3, #proxy.list)
      assert.equal(0, #proxy)
      proxy:passto(function(o)
        setmetatable(o, { __len = function() return 42 end })
      end)
      assert.equal(42, #proxy)
    end)

    it("the presence of a key", function()
      assert.is_true(proxy:contains_ "list")
      assert.is_true(proxy:contains_ "flag")
      assert.is_false(proxy:contains_ "missing")
      assert.is_true(proxy.words:contains_(true))
      assert.is_true(proxy.list:contains_(3))
      assert.is_false(proxy.list:contains_(4))
      proxy:passto(function(o)
        setmetatable(o, { __index = { inherited = 1 } })
      end)
      assert.is_true(proxy:contains_ "inherited")
    end)

    it("the result of a function there", function()
      assert.matches("^table: 0x", proxy:passto(tostring))
      assert.equal(3, proxy.list:passto(rawlen))
      assert.equal("10-20-30", proxy.list:passto(table.concat, "-"))
      local factor = 3
      assert.equal(60, proxy.list:passto(function(list, index) return list[index] * factor end, 2))
      assert.same(table.pack("sub", nil, 3), table.pack(proxy.sub:passto(function(sub, x, y)
        return sub.name, x, y
      end, nil, 3)))
    end)
  end)

  describe("evaluates", function()
    it("in three equal forms", function()
      for _, view in ipairs { proxy.count, proxy.sub.deep.er.value, proxy.flag, proxy.list } do
        local value = view.__
        assert.same(value, view:get_())
        assert.same(value, remoteobj.get(view))
        assert.same(value, view:get_ { timeout = 20 })
        assert.same(value, remoteobj.get(view, { timeout = 20, default = "none" }))
      end
    end)

    it("itself to itself", function()
      assert.equal(proxy, proxy.__)
      assert.equal(proxy, proxy:get_())
      assert.equal(proxy, remoteobj.get(proxy))
    end)

    it("nothing but proxies with get", function()
      for _, value in ipairs { 1, "x", {}, io.stdout } do
        assert.error_matches(function() remoteobj.get(value) end, "bad argument")
      end
    end)

    it("tables to plain tables of the client", function()
      local copy = proxy.list.__
      assert.equal("table", type(copy))
      copy[1] = "changed"
      assert.equal(10, proxy.list[1].__)
    end)
  end)

  describe("names places by text:", function()
    it("attrs_ takes dotted names", function()
      assert.equal(proxy.sub.deep.er.value, proxy:attrs_("sub.deep", "er", "value"))
      assert.equal("found", proxy:attrs_("sub.deep.er.value").__)
      assert.equal(proxy.sub, proxy:attrs_ "sub")
      assert.equal("found", proxy.sub:attrs_("deep.er").value.__)
      assert.equal(7, proxy:attrs_ "count_arguments" (1, 2, 3, 4, 5, 6, 7))
    end)

    it("item_, set_ and del_ take the keys that are reserved", function()
      local names = { "_x", "x_", "_", "__", "__index", "passto", "super", "poll", "get_", "listen_", "listening_",
        "process_requests", "cancel_requests", "wait_until_listening", "with_", "plain" }
      for i, name in ipairs(names) do
        proxy:set_(name, i)
      end
      for i, name in ipairs(names) do
        assert.equal(i, proxy:item_(name).__, name)
        assert.is_true(proxy:contains_(name))
      end
      for _, name in ipairs(names) do
        proxy:del_(name)
        assert.is_nil(proxy:item_(name).__, name)
      end
    end)

    it("item_ gives a view, set_ and del_ act at once", function()
      local before = requests()
      local view = proxy.sub:item_ "name"
      assert.equal(before, requests())
      assert.equal(proxy.sub.name, view)
      proxy.sub:set_("name", "other")
      assert.equal(before + 1, requests())
      assert.equal("other", view.__)
      proxy.sub:set_("name", nil)
      assert.is_nil(view.__)
      proxy.sub:set_(1, "one")
      proxy.sub:del_(1)
      assert.is_nil(proxy.sub[1].__)
      assert.equal(0, select("#", proxy.sub:set_("a", 1)))
    end)
  end)

  describe("keeps names for itself:", function()
    local function refuses(pattern, func)
      local before = requests()
      local ok, err = pcall(func)
      assert.is_false(ok)
      assert.equal("string", type(err))
      assert.matches(pattern, err)
      assert.equal(before, requests())
    end

    it("reading a key that begins with _ names item_", function()
      for _, view in ipairs { proxy, proxy.sub } do
        refuses("item_", function() return view._private end)
        refuses("item_", function() return view.__index end)
        refuses("item_", function() return view._ end)
        refuses("item_", function() return view._x_ end)
      end
    end)

    it("assigning a key that begins with _ names set_", function()
      for _, view in ipairs { proxy, proxy.sub } do
        refuses("set_", function() view._private = 1 end)
        refuses("set_", function() view.__ = 1 end)
        refuses("set_", function() view._private = nil end)
      end
    end)

    it("an unknown key that ends with _ raises", function()
      for _, view in ipairs { proxy, proxy.sub } do
        refuses("unknown_", function() return view.unknown_ end)
        refuses("gett_", function() return view:gett_() end)
      end
    end)

    it("assigning a name of the proxy's names set_", function()
      for _, name in ipairs { "x_", "get_", "listening_", "passto", "super", "poll", "process_requests",
        "cancel_requests", "wait_until_listening" } do
        for _, view in ipairs { proxy, proxy.sub } do
          refuses("set_", function() view[name] = 1 end)
        end
      end
    end)

    it("everything else belongs to the object", function()
      for _, name in ipairs { "get", "set", "listen", "pid", "name", "stats", "x_y", "default", "timeout", "join" } do
        proxy[name] = name
        assert.equal(name, proxy[name].__)
      end
    end)
  end)

  describe("sends arguments", function()
    it("by value", function()
      local t = { 1, 2 }
      local back = proxy:echo(t)
      assert.same(t, back)
      assert.is_false(rawequal(t, back))
    end)

    it("but a proxy or view of the same proxy stands for the object's value", function()
      local before = requests()
      assert.same({ true, true }, { proxy:is_self(proxy) })
      assert.is_true(proxy:is_list(proxy.list))
      assert.is_false(proxy:is_list { 10, 20, 30 })
      proxy:inc(proxy.list[2])
      assert.equal(before + 4, requests())
      assert.equal(20, proxy.count.__)
    end)

    it("deep inside tables too", function()
      assert.same({ true, true, "sub" }, { proxy:inside { proxy, me = proxy, name = proxy.sub.name } })
      assert.same({ true, false, "x" }, { proxy:inside { { list = proxy.list }, name = "x" } })
    end)

    it("of functions and of passto alike", function()
      assert.is_true((proxy.is_list(proxy, proxy.list)))
      assert.is_true(proxy.sub:passto(function(_, o) return o.list ~= nil end, proxy))
      assert.is_true(proxy:passto(function(o, list) return rawequal(o.list, list) end, proxy.list))
    end)

    it("and assigned views the same way", function()
      proxy.alias = proxy.list
      assert.is_true(proxy:is_list(proxy.alias))
      proxy.alias[1] = "seen by both"
      assert.equal("seen by both", proxy.list[1].__)
      proxy.holder = { proxy.list, me = proxy }
      assert.is_true(proxy:is_list(proxy.holder[1]))
      assert.equal(proxy, proxy.holder.me.__)
    end)

    it("which may themselves be calls still to be made", function()
      local view = proxy:with_ { proxy = true }:inc(5)
      assert.equal(5, proxy:echo(view))
      assert.equal(10, (proxy:echo(view)))
    end)

    it("and raises the errors of such views", function()
      local ok, err = pcall(proxy.echo, proxy, proxy.missing.beyond)
      assert.is_false(ok)
      assert.matches("nil value", tostring(err))
    end)
  end)

  describe("stands in results for the object", function()
    it("returned by a method that chains", function()
      assert.equal(proxy, proxy:chain())
      assert.equal(proxy, proxy:chain():chain())
      assert.equal(3, proxy.count.__)
      assert.equal(proxy, proxy.sub:parent())
    end)

    it("deep inside a returned table", function()
      local t, second = proxy:in_table()
      assert.equal("second", second)
      assert.equal(proxy, t.deep[1])
      assert.equal(proxy, t.deep.list.me)
      assert.equal(1, t.deep.list.me:inc())
    end)

    it("also where it was an argument", function()
      local list = { proxy:echo(proxy, { proxy }) }
      assert.equal(proxy, list[1])
      assert.equal(proxy, list[2][1])
    end)
  end)

  describe("counts", function()
    it("one request and one reply for an evaluation, however long the chain", function()
      local before = proxy:stats_()
      assert.equal("found", proxy.sub.deep.er.value.__)
      assert.equal("found", proxy:with_ { proxy = true }:chain().sub.deep.er.value.__)
      assert.equal(3, #proxy.list)
      proxy.list[4] = 5
      proxy:contains_ "x"
      pcall(proxy.fails, proxy, "boom")
      local after = proxy:stats_()
      assert.equal(6, after.requests - before.requests)
      assert.equal(6, after.replies - before.replies)
      assert.is_true(after.bytes_sent > before.bytes_sent)
      assert.is_true(after.bytes_received > before.bytes_received)
      assert.equal(0, after.late_replies)
    end)

    it("the bytes of a large value", function()
      local before = proxy:stats_()
      proxy.echo(nil, ("x"):rep(100000))
      local after = proxy:stats_()
      assert.is_true(after.bytes_sent - before.bytes_sent > 100000)
      assert.is_true(after.bytes_received - before.bytes_received > 100000)
      assert.is_true(after.bytes_sent - before.bytes_sent < 101000)
    end)

    it("in a snapshot", function()
      local snapshot = proxy:stats_()
      local requests_then = snapshot.requests
      proxy:inc()
      assert.equal(requests_then, snapshot.requests)
      snapshot.requests = "mine"
      assert.equal(requests_then + 1, proxy:stats_().requests)
    end)

    it("what was served, in the listener", function()
      server:stop()
      server = fixture.serve(function(link)
        while link:receive() == "stats" do
          link:send(proxy:stats_())
        end
      end)
      local function stats()
        server:send "stats"
        return server:receive()
      end
      local before = stats()
      assert.same({ 0, 0 }, { before.served, before.errors })
      proxy:inc()
      proxy:inc()
      pcall(proxy.fails, proxy, "boom")
      local after = stats()
      assert.equal(3, after.served)
      assert.equal(1, after.errors)
      assert.equal(1, after.clients)
      assert.equal(0, after.requests)
    end)
  end)

  it("prints its object and the chain", function()
    local shown = tostring(object)
    assert.equal("<Remote " .. shown .. " : (?)>", tostring(proxy))
    assert.equal("<Remote " .. shown .. " : (?.sub.name)>", tostring(proxy.sub.name))
    assert.equal("<Remote " .. shown .. " : (?[1][2.5][true])>", tostring(proxy[1][2.5][true]))
    assert.equal("<Remote " .. shown .. " : (?[math.huge][0.30000000000000004])>",
      tostring(proxy[math.huge][0.1 + 0.2]))
    assert.equal("<Remote " .. shown .. ' : (?["two words"]["end"])>', tostring(proxy["two words"]["end"]))
    assert.equal("<Remote " .. shown .. " : (?.super.f)>", tostring(proxy.super.f))
    local eager = remoteobj.Proxy(object, { eager_proxy = true })
    assert.equal("<Remote " .. shown .. ' : (?.a[1]("x"))>', tostring(eager.a[1]("x")))
    assert.equal("<Remote " .. shown .. ' : (?.a:m(1, nil, true):n())>', tostring(eager.a:m(1, nil, true):n()))
  end)

  it("prints the local tostring of its object", function()
    local named = setmetatable({}, { __tostring = function() return "an object of its own" end })
    assert.equal("<Remote an object of its own : (?.x)>", tostring(remoteobj.Proxy(named).x))
    local of_kind = remoteobj.Proxy(setmetatable({}, { __name = "spec.Kind" }))
    assert.matches("^<Remote spec%.Kind: 0x%x+ : %(%?%)>$", tostring(of_kind))
    assert.equal("<Remote text : (?)>", tostring(remoteobj.Proxy "text"))
  end)

  it("prints without the wire", function()
    proxy:passto(function(o)
      setmetatable(o, { __tostring = function() return "remote" end })
    end)
    local before = proxy:stats_()
    local text = tostring(proxy.a)
    assert.same(before, proxy:stats_())
    assert.not_matches("remote>", text)
    assert.matches(tostring(object), text, 1, true)
    assert.equal("remote", proxy:passto(tostring))
    server:stop()
    assert.equal(text, tostring(proxy.a))
  end)

  it("prints what cannot be written in Lua, too", function()
    local eager = remoteobj.Proxy(object, { eager_proxy = true })
    for _, view in ipairs { eager.f(print), eager.f {}, eager.f(function() end), eager[{ 1 }], eager:passto(print, 1),
      eager.f(eager.a), eager.f(io.stdout), eager.f(0 / 0), eager.f "\0\n\"" } do
      assert.matches("^<Remote .* : %(.*%?.*%)>$", (tostring(view):gsub("%c", "")))
    end
    local cycle = {}
    cycle[1] = cycle
    assert.equal("string", type(tostring(eager.f(cycle))))
  end)

  it("works inside coroutines", function()
    local count = coroutine.wrap(function()
      coroutine.yield(proxy:inc())
      coroutine.yield(proxy.count.__)
      for _, value in pairs(proxy.list) do
        coroutine.yield(value)
      end
      proxy.missing.x = 1
    end)
    assert.same({ 1, 1, 10, 20, 30 }, { count(), count(), count(), count(), count() })
    assert.error_matches(count, "nil value")
    assert.equal(2, proxy:inc())
  end)

  it("stands for any kind of value", function()
    server:stop()
    for _, case in ipairs {
      { "text", function(p) assert.same({ 4, "TEXT" }, { #p, p:upper() }) end },
      { 5, function(p) assert.equal(6, p:passto(function(n) return n + 1 end)) end },
      { math.max, function(p) assert.equal(9, p(3, 9)) end },
      { io.stdout, function(p) assert.equal("file", p:passto(io.type)) end },
    } do
      local other = remoteobj.Proxy(case[1])
      local other_server = processes.serve(other)
      case[2](other)
      other_server:stop()
    end
  end)

  it("gives its descriptors back when it is dropped", function()
    local function make_and_drop(times)
      for i = 1, times do
        local dropped = remoteobj.Proxy { i }
        local _ = dropped.x.y
        if i % 100 == 0 then
          local _ <close> = dropped:listen_()
          assert.equal(i, dropped[1].__)
        end
      end
      collectgarbage()
      collectgarbage()
      local count = 0
      for _ in require("posix.dirent").files "/proc/self/fd" do
        count = count + 1
      end
      return count
    end
    local before = make_and_drop(100)
    assert.equal(before, make_and_drop(500))
  end)

  describe("equals", function()
    it("a view of the same proxy and chain", function()
      assert.equal(proxy.a, proxy.a)
      assert.equal(proxy.a.b[1][true], proxy.a.b[1][true])
      assert.not_equal(proxy.a, proxy.b)
      assert.not_equal(proxy.a, proxy.a.a)
      assert.not_equal(proxy.a, proxy)
      assert.not_equal(proxy["1"], proxy[1])
      assert.not_equal(proxy.super, proxy)
      assert.not_equal(proxy.super.f, proxy.f)
      assert.equal(proxy.super.super.f, proxy.super.super.f)
      assert.not_equal(proxy[{ 1 }], proxy[{ 2 }])
      assert.equal(proxy[{ 1 }], proxy[{ 1 }])
    end)

    it("nothing of another proxy, and no other value", function()
      local other = remoteobj.Proxy(object)
      assert.not_equal(other, proxy)
      assert.not_equal(other.a, proxy.a)
      assert.is_false(proxy == 1)
      assert.is_false(proxy == object)
      assert.is_false(proxy == io.stdout)
    end)

    it("whatever the options", function()
      assert.equal(proxy, proxy:with_ { default = 1 })
      assert.equal(proxy:with_({ timeout = 1 }).a, proxy.a:with_ { default = 2 })
    end)

    it("with plain arguments by value, others by identity", function()
      local eager = remoteobj.Proxy(object, { eager_proxy = true })
      assert.equal(eager:f(1, "x", nil), eager:f(1, "x", nil))
      assert.not_equal(eager:f(1), eager:f(2))
      assert.not_equal(eager:f(1), eager:f(1, nil))
      assert.not_equal(eager:f(), eager.f())
      assert.equal(eager.f { 1, { x = "y" } }, eager.f { 1, { x = "y" } })
      assert.not_equal(eager.f { 1, { x = "y" } }, eager.f { 1, { x = "z" } })
      assert.not_equal(eager.f { 1 }, eager.f { 1, 2 })
      assert.equal(eager.f(print), eager.f(print))
      assert.not_equal(eager.f(print), eager.f(type))
      assert.equal(eager.f(eager.a), eager.f(eager.a))
      assert.not_equal(eager.f(eager.a), eager.f(eager.b))
      local metatable = {}
      local instance = setmetatable({ 1 }, metatable)
      assert.equal(eager.f(instance), eager.f(instance))
      assert.not_equal(eager.f(instance), eager.f(setmetatable({ 1 }, metatable)))
      assert.equal(eager:passto(print, 1), eager:passto(print, 1))
      assert.not_equal(eager:passto(print, 1), eager:passto(type, 1))
    end)

    it("without the wire", function()
      local before = proxy:stats_()
      local _ = proxy.a == proxy.a
      assert.same(before, proxy:stats_())
    end)
  end)

  describe("with_", function()
    it("changes nothing but the options", function()
      local view = proxy:with_ { timeout = 20, default = "none" }
      assert.equal(1, view:inc())
      assert.equal(1, view.count.__)
      view.colour = "red"
      assert.equal("red", proxy.colour.__)
      assert.equal(3, #view.list)
      assert.equal("sub", (view.sub:whoami()))
      assert.is_true(view:contains_ "sub")
    end)

    it("refuses what it does not know", function()
      assert.error_matches(function() proxy:with_ { defualt = 1 } end, "defualt")
      assert.error_matches(function() proxy:with_ { timeout = "soon" } end, "timeout")
      assert.error_matches(function() proxy:with_() end, "table expected")
      assert.error_matches(function() proxy:get_ { timeuot = 1 } end, "timeuot")
      assert.error_matches(function() remoteobj.get(proxy, { what = 1 }) end, "what")
      assert.error_matches(function() remoteobj.Proxy({}, { what = 1 }) end, "what")
    end)

    it("leaves the view it was made from alone", function()
      server:stop()
      local view = proxy.count
      local _ = view:with_ { default = 5 }
      assert.is_false(pcall(remoteobj.get, view))
      assert.equal(5, _.__)
    end)
  end)
end)

describe("calls as proxies", function()
  local object, eager, server

  before_each(function()
    object, eager = fixture.open(new_object(), { eager_proxy = true })
    server = fixture.serve()
  end)
  after_each(fixture.close)

  it("are not evaluated with eager_proxy", function()
    local call = eager:inc()
    assert.equal("userdata", type(call))
    assert.equal(0, eager:stats_().requests)
    assert.equal(0, eager.count.__)
    assert.equal(1, call.__)
  end)

  it("call again with each evaluation", function()
    local call = eager:inc(2)
    assert.equal(2, call.__)
    assert.equal(4, call:get_())
    assert.equal(6, remoteobj.get(call))
  end)

  it("can be chained on, in one request", function()
    assert.equal("sub", eager:chain():chain().sub.name.__)
    assert.equal(1, eager:stats_().requests)
    assert.equal(2, eager.count.__)
    assert.equal("sub", eager:chain().sub:whoami().__)
    assert.equal(3, #eager:chain().list)
  end)

  it("cover passto", function()
    local call = eager.list:passto(table.concat, "-")
    assert.equal("userdata", type(call))
    assert.equal(0, eager:stats_().requests)
    assert.equal("10-20-30", call.__)
    assert.equal("sub", eager:passto(function(o) return o.sub end).name.__)
  end)

  it("give all values when evaluated, the first when chained on", function()
    assert.equal(1, eager:several().__)
    assert.same(table.pack(1, nil, "three", nil), table.pack(eager:several():get_()))
    assert.same(table.pack(1, nil, "three", nil), table.pack(remoteobj.get(eager:several())))
    assert.equal("sub", eager.pair(eager.sub, 2).name.__)
  end)

  it("are evaluated at once where an option says so", function()
    assert.equal(1, eager:with_ { proxy = false }:inc())
    assert.equal(2, eager.sub:with_({ proxy = false }).parent():with_({ proxy = false }):inc())
  end)

  it("happen once for a plain proxy with the option proxy", function()
    server:stop()
    local _, plain = fixture.open(object)
    fixture.serve()
    local call = plain:with_ { proxy = true }:inc()
    assert.equal("userdata", type(call))
    assert.equal(0, plain:stats_().requests)
    assert.equal(1, call.__)
    assert.equal(3, plain:with_ { proxy = true }:chain():inc())
    assert.equal(4, plain:inc())
    local through = plain:with_ { proxy = true }.sub:whoami()
    assert.equal("userdata", type(through))
    assert.equal("sub", through.__)
  end)
end)

describe("in the listener's own process", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  for _, bg in ipairs { true, false } do
    it("values pass by reference, with bg = " .. tostring(bg), function()
      proxy:listen_ { bg = bg }
      assert.is_true(rawequal(object.list, proxy.list.__))
      local t = {}
      assert.is_true(rawequal(t, (proxy:echo(t))))
      proxy.t = t
      assert.is_true(rawequal(t, object.t))
      local co = coroutine.create(print)
      assert.equal(co, (proxy:echo(co)))
      assert.equal(io.stdout, (proxy:echo(io.stdout)))
      assert.equal(table.pack(1, nil, "three", nil).n, select("#", proxy:several()))
    end)

    it("no bytes move and nothing is counted, with bg = " .. tostring(bg), function()
      local before = proxy:stats_()
      proxy:listen_ { bg = bg }
      proxy:inc()
      proxy.x = 1
      assert.equal(0, #proxy)
      pcall(proxy.fails, proxy, "boom")
      for _ in pairs(proxy.list) do -- luacheck: ignore
      end
      local after = proxy:stats_()
      assert.is_true(after.listening)
      before.listening = true
      assert.same(before, after)
    end)
  end

  it("errors pass by reference", function()
    proxy:listen_()
    local err = setmetatable({}, { __tostring = function() return "custom" end })
    local ok, caught = pcall(proxy.fails, proxy, err)
    assert.is_false(ok)
    assert.is_true(rawequal(err, caught))
    assert.same({ false, "text" }, { pcall(proxy.fails, proxy, "text") })
    assert.same(table.pack(false, nil), table.pack(pcall(proxy.fails, proxy, nil)))
  end)

  it("a call that returns the object gives the root proxy", function()
    proxy:listen_()
    assert.equal(proxy, proxy:chain())
    assert.equal(proxy, proxy:chain():chain())
    assert.equal(3, object.count)
    assert.equal(proxy, proxy.__)
  end)

  it("views as arguments stand for the object's values", function()
    proxy:listen_()
    assert.is_true(proxy:is_list(proxy.list))
    assert.same({ true, true }, { proxy:is_self(proxy) })
  end)

  it("a direct argument keeps its identity when no view is inside", function()
    proxy:listen_()
    local t = { 1, { 2 } }
    local back = proxy:echo(t)
    assert.is_true(rawequal(t, back))
  end)

  it("pairs, super, names and calls as proxies work alike", function()
    setmetatable(object, setmetatable({ f = function() return "own" end }, { __index = { f = function(self)
      return rawequal(self, object) and "parent"
    end } }))
    getmetatable(object).__index = getmetatable(object)
    proxy:listen_()
    local keys = {}
    for key, value in pairs(proxy.list) do
      keys[key] = value
    end
    assert.same(object.list, keys)
    local list = {}
    for i, value in proxy.list:ipairs_() do
      list[i] = value
    end
    assert.same(object.list, list)
    assert.equal("own", proxy:f())
    assert.equal("parent", proxy.super:f())
    local call = proxy:with_ { proxy = true }:inc()
    assert.equal(0, object.count)
    assert.equal(1, call.__)
    assert.is_true(proxy:contains_ "sub")
    assert.equal("found", proxy:attrs_("sub.deep.er.value").__)
    assert.is_false(pcall(function() return proxy._x end))
  end)

  it("a request may use the proxy itself", function()
    function object.twice(self)
      proxy:inc()
      return proxy:inc(), proxy.count.__, rawequal(self, object)
    end
    local server = processes.serve(proxy)
    assert.same({ 2, 2, true }, { proxy:twice() })
    server:stop()
  end)

  it("nobody listens before listen_ and after stop_listen_", function()
    local ok, err = pcall(proxy.inc, proxy)
    assert.is_false(ok)
    assert.equal("NotListening", err.kind)
    proxy:listen_()
    assert.equal(1, proxy:inc())
    proxy:stop_listen_()
    ok, err = pcall(proxy.inc, proxy)
    assert.is_false(ok)
    assert.equal("NotListening", err.kind)
  end)
end)
