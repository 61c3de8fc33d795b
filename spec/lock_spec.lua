local helper = require "spec.support.lock_helper"

describe("the lock", function()
  local ok = helper.expect_ok
  teardown(helper.clean)

  describe("hands over", function()
    it("between two instructions of a busy loop, on the main chunk", function()
      ok [[
        local n, x = 0, 0
        local thread = T.start(function() n = n + 1 end, {times = 500})
        while n < 500 do x = x + 1 end
        assert(thread:join())
        print "ok"
      ]]
    end)

    it("in coroutines created before and after, wrapped and nested", function()
      ok [[
        local n, goal = 0, 0
        local function spin() while n < goal do end return n end
        local before = coroutine.create(spin)
        local thread = T.start(function() n = n + 1 end, {times = 600})
        goal = 200
        assert(select(2, coroutine.resume(before)) >= 200)
        goal = 400
        assert(coroutine.wrap(spin)() >= 400)
        goal = 600
        local function nested() return coroutine.wrap(function() return pcall(spin) and n end)() end
        assert(coroutine.wrap(nested)() >= 600)
        assert(thread:join())
        print "ok"
      ]]
    end)

    it("in a coroutine that was resumed by functions kept from before", function()
      ok([[
        local wrap = coroutine.wrap
        local n, goal = 0, 200
        local body = wrap(function(T)
          local thread = T.start(function() n = n + 1 end, {times = 200})
          while n < goal do end -- known to run since it has called the library
          coroutine.yield()
          assert(thread:join())
        end)
        local T = require "lock_threads"
        body(T)
        goal = 400
        local thread = T.start(function() n = n + 1 end, {times = 200})
        while n < goal do end
        assert(thread:join())
        body()
        body, thread = nil, T.start(function() n = n + 1 end, {times = 200})
        collectgarbage()
        while n < 600 do end
        assert(thread:join())
        print "ok"
      ]], true)
    end)

    it("while the program sleeps or polls in the library", function()
      ok [[
        local n = 0
        local thread = T.start(function() n = n + 1 end, {times = 100, preempt = false})
        wait_for(function() return n == 100 end)
        assert(thread:join())
        local other = T.start(function() n = n + 1 end, {times = 100, preempt = false})
        while n < 200 do assert(T.poll({}, 0.001) == 0) end
        assert(other:join())
        print "ok"
      ]]
    end)

    it("not otherwise to a thread that does not interrupt", function()
      ok [[
        local n = 0
        local thread = T.start(function() n = n + 1 end, {preempt = false})
        while not T.wanted() do end
        local limit = T.now() + 0.2
        while T.now() < limit do assert(n == 0) end
        assert(thread:join() and n == 1)
        print "ok"
      ]]
    end)

    it("a long request in slices", function()
      ok [[
        local stop, x = false, 0
        local thread = T.start(function() while not stop do x = x + 1 end end)
        wait_for(function() return x > 0 end)
        local turns = 0
        while turns < 20 do
          local before = x
          while x == before do end
          turns = turns + 1
        end
        stop = true
        assert(thread:join())
        print "ok"
      ]]
    end)

    -- How much somebody computes between two turns of others tells slices from mere glimpses, on slow machines too.
    describe("the program its slices, 500 rounds of a loop or more,", function()
      local function program_turns(threads, others)
        ok(([[
          local stop, x, before, turns = false, 0, 0, 0
          local spinning = {}
          for i = 1, %d do spinning[i] = T.start(function() while not stop do x = x + 1 end end) end
          wait_for(function() return x > 0 end)
          %s
          for _ = 1, 100000 do
            if x ~= before then before, turns = x, turns + 1 end
          end
          stop = true
          for i = 1, #spinning do assert(spinning[i]:join()) end
          %s
          assert(turns < 200, turns)
          print "ok"
        ]]):format(threads, others or "", others and "assert(flood:stop():join())" or ""))
      end

      it("while a request computes", function()
        program_turns(1)
      end)

      it("while two requests compute", function()
        program_turns(2)
      end)

      it("while a request computes and others come all the time", function()
        program_turns(1, "local flood = T.start(function() end, {times = -1})")
      end)
    end)

    it("slices to two requests that compute, whether the program does or waits", function()
      for _, program in ipairs {
        "while rounds < 200000 do own = own + 1 end",
        "wait_for(function() return rounds >= 200000 end)",
      } do
        ok(([[
          local rounds, turns, last, own = 0, 0, nil, 0
          local threads, counts = {}, {0, 0}
          for i = 1, 2 do
            threads[i] = T.start(function()
              while rounds < 200000 do
                if last ~= i then last, turns = i, turns + 1 end
                counts[i] = counts[i] + 1
                rounds = rounds + 1
              end
            end)
          end
          %s
          for i = 1, 2 do assert(threads[i]:join()) end
          assert(turns < 400, turns)
          print "ok"
        ]]):format(program))
      end
    end)

    it("turns to one that computes while others come all the time, short and long", function()
      ok [[
        local stop, x, n, own = false, 0, 0, 0
        local spinning = T.start(function() while not stop do x = x + 1 end end)
        local short = T.start(function() n = n + 1 end, {times = -1})
        local long = T.start(function() T.spin(0.004) end, {times = -1})
        wait_for(function() return x > 0 end)
        for _ = 1, 5 do
          local before, limit = x, T.now() + 60
          while x == before do
            own = own + 1
            assert(T.now() < limit, "no turn")
          end
        end
        assert(own > 5 and n > 5)
        stop = true
        assert(spinning:join())
        assert(short:stop():join())
        assert(long:stop():join())
        print "ok"
      ]]
    end)

    it("at once to one that enters, and to one that has waited", function()
      ok [[
        local shortest, last, n = math.huge, T.now(), 0
        local thread = T.start(function()
          local now = T.now()
          shortest, last, n = math.min(shortest, now - last), now, n + 1
        end, {times = 500})
        while n < 500 do end
        assert(thread:join())
        assert(shortest < 0.004, shortest)
        shortest, n = math.huge, 0
        thread = T.start(function()
          for _ = 1, 500 do
            local before = T.now()
            T.sleep(0)
            shortest, n = math.min(shortest, T.now() - before), n + 1
          end
        end)
        while n < 500 do end
        assert(thread:join())
        assert(shortest < 0.004, shortest)
        print "ok"
      ]]
    end)

    it("nothing to one that does not interrupt when others do", function()
      ok [[
        local n, entered = 0, false
        local flood = T.start(function() n = n + 1 end, {times = -1})
        local patient = T.start(function() entered = true end, {preempt = false})
        local goal = n + 2000
        while n < goal do assert(not entered) end
        wait_for(function() return entered end)
        assert(patient:join())
        assert(flood:stop():join())
        print "ok"
      ]]
    end)

    it("without losing updates among many threads that compute", function()
      ok [[
        local n, threads = 0, {}
        for i = 1, 6 do
          threads[i] = T.start(function() local before = n n = before + 1 end, {times = 300})
        end
        local own = 0
        while n < 1800 do own = own + 1 end
        for i = 1, 6 do assert(threads[i]:join()) end
        assert(n == 1800, n)
        print "ok"
      ]]
    end)
  end)

  it("survives deep recursion with collection under a flood of interruptions", function()
    ok [[
      collectgarbage "generational"
      local n = 0
      local threads = {}
      local function request()
        n = n + 1
        local t = {}
        for k = 1, 20 do t[k] = {k} end
      end
      for i = 1, 2 do threads[i] = T.start(request, {times = -1}) end
      local function deep(d) if d == 0 then return 0 end local t = {d} return 1 + deep(d - 1) + #t - 1 end
      local limit = T.now() + 4
      local rounds = 0
      while T.now() < limit do
        assert(deep(3000) == 3000)
        assert(coroutine.wrap(function() return deep(500) end)() == 500)
        assert(not pcall(function() deep(1000) error "x" end))
        if rounds % 7 == 0 then collectgarbage(rounds % 2 == 0 and "incremental" or "generational") end
        collectgarbage "step"
        rounds = rounds + 1
      end
      for i = 1, 2 do assert(threads[i]:stop():join()) end
      assert(n > 100, n)
      print "ok"
    ]]
  end)

  it("keeps track of many coroutines that switch", function()
    ok [[
      local n = 0
      local thread = T.start(function() n = n + 1 end, {times = 2000})
      local coroutines, alive = {}, 0
      for i = 1, 50 do
        coroutines[i] = coroutine.wrap(function() while true do alive = alive + 1 coroutine.yield(i) end end)
      end
      while n < 2000 do for i = 1, 50 do assert(coroutines[i]() == i) end end
      assert(thread:join())
      for i = 1, 50 do assert(coroutines[i]() == i) end
      assert(debug.gethook() == nil)
      print "ok"
    ]]
  end)

  describe("leaves a user's hook alone:", function()
    it("lines", function()
      ok [[
        local n = 0
        local function work()
          local a = 1
          for _ = 1, 2 do
            a = a + 1
          end
          return a
        end
        local thread = T.start(function() n = n + 1 end, {times = -1})
        local first = debug.getinfo(work, "S").linedefined
        local rounds = 0
        while rounds < 2000 or n == 0 do
          rounds = rounds + 1
          local seen = {}
          debug.sethook(function(event, line)
            if event ~= "line" then seen[#seen + 1] = event end
            if debug.getinfo(2, "f").func == work then seen[#seen + 1] = line - first end
          end, "l")
          work()
          debug.sethook()
          assert(table.concat(seen, " ") == "1 2 3 2 3 2 5", table.concat(seen, " "))
        end
        assert(thread:stop():join())
        print "ok"
      ]]
    end)

    it("calls and returns", function()
      ok [[
        local n = 0
        local function f() return 1 end
        local thread = T.start(function() n = n + 1 end, {times = -1})
        local rounds = 0
        while rounds < 200 or n == 0 do
          rounds = rounds + 1
          local calls, returns, others = 0, 0, 0
          debug.sethook(function(event)
            if debug.getinfo(2, "f").func ~= f then return end
            if event == "call" then calls = calls + 1
            elseif event == "return" then returns = returns + 1
            else others = others + 1 end
          end, "cr")
          for _ = 1, 100 do f() end
          debug.sethook()
          assert(calls == 100 and returns == 100 and others == 0, calls .. " " .. returns .. " " .. others)
        end
        assert(thread:stop():join())
        print "ok"
      ]]
    end)

    it("counts, also large ones under a flood", function()
      ok [[
        local n, counted = 0, 0
        local threads = {}
        for i = 1, 2 do threads[i] = T.start(function() n = n + 1 end, {times = -1}) end
        debug.sethook(function(event) assert(event == "count") counted = counted + 1 end, "", 100000)
        local limit, hook, mask, count = T.now() + 60
        while (counted < 20 or n < 100) and T.now() < limit do end
        wait_for(function() hook, mask, count = debug.gethook() return count == 100000 and mask == "" end)
        debug.sethook()
        for i = 1, 2 do assert(threads[i]:stop():join()) end
        assert(counted >= 20 and n >= 100, counted)
        print "ok"
      ]]
    end)

    it("one of a coroutine; new coroutines don't keep ours", function()
      ok [[
        local n, counted = 0, 0
        local thread = T.start(function() n = n + 1 end, {times = -1})
        local co = coroutine.create(function() while counted < 2000 do end end)
        debug.sethook(co, function() counted = counted + 1 end, "", 10)
        assert(coroutine.resume(co))
        local made = {}
        for i = 1, 20000 do made[#made % 100 + 1] = coroutine.create(function() end) end
        for i = 1, #made do assert(debug.gethook(made[i]) == nil) end
        assert(thread:stop():join())
        print "ok"
      ]]
    end)

    it("debug.gethook shows it, and never the library's own", function()
      ok [[
        local n = 0
        local thread = T.start(function() n = n + 1 end, {times = -1})
        local main = coroutine.running()
        local function none(...)
          local hook = debug.gethook(...)
          assert(hook == nil and select("#", debug.gethook(...)) == 1, hook)
        end
        local function mine() end
        while n < 500 do none() end
        local co = coroutine.create(function()
          while n < 1000 do none() none(main) end
          debug.sethook(mine, "lcr", 7)
          for _ = 1, 1000 do
            local hook, mask, count = debug.gethook()
            assert(hook == mine and mask == "crl" and count == 7)
          end
          coroutine.yield()
          local outer = coroutine.running()
          coroutine.wrap(function()
            for _ = 1, 1000 do assert(debug.gethook(outer) == mine) end
          end)()
        end)
        assert(coroutine.resume(co))
        while n < 1500 do
          local hook, mask, count = debug.gethook(co)
          assert(hook == mine and mask == "crl" and count == 7)
          none()
        end
        assert(coroutine.resume(co))
        assert(thread:stop():join())
        print "ok"
      ]]
    end)

    it("saved and put back, changed and taken away all the time; interruptions come through", function()
      ok [[
        local n, seen = 0, 0
        local thread = T.start(function() n = n + 1 end, {times = -1})
        local function lines() seen = seen + 1 end
        local function calls() seen = seen + 1 end
        for goal = 1000, 6000, 1000 do
          while n < goal do debug.sethook(debug.gethook()) end
          goal = goal + 500
          repeat
            debug.sethook(lines, "l")
            assert(debug.gethook() == lines)
            local hook, mask, count = debug.gethook()
            debug.sethook(calls, "c", 0)
            assert(debug.gethook() == calls)
            debug.sethook(hook, mask, count)
            assert(debug.gethook() == lines and hook == lines and mask == "l" and count == 0)
            debug.sethook()
            assert(debug.gethook() == nil)
          until n >= goal
        end
        assert(seen > 0)
        assert(thread:stop():join())
        print "ok"
      ]]
    end)

    it("set by the program for a coroutine that does not run", function()
      ok [[
        local n, events = 0, 0
        local thread = T.start(function() n = n + 1 end, {times = -1})
        local function hook() events = events + 1 end
        local co = coroutine.create(function() while true do coroutine.yield() end end)
        while n < 1000 do
          debug.sethook(co, hook, "l")
          assert(debug.gethook(co) == hook and debug.gethook() == nil)
          local before = events
          assert(coroutine.resume(co))
          assert(events > before)
          debug.sethook(co)
          assert(debug.gethook(co) == nil)
          before = events
          assert(coroutine.resume(co))
          assert(events == before)
        end
        assert(thread:stop():join())
        print "ok"
      ]]
    end)

    it("one that raises, as Ctrl-C does", function()
      ok [[
        local SIGUSR1 = 10
        local n = 0
        local thread = T.start(function() n = n + 1 end, {times = -1})
        T.interrupt_on(SIGUSR1)
        for round = 1, 300 do
          local fine, message = pcall(function() T.send(SIGUSR1) while true do end end)
          assert(not fine and message:match "interrupted!", message)
        end
        local killer = T.start(function() os.execute("kill -USR1 " .. T.pid()) end, {preempt = false})
        local fine, message = pcall(T.sleep, math.huge)
        assert(not fine and message:match "interrupted!", message)
        killer:join()
        assert(thread:stop():join())
        print "ok"
      ]]
    end)
  end)

  describe("signals", function()
    -- With POSIX alone one of the library's may come to the program, too, when it was sent twice within a moment.
    local most = (os.getenv "NO_LINUX" or "0") == "0" and 0 or 1

    it("keep the program's handler, and come to nobody else", function()
      ok("local most = " .. most .. [[

        local function came(n) return T.signals(12) >= n and T.signals(12) <= n + most end
        T.limits.signal = 12
        T.own_handler(12)
        local n = 0
        local thread = T.start(function() n = n + 1 end, {times = 300})
        while n < 150 do end
        T.send(12)
        assert(came(1), T.signals(12))
        while n < 300 do end
        assert(thread:join() and came(1), T.signals(12))
        T.own_handler(12) -- replaces the library's, which comes back when it is needed
        thread = T.start(function() n = n + 1 end, {times = 300})
        while n < 600 do end
        T.send(12)
        assert(thread:join() and came(2), T.signals(12))
        print "ok"
      ]])
    end)

    it("cut a foreign sleep short", function()
      ok [[
        local n = 0
        local thread = T.start(function() n = n + 1 end, {pause = 0})
        local start = T.now()
        while n == 0 do T.block(60) end
        assert(T.now() - start < 30)
        assert(thread:join())
        print "ok"
      ]]
    end)

    it("are chosen by limits.signal, which is checked", function()
      ok [[
        for _, bad in ipairs {0, -1, 9, 11, 1000, "x", 1.5, true} do
          T.limits.signal = bad
          local fine, message = pcall(T.start, function() end)
          assert(not fine and message:match "limits%.signal", message)
        end
        T.limits.signal = 10
        local n = 0
        local thread = T.start(function() n = n + 1 end, {times = 10})
        while n < 10 do end
        assert(thread:join())
        T.limits.signal = 12
        local long = T.start(function() while n < 20 do end end)
        while n < 20 do n = n + 1 local before = T.now() while T.now() == before do end end
        assert(long:join())
        print "ok"
      ]]
    end)
  end)

  describe("sleep", function()
    it("overlaps with that of threads, and tells the observer", function()
      ok [[
        local start, threads = T.now(), {}
        for i = 1, 8 do threads[i] = T.start(function() T.sleep(0.5) end) end
        wait_for(function() for i = 1, 8 do if not threads[i]:waiting() then return false end end return true end)
        for i = 1, 8 do
          local fine, _, calls, waits = threads[i]:join()
          assert(fine and calls == 1 and waits == 0)
        end
        assert(T.now() - start < 8 * 0.5)
        print "ok"
      ]]
    end)

    it("takes numbers only, and returns nothing", function()
      ok [[
        assert(select("#", T.sleep(0)) == 0)
        T.sleep(-1) T.sleep(0/0) T.sleep(-math.huge)
        local start = T.now()
        T.sleep(0.05)
        assert(T.now() - start >= 0.05)
        for _, bad in ipairs {"x", {}, true} do
          local fine, message = pcall(T.sleep, bad)
          assert(not fine and message:match "bad argument #1 to '.*number expected, got", message)
        end
        assert(not pcall(T.sleep))
        print "ok"
      ]]
    end)
  end)

  describe("poll", function()
    it("reports what is ready as luaposix does", function()
      ok [[
        local unistd = require "posix.unistd"
        local r, w = unistd.pipe()
        local fds = {[r] = {events = {IN = true}}, [w] = {events = {OUT = true, IN = false}}}
        assert(T.poll(fds, 0) == 1)
        assert(fds[w].revents.OUT == true and fds[w].revents.IN == false and fds[r].revents.IN == false)
        fds[w] = nil
        local revents = fds[r].revents
        assert(T.poll(fds, 0.02) == 0)
        local thread = T.start(function() unistd.write(w, "x") end)
        assert(T.poll(fds) == 1 and fds[r].revents == revents and revents.IN)
        thread:join()
        unistd.close(w)
        assert(T.poll(fds, nil) == 1 and fds[r].revents.HUP)
        local many = {}
        for i = 1, 40 do many[(unistd.dup(r))] = {events = {IN = true}} end
        assert(T.poll(many, 1) == 40)
        print "ok"
      ]]
    end)

    it("refuses what is no such table", function()
      ok [[
        local function refuses(pattern, ...)
          local fine, message = pcall(T.poll, ...)
          assert(not fine and message:match "bad argument" and message:match(pattern), message)
        end
        refuses("table expected", 1)
        refuses("table expected")
        refuses("number expected", {}, "x")
        refuses("non%-integer key", {x = {events = {}}})
        refuses("non%-integer key", {["1"] = {events = {}}})
        refuses("no descriptors", {[-1] = {events = {}}})
        refuses("non%-table value", {[0] = 1})
        refuses("without a table of events", {[0] = {}})
        print "ok"
      ]]
    end)
  end)

  describe("fork", function()
    it("leaves the child alone with the state, whichever thread forks", function()
      ok [[
        local unistd, wait = require "posix.unistd", require "posix.sys.wait".wait
        local n = 0
        local function in_child()
          local m = 0
          local thread = T.start(function() m = m + 1 end, {times = 50})
          while m < 50 do end
          T.sleep(0.01)
          return thread:join()
        end
        local function fork_one()
          local pid = unistd.fork()
          if pid == 0 then
            local fine, result = pcall(in_child)
            unistd._exit(fine and result and 7 or 8)
          end
          local _, how, code = wait(pid)
          assert(how == "exited" and code == 7, tostring(how) .. tostring(code))
          n = n + 1
        end
        local flood = T.start(function() end, {times = -1, pause = 10})
        for _ = 1, 20 do fork_one() end
        local request = T.start(fork_one, {times = 20})
        local inside = T.start(function() T.sleep(0.001) fork_one() end, {times = 20})
        while n < 60 do end
        local fine, message = request:join()
        assert(fine, message)
        fine, message = inside:join()
        assert(fine, message)
        assert(flood:stop():join())
        print "ok"
      ]]
    end)
  end)

  describe("closing the state", function()
    it("ends threads that wait, compute, or want the lock", function()
      ok [=[
        for round = 1, 20 do
          local result = T.state [[
            local T = require "lock_threads"
            local running = 0
            for i = 1, 3 do T.start(function() running = running + 1 T.sleep(math.huge) end) end
            T.start(function() running = running + 1 while true do end end)
            T.start(function() running = running + 1 while true do pcall(T.sleep, 100) end end)
            T.start(function() running = running + 1 coroutine.wrap(function() while true do end end)() end)
            T.start(function() end, {times = -1})
            while running < 6 do end
            return "closing"
          ]]
          assert(result == "closing", result)
        end
        print "ok"
      ]=]
    end)

    it("ends a thread that nobody else waits for, whatever it catches", function()
      for _, body in ipairs {
        "while true do end",
        "while true do pcall(T.sleep, 1) end",
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do pcall(coroutine.wrap(function() while true do end end)) end end)()",
      } do
        ok(([=[
          assert(T.state [[
            local T = require "lock_threads"
            local begun = false
            local thread = T.start(function() begun = true %s end)
            while not begun do end
            return "closing"
          ]] == "closing")
          print "ok"
        ]=]):format(body))
      end
    end)

    it("lets threads put things in order", function()
      ok [=[
        local path = os.tmpname()
        assert(T.state((([[
          local T = require "lock_threads"
          local begun = false
          local function finish()
            local file = io.open("PATH", "w")
            file:write "in order"
            file:close()
          end
          T.start(function()
            local _ <close> = setmetatable({}, {__close = finish})
            begun = true
            T.sleep(math.huge)
          end)
          while not begun do end
          return "closing"
        ]]):gsub("PATH", path))) == "closing")
        local file = io.open(path)
        assert(file:read "a" == "in order")
        file:close()
        os.remove(path)
        print "ok"
      ]=]
    end)

    it("at the end of the program, and with os.exit(true, true)", function()
      ok [[
        T.start(function() T.sleep(math.huge) end)
        local thread = T.start(function() end, {times = -1})
        while thread:calls() < 100 do end
        print "ok"
        os.exit(true, true)
      ]]
    end)

    it("keeps several states in one process apart", function()
      ok [=[
        local n = 0
        local thread = T.start(function() n = n + 1 end, {times = -1})
        for round = 1, 10 do
          assert(T.state [[
            local T = require "lock_threads"
            local m = 0
            local thread = T.start(function() m = m + 1 end, {times = 100})
            while m < 100 do end
            return thread:join() and "done"
          ]] == "done")
        end
        while n < 100 do end
        assert(thread:stop():join())
        print "ok"
      ]=]
    end)
  end)

  it("passes errors of a thread to nobody else", function()
    ok [[
      local bad = T.start(function() error "mine" end, {times = 50})
      local n = 0
      local good = T.start(function() n = n + 1 end, {times = 50})
      while n < 50 do end
      local fine, message = bad:join()
      assert(not fine and message:match "mine")
      assert(good:join())
      print "ok"
    ]]
  end)
end)

--- Runs `script` with Lua's own functions, whose output must match `pattern`, and with the library's: they do the same.
local function expect_same(script, pattern)
  local function run(code)
    return (helper.run(code, true):gsub("/[^:]*/lua_%w+", "script"))
  end
  local expected = run(script)
  assert.is_truthy(expected:match(pattern), expected)
  assert.equal(expected, run('require "lock_threads" ' .. script))
  helper.clean()
end

describe("the coroutine functions", function()
  local script = [[
    local out = {}
    local function put(...)
      local t = table.pack(...)
      for i = 1, t.n do t[i] = tostring(t[i]):gsub("0x%x+", "ADDR") end
      out[#out + 1] = t.n .. ":" .. table.concat(t, ",", 1, t.n)
    end
    local function try(f, ...) put(pcall(f, ...)) end
    for _, name in ipairs {"create", "resume", "wrap", "close"} do
      local f = coroutine[name]
      try(f) try(f, 1) try(f, {}) try(f, print) try(function() return f() end)
      try(load("local f = ... coroutine." .. name .. "(1)", "=chunk"))
    end
    local co = coroutine.create(function(...) put(...) put(coroutine.yield(1, nil, 3)) return "end", nil end)
    put(coroutine.resume(co, "a", nil)) put(coroutine.status(co))
    put(coroutine.resume(co, "b")) put(coroutine.resume(co))
    put(coroutine.resume(coroutine.running())) put(coroutine.running())
    try(coroutine.close, coroutine.running())
    local outer outer = coroutine.create(function()
      try(coroutine.close, outer)
      local inner = coroutine.create(function()
        try(coroutine.close, outer) put(coroutine.resume(outer)) put(coroutine.status(outer))
      end)
      put(coroutine.resume(inner))
      put(coroutine.isyieldable())
    end)
    put(coroutine.resume(outer))
    local w = coroutine.wrap(function(a) local b = coroutine.yield(a) error("text" .. b) end)
    put(w(1)) try(w, 2) try(w)
    local chunk = load("local w = ... w()\nw()", "=wrapping")
    try(chunk, coroutine.wrap(function() coroutine.yield() error "raised" end))
    try(chunk, coroutine.wrap(function() coroutine.yield() error("raised", 0) end))
    try(chunk, coroutine.wrap(function() coroutine.yield() error {} end))
    try(chunk, coroutine.wrap(function() coroutine.yield() error(nil) end))
    try(chunk, coroutine.wrap(function()
      local x <close> = setmetatable({}, {__close = function(_, e) put("closing", e) error("in close", 0) end})
      coroutine.yield() error "first"
    end))
    local function closing(f) return setmetatable({}, {__close = f}) end
    local c = coroutine.create(function()
      local x <close> = closing(function(_, e) put("close", e) end)
      coroutine.yield()
    end)
    coroutine.resume(c) put(coroutine.close(c)) put(coroutine.status(c)) put(coroutine.close(c))
    c = coroutine.create(function()
      local x <close> = closing(function() error("bad", 0) end)
      coroutine.yield()
    end)
    coroutine.resume(c) put(coroutine.close(c)) put(coroutine.status(c)) put(coroutine.close(c))
    put(coroutine.close(coroutine.create(print)))
    c = coroutine.create(function() error "dead" end) coroutine.resume(c)
    put(coroutine.close(c)) put(coroutine.close(c))
    local deep deep = function(n) local ok, e = coroutine.resume(coroutine.create(deep), n + 1) return e end
    put(type(deep(0)))
    put(select("#", coroutine.wrap(function() return table.unpack({}, 1, 200) end)()))
    local function many() return table.unpack({}, 1, 900000) end
    local function crowded(...) return select("#", coroutine.wrap(many)(), (...)) end
    try(crowded, table.unpack({}, 1, 300000))
    local function full(...) return coroutine.resume(coroutine.create(many), (...)) end
    put(full(table.unpack({}, 1, 300000)))
    put(coroutine.resume(coroutine.create(string.rep), "x", 3))
    put(coroutine.wrap(pcall)(coroutine.yield, 5))
    for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do put(v) end
    put(coroutine.wrap(function() return pcall(pcall, error) end)())
    local trace = coroutine.create(function() local function f() coroutine.yield() end f() end)
    coroutine.resume(trace) put(debug.traceback(trace))
    try(load("local x = coroutine.wrap(function() local y = nil + 1 end) x()", "=arith"))
    collectgarbage()
    for i, s in ipairs(out) do print(i, s) end
  ]]

  it("do what Lua's own do", function()
    expect_same(script, "bad argument.*chunk.*wrapping.*arith")
  end)
end)

describe("debug.gethook and debug.sethook", function()
  it("do what Lua's own do", function()
    expect_same([[
      local out = {}
      local function hook() end
      local function put(...)
        local t = table.pack(...)
        for i = 1, t.n do
          t[i] = t[i] == hook and "hook" or type(t[i]) == "function" and "function"
            or tostring(t[i]):gsub("0x%x+", "ADDR")
        end
        out[#out + 1] = t.n .. ":" .. table.concat(t, ",", 1, t.n)
      end
      local function try(f, ...) put(pcall(f, ...)) put(debug.gethook()) debug.sethook() end
      local co = coroutine.create(function() coroutine.yield() end)
      for _, first in ipairs {false, true} do
        local function set(...) if first then return debug.sethook(co, ...) end return debug.sethook(...) end
        local function get(...) if first then return debug.gethook(co, ...) end return debug.gethook(...) end
        try(set) try(set, nil) try(set, nil, {}, {}, {}) try(set, 1) try(set, hook) try(set, hook, {}) try(set, {}, "l")
        try(set, hook, "l", "x") try(set, hook, "l", 1.5) try(set, hook, 5, 2) put(get())
        try(set, hook, "", "7") put(get())
        for _, mask in ipairs {"", "c", "r", "l", "cr", "lrc", "xyz", "crl"} do
          for _, count in ipairs {false, 0, 1, 1000000, 2 ^ 40} do
            put(pcall(set, hook, mask, count or nil, "more")) put(get()) put(get("more", {}))
            local h, m, c = get()
            put(pcall(set, h, m, c))
            put(pcall(set)) put(get())
          end
        end
      end
      try(load("debug.sethook(1)", "=chunk")) try(load("debug.sethook(print)", "=chunk"))
      try(load("local s = debug.sethook s(print, {})", "=chunk"))
      try(load("local t = {f = debug.sethook} t.f(print, 'l', {})", "=chunk"))
      local events = {}
      debug.sethook(function(event, line)
        local by = debug.getinfo(2, "nS")
        events[#events + 1] = event .. tostring(line) .. tostring(by.name) .. by.what
      end, "crl", 3)
      local x = tostring(1)
      x = x .. x debug.gethook()
      debug.sethook()
      put(table.unpack(events))
      try(function()
        debug.sethook(function() debug.sethook() put(debug.gethook()) error "out of the hook" end, "l")
        local y = 1
        return y
      end)
      debug.sethook(hook, "c")
      put(debug.gethook(coroutine.create(hook)))
      debug.sethook()
      for i, s in ipairs(out) do print(i, s) end
    ]], "bad argument.*chunk.*callnilgethookC.*out of the hook")
  end)
end)
