-- Every form of a proxy, against a listener in another process.
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local wait = require "spec.support.wait"

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
    wait.guard()
    object = new_object()
    proxy = remoteobj.Proxy(object)
    server = processes.serve(proxy)
  end)

  after_each(function()
    server:stop()
    processes.cleanup()
    wait.unguard()
  end)

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
      remoteobj.get(proxy:passto(function(o) o.loop = o end))
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
      assert.equal("found", proxy:with_ { proxy = true }:chain().sub:passto(function(s) return s.deep end).er.value.__)
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
      server = processes.serve(proxy, function(link)
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
    assert.equal("<Remote " .. shown .. ' : (?["two words"]["end"])>', tostring(proxy["two words"]["end"]))
    assert.equal("<Remote " .. shown .. " : (?.super.f)>", tostring(proxy.super.f))
    local eager = remoteobj.Proxy(object, { eager_proxy = true })
    assert.equal("<Remote " .. shown .. ' : (?.a[1]("x"))>', tostring(eager.a[1]("x")))
    assert.equal("<Remote " .. shown .. ' : (?.a:m(1, nil, true):n())>', tostring(eager.a:m(1, nil, true):n()))
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
    wait.guard()
    object = new_object()
    eager = remoteobj.Proxy(object, { eager_proxy = true })
    server = processes.serve(eager)
  end)

  after_each(function()
    server:stop()
    processes.cleanup()
    wait.unguard()
  end)

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
    local plain = remoteobj.Proxy(object)
    server = processes.serve(plain)
    local call = plain:with_ { proxy = true }:inc()
    assert.equal("userdata", type(call))
    assert.equal(0, plain:stats_().requests)
    assert.equal(1, call.__)
    assert.equal(2, plain:with_ { proxy = true }:chain():inc())
    assert.equal(3, plain:inc())
    local through = plain:with_ { proxy = true }.sub:whoami()
    assert.equal("userdata", type(through))
    assert.equal("sub", through.__)
  end)
end)

describe("in the listener's own process", function()
  local object, proxy, handle

  before_each(function()
    wait.guard()
    object = new_object()
    proxy = remoteobj.Proxy(object)
  end)

  after_each(function()
    if handle then
      proxy:stop_listen_()
      handle = nil
    end
    processes.cleanup()
    wait.unguard()
  end)

  for _, bg in ipairs { true, false } do
    it("values pass by reference, with bg = " .. tostring(bg), function()
      handle = proxy:listen_ { bg = bg }
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
      handle = proxy:listen_ { bg = bg }
      proxy:inc()
      proxy.x = 1
      assert.equal(0, #proxy)
      pcall(proxy.fails, proxy, "boom")
      for _ in pairs(proxy.list) do -- luacheck: ignore
      end
      assert.same(before, proxy:stats_())
    end)
  end

  it("errors pass by reference", function()
    handle = proxy:listen_()
    local err = setmetatable({}, { __tostring = function() return "custom" end })
    local ok, caught = pcall(proxy.fails, proxy, err)
    assert.is_false(ok)
    assert.is_true(rawequal(err, caught))
    assert.same({ false, "text" }, { pcall(proxy.fails, proxy, "text") })
    assert.same(table.pack(false, nil), table.pack(pcall(proxy.fails, proxy, nil)))
  end)

  it("a call that returns the object gives the root proxy", function()
    handle = proxy:listen_()
    assert.equal(proxy, proxy:chain())
    assert.equal(proxy, proxy:chain():chain())
    assert.equal(3, object.count)
    assert.equal(proxy, proxy.__)
  end)

  it("views as arguments stand for the object's values", function()
    handle = proxy:listen_()
    assert.is_true(proxy:is_list(proxy.list))
    assert.same({ true, true }, { proxy:is_self(proxy) })
  end)

  it("a direct argument keeps its identity when no view is inside", function()
    handle = proxy:listen_()
    local t = { 1, { 2 } }
    local back = proxy:echo(t)
    assert.is_true(rawequal(t, back))
  end)

  it("pairs, super, names and calls as proxies work alike", function()
    setmetatable(object, setmetatable({ f = function() return "own" end }, { __index = { f = function(self)
      return rawequal(self, object) and "parent"
    end } }))
    getmetatable(object).__index = getmetatable(object)
    handle = proxy:listen_()
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
    handle = proxy:listen_()
    assert.equal(1, proxy:inc())
    proxy:stop_listen_()
    ok, err = pcall(proxy.inc, proxy)
    assert.is_false(ok)
    assert.equal("NotListening", err.kind)
  end)
end)

describe("without an answer", function()
  local object, proxy

  before_each(function()
    wait.guard()
    object = new_object()
    function object.sleep(_, seconds)
      remoteobj.sleep(seconds)
      return "slept"
    end
    proxy = remoteobj.Proxy(object)
  end)

  after_each(function()
    processes.cleanup()
    wait.unguard()
  end)

  local function kind_of(func, ...)
    local ok, err = pcall(func, ...)
    assert.is_false(ok)
    assert.equal(remoteobj.Error, getmetatable(err))
    assert.equal("string", type(err.message))
    assert.equal(err.message, tostring(err))
    return err.kind, err
  end

  it("because nobody listens, every operation raises NotListening", function()
    for _, operation in ipairs {
      function() return proxy.count.__ end,
      function() return proxy:inc() end,
      function() return proxy.inc() end,
      function() return #proxy end,
      function() return proxy:contains_ "x" end,
      function() return proxy:passto(print) end,
      function() proxy.x = 1 end,
      function() proxy:set_("x", 1) end,
      function() proxy:del_ "x" end,
      function() for _ in pairs(proxy) do error "an entry" end end,
      function() for _ in proxy:ipairs_() do error "an entry" end end,
      function() return proxy.super:f() end,
    } do
      assert.equal("NotListening", (kind_of(operation)))
    end
    assert.equal(0, proxy:stats_().requests)
  end)

  it("default takes its place in an evaluation, a view or a proxy", function()
    assert.equal("d", proxy.count:get_ { default = "d" })
    assert.equal("d", remoteobj.get(proxy.count, { default = "d" }))
    assert.is_false(proxy.count:get_ { default = false })
    local t = {}
    assert.is_true(rawequal(t, proxy.count:get_ { default = t }))
    local view = proxy:with_ { default = "v" }
    assert.equal("v", view:inc())
    assert.equal("v", view.sub.deep.__)
    assert.equal("v", #view.list)
    assert.equal("v", view:contains_ "x")
    assert.equal("v", view:passto(tostring))
    assert.equal("v", view.super:f())
    local whole = remoteobj.Proxy(object, { default = "p" })
    assert.equal("p", whole:inc())
    assert.equal("p", whole.sub.deep.__)
    assert.equal("p", whole:passto(tostring))
  end)

  it("the nearest default is taken", function()
    local whole = remoteobj.Proxy(object, { default = "p" })
    assert.equal("v", whole:with_ { default = "v" }:inc())
    assert.equal("w", whole:with_({ default = "v" }):with_({ default = "w" }).count.__)
    assert.equal("d", whole:with_({ default = "v" }).count:get_ { default = "d" })
    assert.equal("v", whole:with_({ default = "v" }).count:get_ { timeout = 1 })
    assert.equal("v", whole:with_({ default = "v" }):with_({ timeout = 1 }).count.__)
    assert.is_false(whole:with_({ default = false }).count.__)
    assert.is_false(whole.count:get_ { default = false })
  end)

  it("a function gives the default when it is needed", function()
    local calls = 0
    local function lazy(...)
      calls = calls + 1
      assert(select("#", ...) == 0)
      return "lazy"
    end
    assert.equal("lazy", proxy.count:get_ { default = lazy })
    assert.equal("lazy", proxy:with_ { default = lazy }:inc())
    assert.equal("lazy", remoteobj.Proxy(object, { default = lazy }):inc())
    assert.equal(3, calls)
    assert.is_nil((proxy.count:get_ { default = function() end }))
    assert.error_matches(function()
      proxy.count:get_ { default = function() error("no default", 0) end }
    end, "no default")
    local server = processes.serve(proxy)
    assert.equal(0, proxy.count:get_ { default = lazy })
    assert.equal(3, calls)
    server:stop()
  end)

  it("a table that can be called is a value", function()
    local callable = setmetatable({}, { __call = function() error "called" end })
    assert.is_true(rawequal(callable, proxy.count:get_ { default = callable }))
  end)

  it("the proxy's default does not cover assignments and deletions, the view's does", function()
    local whole = remoteobj.Proxy(object, { default = "p" })
    assert.equal("NotListening", (kind_of(function() whole.x = 1 end)))
    assert.equal("NotListening", (kind_of(function() whole.x = nil end)))
    assert.equal("NotListening", (kind_of(function() whole.sub.x = 1 end)))
    assert.equal("NotListening", (kind_of(whole.set_, whole, "x", 1)))
    assert.equal("NotListening", (kind_of(whole.del_, whole, "x")))
    local view = whole:with_ { default = "v" }
    view.x = 1
    view.sub.x = nil
    view:set_("x", 1)
    view:del_ "x"
  end)

  it("default does not apply to pairs", function()
    local view = remoteobj.Proxy(object, { default = "p" }):with_ { default = "v" }
    assert.equal("NotListening", (kind_of(function() for _ in pairs(view) do error "an entry" end end)))
    assert.equal("NotListening", (kind_of(function() for _ in view:ipairs_() do error "an entry" end end)))
  end)

  it("default never hides an error of the operation", function()
    local server = processes.serve(proxy)
    local view = proxy:with_ { default = "v" }
    local ok, err = pcall(view.fails, view, "boom")
    assert.is_false(ok)
    assert.matches("boom", tostring(err))
    assert.is_false(pcall(function() return view.missing.x.__ end))
    assert.is_false(pcall(function() return proxy.missing.x:get_ { default = 1 } end))
    local whole_ok = pcall(function() return view:with_({ default = "w" }):missing() end)
    assert.is_false(whole_ok)
    local again
    ok, again = pcall(view.fails, view, { kind = "Timeout" })
    assert.is_false(ok)
    assert.equal("Timeout", again.kind)
    server:stop()
  end)

  it("default does not hide an argument that cannot be sent", function()
    local server = processes.serve(proxy)
    assert.equal("Unsendable", (kind_of(proxy:with_({ default = 1 }).echo, proxy, coroutine.create(print))))
    server:stop()
  end)

  it("because the listener has closed, NotListening comes", function()
    local server = processes.serve(proxy)
    assert.equal(1, proxy:inc())
    server:stop()
    assert.equal("NotListening", (kind_of(proxy.inc, proxy)))
    assert.equal("d", proxy:with_ { default = "d" }:inc())
  end)

  it("because the listener was dead before, NotListening comes", function()
    local server = processes.serve(proxy)
    assert.equal(1, proxy:inc())
    server:kill()
    assert.equal("NotListening", (kind_of(proxy.inc, proxy)))
    assert.is_false(proxy.listening_)
  end)

  --- A listener that tells when it has begun to execute, and then goes on for long.
  local function serve_stuck(body)
    return processes.serve(proxy, function(link)
      function object.stuck()
        link:send "executing"
        body()
      end
      link:receive()
    end)
  end

  for name, how in pairs {
    ["is killed"] = 9,
    ["is terminated"] = 15,
    ["crashes"] = 11,
  } do
    it("because the listener " .. name .. " meanwhile, Disconnected comes", function()
      local server = serve_stuck(function() remoteobj.sleep(100) end)
      local client = processes.fork(function(link)
        local kind, err = kind_of(proxy.stuck, proxy)
        link:send(kind, err.may_have_run, wait.now())
        return proxy:with_({ default = "d" }):inc(), proxy.listening_
      end)
      assert.equal("executing", server:receive())
      local killed_at = wait.now()
      server:kill(how)
      local kind, may_have_run, told_at = client:receive()
      assert.equal("Disconnected", kind)
      assert.is_true(may_have_run)
      assert.is_true(told_at - killed_at < 1, "told after " .. told_at - killed_at)
      assert.same({ "d", false }, { client:result() })
    end)
  end

  it("the default takes the place of Disconnected", function()
    local server = serve_stuck(function() remoteobj.sleep(100) end)
    local client = processes.fork(function() return proxy:with_ { default = "d" }:stuck() end)
    assert.equal("executing", server:receive())
    server:kill()
    assert.equal("d", client:result())
  end)

  it("other processes with copies of the descriptors delay nothing", function()
    local server = processes.serve(proxy, function(link)
      local unistd = require "posix.unistd"
      local pids = {}
      function object.stuck()
        for i = 1, 3 do
          pids[i] = unistd.fork()
          if pids[i] == 0 then
            unistd.sleep(20)
            unistd._exit(0)
          end
        end
        link:send("executing", pids)
        remoteobj.sleep(100)
      end
      link:receive()
    end)
    local client = processes.fork(function(link)
      local kind = kind_of(proxy.stuck, proxy)
      link:send(kind, wait.now())
    end)
    local bystander = processes.fork(function(link) link:receive() end)
    local _, pids = server:receive()
    local killed_at = wait.now()
    server:kill()
    local kind, told_at = client:receive()
    for _, pid in ipairs(pids) do
      require("posix.signal").kill(pid, 9)
    end
    assert.equal("Disconnected", kind)
    assert.is_true(told_at - killed_at < 1, "told after " .. told_at - killed_at)
    bystander:stop()
    client:result()
  end)

  it("the call that ends the listener is told, too", function()
    processes.serve(proxy, function(link)
      function object.leave(_, code) require("posix.unistd")._exit(code) end
      link:receive()
    end)
    local kind, err = kind_of(proxy.leave, proxy, 3)
    assert.equal("Disconnected", kind)
    assert.is_true(err.may_have_run)
  end)

  it("because the time has passed, Timeout comes", function()
    local server = processes.serve(proxy)
    for _, slow in ipairs {
      function() return proxy:with_ { timeout = 0.05 }:sleep(1) end,
      function() return proxy:with_({ proxy = true }):sleep(1):get_ { timeout = 0.05 } end,
      function() return remoteobj.get(proxy:with_({ proxy = true }):sleep(1), { timeout = 0.05 }) end,
    } do
      local start = wait.now()
      local kind, err = kind_of(slow)
      assert.equal("Timeout", kind)
      assert.is_true(err.may_have_run)
      assert.is_true(wait.now() - start >= 0.045)
      assert.is_true(wait.now() - start < 0.95)
    end
    assert.equal("d", proxy:with_ { timeout = 0.05, default = "d" }:sleep(1))
    assert.equal("slept", proxy:with_ { timeout = 20 }:sleep(0.05))
    server:stop()
  end)

  it("the proxy's timeout holds unless a view or an evaluation has its own", function()
    proxy = remoteobj.Proxy(object, { timeout = 0.05 })
    local server = processes.serve(proxy)
    assert.equal("Timeout", (kind_of(proxy.sleep, proxy, 1)))
    assert.equal("slept", proxy:with_ { timeout = 20 }:sleep(0.2))
    assert.equal("slept", proxy:with_({ proxy = true }):sleep(0.2):get_ { timeout = 20 })
    assert.equal(0, proxy.count.__)
    server:stop()
  end)

  it("late answers are dropped, counted, and never taken for another's", function()
    local server = processes.serve(proxy)
    assert.equal("Timeout", (kind_of(function() return proxy:with_ { timeout = 0.05 }:sleep(0.3) end)))
    assert.equal("echo", (proxy:echo "echo"))
    for i = 1, 20 do
      assert.equal(i, (proxy:echo(i)))
    end
    wait.until_true(function()
      proxy:inc()
      return proxy:stats_().late_replies == 1
    end, "the late reply")
    assert.equal(1, proxy:stats_().late_replies)
    server:stop()
  end)

  it("work that expired in the queue is not executed", function()
    local server = processes.serve(proxy, function(link)
      link:receive()
      proxy:process_requests()
      link:send(object.count, proxy:stats_().served)
      while proxy:stats_().served == 0 do
        proxy:poll(wait.LIMIT)
      end
    end, { bg = false })
    local kind, err = kind_of(function() return proxy:with_ { timeout = 0.05 }:inc() end)
    assert.equal("Timeout", kind)
    assert.equal("boolean", type(err.may_have_run))
    server:send "serve"
    assert.same({ 0, 0 }, { server:receive() })
    assert.equal(1, proxy:inc())
    server:result()
  end)

  it("a timeout of zero or less gives nobody an answer", function()
    local server = processes.serve(proxy, nil, { bg = false })
    assert.equal("Timeout", (kind_of(function() return proxy:with_ { timeout = 0 }:inc() end)))
    server:stop()
  end)

  it("a deadline covers the whole wait, also for a queue that others fill", function()
    local server = processes.serve(proxy)
    local slow = processes.fork(function(link)
      link:send "begin"
      return proxy:sleep(0.5)
    end)
    slow:receive()
    local start = wait.now()
    assert.equal("Timeout", (kind_of(function() return proxy:with_ { timeout = 0.1 }:sleep(5) end)))
    assert.is_true(wait.now() - start < 3)
    assert.equal("slept", slow:result())
    server:kill()
  end)
end)

describe("pairs over a remote table", function()
  local object, proxy, server

  before_each(function()
    wait.guard()
    object = { list = {}, map = {}, sub = { a = 1, b = 2 } }
    proxy = remoteobj.Proxy(object)
  end)

  after_each(function()
    if server then
      server:stop()
      server = nil
    end
    processes.cleanup()
    wait.unguard()
  end)

  local function collect(iterator, state, control, closing)
    local entries, count = {}, 0
    for key, value in iterator, state, control, closing do
      assert(entries[key] == nil, "twice")
      entries[key], count = value, count + 1
    end
    return entries, count
  end

  it("sees every entry once", function()
    object.map = { 1, 2, 3, x = "y", [true] = false, [2.5] = { nested = { 1 } } }
    server = processes.serve(proxy)
    local entries, count = collect(pairs(proxy.map))
    assert.equal(6, count)
    assert.same(object.map, entries)
    assert.equal(0, select(2, collect(pairs(proxy.list))))
  end)

  it("ipairs_ goes from 1 up to the first nil", function()
    object.list = { "a", "b", "c", nil, "e" }
    object.list.x = 1
    server = processes.serve(proxy)
    local order = {}
    for i, value in proxy.list:ipairs_() do
      order[#order + 1] = i .. value
    end
    assert.same({ "1a", "2b", "3c" }, order)
    for _ in proxy.map:ipairs_() do
      error "an entry"
    end
  end)

  it("of the object itself goes over the object", function()
    server = processes.serve(proxy)
    local entries = collect(pairs(proxy))
    assert.same({ list = {}, map = {}, sub = { a = 1, b = 2 } }, entries)
  end)

  it("honours the object's own __pairs", function()
    setmetatable(object.map, {
      __pairs = function(t)
        local n = 0
        return function()
          n = n + 1
          if n <= 3 then
            return "key" .. n, t.factor * n
          end
        end, t, nil
      end,
    })
    object.map.factor = 10
    server = processes.serve(proxy)
    assert.same({ key1 = 10, key2 = 20, key3 = 30 }, (collect(pairs(proxy.map))))
  end)

  it("goes through hundreds of thousands of entries, in bounded chunks", function()
    for i = 1, 200000 do
      object.list[i] = i
    end
    for i = 1, 20000 do
      object.map["key" .. i] = i
    end
    local ceiling = remoteobj.limits.frame
    remoteobj.limits.frame = 256 * 1024
    finally(function() remoteobj.limits.frame = ceiling end)
    server = processes.serve(proxy)
    assert.is_false(pcall(remoteobj.get, proxy.list))
    local before = proxy:stats_().requests
    local sum, count = 0, 0
    for key, value in pairs(proxy.list) do
      assert(key == value)
      sum, count = sum + value, count + 1
    end
    assert.equal(200000, count)
    assert.equal(200000 * 200001 // 2, sum)
    assert.is_true(proxy:stats_().requests - before < 20000)
    local expected = 1
    for i, value in proxy.list:ipairs_() do
      assert(i == expected and value == i)
      expected = expected + 1
    end
    assert.equal(200001, expected)
    local entries
    entries, count = collect(pairs(proxy.map))
    assert.equal(20000, count)
    assert.equal(777, entries.key777)
  end)

  it("fetches large values in bounded chunks, too", function()
    for i = 1, 64 do
      object.map["key" .. i] = ("x"):rep(100000)
    end
    local ceiling = remoteobj.limits.frame
    remoteobj.limits.frame = 1024 * 1024
    finally(function() remoteobj.limits.frame = ceiling end)
    server = processes.serve(proxy)
    local _, count = collect(pairs(proxy.map))
    assert.equal(64, count)
  end)

  it("can be left early", function()
    for i = 1, 50000 do
      object.list[i] = i
    end
    server = processes.serve(proxy)
    for _ = 1, 50 do
      for key in pairs(proxy.list) do
        if key == 10 then
          break
        end
      end
      for key in proxy.list:ipairs_() do
        if key == 3 then
          break
        end
      end
    end
    assert.equal(50000, #proxy.list)
    assert.is_true(proxy:stats_().bytes_received < 50 * 50000)
  end)

  it("survives entries that are added, changed and removed meanwhile", function()
    for i = 1, 20000 do
      object.map["stays" .. i] = i
      object.map["goes" .. i] = i
    end
    function object.disturb(self, round)
      for i = 1, 200 do
        self.map["goes" .. (round * 200 + i)] = nil
        self.map["comes" .. round .. "/" .. i] = i
      end
      if round % 10 == 0 then
        collectgarbage()
      end
    end
    server = processes.serve(proxy)
    local seen, stayed, round = {}, 0, 0
    for key in pairs(proxy.map) do
      assert(not seen[key], "twice")
      seen[key] = true
      if key:match "^stays" then
        stayed = stayed + 1
      end
      if stayed % 500 == 1 and round < 100 then
        proxy:disturb(round)
        round = round + 1
      end
    end
    assert.equal(20000, stayed)
    assert.is_true(round > 30)
    for i = 1, 20000 do
      assert(seen["stays" .. i])
    end
  end)

  it("survives the removal of every entry", function()
    for i = 1, 20000 do
      object.map["key" .. i] = i
    end
    function object.clear(self)
      for key in pairs(self.map) do
        self.map[key] = nil
      end
      self.map.other = true
      collectgarbage()
    end
    server = processes.serve(proxy)
    local count = 0
    for _ in pairs(proxy.map) do
      count = count + 1
      if count == 10 then
        proxy:clear()
      end
    end
    assert.is_true(count >= 10 and count <= 20001)
  end)

  it("can run several times at once, and inside itself", function()
    for i = 1, 3000 do
      object.list[i] = i
    end
    server = processes.serve(proxy)
    local outer, inner = 0, 0
    for _ in pairs(proxy.list) do
      outer = outer + 1
      if outer % 1000 == 0 then
        for _ in pairs(proxy.list) do
          inner = inner + 1
        end
      end
    end
    assert.same({ 3000, 9000 }, { outer, inner })
  end)

  it("raises when the listener goes away meanwhile", function()
    for i = 1, 100000 do
      object.list[i] = i
    end
    server = processes.serve(proxy)
    local count = 0
    local ok, err = pcall(function()
      for _ in pairs(proxy:with_({ default = 1 }).list) do
        count = count + 1
        if count == 10 then
          server:kill()
        end
      end
    end)
    assert.is_false(ok)
    assert.is_true(err.kind == "NotListening" or err.kind == "Disconnected", tostring(err))
    assert.is_true(count < 100000)
  end)

  it("raises the errors of the operation and of values that cannot be sent", function()
    object.bad = { a = coroutine.create(print) }
    object.breaks = setmetatable({}, { __pairs = function() error("no pairs here", 0) end })
    server = processes.serve(proxy)
    assert.error_matches(function() for _ in pairs(proxy.missing) do error "an entry" end end, "nil")
    assert.error_matches(function() for _ in pairs(proxy.breaks) do error "an entry" end end, "no pairs here")
    local ok, err = pcall(function() for _ in pairs(proxy.bad) do error "an entry" end end)
    assert.is_false(ok)
    assert.equal("Unsendable", err.kind)
  end)

  it("gives the object as the root proxy", function()
    object.sub.me = object
    server = processes.serve(proxy)
    assert.equal(proxy, collect(pairs(proxy.sub)).me)
  end)
end)
