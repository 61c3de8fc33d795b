-- Evaluations that are not waited for: futures, pipelining, oneway. What futures of any source do: future_spec.
local fixture = require "spec.support.fixture"
local private_pipe = require "spec.support.pipe"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local SCALE = tonumber(os.getenv "ASYNC_SCALE") or 1 -- of the counts of requests
-- Sanitizers keep what was freed.
local measured = os.getenv "REMOTEOBJ_SANITIZED" and pending or it
local LONG = 60 -- seconds that nothing takes

local function new_object()
  local object = { count = 0, items = { 1, 2, 3 }, log = {} }
  function object.inc(self, by)
    self.count = self.count + (by or 1)
    return self.count
  end
  function object.echo(_, ...) return ... end
  function object.fails(_, err) error(err, 0) end
  function object.nap(_, seconds, ...)
    remoteobj.sleep(seconds)
    return ...
  end
  -- Waits until another request calls open().
  function object.gate(self, ...)
    self.at_gate = true
    while not self.is_open do
      remoteobj.sleep(0.001)
    end
    return ...
  end
  function object.open(self) self.is_open = true end
  function object.note(self, x) self.log[#self.log + 1] = x end
  function object.make(self)
    self.made = { "made" }
    return self.made
  end
  function object.is_made(self, x) return rawequal(x, self.made) end
  function object.deep(self, t) return rawequal(t.a.b[1], self.made) and t.a.c end
  function object.size(_, text) return #text end
  function object.text(_, size) return ("x"):rep(size) end
  return object
end

describe("an evaluation with async", function()
  local object, proxy, async

  before_each(function()
    object, proxy = fixture.open(new_object())
    async = proxy:with_ { async = true }
  end)
  after_each(fixture.close)

  local function listening(options)
    return fixture.serve(nil, options)
  end

  local function kind_of(func, ...)
    local ok, err = pcall(func, ...)
    assert.is_false(ok)
    assert.equal(remoteobj.Error, getmetatable(err), tostring(err))
    return err.kind, err
  end

  it("gives a future of all results", function()
    listening()
    assert.same({ n = 3, 1, nil, 3 }, table.pack(async:echo(1, nil, 3):get()))
    assert.equal(0, select("#", async:echo():get()))
    local future = async:echo { 5 }
    assert.equal(future:get(), future:get())
    assert.is_true(future:done())
    assert.equal(1, async:inc():get())
    assert.equal(3, async.inc(proxy, 2):get())
    assert.equal(3, async.count:get_():get())
    assert.equal(3, async.count.__:get())
    assert.equal(3, remoteobj.get(async.count):get())
    assert.equal(3, (#async.items):get())
    assert.is_true(async:contains_("count"):get())
    assert.equal("table", async:passto(type):get())
    assert.equal(0, select("#", async:set_("x", 7):get()))
    assert.equal(7, proxy.x.__)
    async:del_("x"):get()
    assert.is_nil(proxy.x.__)
    assert.equal(proxy, async:passto(function(o) return o end):get())
  end)

  it("keeps the error for get, and raises it again and again", function()
    listening()
    local future = async:fails { code = 5 }
    for _ = 1, 2 do
      local ok, err = pcall(future.get, future)
      assert.is_false(ok)
      assert.equal(5, err.code)
    end
    local ok, err = pcall(async:fails "boom".get, async:fails "boom")
    assert.is_false(ok)
    assert.equal(remoteobj.RemoteError, getmetatable(err))
    assert.is_truthy(err:match "boom")
  end)

  it("fails at get, not at the sending, where an argument can't be sent", function()
    listening()
    local future = async:echo(coroutine.create(print))
    assert.is_true(future:done())
    local kind, err = kind_of(future.get, future)
    assert.equal("Unsendable", kind)
    assert.is_truthy(err.message:find("argument 1: thread", 1, true), err.message)
    assert.equal(1, async:inc():get())
  end)

  it("gives the default, or an error, at get where nobody listens", function()
    local future = async:echo(1)
    assert.is_true(future:done())
    local kind, err = kind_of(future.get, future)
    assert.equal("NotListening", kind)
    assert.equal("nobody listens for ?.echo(...)", err.message)
    assert.equal(5, async:with_ { default = 5 }:echo():get())
    local calls = 0
    local lazy = async:with_ { default = function()
      calls = calls + 1
      return 1, 2
    end }:echo()
    assert.equal(0, calls)
    assert.same({ 1, 2 }, { lazy:get() })
    assert.same({ 1, 2 }, { lazy:get() })
    assert.equal(1, calls)
    for text, make in pairs {
      ["?.count"] = function() return async.count.__ end,
      ["#?.items"] = function() return #async.items end,
      ["?.f(...)"] = function() return async.f(1) end,
      ["?:passto(...)"] = function() return async:passto(print) end,
      ["?.x = ..."] = function() return async:set_("x", 1) end,
      ['?:contains_("x")'] = function() return async:contains_ "x" end,
    } do
      local _, problem = kind_of(function() make():get() end)
      assert.equal("nobody listens for " .. text, problem.message)
    end
    assert.equal(0, proxy:stats_().requests)
  end)

  it("has the deadline of its view, and get one of its own", function()
    listening()
    local future = async:with_ { timeout = 0.05 }:gate()
    local kind, err = kind_of(future.get, future)
    assert.equal("Timeout", kind)
    assert.is_true(err.may_have_run)
    assert.equal("d", async:with_ { timeout = 0.05, default = "d" }:gate():get())
    local waits = async:gate "through"
    assert.equal("Timeout", (kind_of(waits.get, waits, 0.01)))
    assert.is_false(waits:done())
    proxy:open()
    assert.equal("through", waits:get(LONG))
  end)

  it("is cut off, or was not run, when its listener is killed", function()
    local server = listening()
    local runs = async:gate()
    proxy:inc() -- the gate is under way when this is answered
    local futures = {}
    for i = 1, 2000 * SCALE do
      futures[i] = async:echo(i)
    end
    server:kill()
    assert.equal("Disconnected", (kind_of(runs.get, runs, LONG)))
    local done, others = remoteobj.wait(futures, { timeout = LONG })
    assert.same({ #futures, 0 }, { #done, #others })
    for i, future in ipairs(futures) do
      local ok, result = pcall(future.get, future)
      if ok then
        assert.equal(i, result)
      else
        assert.is_true(result.kind == "Disconnected" or result.kind == "NotListening", tostring(result))
      end
    end
  end)

  it("is served or refused when its listener stops", function()
    local server = listening()
    local futures = {}
    for i = 1, 200 do
      futures[i] = async:echo(i)
    end
    server:stop()
    remoteobj.wait(futures, { timeout = LONG })
    for i, future in ipairs(futures) do
      local ok, result = pcall(future.get, future, 0)
      assert.is_true(ok and result == i or not ok and result.kind == "NotListening", tostring(result))
    end
  end)

  it("goes on with the others where one fails in between", function()
    listening()
    local futures = {}
    for i = 1, 100 do
      futures[i] = i % 10 == 5 and async:fails(i) or async:echo(i)
    end
    for i, future in ipairs(futures) do
      local ok, result = pcall(future.get, future)
      assert.equal(i % 10 ~= 5, ok)
      assert.equal(i, ok and result or result.value)
    end
  end)

  it("may be dropped: it runs, and its answer comes late", function()
    listening()
    for _ = 1, 300 do
      async:inc()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(300, proxy.count.__)
    local stats = proxy:stats_()
    assert.equal(301, stats.requests)
    assert.equal(301, stats.replies + stats.late_replies)
  end)

  it("counts as one request and one reply", function()
    listening()
    local futures = {}
    for i = 1, 10 do
      futures[i] = async:inc()
    end
    remoteobj.wait(futures)
    local stats = proxy:stats_()
    assert.same({ 10, 10, 0 }, { stats.requests, stats.replies, stats.late_replies })
    assert.equal(10, proxy:passto(function() return proxy:stats_().served end) - 1)
  end)

  it("brings references, which are let go with futures that nobody asks", function()
    listening()
    local making = async:with_ { ref = true }
    local future = making:make()
    local reference = future:get()
    assert.equal("made", reference[1].__)
    assert.is_true(proxy:is_made(future))
    assert.is_true(async:is_made(reference):get())
    for _ = 1, 100 do
      making:passto(function() return {} end) -- dropped, answered or not
    end
    wait.until_true(function()
      collectgarbage()
      return proxy:passto(function() return proxy:stats_().references end) == 1
    end)
  end)

  it("is told of by a trace when it is sent", function()
    listening()
    local lines = {}
    remoteobj.trace(function(operation) lines[#lines + 1] = operation end)
    local future = async:echo(5)
    proxy:with_ { oneway = true }:echo(6)
    future:get()
    remoteobj.trace(nil)
    assert.same({ "?:echo(5)", "?:echo(6)" }, { lines[1].text, lines[2].text })
    assert.is_true(lines[1].request_bytes > 0)
    assert.equal(0, lines[1].answer_bytes)
    assert.is_nil(lines[3])
  end)

  it("is not for assignments, nor together with oneway; loops are waited for", function()
    listening()
    assert.error_matches(function() async.x = 1 end, "an assignment gives no future: use p:set_")
    assert.error_matches(function() proxy:with_ { async = true, oneway = true } end, "exclude each other")
    assert.error_matches(function() async:with_ { oneway = true } end, "exclude each other")
    assert.error_matches(function() proxy:with_ { async = 1 } end, "'async' must be a boolean")
    assert.error_matches(function() proxy:with_ { oneway = "no" } end, "'oneway' must be a boolean")
    assert.equal(1, async:with_ { async = false }:inc())
    local seen = {}
    for i, item in async.items:ipairs_() do
      seen[i] = item
    end
    for key, item in pairs(async.items) do
      seen[key] = seen[key] == item and item * 10
    end
    assert.same({ 10, 20, 30 }, seen)
  end)

  it("is direct in the listener's own process", function()
    proxy:listen_()
    local value = {}
    local future = async:echo(value, 2)
    assert.is_true(future:done())
    assert.equal(value, future:get())
    local failed = async:fails(value)
    local ok, err = pcall(failed.get, failed)
    assert.is_false(ok)
    assert.equal(value, err)
    assert.is_true(async:is_made(async:make()):get())
    assert.is_true(proxy:is_made(async:make()))
    assert.equal(value, select(2, pcall(proxy.echo, proxy, failed)))
    assert.equal(0, proxy:stats_().requests)
  end)

  it("belongs to the process that made it", function()
    listening()
    local done, waits = async:echo "done", async:gate()
    assert.equal("done", done:get())
    local child = processes.fork(function()
      local errors = {}
      for _, use in ipairs {
        function() waits:get() end,
        function() waits:done() end,
        function() waits:on_done(print) end,
        function() remoteobj.wait { done, waits } end,
        function() proxy:echo(waits) end,
        function() async:echo(waits):get() end,
      } do
        local ok, err = pcall(use)
        errors[#errors + 1] = ok and "no error" or err:match "belongs to process %d+" and "named" or err
      end
      collectgarbage()
      return done:get(), async:echo(5):get(), proxy:echo(done), table.concat(errors, ",")
    end)
    assert.same({ "done", 5, "done", "named,named,named,named,named,named" }, { child:result() })
    proxy:open()
    waits:get(LONG)
  end)

  describe("on_done", function()
    local function finish(what)
      wait.until_true(function() return what.over end)
    end

    for name, step in pairs {
      sleep = function() remoteobj.sleep(0.001) end,
      poll = function() remoteobj.poll({}, 0.001) end,
      request = function() proxy:echo() end,
      wait = function() pcall(async:nap(0.001).get, async:nap(0.001)) end,
      ["wait for a listener"] = function()
        remoteobj.Proxy({}):wait_until_listening { timeout = 0.001, fail = false }
      end,
    } do
      it("is called while the program waits inside the library: " .. name, function()
        listening()
        local results = {}
        for i = 1, 50 do
          async:echo(i):on_done(function(f) results[#results + 1] = f:get() end)
        end
        local deadline = wait.now() + LONG
        while #results < 50 and wait.now() < deadline do
          step()
        end
        for i = 1, 50 do
          assert.equal(i, results[i])
        end
      end)
    end

    it("is called while another process is joined", function()
      listening()
      local called
      async:echo():on_done(function() called = true end)
      async:nap(0.01):on_done(function() proxy:open() end)
      local process <close> = remoteobj.process(function() proxy:gate() end):start()
      process:join(LONG)
      assert.is_true(called)
    end)

    it("is called for what fails too", function()
      local server = listening()
      local kinds = {}
      local function keep(future)
        local _, err = pcall(future.get, future)
        kinds[#kinds + 1] = err.kind
      end
      async:with_ { timeout = 0.01 }:gate():on_done(keep)
      wait.until_true(function() return #kinds == 1 end)
      async:gate():on_done(keep)
      proxy:inc()
      server:kill()
      wait.until_true(function() return #kinds == 2 end)
      async:gate():on_done(keep)
      assert.same({ "Timeout", "Disconnected", "NotListening" }, kinds)
    end)

    it("may send, wait and ask for more", function()
      listening()
      local what = { calls = 0 }
      local function again(future)
        what.calls = what.calls + 1
        assert.equal(what.calls, future:get())
        assert.equal(5, async:echo(5):get(LONG))
        if what.calls == 100 then
          what.over = true
        else
          async:echo(what.calls + 1):on_done(again)
        end
      end
      async:echo(1):on_done(again)
      finish(what)
    end)

    it("is called on another thread's wait where that is the one that waits", function()
      local other_object = new_object()
      local other = remoteobj.Proxy(other_object)
      listening()
      other:listen_()
      local results = {}
      -- A request of the background listener asks for something and returns; the program only sleeps.
      function other_object.ask(_)
        async:nap(0.01, "asked"):on_done(function(f) results[1] = f:get() end)
      end
      local child = processes.fork(function() other:ask() end)
      wait.until_true(function() return results[1] end)
      assert.equal("asked", results[1])
      child:result()
      other:stop_listen_()
    end)
  end)

  describe("as an argument", function()
    it("stands for its result there, finished or not, also deep in tables", function()
      listening()
      local made = async:make()
      assert.is_true(proxy:is_made(made))
      assert.is_true(async:is_made(made):get())
      assert.equal("made", made:get()[1])
      assert.is_true(proxy:is_made(made))
      local waits = async:gate(7)
      local depends = async:deep { a = { b = { made }, c = waits } }
      local chain = async.echo(waits, waits)
      proxy:inc()
      assert.is_false(depends:done())
      assert.is_false(waits:done())
      proxy:open()
      assert.equal(7, depends:get(LONG))
      assert.equal(7, chain:get(LONG))
      assert.equal(2, proxy.items[async:echo(2)].__)
      assert.equal(3, proxy:passto(function(_, x) return x end, async:echo(3)))
      assert.is_nil(proxy:echo(async:echo()))
      assert.is_nil(proxy:echo(async:echo(nil)))
      assert.is_false(proxy:echo(async:echo(false)))
      assert.equal(1, select("#", proxy:echo(async:echo(1, 2))))
      proxy.x = async:echo "assigned"
      assert.equal("assigned", proxy.x.__)
    end)

    it("makes one request of each", function()
      listening()
      local future = async:echo(0)
      for _ = 1, 100 do
        future = async:passto(function(_, x) return x + 1 end, future)
      end
      assert.equal(100, future:get())
      local stats = proxy:stats_()
      -- Those of the futures that were collected meanwhile came late.
      assert.same({ 101, 101 }, { stats.requests, stats.replies + stats.late_replies })
    end)

    it("fails the request with the same error where it has failed", function()
      listening()
      local failed = async:fails { code = 5 }
      local deep = async:echo { { failed } }
      for _, depends in ipairs { async:echo(failed), deep, async:inc(deep), async:echo(1, deep) } do
        local ok, err = pcall(depends.get, depends)
        assert.is_false(ok)
        assert.equal(5, err.code)
        assert.is_truthy(remoteobj.traceback(err))
      end
      local text = async:fails "boom"
      pcall(text.get, text)
      local ok, err = pcall(proxy.echo, proxy, text)
      assert.is_false(ok)
      assert.equal("boom", err.value)
      assert.equal(0, proxy.count.__)
      local unsendable = async:passto(function() return coroutine.create(print) end)
      assert.equal("Unsendable", (kind_of(proxy.echo, proxy, unsendable)))
    end)

    it("that is dropped is kept as long as it is needed, and no longer", function()
      listening()
      local waits = async:gate "kept"
      local depends = async:echo(waits)
      proxy:with_ { oneway = true }:note(waits)
      waits = nil -- luacheck: ignore
      for _ = 1, 200 do
        async:make()
      end
      collectgarbage()
      collectgarbage()
      for _ = 1, 100 do
        async:echo()
      end
      proxy:open()
      assert.equal("kept", depends:get(LONG))
      depends = nil -- luacheck: ignore
      wait.until_true(function() return proxy.log[1].__ == "kept" end)
      -- What the listener keeps is found by its garbage collector alone.
      proxy:passto(function(o) o.weak = setmetatable({}, { __mode = "v" }) end)
      for _ = 1, 300 do
        async:passto(function(o)
          local t = {}
          o.weak[#o.weak + 1] = t
          return t
        end)
        collectgarbage "step"
      end
      proxy:echo()
      collectgarbage()
      collectgarbage()
      for _ = 1, 100 do
        async:echo()
      end
      collectgarbage()
      collectgarbage()
      proxy:echo()
      local left = proxy:passto(function(o)
        collectgarbage()
        local count = 0
        for _ in pairs(o.weak) do
          count = count + 1
        end
        return count
      end)
      assert.is_true(left < 100, left)
    end)

    it("is an error for another proxy, or a process", function()
      listening()
      local other = remoteobj.Proxy {}
      other:listen_()
      local child = processes.fork(function()
        local future = async:echo(1)
        local kinds = {}
        for i, use in ipairs {
          function() other:f(future) end,
          function() other:with_ { async = true }:f(future):get() end,
          function() remoteobj.pack(future) end,
        } do
          local ok, err = pcall(use)
          kinds[i] = not ok and err.kind .. (err.message:find "[Ff]uture" and " future" or err.message)
        end
        return table.concat(kinds, ",")
      end)
      assert.equal("Unsendable future,Unsendable future,Unsendable future", child:result())
      other:stop_listen_()
    end)

    it("that got no answer raises its error, or is its default", function()
      local unheard = async:echo(1)
      local replaced = async:with_ { default = "d" }:echo(1)
      listening()
      local late = async:with_ { timeout = 0.01 }:gate()
      assert.equal("NotListening", (kind_of(proxy.echo, proxy, unheard)))
      local depends = async:echo(unheard)
      assert.equal("NotListening", (kind_of(depends.get, depends)))
      assert.equal("d", proxy:echo(replaced))
      assert.equal("Timeout", (kind_of(late.get, late)))
      assert.equal("Timeout", (kind_of(proxy.echo, proxy, late)))
      proxy:open()
    end)

    it("of an earlier listener is sent by value", function()
      local server = listening()
      local future, made = async:echo { 5 }, async:make()
      future:get()
      remoteobj.wait { made }
      server:stop()
      listening()
      assert.same({ 5 }, proxy:echo(future))
      assert.is_false(proxy:is_made(made))
    end)

    it("whose request was not run in time fails the other with Timeout", function()
      listening { bg = true }
      local blocks = async:passto(function(o)
        local stop = os.clock() + 0.1
        while os.clock() < stop do end
        return o.count
      end)
      local expired = async:with_ { timeout = 0.01 }:inc()
      local depends = async:echo(expired)
      assert.equal(0, blocks:get())
      local kind = kind_of(depends.get, depends)
      assert.equal("Timeout", kind)
      assert.equal("Timeout", (kind_of(expired.get, expired)))
      assert.equal(0, proxy.count.__)
    end)

    it("is an error, not a wait without end, where its request runs below the other", function()
      local server = processes.fork(function(link)
        function object.serve()
          proxy:poll(LONG)
          return "outer"
        end
        proxy:listen_ { bg = false }
        link:send "ready"
        while not link.over do
          proxy:poll(LONG)
          link.over = object.is_open
        end
      end)
      server:receive()
      local outer = async:serve()
      local inner = async:echo(outer)
      local ok, err = pcall(inner.get, inner, LONG)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("cannot end before this one", 1, true))
      assert.equal("outer", outer:get(LONG))
      proxy:open()
      server:result()
    end)
  end)

  describe("thousands at once", function()
    it("all come, in the order of sending", function()
      listening()
      local futures, count = {}, 5000 * SCALE
      for i = 1, count do
        futures[i] = async:inc()
      end
      assert.same({ count, 0 }, { #remoteobj.wait(futures, { timeout = LONG }), 0 })
      for i, future in ipairs(futures) do
        assert.equal(i, future:get())
      end
    end)

    local function resident(pid)
      local file = io.open(("/proc/%d/statm"):format(pid))
      if not file then
        return 0
      end
      local pages = file:read "a":match "^%d+ (%d+)"
      file:close()
      return math.tointeger(pages) * 4096
    end

    measured("take bounded memory on both sides, also when nobody reads the answers", function()
      local server = listening()
      local text = ("x"):rep(10000)
      proxy:echo(text)
      local here, there = resident(unistd.getpid()), resident(server.pid)
      for i = 1, 10000 * SCALE do -- 100 MB each way
        async:echo(text)
        if i % 100 == 0 then
          collectgarbage() -- futures that were dropped
        end
      end
      assert.is_true(resident(unistd.getpid()) - here < 40e6, resident(unistd.getpid()) - here)
      assert.is_true(resident(server.pid) - there < 40e6, resident(server.pid) - there)
      assert.equal(1, proxy:inc())
    end)

    it("go both ways between two processes that flood each other", function()
      local text = ("x"):rep(5000)
      local count = 2000 * SCALE
      local function flood(to)
        local futures = {}
        for i = 1, count do
          futures[i] = to:with_ { async = true }:echo(text)
        end
        local done = remoteobj.wait(futures, { timeout = LONG })
        return #done
      end
      local back = remoteobj.Proxy(new_object())
      fixture.serve(function(link)
        back:wait_until_listening { timeout = LONG }
        assert(flood(back) == count)
        link:receive()
      end)
      back:listen_()
      assert.equal(count, flood(proxy))
      wait.until_true(function() return back:stats_().served == count end)
      back:stop_listen_()
    end)

    it("let the sender's own listener serve while the pipe is full", function()
      local back_object = { sent = 0 }
      local back, count = remoteobj.Proxy(back_object), 30
      local reading, writing = private_pipe()
      back:listen_ { preempt = false } -- answers only while this process waits inside the library: for room
      fixture.serve(function(link)
        remoteobj.poll { [reading] = { events = { IN = true } } }
        for _ = 1, count do
          proxy:poll(LONG)
        end
        link:receive()
      end, { bg = false })
      local child = processes.fork(function()
        local sent = back.sent.__
        unistd.write(writing, "serve")
        return sent
      end)
      local futures = {}
      for i = 1, count do
        futures[i] = async:size(("x"):rep(100000))
        back_object.sent = i
      end
      assert.is_true(child:result() < count)
      for _, future in ipairs(futures) do
        assert.equal(100000, future:get(LONG))
      end
      back:stop_listen_()
      unistd.close(reading)
      unistd.close(writing)
    end)
  end)

  it("waits for any mixture of futures at once", function()
    listening()
    local other = remoteobj.Proxy(new_object())
    local server = processes.serve(other)
    local by_hand = require("remoteobj.core")._future.new()
    local mine, theirs = async:nap(0.01, "mine"), other:with_ { async = true }:gate "theirs"
    local all = { by_hand, theirs, mine }
    local done, others = remoteobj.wait(all, { all = false, timeout = LONG })
    assert.same({ { mine }, { by_hand, theirs } }, { done, others })
    theirs:on_done(function() require("remoteobj.core")._future.settle(by_hand, true, "hand") end)
    async:nap(0.01):on_done(function() other:open() end)
    done, others = remoteobj.wait(all, { timeout = LONG })
    assert.same({ all, {} }, { done, others })
    assert.same({ "hand", "theirs", "mine" }, { by_hand:get(), theirs:get(), mine:get() })
    server:stop()
  end)

  for _, options in ipairs { { bg = false }, { preempt = false } } do
    it("is served by a listener with " .. next(options) .. " = false", function()
      fixture.serve(function(link)
        if options.bg == false then
          while object.count < 100 do
            proxy:poll(LONG)
          end
        end
        link:receive()
      end, options)
      local futures = {}
      for i = 1, 100 do
        futures[i] = async:inc()
      end
      for i, future in ipairs(futures) do
        assert.equal(i, future:get(LONG))
      end
    end)
  end
end)

describe("an evaluation with oneway", function()
  local object, proxy, oneway

  before_each(function()
    object, proxy = fixture.open(new_object())
    oneway = proxy:with_ { oneway = true }
  end)
  after_each(fixture.close)

  it("gives nothing, and has no answer", function()
    fixture.serve()
    assert.equal(0, select("#", oneway:inc()))
    assert.equal(0, select("#", oneway:passto(function(o) o.count = o.count + 1 end)))
    oneway.x = 5
    oneway:set_("y", 6)
    assert.is_nil(oneway.count.__)
    assert.same({ 2, 5, 6 }, { proxy.count.__, proxy.x.__, proxy.y.__ })
    local stats = proxy:stats_()
    assert.same({ 8, 3, 0 }, { stats.requests, stats.replies, stats.late_replies })
  end)

  it("gives its errors to the listener's on_error", function()
    fixture.serve(nil, {
      on_error = function(err, traceback)
        local errors = object.log
        errors[#errors + 1] = { err, type(traceback), #errors }
        if #errors == 2 then
          error "in on_error"
        end
      end,
    })
    oneway:fails "text"
    oneway:fails { code = 5 }
    oneway:no_such()
    oneway:inc(proxy:with_ { async = true }:fails "named")
    local found = proxy.log.__
    assert.equal(4, #found)
    assert.same({ "text", "string", 0 }, found[1])
    assert.same({ { code = 5 }, "string", 1 }, found[2])
    assert.is_truthy(found[3][1]:find "no_such")
    assert.equal(0, proxy.count.__)
    assert.equal(5, proxy:passto(function() return proxy:stats_().errors end))
  end)

  it("goes on where errors are nobody's", function()
    fixture.serve()
    oneway:fails "text"
    assert.equal(1, proxy:inc())
  end)

  it("is refused what is no function for errors", function()
    assert.error_matches(function() proxy:listen_ { on_error = 5 } end, "'on_error' must be a function, not number")
  end)

  it("raises what keeps it from being sent, unless there is a default", function()
    local ok, err = pcall(oneway.inc, oneway)
    assert.is_false(ok)
    assert.equal("NotListening", err.kind)
    assert.equal(0, select("#", oneway:with_ { default = 5 }:inc()))
    fixture.serve()
    ok, err = pcall(oneway.echo, oneway, coroutine.create(print))
    assert.is_false(ok)
    assert.equal("Unsendable", err.kind)
  end)

  it("waits for room in the pipe as long as its timeout", function()
    fixture.serve(function(link) link:receive() end, { bg = false })
    local ok, err
    for _ = 1, 100 do
      ok, err = pcall(oneway.with_(oneway, { timeout = 0.05 }).size, oneway, ("x"):rep(10000))
      if not ok then
        break
      end
    end
    assert.is_false(ok)
    assert.equal("Timeout", err.kind)
    assert.is_false(err.may_have_run)
  end)

  it("may flood", function()
    fixture.serve()
    local count = 20000 * SCALE
    for _ = 1, count do
      oneway:inc()
    end
    assert.equal(count, proxy.count.__)
  end)

  it("is run though its process ends at once", function()
    fixture.serve()
    local process <close> = remoteobj.process(function()
      for _ = 1, 2000 do
        oneway:inc()
      end
    end):start()
    process:join()
    wait.until_true(function() return proxy.count.__ == 2000 end)
  end)

  it("has been told when the listener has run it and closes, though its thread waits for others' bytes", function()
    object, proxy = fixture.open(new_object(), { fulfill_final = false })
    local server = fixture.serve(function(link)
      link:receive()
      proxy:poll(wait.LIMIT)
      proxy:stop_listen_()
      return object.count
    end, { bg = false })
    local large = ("x"):rep(1 << 20)
    local function inc(p) return pcall(p.passto, p, function(o) o.count = o.count + 1 end, large) end
    local teller = remoteobj.thread(inc, proxy:with_ { oneway = true }):start()
    wait.until_true(function() return proxy:stats_().requests == 1 end)
    local asker = remoteobj.thread(inc, proxy):start() -- whose bytes are in the pipe behind those of the other
    wait.until_true(function() return proxy:stats_().requests == 2 end)
    server:send "go"
    assert.equal(1, server:result())
    teller:join()
    asker:join()
    assert.same({ true }, { teller:results() })
    local ok, err = asker:results()
    assert.is_false(ok)
    assert.equal("NotListening", err.kind)
  end)

  -- Threads of this process that send while nobody reads, one after the other: each function is given large bytes.
  local function send_in_order(...)
    local large, threads, before = ("x"):rep(1 << 20), {}, proxy:stats_().requests
    for i, func in ipairs { ... } do
      threads[i] = remoteobj.thread(pcall, func, large):start()
      wait.until_true(function() return proxy:stats_().requests == before + i end)
    end
    return table.unpack(threads)
  end

  it("has been told if it is run, and only then, where the listener stops before its bytes have gone out", function()
    local reading, writing = private_pipe()
    local server = fixture.serve(function(link)
      link:receive()
      link:send "busy"
      unistd.read(reading, 1) -- keeps all requests from being run
      proxy:stop_listen_()
      return object.log
    end)
    local other = processes.fork(function() return proxy:gate() end) -- the listener can't end before this is answered
    wait.until_true(function() return proxy.at_gate.__ end)
    server:send "go"
    server:receive()
    local threads = { send_in_order(
      function() return proxy:note(1) end, -- for which the listener waits, and reads nothing
      function(large) -- whose bytes fill the pipe when the listener stops
        return proxy:passto(function(o)
          o:note(2)
          o:open()
        end, large)
      end,
      function() return oneway:note(3) end
    ) }
    unistd.write(writing, "x")
    local run = {}
    for _, i in ipairs(server:result()) do
      run[i] = true
    end
    assert.is_true(run[2])
    for i, thread in ipairs(threads) do
      thread:join()
      local ok, err = thread:results()
      assert.equal(run[i] or false, ok)
      assert.equal(not ok and "NotListening" or nil, not ok and err.kind or nil)
    end
    other:result()
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("is told of at once by a listener that stops, be it that this waits for the one who tells", function()
    local reading, writing = private_pipe()
    local server = fixture.serve(function()
      unistd.read(reading, 1) -- keeps all requests from being run
      proxy:stop_listen_()
      return object.count
    end, { preempt = false })
    local has_told = false
    local function waits()
      while not has_told do
        remoteobj.sleep(0.001)
      end
    end
    local threads = { send_in_order(
      function() -- is small: of what has not gone out whole when the listener stops nothing is promised
        return proxy:passto(function(o, call)
          o.count = o.count + 1
          call()
        end, remoteobj.callback(waits))
      end,
      function(large) return proxy:passto(function(o) o.count = o.count + 1 end, large) end,
      function()
        oneway:inc()
        has_told = true
      end
    ) }
    unistd.write(writing, "x")
    assert.equal(3, server:result())
    for _, thread in ipairs(threads) do
      thread:join()
      assert.is_true((thread:results()))
    end
    unistd.close(reading)
    unistd.close(writing)
  end)

  for name, bg in pairs { ["in the background"] = true, ["by hand"] = false } do
    it("is run by a listener " .. name .. " that stops, though its client has not read the answers before", function()
      local reading, writing = private_pipe()
      local SIZE <const>, COUNT <const> = 1 << 20, 8
      local server = fixture.serve(function()
        while object.count < 2 do -- from the second one on the client is not heard
          proxy:poll(0.01)
        end
        unistd.write(writing, "x")
        proxy:stop_listen_()
        return object.count
      end, { bg = bg })
      local async, futures = proxy:with_ { async = true }, {}
      for i = 1, COUNT do
        futures[i] = async:passto(function(o, size)
          o:inc()
          return o:text(size)
        end, SIZE)
      end
      oneway:inc()
      unistd.read(reading, 1)
      for _, future in ipairs(futures) do
        assert.equal(SIZE, #future:get())
      end
      assert.equal(COUNT + 1, server:result())
      unistd.close(reading)
      unistd.close(writing)
    end)
  end

  it("is direct in the listener's own process", function()
    local errors = {}
    proxy:listen_ { on_error = function(...) errors[#errors + 1] = { ... } end }
    assert.equal(0, select("#", oneway:inc()))
    assert.equal(1, object.count)
    local problem = {}
    oneway:fails(problem)
    assert.equal(problem, errors[1][1])
    assert.equal("string", type(errors[1][2]))
    proxy:stop_listen_()
    proxy:listen_()
    oneway:fails(problem)
    assert.equal(1, #errors)
  end)
end)
