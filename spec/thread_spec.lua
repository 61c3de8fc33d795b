-- Threads: what the handle promises, on real native threads in one Lua state.
local besides = require "spec.support.besides"
local counts = require "spec.support.process_counts"
local fixture = require "spec.support.fixture"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local thread, process = remoteobj.thread, remoteobj.process

local function started(...)
  local t = thread(...):start()
  return t
end

--- Waits until condition() is true, sleeping in the library.
local function await(condition, what)
  return wait.until_true(condition, what)
end

--- Runs source as the main program of a process of its own, and checks that it went well.
local function run_script(source)
  local result = script.run(source, {})
  assert.are.equal(0, result.code, result.stderr)
  assert.are.equal("", result.stderr)
  return result.stdout
end

before_each(function() wait.guard() end)
after_each(function() wait.unguard() end)

describe("the constructor of threads", function()
  it("refuses what can't be called, and unknown options", function()
    local _, message = pcall(function() thread(true) end)
    assert.matches("thread_spec.lua:%d+: bad argument #1 to 'thread' %(function expected, got boolean%)", message)
    _, message = pcall(thread, { print, nmae_ = "x" })
    assert.matches("unknown option 'nmae_' %(there are close_, daemon_, exc_, .*_, timeout_%)", message)
    _, message = pcall(thread, { print, exc_ = {} })
    assert.matches("option 'exc_': an Except or a LocalExcept expected, got table", message)
  end)

  it("names threads for themselves, by the caller's name for the function", function()
    local function counted_apart() end
    assert.are.equal("counted_apart-1", process(counted_apart).name)
    assert.are.equal("counted_apart-1", thread(counted_apart).name)
    assert.are.equal("counted_apart-2", (thread(counted_apart).name))
    assert.are.equal("counted_apart-2", remoteobj.job({ counted_apart }).name)
    assert.are.equal("worker", thread { counted_apart, name_ = "worker" }.name)
  end)

  it("is the same in util", function()
    assert.are.equal(remoteobj.thread, remoteobj.util.thread)
    assert.are.equal(remoteobj.job, remoteobj.util.job)
  end)
end)

describe("job", function()
  it("chooses between a thread and a process", function()
    local where = { pid = unistd.getpid() }
    local function here() return unistd.getpid() == where.pid end
    for _, threaded in ipairs { true, false } do
      local j <close> = remoteobj.job { here, threaded_ = threaded }:start()
      j:join()
      assert.are.equal(threaded, j.result)
    end
    local j <close> = remoteobj.job(here):start()
    j:join()
    assert.is_false(j.result)
  end)

  it("refuses what the chosen one does", function()
    assert.has_error(function() remoteobj.job { print, threaded_ = 1 } end)
    local _, message = pcall(remoteobj.job, { print, exc_ = remoteobj.LocalExcept() })
    assert.matches("a LocalExcept is for threads", message)
    remoteobj.job { print, exc_ = remoteobj.LocalExcept(), threaded_ = true }
    remoteobj.job { print, exc_ = remoteobj.Except() }
  end)
end)

describe("a thread", function()
  it("shares all values, and gives results by reference", function()
    local shared, result = { n = 0 }, {}
    local t = started(function(a, b, ...)
      a.n = a.n + 1
      return result, b, select("#", ...)
    end, shared, nil, nil, nil)
    assert.is_true(t:join())
    assert.are.equal(1, shared.n)
    assert.is_true(rawequal(result, t.result))
    assert.are.same({ n = 3, result, nil, 2 }, table.pack(t:results()))
  end)

  it("has the process's id, and neither kill nor terminate", function()
    local t = thread(function() end)
    assert.is_nil(t.pid)
    t:start()
    assert.are.equal(unistd.getpid(), t.pid)
    assert.is_nil(t.kill)
    assert.is_nil(t.terminate)
    t:join()
    assert.are.equal(unistd.getpid(), t.pid)
  end)

  it("says in a word how it is", function()
    local go = false
    local t = thread { function() while not go do remoteobj.sleep(0.001) end end, name_ = "x" }
    assert.are.equal("<thread x: not started>", tostring(t))
    assert.is_false(t:is_alive())
    t:start()
    assert.are.equal("<thread x: running>", tostring(t))
    assert.is_true(t:is_alive())
    assert.is_nil(t.exitcode)
    go = true
    t:join()
    assert.are.equal("<thread x: ended with 0>", tostring(t))
    assert.is_false(t:is_alive())
    assert.are.equal(0, t.exitcode)
  end)

  it("can't be started twice, joined before, or wait for itself", function()
    local t = thread(function() end)
    assert.has_error(function() t:join() end)
    t:start()
    assert.has_error(function() t:start() end)
    t:join()
    assert.has_error(function() t:start() end)
    local own
    own = thread(function() own:join() end)
    own:start()
    assert.has_error(function() own:join() end, "a thread cannot wait for itself")
  end)

  it("runs what can be called, with objects as functions", function()
    local object = setmetatable({ base = 40 }, { __call = function(self, x) return self.base + x end })
    local t = started(object, 2)
    t:join()
    assert.are.equal(42, t.result)
  end)

  it("is joined by whoever wants, several at once, no longer than told", function()
    local go = false
    local t = started { function() while not go do remoteobj.sleep(0.001) end return 7 end, timeout_ = 0.01 }
    assert.is_false(t:join())
    assert.is_false(t:join(0))
    local joiners = {}
    for i = 1, 5 do joiners[i] = started(function() return t:join(wait.LIMIT), t.result end) end
    go = true
    for i = 1, 5 do
      joiners[i]:join()
      assert.are.same({ true, 7 }, { joiners[i]:results() })
    end
    assert.has_error(function() t:join "x" end)
  end)

  it("has a sentinel that is readable once it has ended, asked for before or after", function()
    local t = started(remoteobj.sleep, 0.01)
    assert.are.equal(1, remoteobj.poll({ [t.sentinel] = { events = { IN = true } } }, wait.LIMIT))
    assert.is_false(t:is_alive())
    local u = started(function() end)
    u:join()
    assert.are.equal(1, remoteobj.poll({ [u.sentinel] = { events = { IN = true } } }, 0))
  end)

  it("joins at the end of the block, after close_", function()
    local closed, done = 0, false
    do
      local _ <close> = started {
        function() while closed == 0 do remoteobj.sleep(0.001) end done = true end,
        close_ = function() closed = closed + 1 end,
      }
    end
    assert.is_true(done)
    assert.are.equal(1, closed)
  end)

  it("keeps no results with results_ = false", function()
    local t = started { function() coroutine.yield(1) return 2 end, results_ = false }
    t:join()
    assert.is_nil(t.result)
    assert.are.same({}, { t:results() })
  end)

  it("goes on when its handle is dropped", function()
    local n, goal = 0, 20
    for _ = 1, goal do
      thread(function() remoteobj.sleep(0.001) n = n + 1 end):start()
    end
    collectgarbage()
    collectgarbage()
    await(function() return n == goal end)
  end)

  it("leaves nothing behind in great number", function()
    local function nothing() end
    local function run()
      local t = thread(nothing):start()
      t:join()
    end
    local alone
    wait.until_true(function() -- those of earlier specs have ended; TSan starts one of its own with the first
      run()
      local before = alone
      alone = counts.threads()
      return alone <= (os.getenv "REMOTEOBJ_SANITIZED" == "tsan" and 2 or 1) and alone == before
    end, "earlier threads' end")
    local function many()
      for _ = 1, 200 do run() end
      for _ = 1, 100 do thread(nothing):start() end
      await(function()
        run() -- which gives back what those hold that have ended
        return counts.threads() == alone
      end, "the threads' end")
      return counts.descriptors()
    end
    local before = many()
    assert.are.equal(before, many())
  end)

  -- Sanitizers give up when they find no memory for their own use.
  local limited = os.getenv "REMOTEOBJ_SANITIZED" and pending or it
  limited("can't be more than the system allows, and then says so", function()
    local out = run_script [[
      local remoteobj = require "remoteobj"
      local resource = require "posix.sys.resource"
      local now = resource.getrlimit(resource.RLIMIT_AS)
      resource.setrlimit(resource.RLIMIT_AS, { rlim_cur = 300 * 1024 * 1024, rlim_max = now.rlim_max })
      local go, threads, message = false, {}, nil
      for i = 1, 500 do
        local t = remoteobj.thread(function() while not go do remoteobj.sleep(0.01) end end)
        local ok, problem = pcall(t.start, t)
        if not ok then message = problem break end
        threads[i] = t
      end
      go = true
      for _, t in ipairs(threads) do t:join() end
      print(message:match "cannot start a thread", #threads > 0)
    ]]
    assert.are.equal("cannot start a thread\ttrue\n", out)
  end)
end)

describe("errors of threads", function()
  it("are the very values, with their tracebacks where they are tables", function()
    local value = { code = 42 }
    local function fails() error(value) end
    local t = started(fails)
    local ok, err = pcall(t.join, t)
    assert.is_false(ok)
    assert.is_true(rawequal(value, err))
    assert.are.equal(1, t.exitcode)
    assert.matches("thread_spec.lua:%d+: in ", remoteobj.traceback(err))
    t = started(error, "text", 0)
    assert.has_error(function() t:join() end, "text")
    t = started(error, nil)
    assert.are.same({ false, nil }, { pcall(t.join, t) })
  end)

  it("are kept with raises_ = false, and when nobody joins", function()
    local value = {}
    local t = started { error, value, raises_ = false, group_ = "g" }
    assert.is_true(t:join())
    assert.is_true(rawequal(value, t.exc.last))
    assert.is_true(rawequal(value, t.exc:get "g"))
    local ok, err = pcall(t.raise_any, t)
    assert.is_true(not ok and rawequal(value, err))
    t = started(error, value)
    await(function() return t.exitcode == 1 end)
    assert.is_true(rawequal(value, t.exc.first))
    assert.has_error(function() t:raise_any() end, value)
  end)

  it("are recorded once in a common book, local or shared", function()
    for _, book in ipairs { remoteobj.LocalExcept(), remoteobj.Except() } do
      local value = {}
      local function fails() book "inner" (error, value) end
      local t = started { fails, exc_ = book, group_ = "outer" }
      assert.has_error(function() t:join() end)
      assert.are.equal(1, #book)
      assert.is_true(rawequal(value, book:get "inner"))
      assert.is_true(rawequal(book, t.exc))
    end
  end)

  it("reach the parent of a process whose thread has failed, in its book", function()
    local book = remoteobj.Except()
    local p = process(function()
      local t = thread { error, { code = 1 }, exc_ = book, raises_ = false }:start()
      t:join()
    end)
    p:start():join()
    assert.are.equal(1, book.last.code)
  end)

  it("take the place of the block's own error", function()
    local ok, err = pcall(function()
      local _ <close> = started(error, "thread's", 0)
      error("block's", 0)
    end)
    assert.is_false(ok)
    assert.are.equal("thread's", err)
  end)

  it("never reach the program", function()
    local t = started { function() remoteobj.sleep(0.001) error "x" end, raises_ = false }
    local n = 0
    wait.spin_until(function()
      n = n + 1
      return not t:is_alive()
    end)
    assert.is_true(n > 0)
  end)
end)

describe("yields of threads", function()
  local function count(to)
    for i = 1, to do coroutine.yield(i, { i }) end
    return "done"
  end

  it("come one by one, by reference, then what was returned", function()
    local value = {}
    local t = started(function() coroutine.yield(value, nil, 3) return "end" end)
    local seen = {}
    for a, b, c in t:iter() do seen[#seen + 1] = table.pack(a, b, c) end
    assert.are.equal(1, #seen)
    assert.is_true(rawequal(value, seen[1][1]))
    assert.are.equal(3, seen[1][3])
    assert.are.equal("end", (t:results()))
    assert.are.equal("function", type(t.result))
  end)

  it("are bounded: who yields waits for the reader", function()
    local made = 0
    local t = started(function()
      for i = 1, 1000 do
        made = i
        coroutine.yield(i)
      end
    end)
    local last = -1
    await(function() -- stands still
      local still = made == last and made > 0
      last = made
      remoteobj.sleep(0.01)
      return still
    end)
    assert.is_true(made < 200, made)
    local sum = 0
    for i in t:iter() do sum = sum + i end
    assert.are.equal(500500, sum)
  end)

  it("are drained by join, and can be iterated then", function()
    local t = started(count, 1000)
    t:join()
    local n = 0
    for i in t.result do n = n + 1 assert.are.equal(n, i) end
    assert.are.equal(1000, n)
    assert.are.equal("done", (t:results()))
  end)

  it("come from an iterator that is returned", function()
    local t = started(pairs, { x = 1 })
    local seen = {}
    for k, v in t:iter() do seen[k] = v end
    assert.are.same({ x = 1 }, seen)
  end)

  it("are followed by the error, unless raises_ is false", function()
    local value = {}
    local function fails() coroutine.yield(1) error(value) end
    local seen = {}
    local ok, err = pcall(function() for v in started(fails):iter() do seen[#seen + 1] = v end end)
    assert.is_true(not ok and rawequal(err, value))
    assert.are.same({ 1 }, seen)
    for v in started { fails, raises_ = false }:iter() do seen[#seen + 1] = v end
    assert.are.same({ 1, 1 }, seen)
  end)

  it("end when the loop is left: the generator is closed at its next yield", function()
    local closed = 0
    local function endless()
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      for i = 1, math.huge do coroutine.yield(i) end
    end
    for _ = 1, 2 do
      local t = started(endless)
      for i in t:iter() do if i == 3 then break end end
      assert.is_true(t:join(wait.LIMIT))
    end
    assert.are.equal(2, closed)
    local t = started(endless)
    pcall(function() for _ in t:iter() do error "out" end end)
    t:join()
    assert.are.equal(3, closed)
  end)

  it("go nowhere when the handle is gone, and the thread goes on", function()
    local n = 0
    do
      thread(function()
        for i = 1, 1000 do
          n = i
          coroutine.yield(i)
        end
      end):start()
    end
    await(function()
      collectgarbage()
      return n == 1000
    end)
  end)

  it("are taken by several readers, each value once", function()
    local t = started(count, 1000)
    local seen, n, readers = {}, 0, {}
    for i = 1, 4 do
      readers[i] = started(function()
        for v in t:iter() do
          assert(not seen[v])
          seen[v] = true
          n = n + 1
        end
      end)
    end
    for i = 1, 4 do readers[i]:join() end
    assert.are.equal(1000, n)
  end)
end)

describe("throw", function()
  --- A thread that sleeps, and what ends it at the end of a block.
  local function sleeper()
    local t = thread { remoteobj.sleep, 1e9, raises_ = false }:start()
    return t, setmetatable({}, { __close = function() t:throw "enough" end })
  end

  -- Functions that never end by themselves; they say when they have begun.
  local places = {
    ["a loop that calls nothing"] = function(begin) begin() while true do end end,
    ["a loop in a coroutine"] = function(begin)
      coroutine.wrap(function() begin() while true do end end)()
    end,
    ["a coroutine that resumes others"] = function(begin)
      begin()
      while true do coroutine.wrap(function() return coroutine.wrap(function() end)() end)() end
    end,
    ["a sleep"] = function(begin) begin() remoteobj.sleep(1e9) end,
    ["a sleep in a coroutine"] = function(begin)
      coroutine.wrap(function() begin() remoteobj.sleep(1e9) end)()
    end,
    ["a poll"] = function(begin) begin() remoteobj.poll({}) end,
    ["a wait for a thread"] = function(begin)
      local t, _ <close> = sleeper()
      begin()
      t:join()
    end,
    ["a wait for a process"] = function(begin)
      local p = process(function() remoteobj.sleep(1e9) end):start()
      local _ <close> = setmetatable({}, { __close = function() p:kill() p:join() end })
      begin()
      p:join()
    end,
    ["a loop over what a thread yields"] = function(begin)
      local t, _ <close> = sleeper()
      begin()
      for _ in t:iter() do end
    end,
    ["a stream that is full"] = function(begin)
      for i = 1, math.huge do
        begin()
        coroutine.yield(i)
      end
    end,
    ["a call of C functions that return"] = function(begin)
      begin()
      while true do table.concat({ ("x"):rep(100) }, ",") end
    end,
  }

  for place, func in pairs(places) do
    it("reaches " .. place, function()
      local value, begun, closed = {}, false, nil
      local t = started(function()
        local _ <close> = setmetatable({}, { __close = function(_, err) closed = err end })
        func(function() begun = true end)
      end)
      await(function() return begun end)
      for _ = 1, 5 do remoteobj.sleep(0) end
      assert.is_true(t:throw(value))
      local ok, err = pcall(t.join, t, wait.LIMIT)
      assert.is_false(ok)
      assert.is_true(rawequal(value, err))
      assert.is_true(rawequal(value, closed))
      assert.are.equal(1, t.exitcode)
      assert.is_false(t:throw(value))
    end)
  end

  it("is an error that pcall catches, any value, each where it finds the thread", function()
    local seen, waits = {}, false
    local function stay()
      waits = true
      while true do remoteobj.sleep(0.001) end
    end
    local t = started(function()
      repeat
        local ok, err = pcall(stay)
        seen[#seen + 1] = { ok, err }
      until err == "end"
      return "caught"
    end)
    for i, value in ipairs { 1, false, "end" } do
      await(function() return waits end)
      waits = false
      t:throw(value)
      await(function() return #seen == i end)
    end
    t:join()
    assert.are.same({ { false, 1 }, { false, false }, { false, "end" } }, seen)
    assert.are.equal("caught", t.result)
  end)

  it("takes nil, but needs an argument; not before the start", function()
    local t = thread(function() remoteobj.sleep(1e9) end)
    assert.has_error(function() t:throw "x" end)
    t:start()
    assert.has_error(function() t:throw() end)
    t:throw(nil)
    assert.are.same({ false, nil }, { pcall(t.join, t) })
  end)

  it("reaches a thread that has just been started, at its first instruction", function()
    await(function()
      local ran = false
      local t = started { function() ran = true end, raises_ = false }
      local told = t:throw "at once"
      t:join()
      if ran then -- it was faster
        return false
      end
      assert.is_true(told)
      return t.exc.last == "at once"
    end)
  end)

  it("into oneself raises at once", function()
    local own
    own = thread(function()
      local ok, err = pcall(own.throw, own, "me")
      return ok, err
    end)
    own:start():join()
    assert.are.same({ false, "me" }, { own:results() })
  end)

  it("loses none of several that come together", function()
    local begun = false
    local function stay(n) -- each error ends one call
      if n > 1 then
        pcall(stay, n - 1)
      end
      begun = true
      while true do end
    end
    local t = started { stay, 100, raises_ = false }
    await(function() return begun end)
    for i = 1, 100 do t:throw(i) end
    assert.is_true(t:join(wait.LIMIT))
    assert.are.equal(100, t.exc.last)
  end)

  it("at the end of the thread is told the truth, or comes too late, and harms nobody", function()
    local raised, late, refused = 0, 0, 0
    for i = 1, 300 do
      local t = started { function() for _ = 1, i * 20 do end end, raises_ = false }
      for _ = 1, i % 50 * 20 do end
      local told = t:throw("x")
      t:join()
      if t.exitcode == 1 then
        raised = raised + 1
        assert.is_true(told)
        assert.are.equal("x", t.exc.last)
      elseif told then
        late = late + 1
      else
        refused = refused + 1
      end
    end
    assert.are.equal(300, raised + late + refused)
  end)

  it("comes from other threads too, and ends one that has ended others", function()
    local threads, begun = {}, 0
    for i = 1, 5 do
      threads[i] = started(function()
        local _ <close> = setmetatable({}, { __close = function()
          if threads[i + 1] then threads[i + 1]:throw(i + 1) end
        end })
        begun = begun + 1
        remoteobj.sleep(1e9)
      end)
    end
    await(function() return begun == 5 end)
    threads[1]:throw(1)
    for i = 1, 5 do
      assert.are.same({ false, i }, { pcall(threads[i].join, threads[i]) })
    end
  end)

  it("waits where C code blocks outside the library until that returns", function()
    local time = require "posix.time"
    local t = started(function()
      time.nanosleep { tv_sec = 0, tv_nsec = 20000000 }
      while true do end
    end)
    t:throw "late"
    assert.has_error(function() t:join() end)
  end)

  it("is caught by a generator where it has yielded, and its stream keeps what was yielded", function()
    local made = 0
    local t = started(function()
      for i = 1, math.huge do
        made = i
        local ok, err = pcall(function() local _ = coroutine.yield(i) end)
        if not ok then return err end
      end
    end)
    local last = -1
    await(function() -- its stream is full: it stands still
      local still = made == last
      last = made
      remoteobj.sleep(0.01)
      return still and made > 0
    end)
    t:throw "caught"
    local seen = 0
    for i in t:iter() do
      assert.are.equal(seen + 1, i)
      seen = i
    end
    assert.are.equal(made, seen)
    assert.are.equal("caught", (t:results()))
  end)

  it("in a fork is for the parent's threads no more", function()
    local t = started(remoteobj.sleep, 1e9)
    local p = process(function() return t:throw "x" end)
    p:start():join()
    assert.is_false(p.result)
    assert.is_true(t:is_alive())
    t:throw "x"
    pcall(t.join, t)
  end)
end)

describe("throw into a thread in a function that the library calls", function()
  besides(it, started, true)
end)

describe("many threads", function()
  it("in pure loops progress alike, and so do the program and requests", function()
    local _, remote = fixture.open(fixture.counter())
    local client = remoteobj.process(function()
      remote:wait_until_listening()
      local n = 0
      while remote:add() do n = n + 1 end
      return n
    end)
    client:start()
    local _ <close> = remote:listen_()
    local turns, stop, program, threads = {}, false, 0, {}
    for i = 1, 10 do
      turns[i] = 0
      threads[i] = started(function()
        while not stop do turns[i] = turns[i] + 1 end
      end)
    end
    local least = 0
    wait.spin_until(function()
      for _ = 1, 1000 do program = program + 1 end
      least = math.huge
      for i = 1, 10 do least = math.min(least, turns[i]) end
      return least > 300000 and program > 300000
    end)
    stop = true
    for i = 1, 10 do threads[i]:join() end
    table.sort(turns)
    assert.is_true(turns[10] < 10 * turns[1], table.concat(turns, " "))
    assert.is_true(program < 30 * turns[10] and turns[1] < 30 * program, program)
    client:kill()
    client:join()
    fixture.close()
  end)

  it("serve requests while ten of them compute", function()
    local object, remote = fixture.open(fixture.counter())
    local stop, threads = false, {}
    for i = 1, 10 do threads[i] = started(function() while not stop do end end) end
    do
      local _ <close> = remote:listen_()
      local client = remoteobj.process(function()
        for _ = 1, 5 do remote:add() end
      end)
      client:start():join()
      assert.are.equal(5, object.count)
    end
    stop = true
    for i = 1, 10 do threads[i]:join() end
    fixture.close()
  end)

  it("that sleep in the library do so at the same time", function()
    local threads, awake, most = {}, 0, 0
    local gate = false
    for i = 1, 10 do
      threads[i] = started(function()
        awake = awake + 1
        most = math.max(most, awake)
        while not gate do remoteobj.sleep(0.001) end
      end)
    end
    await(function() return awake == 10 end) -- all of them are between two sleeps: none keeps the others out
    gate = true
    for i = 1, 10 do threads[i]:join() end
    local slept = 0
    local before = wait.now()
    for i = 1, 10 do threads[i] = started(function() remoteobj.sleep(2) slept = slept + 1 end) end
    for i = 1, 10 do threads[i]:join() end
    assert.are.equal(10, slept)
    assert.is_true(wait.now() - before < 20) -- one after the other it would be that long
  end)

  it("lose no updates that are one instruction, and switch between any two", function()
    local list, threads = {}, {}
    for i = 1, 4 do
      threads[i] = started(function() for j = 1, 2000 do table.insert(list, j) end end)
    end
    for i = 1, 4 do threads[i]:join() end
    assert.are.equal(8000, #list)
  end)

  it("run inside coroutines, and leave the program's debug hook alone", function()
    local events, n = 0, 0
    local t = started(function()
      coroutine.wrap(function() for _ = 1, 200000 do n = n + 1 end end)()
    end)
    local function hook() events = events + 1 end
    debug.sethook(hook, "", 1000)
    wait.spin_until(function() return n == 200000 and events > 10 end, "the hook")
    assert.are.equal(hook, (debug.gethook()))
    debug.sethook()
    t:join()
  end)
end)

describe("a fork", function()
  it("in a thread is a process like any other", function()
    local t = started(function()
      local p = process(function() return unistd.getpid() end):start()
      p:join()
      return p.result ~= unistd.getpid(), p.exitcode
    end)
    t:join()
    assert.are.same({ true, 0 }, { t:results() })
  end)

  it("has none of the threads, whose handles say so", function()
    local go = false
    local t = started(function() while not go do remoteobj.sleep(0.001) end end)
    local p = process(function()
      local own = thread(function() return "own" end):start()
      own:join()
      return t:is_alive(), pcall(t.join, t), own.result
    end)
    p:start():join()
    local alive, joined, own = p:results()
    assert.is_false(alive)
    assert.is_false(joined)
    assert.are.equal("own", own)
    go = true
    t:join()
  end)

  it("by other means ends where the thread ends", function()
    local sys_wait = require "posix.sys.wait"
    local t = started(function()
      local pid = unistd.fork()
      if pid == 0 then return end
      return select(2, sys_wait.wait(pid))
    end)
    t:join()
    assert.are.equal("exited", t.result)
  end)
end)

describe("the end of the program", function()
  local prologue = 'local remoteobj = require "remoteobj"\n'

  it("ends daemons, whatever they do", function()
    for _, body in ipairs {
      "remoteobj.sleep(1e9)", "while true do end", "while true do pcall(remoteobj.sleep, 1) end",
      "while true do pcall(function() while true do end end) end", "for i = 1, 1e9 do coroutine.yield(i) end",
      "coroutine.wrap(function() while true do end end)()",
    } do
      assert.are.equal("end\n", run_script(prologue .. ([[
        local begun = 0
        for _ = 1, 3 do remoteobj.thread(function() begun = begun + 1 %s end):start() end
        while begun < 3 do remoteobj.sleep(0.001) end
        print "end"
      ]]):format(body)))
    end
  end)

  it("waits for those that are none, and lets daemons end in order", function()
    assert.are.equal("closed\nlast\n", run_script(prologue .. [[
      remoteobj.thread(function()
        local _ <close> = setmetatable({}, { __close = function() print "closed" end })
        remoteobj.sleep(1e9)
      end):start()
      remoteobj.thread { function() remoteobj.sleep(0.05) end, daemon_ = false }:start()
      local late = setmetatable({}, { __gc = function() print "last" end })
      remoteobj.thread(function() remoteobj.sleep(1e9) end):start()
    ]]))
  end)

  it("lets each of several threads put its things in order, whoever waits for the lock meanwhile", function()
    local out = run_script [[
      local remoteobj = require "remoteobj"
      local begun = 0
      for _ = 1, 2 do
        remoteobj.thread(function()
          begun = begun + 1
          pcall(function() while true do end end)
          os.execute "sleep 0.05" -- the other waits longer than a slice, and asks for the lock
          for _ = 1, 1000 do end
          io.write "in order\n"
        end):start()
      end
      while begun < 2 do remoteobj.sleep(0.001) end
    ]]
    assert.are.equal("in order\nin order\n", out)
  end)

  it("ends those that go on in coroutines which nobody has told the library of", function()
    local out = run_script [[
      local create = coroutine.create
      local remoteobj = require "remoteobj"
      local begun
      remoteobj.thread(function()
        begun = true
        pcall(remoteobj.sleep, 1e9) -- until the state is closing: what it makes now is born with the hook
        coroutine.resume(create(function() while true do pcall(remoteobj.sleep, 1) end end))
      end):start()
      while not begun do remoteobj.sleep(0.001) end
      print "end"
    ]]
    assert.are.equal("end\n", out)
  end)

  it("comes also by os.exit in a thread, with its code", function()
    for _, call in ipairs { "os.exit(7)", "os.exit(7, true)", "os.exit(7, false)" } do
      local result = script.run(prologue .. ([[
        remoteobj.thread(function() remoteobj.sleep(1e9) end):start()
        remoteobj.thread(function() %s end):start()
        remoteobj.sleep(1e9)
      ]]):format(call), {})
      assert.are.equal(7, result.code, result.stderr)
    end
  end)
end)
