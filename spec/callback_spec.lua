-- Callbacks: functions of the client that the listener calls during a call.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local wait = require "spec.support.wait"

local callback = remoteobj.callback
local LARGE = 8 * 1024 * 1024

local function new_object()
  local object = { log = {} }
  function object:each(list, func)
    for i, item in ipairs(list) do
      self.log[i] = func(item)
    end
    return #list
  end
  function object.sort(_, list, less)
    table.sort(list, less)
    return list
  end
  function object.call(_, func, ...) return func(...) end
  function object.try(_, func, ...)
    local ok, err = pcall(func, ...)
    return ok, ok or err.kind or tostring(err), remoteobj.traceback(err)
  end
  function object:keep(func)
    self.kept = func
    return type(func)
  end
  function object:down(n, func)
    if n == 0 then
      return "the listener"
    end
    return func(n - 1, self)
  end
  function object.echo(_, ...) return ... end
  -- What becomes of a call that the client does not live to answer, or waits for no more.
  function object:witness(func, ...)
    local ok, err = pcall(func, ...)
    self.outcome = { ok = ok, kind = type(err) == "table" and err.kind or nil, text = tostring(err) }
    return "answered"
  end
  function object.nap(_, seconds) remoteobj.sleep(seconds) end
  return object
end

-- What serves in the foreground.
local function poll_until_told(proxy)
  return function(link)
    while remoteobj.poll({ [link.input] = { events = { IN = true } } }, 0) == 0 do
      proxy:poll(0.02)
    end
    link:receive()
  end
end

describe("a callback", function()
  local proxy

  before_each(function()
    proxy = select(2, fixture.open(new_object()))
  end)
  after_each(fixture.close)

  it("refuses what can't be called", function()
    for _, value in ipairs { 1, "x", {}, true } do
      assert.error_matches(function() callback(value) end,
        "bad argument #1 to '[%w.]*callback' %(function expected, got ")
    end
    assert.is_false(pcall(callback))
    assert.equal(3, callback(setmetatable({}, { __call = function(_, a, b) return a + b end }))(1, 2))
  end)

  -- How the listener serves must make no difference.
  local ways = {
    ["in the background"] = { {} },
    ["in the background, without preemption"] = { { preempt = false } },
    ["in the foreground"] = { { bg = false }, poll_until_told },
  }
  for way, how in pairs(ways) do
    describe("of a listener " .. way, function()
      before_each(function()
        fixture.serve(how[2] and how[2](proxy), how[1])
      end)

      it("is called here, and gives its results there", function()
        local seen = {}
        local count = proxy:each({ "a", "b", "c" }, callback(function(item)
          seen[#seen + 1] = item
          return item .. "!"
        end))
        assert.equal(3, count)
        assert.same({ "a", "b", "c" }, seen)
        assert.same({ "a!", "b!", "c!" }, proxy.log.__)
        assert.same({ 3, 2, 1 }, proxy:sort({ 2, 3, 1 }, callback(function(a, b) return a > b end)))
      end)

      it("takes and gives any number of values, also none and nil", function()
        local given
        local results = table.pack(proxy:call(callback(function(...)
          given = table.pack(...)
          return nil, false, { 1, { 2 } }, nil
        end), nil, "x", nil))
        assert.same({ n = 3, nil, "x", nil }, given)
        assert.same({ n = 4, nil, false, { 1, { 2 } }, nil }, results)
        assert.equal(0, select("#", proxy:call(callback(function() end))))
      end)

      it("may stand anywhere in an argument, and is a function there", function()
        assert.equal("function", proxy:keep(callback(print)))
        assert.equal(5, proxy:passto(function(_, t) return t.deep[1].add(2, 3) end,
          { deep = { { add = callback(function(a, b) return a + b end) } } }))
        local add = callback(function(a, b) return a + b end)
        assert.equal(9, proxy:passto(function() return add(4, 5) end))
        assert.is_true(proxy:passto(function(_, f, g) return f == g.f end, add, { f = add }))
      end)

      it("is passed the proxy for the object, and gives the object for it", function()
        assert.is_true(proxy:passto(function(o, func)
          return func(o, { o }) == o
        end, callback(function(o, t)
          assert.equal(proxy, o)
          assert.equal(proxy, t[1])
          return o
        end)))
        local list = proxy.log:ref_()
        assert.is_true(proxy:passto(function(o, func) return rawequal(func(), o.log) end, callback(function()
          return list
        end)))
      end)

      it("may use the proxy meanwhile", function()
        assert.equal("abc", proxy:call(callback(function(x)
          return proxy:echo(x) .. proxy:call(callback(function(y) return y .. proxy:echo "c" end), "b")
        end), "a"))
      end)

      it("recurses to depth 100 and back", function()
        local deepest
        local function down(n)
          deepest = n
          if n == 0 then
            return "here"
          end
          return proxy:down(n, callback(down))
        end
        assert.equal("here", down(100))
        assert.equal(0, deepest)
      end)

      it("passes errors, with the tracebacks of both sides", function()
        local function at_the_bottom() error("stuck", 0) end
        local ok, err = pcall(proxy.call, proxy, callback(function() at_the_bottom() end))
        assert.is_false(ok)
        assert.equal("stuck", err.message)
        local trace = remoteobj.traceback(err)
        assert.matches("^stack traceback:.*at_the_bottom.*called by process .* %(%d+%):.*callback_spec.lua:%d+", trace)
        local problem = setmetatable({ code = 7 }, nil)
        ok, err = pcall(proxy.call, proxy, callback(function() error(problem) end))
        assert.is_false(ok)
        assert.equal(7, err.code)
        assert.is_string(remoteobj.traceback(err))
        local caught, message = proxy:try(callback(function() error("caught there", 0) end))
        assert.same({ false, "caught there" }, { caught, message:match "^[^\n]*" })
      end)

      it("passes errors through a hundred levels, with a traceback of each", function()
        local function down(n)
          if n == 0 then
            error("at the bottom", 0)
          end
          return proxy:down(n, callback(down))
        end
        local ok, err = pcall(down, 100)
        assert.is_false(ok)
        assert.equal("at the bottom", err.message)
        local _, levels = remoteobj.traceback(err):gsub("called by process", "")
        assert.equal(199, levels) -- all but the innermost
      end)

      it("that can't send says so there", function()
        local ok, kind = proxy:try(callback(function() return { 1, io.stdout } end))
        assert.same({ false, "Unsendable" }, { ok, kind })
        ok, kind = pcall(proxy.passto, proxy, function(_, func) return func(1, { coroutine.create(print) }) end,
          callback(print))
        assert.is_false(ok)
        assert.matches("cannot send argument 2%[1%]: thread", kind.message)
        assert.is_true(proxy:try(callback(function() return 1 end)))
      end)

      it("can't be called once the call is answered", function()
        proxy:keep(callback(print))
        local ok, err = pcall(proxy.kept, 1)
        assert.is_false(ok)
        assert.matches("attempt to call a callback after the call that it came with was answered", tostring(err))
      end)

      it("carries more than a pipe holds, both ways", function()
        local large = ("x"):rep(LARGE)
        local result = proxy:call(callback(function(s)
          assert(s == large)
          return s .. "y"
        end), large)
        assert.equal(LARGE + 1, #result)
      end)

      it("runs on a coroutine of its own", function()
        local outer = coroutine.running()
        assert.is_false(proxy:call(callback(function()
          return coroutine.running() == outer or coroutine.isyieldable()
        end)))
        local ok, err = pcall(proxy.call, proxy, callback(function() coroutine.yield(1) end))
        assert.is_false(ok)
        assert.matches("attempt to yield", err.message)
        local co = coroutine.wrap(function()
          local value = proxy:call(callback(function() return "inside" end))
          coroutine.yield(value)
        end)
        assert.equal("inside", co())
      end)

      it("lets other clients in while it runs", function()
        local other = processes.fork(function(link)
          link:receive()
          link:send(proxy:echo "other")
        end)
        assert.equal("other", proxy:call(callback(function()
          other:send()
          return (other:receive())
        end)))
      end)

      it("whose client is killed is an error there", function()
        local client = processes.fork(function(link)
          proxy:witness(callback(function()
            link:send "called"
            link:receive()
          end))
        end)
        client:receive()
        client:kill()
        wait.until_true(function() return proxy.outcome:get_() end, "the call to end")
        assert.equal("Disconnected", proxy.outcome.kind.__)
        assert.equal("the client of a callback is gone", proxy.outcome.text.__)
      end)

      it("whose client waits no more is an error there", function()
        local ok, err = pcall(function()
          return proxy:with_ { timeout = 0.2 * wait.SLOWNESS }:witness(callback(function()
            wait.until_true(function() return proxy.outcome:get_() end, "the call to end")
          end))
        end)
        assert.is_false(ok)
        assert.equal("Timeout", err.kind)
        assert.equal("Timeout", proxy.outcome.kind.__)
      end)

      it("sees its listener die", function()
        local pid = proxy:passto(function() return require "posix.unistd".getpid() end)
        local ok, err = pcall(proxy.call, proxy, callback(function()
          signal.kill(pid, signal.SIGKILL)
          wait.until_true(function() return not proxy.listening_ end, "the listener to die")
          return "too late"
        end))
        assert.is_false(ok)
        assert.equal("Disconnected", err.kind)
        assert.is_true(err.may_have_run)
        fixture.serve()
        assert.equal("again", proxy:call(callback(function() return "again" end)))
      end)
    end)
  end

  it("is told of a call that the client gave up by an error", function()
    fixture.serve()
    local interrupted = processes.fork(function(link)
      signal.signal(signal.SIGUSR1, function()
        debug.sethook(function() -- errors of the handler itself would not get out
          debug.sethook()
          error("interrupted", 0)
        end, "", 1)
      end)
      link:send(pcall(proxy.passto, proxy, function(o, func)
        o.begun = true
        local deadline = os.time() + 60
        while not o.go and os.time() < deadline do
          remoteobj.sleep(0.01)
        end
        local ok, err = pcall(func)
        o.outcome = { ok = ok, kind = err.kind }
      end, callback(print)))
      link:receive()
    end)
    wait.until_true(function() return proxy.begun.__ end, "the call to begin")
    processes.wait_asleep(interrupted.pid)
    signal.kill(interrupted.pid, signal.SIGUSR1)
    local ok, err = interrupted:receive()
    assert.is_false(ok)
    assert.matches("interrupted", tostring(err))
    proxy.go = true
    wait.until_true(function() return proxy.outcome:get_() end, "the call to end")
    assert.same({ ok = false, kind = "Timeout" }, proxy.outcome.__)
    interrupted:stop()
  end)

  it("in the listener's own process is the function itself", function()
    local _ <close> = proxy:listen_()
    local function double(x) return 2 * x end
    assert.is_true(proxy:passto(function(_, f) return f == double end, callback(double)))
    assert.equal(4, proxy:passto(function(_, t) return t.f(2) end, { f = callback(double) }))
  end)

  it("travels in arguments of calls only", function()
    fixture.serve()
    for _, send in ipairs {
      function() remoteobj.pack(callback(print)) end,
      function() return proxy:passto(function() return remoteobj.callback(print) end) end,
      function() return proxy:call(callback(function() return callback(print) end)) end,
      function()
        local p = remoteobj.process { function() return callback(print) end }:start()
        p:join()
      end,
    } do
      local ok, err = pcall(send)
      assert.is_false(ok)
      assert.equal("Unsendable", err.kind or err.value and err.value.kind)
      assert.matches("cannot send .*callback", tostring(err))
    end
    local process = remoteobj.process(callback(function() return 1 end)):start() -- no call, but a fork
    process:join()
    assert.equal(1, process.result)
  end)

  it("of several threads' requests reaches the one that took it along", function()
    fixture.serve()
    local mine = remoteobj.Proxy { relay = function(_, n)
      return proxy:call(callback(function()
        remoteobj.sleep(0.01 * (n % 3))
        return n
      end))
    end }
    local between = processes.serve(mine)
    local children = {}
    for i = 1, 6 do
      children[i] = processes.fork(function()
        for k = 1, 20 do
          assert(mine:relay(i * 100 + k) == i * 100 + k)
        end
        return "done"
      end)
    end
    for i = 1, 6 do
      assert.equal("done", children[i]:result())
    end
    between:stop()
  end)

  it("of a future is called while this process waits for it", function()
    for _, listen_options in ipairs { {}, { preempt = false } } do
      local server = processes.serve(proxy, nil, listen_options)
      local asking, called = proxy:with_ { async = true }, {}
      local function double(x)
        called[#called + 1] = x
        return 2 * x
      end
      local futures = {}
      for i = 1, 20 do
        futures[i] = asking:call(callback(double), i)
      end
      for i = 20, 1, -1 do
        assert.equal(2 * i, futures[i]:get())
      end
      assert.equal(20, #called)
      local failing = asking:call(callback(function() error("no", 0) end))
      local ok, err = pcall(failing.get, failing)
      assert.is_false(ok)
      assert.equal("no", err.message)
      assert.is_false(asking:keep(callback(double)):get() == nil)
      assert.is_false(pcall(proxy.kept, 1))
      server:stop()
    end
  end)

  it("of a future is called while this process waits for something else there", function()
    fixture.serve()
    local future = proxy:with_ { async = true }:witness(callback(function() return "called" end))
    wait.until_true(function() return proxy.outcome:get_() end, "the callback to be called")
    assert.is_true(proxy.outcome.ok.__)
    assert.equal("answered", future:get())
  end)

  it("of a future that nobody waits for any more is an error there", function()
    fixture.serve()
    proxy:with_ { async = true, timeout = 0.1 }:witness(callback(print)) -- the future is garbage at once
    collectgarbage()
    collectgarbage()
    wait.until_true(function() return proxy.outcome:get_() end, "the call to end")
    assert.equal("Timeout", proxy.outcome.kind.__)
  end)

  it("can't go along with what is only told", function()
    fixture.serve()
    local ok, err = pcall(function() return proxy:with_ { oneway = true }:call(callback(print)) end)
    assert.is_false(ok)
    assert.equal("Unsendable", err.kind)
    assert.matches("cannot send argument 1: a callback", err.message)
  end)

  it("stays one while its listener stops", function()
    local server = processes.serve(proxy, function(link)
      link:receive()
      proxy:stop_listen_()
      link:send "stopped"
      link:receive()
    end)
    assert.equal("served", proxy:call(callback(function()
      server:send()
      remoteobj.sleep(0.05)
      return "served"
    end)))
    assert.equal("stopped", server:receive())
    server:stop()
  end)
end)
