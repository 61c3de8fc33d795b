-- Failures to get an answer: defaults, kinds of errors, deadlines.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local function new_object()
  local object = { count = 0, naps = 0, sub = {}, list = {} }
  function object.inc(self)
    self.count = self.count + 1
    return self.count
  end
  function object.echo(_, ...) return ... end
  function object.fails(_, err) error(err, 0) end
  function object.sleep(self, seconds)
    self.naps = self.naps + 1
    remoteobj.sleep(seconds)
    return "slept"
  end
  return object
end

describe("without an answer", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

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

  it("large arguments are shown by their beginning, which costs no more than that", function()
    local large = ("x"):rep(16 << 20)
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    local kind, err = kind_of(proxy.echo, proxy, large)
    local after = collectgarbage "count"
    collectgarbage "restart"
    assert.equal("NotListening", kind)
    assert.matches('echo%("xxx*%.%.%."%)$', err.message)
    assert.is_true(after - before < 1024, after - before)
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

  it("the same in the middle of a series of calls", function()
    for round = 1, 10 do
      local server = processes.serve(proxy)
      for _ = 1, 50 * round do
        proxy:inc()
      end
      server:kill()
      assert.equal("NotListening", (kind_of(proxy.inc, proxy)))
    end
  end)

  it("work that the listener had not read when it was killed was not run", function()
    local server = processes.serve(proxy)
    processes.suspend(server.pid)
    local client = processes.fork(function(link)
      link:send(true)
      local kind, err = kind_of(proxy.echo, proxy, ("x"):rep(10000))
      link:send(kind, err.may_have_run)
    end)
    client:receive()
    processes.wait_asleep(client.pid)
    server:kill()
    local kind, may_have_run = client:receive()
    assert.is_true(kind == "Disconnected" and not may_have_run or kind == "NotListening", kind)
    client:result()
  end)

  --- A listener that tells when it has begun to execute, and then goes on for long.
  local function serve_stuck(body)
    return processes.serve(proxy, nil, nil, function(link)
      function object.stuck()
        link:send("executing", body(link))
        remoteobj.sleep(100)
      end
    end)
  end

  for name, how in pairs {
    ["is killed"] = 9,
    ["is terminated"] = 15,
    ["crashes"] = 11,
  } do
    it("because the listener " .. name .. " meanwhile, Disconnected comes", function()
      local server = serve_stuck(function() end)
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
    local server = serve_stuck(function() end)
    local client = processes.fork(function() return proxy:with_ { default = "d" }:stuck() end)
    assert.equal("executing", server:receive())
    server:kill()
    assert.equal("d", client:result())
  end)

  it("other processes with copies of the descriptors delay nothing", function()
    local server = serve_stuck(function()
      local pids = {}
      for i = 1, 3 do
        pids[i] = unistd.fork()
        if pids[i] == 0 then
          unistd.sleep(20)
          unistd._exit(0)
        end
      end
      return pids
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
      signal.kill(pid, 9)
    end
    assert.equal("Disconnected", kind)
    assert.is_true(told_at - killed_at < 1, "told after " .. told_at - killed_at)
    bystander:stop()
    client:result()
  end)

  it("the call that ends the listener is told, too", function()
    function object.leave(_, code) unistd._exit(code) end
    processes.serve(proxy)
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
    repeat -- until it was begun in time
      assert.equal("Timeout", (kind_of(function() return proxy:with_ { timeout = 0.05 }:sleep(0.3) end)))
    until proxy.naps.__ > 0
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
