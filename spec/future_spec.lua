-- Futures of any source, and what every wait of the library does for them. Futures of evaluations: async_spec.
local fcntl = require "posix.fcntl"
local fixture = require "spec.support.fixture"
local private_pipe = require "spec.support.pipe"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"
local core = require "remoteobj.core" -- after the whole, which may bring it along

local new, settle, watch = core._future.new, core._future.settle, core._future.watch
local duty, follow, perform = core._future.duty, core._future.follow, core._future.perform

local function done_with(...)
  local future = new()
  settle(future, true, ...)
  return future
end

describe("a future", function()
  it("gives what it was settled with, again and again", function()
    for _, values in ipairs { table.pack(), table.pack(1), table.pack(nil), table.pack(1, nil, 3, nil) } do
      local future = new()
      assert.is_false(future:done())
      assert.is_true(settle(future, true, table.unpack(values, 1, values.n)))
      assert.is_false(settle(future, true, "again"))
      assert.is_true(future:done())
      for _ = 1, 2 do
        assert.same(values, table.pack(future:get()))
        assert.same(values, table.pack(future:get(0)))
      end
    end
  end)

  it("raises the very error that it was settled with", function()
    local problem = { "problem" }
    local future = new()
    settle(future, false, problem)
    assert.is_true(future:done())
    for _ = 1, 2 do
      local ok, err = pcall(future.get, future)
      assert.is_false(ok)
      assert.equal(problem, err)
    end
  end)

  it("is waited for as long as one wants", function()
    local future = new()
    for _, seconds in ipairs { 0, 0.01, -1 } do
      local ok, err = pcall(future.get, future, seconds)
      assert.is_false(ok)
      assert.equal("Timeout", err.kind)
    end
    settle(future, true, 5)
    assert.equal(5, future:get(0))
  end)

  it("calls functions once it is done, in order", function()
    local future, calls = new(), {}
    for i = 1, 3 do
      future:on_done(function(f)
        calls[#calls + 1] = { i, f, f:get() }
      end)
    end
    assert.same({}, calls)
    settle(future, true, "x")
    assert.same({ { 1, future, "x" }, { 2, future, "x" }, { 3, future, "x" } }, calls)
    future:on_done(function(f)
      calls[#calls + 1] = f
    end)
    assert.equal(future, calls[4])
  end)

  it("calls functions though nobody has it any more", function()
    local called
    local settle_it
    do
      local future = new()
      future:on_done(function(f) called = f:get() end)
      local weak = setmetatable({ future }, { __mode = "v" })
      settle_it = function() settle(weak[1], true, "kept") end
    end
    collectgarbage()
    collectgarbage()
    settle_it()
    assert.equal("kept", called)
  end)

  it("raises what a function raises that is called at once, and warns of it otherwise", function()
    local future = new()
    local after = false
    future:on_done(function() error "not here" end)
    future:on_done(function() after = true end)
    settle(future, true)
    assert.is_true(after)
    assert.has_error(function() future:on_done(function() error("here", 0) end) end, "here")
  end)

  it("is settled while threads end", function()
    local last = new()
    local waiter = remoteobj.thread(function() return last:get() end):start()
    for _ = 1, 300 do
      local thread = remoteobj.thread(function() end):start()
      for _ = 1, 50 do
        settle(new(), true)
      end
      thread:join()
    end
    settle(last, true, "over")
    waiter:join()
    assert.equal("over", waiter.result)
  end)

  it("refuses what it can't use", function()
    local future = new()
    assert.error_matches(function() future:get "soon" end, "number expected, got string")
    assert.error_matches(function() future:get(0 / 0) end, "got nan")
    assert.error_matches(function() future:on_done(1) end, "function expected, got number")
    assert.error_matches(function() future.get {} end, "remoteobj.Future expected, got table")
    assert.equal("<Future (not done)>", tostring(future))
    assert.equal("<Future (done)>", tostring(done_with()))
  end)
end)

describe("a duty", function()
  local attempts, problems, future, other

  -- It fails with the problems, one after the other, and then settles the future.
  local function failing(...)
    local d = duty(function()
      attempts = attempts + 1
      if problems[attempts] then
        error(problems[attempts], 0)
      end
      settle(future, true, "done")
    end)
    attempts, problems, future, other = 0, { ... }, new(d), new(d)
    perform(d)
    assert.equal(1, attempts)
  end

  local function raised(func, ...)
    local ok, err = pcall(func, ...)
    assert.is_false(ok)
    return err
  end

  it("is told which future has been settled, and once it has failed to see to everything", function()
    local told, problem = {}, nil
    local d = duty(function(number)
      told[#told + 1] = number or "everything"
      if problem then
        error(problem, 0)
      end
    end)
    local futures = { new(), new(), new() }
    for i = 1, 3 do
      assert.is_false(follow(futures[i], d, i))
    end
    settle(futures[2], true)
    problem = { "problem" }
    settle(futures[1], true)
    problem = nil
    settle(futures[3], true)
    perform(d, 7)
    perform(d)
    assert.same({ 2, 1, "everything", 7, "everything" }, told)
    assert.is_true(follow(futures[1], d, 1))
  end)

  it("that has failed tells its error who waits for its futures, once", function()
    local problem = { "problem" }
    for _, wait_for in ipairs { function() return future:get() end, function() return remoteobj.wait { future } end } do
      failing(problem)
      assert.equal(problem, raised(wait_for))
      assert.equal(1, attempts) -- the error is what there is to hear first
      assert.is_true(pcall(wait_for))
      assert.equal("done", future:get())
      assert.equal(2, attempts)
    end
  end)

  it("tells it though another wait has done it since", function()
    local problem = { "problem" }
    failing(problem)
    wait.until_true(function() return attempts == 2 end, "the duty to be done again")
    assert.equal("done", future:get(0))
    assert.equal(problem, raised(other.get, other, 60))
    assert.equal("Timeout", raised(other.get, other, 0).kind)
    assert.equal(2, attempts)
  end)

  it("tells the latest of its errors", function()
    local first, second = { "first" }, { "second" }
    failing(first, second)
    wait.until_true(function() return attempts == 3 end, "the duty to be done again and again")
    assert.equal(second, raised(other.get, other, 60))
    assert.equal("Timeout", raised(other.get, other, 0).kind)
  end)

  it("that has failed for want of memory is done by who waits", function()
    failing "not enough memory"
    assert.equal("done", future:get())
    assert.equal("Timeout", raised(other.get, other, 0).kind)
    assert.equal(2, attempts)
  end)
end)

describe("wait", function()
  it("gives the futures that are done and the others, in order", function()
    local a, b, c, d = done_with(), new(), done_with(), new()
    local done, others = remoteobj.wait({ a, b, c, d }, { timeout = 0 })
    assert.same({ { a, c }, { b, d } }, { done, others })
    done, others = remoteobj.wait({ b, a, a }, { all = false })
    assert.same({ { a, a }, { b } }, { done, others })
    done, others = remoteobj.wait({ d, b }, { all = false, timeout = 0.01 })
    assert.same({ {}, { d, b } }, { done, others })
    for _, all in ipairs { true, false } do
      assert.same({ {}, {} }, { remoteobj.wait({}, { all = all }) })
    end
  end)

  it("takes futures that failed for done", function()
    local future = new()
    settle(future, false, "problem")
    assert.same({ { future }, {} }, { remoteobj.wait { future } })
  end)

  it("refuses what is no future, and unknown options", function()
    assert.error_matches(function() remoteobj.wait { done_with(), 5 } end, "future expected at %[2%], got number")
    assert.error_matches(function() remoteobj.wait(done_with()) end, "table expected")
    assert.error_matches(function() remoteobj.wait({}, { every = true }) end, "unknown option 'every'")
    assert.error_matches(function() remoteobj.wait({}, { all = 1 }) end, "'all' must be a boolean")
    assert.error_matches(function() remoteobj.wait({}, { timeout = -1 }) end, "'timeout' must be a number of seconds")
  end)
end)

local pipe

local function open_pipe()
  pipe = {}
  pipe.output, pipe.input = private_pipe()
end

local function close_pipe()
  unistd.close(pipe.output)
  unistd.close(pipe.input)
end

-- Calls func whenever a byte comes.
local function on_byte(func)
  return watch(pipe.output, function()
    unistd.read(pipe.output, 1)
    func()
  end)
end

describe("a descriptor that is watched", function()
  before_each(function()
    wait.guard()
    open_pipe()
  end)
  after_each(function()
    close_pipe()
    wait.unguard()
  end)

  for name, wait_for in pairs {
    sleep = function() remoteobj.sleep(0.05) end,
    poll = function() remoteobj.poll({}, 0.05) end,
    get = function() pcall(new().get, new(), 0.05) end,
    wait = function() remoteobj.wait({ new() }, { timeout = 0.05 }) end,
  } do
    it("is attended to by " .. name, function()
      local calls = 0
      local handle <close> = on_byte(function() calls = calls + 1 end)
      unistd.write(pipe.input, "xy")
      repeat wait_for() until calls >= 2
      assert.equal(2, calls)
      handle:close()
      unistd.write(pipe.input, "z")
      wait_for()
      assert.equal(2, calls)
    end)
  end

  it("settles futures that are waited for", function()
    local a, b = new(), new()
    local handle <close> = on_byte(function()
      settle(a:done() and b or a, true, "it")
    end)
    unistd.write(pipe.input, "xy")
    assert.equal("it", a:get(60))
    assert.same({ { a, b }, {} }, { remoteobj.wait({ a, b }, { timeout = 60 }) })
    handle:close()
  end)

  it("is not attended to while it is", function()
    local depth, deepest = 0, 0
    local handle <close> = watch(pipe.output, function()
      depth = depth + 1
      deepest = math.max(deepest, depth)
      remoteobj.sleep(0.01)
      unistd.read(pipe.output, 1)
      depth = depth - 1
    end)
    unistd.write(pipe.input, "x")
    remoteobj.sleep(0.05)
    assert.equal(1, deepest)
    handle:close()
  end)

  it("is attended to by one of the threads that wait, once for what there is", function()
    local calls, in_vain = 0, 0
    fcntl.fcntl(pipe.output, fcntl.F_SETFL, fcntl.O_NONBLOCK)
    local _ <close> = watch(pipe.output, function()
      if unistd.read(pipe.output, 1) then
        calls = calls + 1
      else
        in_vain = in_vain + 1
      end
    end)
    local threads, over = {}, false
    for i = 1, 3 do
      threads[i] = remoteobj.thread(function()
        while not over do
          remoteobj.sleep(0.01)
        end
      end):start()
    end
    for i = 1, 100 do
      unistd.write(pipe.input, "x")
      wait.until_true(function() return calls == i end)
    end
    over = true
    for _, thread in ipairs(threads) do
      thread:join()
    end
    assert.equal(0, in_vain)
  end)

  it("is attended to by waits that have begun while it was", function()
    local calls, sleeper = 0, nil
    local _ <close> = on_byte(function()
      calls = calls + 1
      if not sleeper then
        sleeper = remoteobj.thread(function() remoteobj.sleep(3600) end):start()
        remoteobj.sleep(0.05)
      end
    end)
    unistd.write(pipe.input, "x")
    wait.until_true(function() return calls == 1 end)
    unistd.write(pipe.input, "x")
    wait.spin_until(function() return calls == 2 end) -- no wait of the library here
    sleeper:throw "over"
    pcall(sleeper.join, sleeper)
  end)

  it("may be closed by its own function, many at once", function()
    local handles, calls = {}, 0
    for i = 1, 20 do
      handles[i] = watch(pipe.output, function()
        calls = calls + 1
        for _, handle in ipairs(handles) do
          handle:close()
        end
      end)
    end
    unistd.write(pipe.input, "x")
    remoteobj.sleep(0)
    remoteobj.sleep(0)
    assert.equal(1, calls)
  end)
end)

-- What a wait is for may come about in a function that is called during it, and waits itself.
describe("a function that is called during a wait, and waits itself, does not keep", function()
  local object, proxy

  before_each(function()
    open_pipe()
    object, proxy = fixture.open { passed = 0 }
    -- Waits until another request calls open(); sends a process a signal first, if it is given one.
    function object.gate(self, pid)
      if pid then
        signal.kill(pid, signal.SIGUSR1)
      end
      while not self.is_open do
        remoteobj.sleep(0.001)
      end
      self.is_open = false
      self.passed = self.passed + 1
      return "passed"
    end
    -- Opens the gate, and is answered after the request that has waited there.
    function object.open(self)
      self.is_open = true
      while self.passed == 0 do
        remoteobj.sleep(0.001)
      end
      remoteobj.sleep(0.02)
    end
    fixture.serve()
  end)
  after_each(function()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    fixture.close()
    close_pipe()
  end)

  local waits = {
    ["a call"] = function(pid) return proxy:gate(pid) end,
    ["a future"] = function(pid) return proxy:with_ { async = true }:gate(pid):get() end,
  }
  for name, wait_for in pairs(waits) do
    it(name .. " from its answer", function()
      local _ <close> = on_byte(function() proxy:open() end)
      unistd.write(pipe.input, "x")
      assert.equal("passed", wait_for())
    end)

    it(name .. " from its answer, in a handler", function()
      signal.signal(signal.SIGUSR1, function() proxy:open() end)
      assert.equal("passed", wait_for(unistd.getpid()))
    end)
  end

  it("the join of a thread from its end", function()
    local over, thread, this = false, nil, unistd.getpid()
    local function end_thread()
      over = true
      thread:join()
    end
    local function run(first)
      over = false
      thread = remoteobj.thread(function()
        first()
        while not over do
          remoteobj.sleep(0.001)
        end
        return "ended"
      end):start()
      thread:join()
      assert.equal("ended", thread.result)
    end
    do
      local _ <close> = on_byte(end_thread)
      run(function() unistd.write(pipe.input, "x") end)
    end
    signal.signal(signal.SIGUSR1, end_thread)
    run(function() signal.kill(this, signal.SIGUSR1) end)
  end)

  it("proxy:poll from waiting its time", function()
    local mine = remoteobj.Proxy {}
    local _ <close> = mine:listen_ { bg = false }
    local _ <close> = on_byte(function() remoteobj.thread(remoteobj.sleep, 0.02):start():join() end)
    unistd.write(pipe.input, "x")
    local begun = wait.now()
    assert.is_false(mine:poll(0.2))
    assert.is_true(wait.now() - begun >= 0.2)
  end)
end)
