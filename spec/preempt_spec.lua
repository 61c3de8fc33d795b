-- The background listener and the program that never waits for it: requests are served
-- between two VM instructions, and the program finds nothing changed.
local errno = require "posix.errno"
local poll = require "posix.poll"
local posix_time = require "posix.time"
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local function new_object()
  local object = fixture.counter()
  object.turns, object.stop = 0, false
  function object.finish(self) self.stop = true end
  return object
end

describe("a request is answered while the program", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  --- Runs `loop`, which ends when object.stop is true, in a listening process, and requests meanwhile.
  local function serve_during(loop, before)
    local server = processes.fork(function(link)
      local prepared = before and before()
      local _ <close> = proxy:listen_()
      link:send "listening"
      local result = loop(prepared)
      return result, object.count, debug.gethook() == nil
    end)
    assert.equal("listening", server:receive())
    for i = 1, 100 do
      assert.equal(i, proxy:add())
      assert.equal(i, (proxy:echo(i)))
    end
    proxy:finish()
    local result, count, unhooked = server:result()
    assert.equal(100, count)
    assert.is_true(unhooked)
    return result
  end

  it("runs a loop that calls nothing", function()
    local x = serve_during(function()
      local x = 0
      while not object.stop do
        x = x + 1
      end
      return x
    end)
    assert.is_true(x > 0)
  end)

  it("runs a loop on global variables", function()
    serve_during(function()
      local environment = setmetatable({ object = object }, { __index = _G })
      load("x = 0 while not object.stop do x = x + 1 end", "=loop", "t", environment)()
      return environment.x
    end)
  end)

  local function spin()
    local x = 0
    while not object.stop do
      x = x + 1
    end
    return x
  end

  it("runs a coroutine that was created before listen_", function()
    serve_during(function(co)
      local ok, x = coroutine.resume(co)
      return assert(ok and x)
    end, function()
      return coroutine.create(spin)
    end)
  end)

  it("runs a coroutine that was created and begun before listen_", function()
    serve_during(function(co)
      local ok, x = coroutine.resume(co)
      return assert(ok and x)
    end, function()
      local co = coroutine.create(function()
        coroutine.yield()
        return spin()
      end)
      coroutine.resume(co)
      return co
    end)
  end)

  it("runs a coroutine that was created after listen_", function()
    serve_during(function()
      local ok, x = coroutine.resume(coroutine.create(spin))
      return assert(ok and x)
    end)
  end)

  it("runs coroutines inside coroutines", function()
    serve_during(function(outer)
      return outer()
    end, function()
      return coroutine.wrap(function()
        return coroutine.wrap(function()
          return coroutine.wrap(spin)()
        end)()
      end)
    end)
  end)

  it("switches between coroutines all the time", function()
    serve_during(function(threads)
      threads[#threads + 1] = coroutine.create(function()
        while true do
          coroutine.yield()
        end
      end)
      while not object.stop do
        for _, co in ipairs(threads) do
          assert(coroutine.resume(co))
        end
      end
    end, function()
      local threads = {}
      for i = 1, 3 do
        threads[i] = coroutine.create(function()
          while true do
            local x = 0
            for _ = 1, 50 * i do
              x = x + 1
            end
            coroutine.yield(x)
          end
        end)
      end
      return threads
    end)
  end)

  it("makes and drops coroutines all the time", function()
    serve_during(function()
      while not object.stop do
        local sum = 0
        for value in coroutine.wrap(function()
          for i = 1, 20 do
            coroutine.yield(i)
          end
        end) do
          sum = sum + value
        end
        assert(sum == 210)
      end
    end)
  end)

  it("calls functions, protected and through C", function()
    serve_during(function()
      local list = {}
      for i = 1, 100 do
        list[i] = i * 7919 % 101
      end
      local function failing() error("expected", 0) end
      while not object.stop do
        local sorted = table.move(list, 1, #list, 1, {})
        table.sort(sorted, function(a, b) return a < b end)
        assert(sorted[1] < sorted[100])
        assert(("abc"):gsub(".", function(c) return c .. c end) == "aabbcc")
        local ok, err = pcall(failing)
        assert(not ok and err == "expected")
        local traced = select(2, xpcall(failing, debug.traceback))
        assert(traced:match "^expected\nstack traceback")
      end
    end)
  end)

  it("collects garbage and runs finalizers and closing values", function()
    serve_during(function()
      local finalized, closed = 0, 0
      local metatable = {
        __gc = function() finalized = finalized + 1 end,
        __close = function() closed = closed + 1 end,
      }
      local turns = 0
      local function deep(n)
        local _ <close> = setmetatable({}, metatable)
        local t = setmetatable({ n }, metatable)
        if n > 0 then
          return deep(n - 1) + t[1]
        end
        return 0
      end
      while not object.stop do
        assert(deep(50) == 50 * 51 // 2)
        turns = turns + 1
        if turns % 10 == 0 then
          collectgarbage()
        end
      end
      assert(closed == turns * 51)
      return finalized > 0
    end)
  end)

  it("indexes through metamethods", function()
    serve_during(function()
      local t = setmetatable({}, { __index = function(_, key) return key * 2 end })
      local x = 0
      while not object.stop do
        x = x + t[x % 10]
      end
    end)
  end)
end)

describe("the program in the listening process", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  it("goes on while a request sleeps, and so do other requests", function()
    function object.sleep_until_woken(self)
      while not self.woken do
        remoteobj.sleep(0.002)
      end
      return "woken"
    end
    local server = processes.serve(proxy, function(link)
      while not object.woken do
        object.turns = object.turns + 1
      end
      link:receive()
      return object.turns
    end)
    local sleepers = {}
    for i = 1, 3 do
      sleepers[i] = processes.fork(function(link)
        link:send "calling"
        return proxy:sleep_until_woken()
      end)
      sleepers[i]:receive()
    end
    local before = proxy.turns.__
    fixture.count_to(50, proxy)
    wait.until_true(function() return proxy.turns.__ > before end, "the program to go on")
    proxy.woken = true
    for _, sleeper in ipairs(sleepers) do
      assert.equal("woken", sleeper:result())
    end
    server:send "end"
    assert.is_true(server:result() > before)
  end)

  it("gets its turns while a request runs for long", function()
    function object.busy_until(self, turns)
      local began = self.turns
      while self.turns < began + turns do -- luacheck: ignore
      end
      return "the program went on"
    end
    local server = processes.serve(proxy, function(link)
      while not object.stop do
        object.turns = object.turns + 1
      end
      link:receive()
    end)
    for _ = 1, 5 do
      assert.equal("the program went on", proxy:busy_until(1000))
    end
    proxy:finish()
    server:stop()
  end)

  it("gets its turns in a coroutine while a request runs for long in another", function()
    function object.busy_until(self, turns)
      return coroutine.wrap(function()
        local began = self.turns
        while self.turns < began + turns do -- luacheck: ignore
        end
        return "the program went on"
      end)()
    end
    local server = processes.serve(proxy, function(link)
      coroutine.wrap(function()
        while not object.stop do
          object.turns = object.turns + 1
        end
      end)()
      link:receive()
    end)
    for _ = 1, 5 do
      assert.equal("the program went on", proxy:busy_until(1000))
    end
    proxy:finish()
    server:stop()
  end)

  it("ends a request that runs for long when it wants to", function()
    function object.spin(self)
      local turns = 0
      while not self.enough do
        turns = turns + 1
      end
      return turns
    end
    local server = processes.serve(proxy, function(link)
      for _ = 1, 1000000 do
        object.turns = object.turns + 1
      end
      object.enough = true
      link:receive()
    end)
    assert.is_true(proxy:spin() >= 0)
    server:stop()
  end)

  it("shares tables, strings and the collector with requests unharmed", function()
    local shared = {}
    function object.put(_, times)
      for i = 1, times do
        table.insert(shared, { from = "request", text = ("r"):rep(i % 60) .. #shared })
      end
      collectgarbage "step"
    end
    local server = processes.serve(proxy, function()
      local own = 0
      while not object.stop do
        for i = 1, 20 do
          table.insert(shared, { from = "program", text = ("p"):rep(i) .. #shared })
          own = own + 1
        end
        if own % 2000 == 0 then
          collectgarbage()
        end
      end
      local counts = { program = 0, request = 0 }
      for _, item in ipairs(shared) do
        counts[item.from] = counts[item.from] + 1
      end
      return counts.program == own, counts.request
    end)
    for _ = 1, 300 do
      proxy:put(10)
    end
    proxy:finish()
    assert.same({ true, 3000 }, { server:result() })
  end)

  it("never sees an error of a request", function()
    function object.fails() error "boom" end
    function object.fails_late()
      remoteobj.sleep(0.001)
      error { code = 5 }
    end
    local server = processes.serve(proxy, function()
      local good, bad = 0, 0
      while not object.stop do
        local ok = pcall(function()
          local x = 0
          for i = 1, 100 do
            x = x + i
          end
          assert(x == 5050)
        end)
        if ok then
          good = good + 1
        else
          bad = bad + 1
        end
      end
      return good > 0, bad
    end)
    for _ = 1, 100 do
      assert.error_matches(function() proxy:fails() end, "boom")
      local ok, err = pcall(proxy.fails_late, proxy)
      assert.is_false(ok)
      assert.equal(5, err.code)
    end
    proxy:finish()
    assert.same({ true, 0 }, { server:result() })
  end)

  it("computes the same as without requests", function()
    local function compute(rounds)
      local hash, list = 5381, {}
      for i = 1, rounds do
        hash = (hash * 33 ~ i) & 0xffffffff
        list[i % 97 + 1] = tostring(hash) .. #list
        local a, b, c = select(2, i, hash, list[1], i)
        hash = hash + (a or 0) % 7 + #tostring(b) + (c or 1)
        for j = i % 5, 1, -1 do
          hash = hash ~ j << 3
        end
      end
      return hash
    end
    local expected = compute(20000)
    local server = processes.serve(proxy, function()
      local rounds = 0
      while not object.stop do
        if compute(20000) ~= expected then
          return "different after " .. rounds
        end
        rounds = rounds + 1
      end
      return "same"
    end)
    fixture.count_to(500, proxy)
    proxy:finish()
    assert.equal("same", server:result())
  end)

  it("may itself yield, resume and close coroutines as ever", function()
    local server = processes.serve(proxy, function()
      while not object.stop do
        local co = coroutine.create(function(a)
          local b = coroutine.yield(a + 1)
          local _ <close> = setmetatable({}, { __close = function() object.closed = true end })
          local c = coroutine.yield(b + 1)
          error("failed " .. c, 0)
        end)
        assert(select(2, coroutine.resume(co, 1)) == 2)
        assert(coroutine.status(co) == "suspended")
        assert(select(2, coroutine.resume(co, 5)) == 6)
        object.closed = false
        local ok, err = coroutine.resume(co, "x")
        assert(not ok and err == "failed x" and coroutine.status(co) == "dead")
        coroutine.close(co)
        assert(object.closed)
        assert(not coroutine.resume(co))
      end
      return "as ever"
    end)
    fixture.count_to(300, proxy)
    proxy:finish()
    assert.equal("as ever", server:result())
  end)
end)

describe("a debug hook of the user's", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  --- Serves 200 requests while a loop runs under a hook; gives what the loop gathered.
  local function serve_under_hook(mask, count, in_coroutine)
    local server = processes.fork(function(link)
      local _ <close> = proxy:listen_()
      local events, strange = 0, nil
      local function hook(event)
        events = events + 1
        local expected = mask == "" and "count" or mask == "l" and "line" or nil
        if expected and event ~= expected then
          strange = event
        end
      end
      local function loop()
        debug.sethook(hook, mask, count)
        link:send "listening"
        local events_before
        while not object.stop do
          object.turns = object.turns + 1
          events_before = events
          tostring(1)
        end
        local before_more = events
        for _ = 1, 10000 do
          tostring(1)
        end
        local same_hook, same_mask, same_count = debug.gethook()
        debug.sethook()
        return events > before_more and events_before ~= nil, same_hook == hook, same_mask, same_count
      end
      local results
      if in_coroutine then
        results = table.pack(select(2, assert(coroutine.resume(coroutine.create(loop)))))
      else
        results = table.pack(loop())
      end
      results[results.n + 1] = strange == nil
      return table.unpack(results, 1, results.n + 1)
    end)
    server:receive()
    fixture.count_to(200, proxy)
    proxy:finish()
    return { server:result() }
  end

  for _, in_coroutine in ipairs { false, true } do
    local where = in_coroutine and " in a coroutine" or ""
    it("on counts survives" .. where, function()
      assert.same({ true, true, "", 1000, true }, serve_under_hook("", 1000, in_coroutine))
    end)

    it("on every instruction survives" .. where, function()
      assert.same({ true, true, "", 1, true }, serve_under_hook("", 1, in_coroutine))
    end)

    it("on lines survives" .. where, function()
      assert.same({ true, true, "l", 0, true }, serve_under_hook("l", 0, in_coroutine))
    end)

    it("on calls and returns survives" .. where, function()
      assert.same({ true, true, "cr", 0, true }, serve_under_hook("cr", 0, in_coroutine))
    end)
  end

  it("that is changed all the time is the one that was set", function()
    local server = processes.serve(proxy, function()
      local first, second = 0, 0
      local function hook_one() first = first + 1 end
      local function hook_two() second = second + 1 end
      while not object.stop do
        debug.sethook(hook_one, "", 10)
        for _ = 1, 50 do
          object.turns = object.turns + 1
        end
        if debug.gethook() ~= hook_one then
          return "not the first"
        end
        debug.sethook(hook_two, "l")
        object.turns = object.turns + 1
        if debug.gethook() ~= hook_two then
          return "not the second"
        end
        debug.sethook()
        for _ = 1, 50 do
          object.turns = object.turns + 1
        end
        if debug.gethook() ~= nil then
          return "one left"
        end
      end
      return first > 0 and second > 0
    end)
    local answered = 0
    while answered < 300 and proxy:with_({ default = false }):add() do
      answered = answered + 1
    end
    proxy:with_({ default = false }):finish()
    assert.is_true(server:result())
    assert.equal(300, answered)
  end)

  it("that raises ends the program's loop, and requests go on", function()
    local server = processes.serve(proxy, function(link)
      local ok, err = pcall(function()
        debug.sethook(function()
          if object.stop then
            debug.sethook()
            error("stopped by the hook", 0)
          end
        end, "", 100)
        while true do
          object.turns = object.turns + 1
        end
      end)
      link:send(ok, err)
      link:receive()
    end)
    fixture.count_to(50, proxy)
    proxy:finish()
    assert.same({ false, "stopped by the hook" }, { server:receive() })
    assert.equal(51, proxy:add())
    server:stop()
  end)

  it("is not there when none was set", function()
    local server = processes.serve(proxy, function()
      local found
      while not object.stop do
        found = found or debug.gethook()
      end
      return found == nil
    end)
    fixture.count_to(300, proxy)
    proxy:finish()
    assert.is_true(server:result())
  end)
end)

describe("waiting inside the library", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  for _, preempt in ipairs { true, false } do
    it("lets requests in while it sleeps, with preempt = " .. tostring(preempt), function()
      local server = processes.serve(proxy, function()
        local start = wait.now()
        repeat
          remoteobj.sleep(0.3)
        until object.count > 5
        return object.count, wait.now() - start
      end, { preempt = preempt })
      local served = 0
      while proxy:with_({ default = false }):add() do
        served = served + 1
      end
      local count, seconds = server:result()
      assert.is_true(count - served <= 1)
      assert.is_true(seconds >= 0.299)
    end)

    it("lets requests in while it polls, with preempt = " .. tostring(preempt), function()
      local server = processes.serve(proxy, function(link)
        local fds = { [link.input] = { events = { IN = true } } }
        local start = wait.now()
        local none = remoteobj.poll(fds, 0.2)
        local waited = wait.now() - start
        link:send "again"
        local ready = remoteobj.poll(fds)
        local readable = fds[link.input].revents.IN
        link:receive()
        return none, ready, readable, waited >= 0.199, object.count
      end, { preempt = preempt })
      fixture.count_to(50, proxy)
      assert.equal("again", server:receive())
      assert.equal(51, proxy:add())
      server:send "go"
      assert.same({ 0, 1, true, true, 51 }, { server:result() })
    end)

    it("lets requests in while it waits for an answer, with preempt = " .. tostring(preempt), function()
      local other = { entered = false }
      local other_proxy = remoteobj.Proxy(other)
      function other.wait_for(self)
        while not self.go do
          remoteobj.sleep(0.002)
        end
        return "answered"
      end
      local other_server = processes.serve(other_proxy)
      local server = processes.serve(proxy, function(link)
        link:send "calling"
        return other_proxy:wait_for(), object.count
      end, { preempt = preempt })
      server:receive()
      fixture.count_to(50, proxy)
      other_proxy.go = true
      assert.same({ "answered", 50 }, { server:result() })
      other_server:stop()
    end)

    it("lets requests in while it joins a process, with preempt = " .. tostring(preempt), function()
      local _ <close> = proxy:listen_ { preempt = preempt }
      local p = remoteobj.process(function()
        local sum = 0
        for _ = 1, 50 do
          sum = sum + proxy:add()
        end
        return sum
      end):start()
      p:join()
      assert.equal(50 * 51 // 2, p.result)
      assert.equal(50, object.count)
    end)
  end
end)

describe("a foreign call", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  --- Makes a request when the server sleeps in the kernel: it is answered long before the sleep is over.
  local function answered_while_asleep(server)
    processes.wait_asleep(server.pid)
    local start = wait.now()
    assert.equal(1, proxy:add())
    assert.is_true(wait.now() - start < 10)
  end

  it("that sleeps returns early, and the request is served at once", function()
    local server = processes.serve(proxy, function(link)
      link:send "sleeping"
      local result, _, code = posix_time.nanosleep { tv_sec = 25, tv_nsec = 0 }
      local count = object.count
      link:receive()
      return result == nil and code == errno.EINTR, count
    end)
    server:receive()
    answered_while_asleep(server)
    server:send "end"
    local interrupted, count = server:result()
    assert.is_true(interrupted)
    assert.is_true(count <= 1)
  end)

  it("that sleeps by whole seconds returns early", function()
    local server = processes.serve(proxy, function(link)
      link:send "sleeping"
      unistd.sleep(25)
      link:receive()
    end)
    server:receive()
    answered_while_asleep(server)
    server:stop()
  end)

  it("that sleeps again and again serves every request", function()
    local server = processes.serve(proxy, function()
      local interrupted = 0
      while not object.stop do
        if not posix_time.nanosleep { tv_sec = 25, tv_nsec = 0 } then
          interrupted = interrupted + 1
        end
      end
      return interrupted
    end)
    fixture.count_to(100, proxy)
    proxy:finish()
    assert.is_true(server:result() > 0)
  end)

  it("that polls returns early with EINTR", function()
    local server = processes.serve(proxy, function(link)
      link:send "polling"
      local result, _, code = poll.poll({ [link.input] = { events = { IN = true } } }, 25000)
      link:receive()
      return result == nil and code == errno.EINTR
    end)
    server:receive()
    answered_while_asleep(server)
    server:send "end"
    assert.is_true(server:result())
  end)

  --- Waits in a fork of this process until the other end of `link` sends, then does `action`.
  local function when_released(link, action)
    local helper = unistd.fork()
    if helper == 0 then
      pcall(function()
        link:receive()
        action()
      end)
      unistd._exit(0)
    end
    return helper
  end

  it("that reads goes on, and the request is served when it returns", function()
    local server = processes.serve(proxy, function(link)
      local reading, writing = unistd.pipe()
      local helper = when_released(link, function() unistd.write(writing, "data") end)
      link:send "reading"
      local text, message = unistd.read(reading, 100)
      require("posix.sys.wait").wait(helper)
      wait.until_true(function() return object.count == 1 end)
      return text or message
    end)
    server:receive()
    processes.wait_asleep(server.pid)
    local client = processes.fork(function(link)
      link:send "calling"
      return proxy:add()
    end)
    client:receive()
    processes.wait_asleep(client.pid)
    server:send "release"
    assert.equal(1, client:result())
    assert.equal("data", server:result())
  end)

  it("that waits for a process goes on", function()
    local server = processes.serve(proxy, function(link)
      local child = processes.fork(function(inner)
        inner:receive()
        unistd._exit(5)
      end)
      local helper = when_released(link, function() child:send "go" end)
      link:send "waiting"
      local pid, how, code = require("posix.sys.wait").wait(child.pid)
      require("posix.sys.wait").wait(helper)
      wait.until_true(function() return object.count == 1 end)
      return pid == child.pid, how, code
    end)
    server:receive()
    processes.wait_asleep(server.pid)
    local client = processes.fork(function(link)
      link:send "calling"
      return proxy:add()
    end)
    client:receive()
    processes.wait_asleep(client.pid)
    server:send "release"
    assert.equal(1, client:result())
    assert.same({ true, "exited", 5 }, { server:result() })
  end)
end)

describe("the signal", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  it("keeps the program's own handler", function()
    local server = processes.fork(function(link)
      signal.signal(signal.SIGURG, function() object.handled = (object.handled or 0) + 1 end)
      local _ <close> = proxy:listen_()
      link:send "begin"
      while not object.stop do
        object.turns = object.turns + 1
      end
      local handled = object.handled or 0
      signal.raise(signal.SIGURG)
      wait.spin_until(function() return (object.handled or 0) > handled end)
      return "called"
    end)
    server:receive()
    fixture.count_to(50, proxy)
    proxy:finish()
    assert.equal("called", server:result())
  end)

  local alone = os.getenv "REMOTEOBJ_SANITIZED" == "valgrind" and pending or it -- which catches all signals
  alone("is another where the program says so, and none before it is needed", function()
    local result = script.run [[
      local remoteobj = require "remoteobj"
      local signal, unistd = require "posix.signal", require "posix.unistd"
      local function caught(number)
        for line in io.lines "/proc/self/status" do
          local mask = line:match "^SigCgt:%s*(%x+)"
          if mask then
            return tonumber(mask:sub(-8), 16) & (1 << (number - 1)) ~= 0
          end
        end
      end
      local object = { count = 0 }
      function object.add(self, stop)
        self.count, self.stop = self.count + 1, stop
        return self.count
      end
      local proxy = remoteobj.Proxy(object)
      print(caught(signal.SIGURG), caught(signal.SIGUSR2))
      signal.raise(signal.SIGURG)
      remoteobj.limits.signal = signal.SIGUSR2
      local _ <close> = proxy:listen_()
      local pid = unistd.fork()
      if pid == 0 then
        local sum = 0
        for i = 1, 50 do
          sum = sum + proxy:add(i == 50)
        end
        unistd._exit(sum == 50 * 51 // 2 and 7 or 1)
      end
      local x = 0
      while not object.stop do
        x = x + 1
      end
      print(caught(signal.SIGURG), caught(signal.SIGUSR2))
      print(select(3, require("posix.sys.wait").wait(pid)))
    ]]
    assert.same({ 0, "false\tfalse\nfalse\ttrue\n7\n", "" }, { result.code, result.stdout, result.stderr })
  end)

  it("is harmless when somebody else sends it", function()
    local server = processes.serve(proxy, function(link)
      link:receive()
      return "alive"
    end)
    for i = 1, 200 do
      signal.kill(server.pid, signal.SIGURG)
      assert.equal(i, proxy:add())
    end
    server:send "end"
    assert.equal("alive", server:result())
  end)
end)

describe("with preempt = false", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  local function pending_client()
    local client = processes.fork(function(link)
      link:send "calling"
      return proxy:add()
    end)
    client:receive()
    processes.wait_asleep(client.pid)
    return client
  end

  it("no request interrupts a loop", function()
    local server = processes.serve(proxy, function(link)
      -- Only foreign calls here, so that nothing lets a request in.
      while poll.rpoll(link.input, 0) ~= 1 do
        object.turns = object.turns + 1
      end
      local during = object.count
      local hooked = debug.gethook()
      for _ = 1, 100000 do
        object.turns = object.turns + 1
      end
      local still = object.count
      wait.until_true(function() return object.count == 1 end)
      return during, still, hooked == nil
    end, { preempt = false })
    local client = pending_client()
    server:send "go"
    assert.same({ 0, 0, true }, { server:result() })
    assert.equal(1, client:result())
  end)

  it("no request interrupts a foreign sleep", function()
    local server = processes.serve(proxy, function(link)
      link:send "sleeping"
      local slept = posix_time.nanosleep { tv_sec = 0, tv_nsec = 500000000 }
      local during = object.count
      wait.until_true(function() return object.count == 1 end)
      return slept, during
    end, { preempt = false })
    server:receive()
    local client = processes.fork(function() return proxy:add() end)
    assert.same({ 0, 0 }, { server:result() })
    assert.equal(1, client:result())
  end)

  it("requests run whenever the program waits inside the library", function()
    local server = processes.serve(proxy, function()
      while not object.stop do
        for _ = 1, 1000 do
          object.turns = object.turns + 1
        end
        remoteobj.sleep(0)
      end
      return object.count
    end, { preempt = false })
    fixture.count_to(50, proxy)
    proxy:finish()
    assert.equal(50, server:result())
  end)
end)
