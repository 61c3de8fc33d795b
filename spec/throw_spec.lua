-- Errors thrown into processes, wherever these are.
local besides = require "spec.support.besides"
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local time = require "posix.time"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local process = remoteobj.process

local running = {}

local function started(...)
  local p = process(...):start()
  running[#running + 1] = p
  return p
end

--- Waits until the process has yielded.
local function await_yield(p)
  p:iter()()
end

before_each(function() wait.guard() end)

after_each(function()
  for _, p in ipairs(running) do
    p:kill()
    pcall(p.join, p)
  end
  running = {}
  wait.unguard()
end)

describe("throw reaches a process", function()
  local places = {
    ["in a loop that calls nothing"] = function() while true do end end,
    ["in a loop in a coroutine"] = function() coroutine.wrap(function() while true do end end)() end,
    ["that switches between coroutines"] = function()
      while true do coroutine.wrap(function() return coroutine.wrap(function() end)() end)() end
    end,
    ["in a sleep"] = function() remoteobj.sleep(1e9) end,
    ["in a sleep in a coroutine"] = function() coroutine.wrap(function() remoteobj.sleep(1e9) end)() end,
    ["in a poll"] = function() remoteobj.poll({}) end,
    ["in a foreign sleep"] = function()
      while true do time.nanosleep { tv_sec = 1000, tv_nsec = 0 } end
    end,
    ["that waits for a process"] = function()
      local p = process(remoteobj.sleep, 1e9):start()
      p:join()
    end,
    ["that waits for a thread"] = function()
      local t = remoteobj.thread(remoteobj.sleep, 1e9):start()
      t:join()
    end,
    ["that listens and computes"] = function()
      local _ <close> = remoteobj.Proxy({}):listen_()
      while true do end
    end,
    ["that listens and sleeps"] = function()
      local _ <close> = remoteobj.Proxy({}):listen_()
      remoteobj.sleep(1e9)
    end,
    ["whose threads compute"] = function()
      for _ = 1, 2 do remoteobj.thread(function() while true do end end):start() end
      while true do end
    end,
    ["whose threads compute while it sleeps"] = function()
      for _ = 1, 2 do remoteobj.thread(function() while true do end end):start() end
      remoteobj.sleep(1e9)
    end,
  }

  for place, func in pairs(places) do
    it(place, function()
      local p = started(function()
        coroutine.yield "begun"
        func()
      end)
      await_yield(p)
      if place == "in a foreign sleep" then -- before it nobody can end it
        processes.wait_asleep(p.pid)
      end
      assert.is_true(p:throw { code = 42 })
      local ok, err = pcall(p.join, p, wait.LIMIT)
      assert.is_false(ok)
      assert.are.equal(42, err.code)
      assert.are.equal(1, p.exitcode)
      assert.is_false(p:throw "x")
    end)
  end

  it("that has just been started, at its first instruction", function()
    for _ = 1, 10 do
      local p = started(function() while true do end end)
      assert.is_true(p:throw "at once")
      local ok, err = pcall(p.join, p, wait.LIMIT)
      assert.is_false(ok)
      assert.are.equal("at once", err.value)
    end
  end)

  it("whose stream is full, where it has yielded; what it has yielded comes whole", function()
    local p = started(function()
      for i = 1, math.huge do
        local ok, err = pcall(function() local _ = coroutine.yield(i, ("x"):rep(1000)) end)
        if not ok then
          return err, i
        end
      end
    end)
    local last = p:iter()()
    processes.wait_asleep(p.pid) -- its end of the socket is full
    p:throw "caught"
    for i, text in p:iter() do
      assert.are.equal(last + 1, i)
      assert.are.equal(1000, #text)
      last = i
    end
    local err, i = p:results()
    assert.are.equal("caught", err)
    assert.are.equal(i, last)
  end)

  it("from its sibling", function()
    local p = started(function() while true do end end)
    local other = started(function() return p:throw "from a sibling" end)
    other:join()
    assert.is_true(other.result)
    local _, err = pcall(p.join, p, wait.LIMIT)
    assert.are.equal("from a sibling", err.value)
  end)
end)

describe("throw into a process in a function that the library calls", function()
  besides(it, started)
end)

describe("throw", function()
  it("is an error that pcall catches, any value that can be sent", function()
    local Class = { name = "class" }
    Class.__index = Class
    remoteobj.register(Class, "throw_spec.Class")
    local p = started(function()
      local function stay()
        coroutine.yield "ready"
        while true do end
      end
      local seen = {}
      repeat
        local _, err = pcall(stay)
        seen[#seen + 1] = err == nil and "nil" or err
      until err == "end"
      return seen
    end)
    local values = { 1, false, setmetatable({ x = 1 }, Class), ("long"):rep(1000000), "end" }
    local ready = p:iter()
    for _, value in ipairs(values) do
      assert.are.equal("ready", ready())
      p:throw(value)
    end
    p:join()
    local seen = p:results()
    assert.are.equal(Class, getmetatable(seen[3]))
    assert.are.same(values, seen)
  end)

  it("loses none of several that come together", function()
    local function stay(n) -- each error ends one call
      if n > 1 then
        pcall(stay, n - 1)
      else
        coroutine.yield "deep"
      end
      while true do end
    end
    local p = started { stay, 50, raises_ = false }
    await_yield(p)
    for i = 1, 50 do p:throw(i) end
    assert.is_true(p:join(wait.LIMIT))
    assert.are.equal(50, p.exc.last.value)
  end)

  it("refuses what can't be sent, and sends nothing then", function()
    local p = started(function()
      coroutine.yield "ready"
      remoteobj.sleep(0.05)
      return "untouched"
    end)
    await_yield(p)
    local ok, err = pcall(p.throw, p, { file = io.stdout })
    assert.is_false(ok)
    assert.are.equal("Unsendable", err.kind)
    assert.matches("error.file", err.message)
    assert.has_error(function() p:throw() end)
    p:join()
    assert.are.equal("untouched", (p:results()))
  end)

  it("is for what was started; raises at once in the process itself", function()
    local p = process(function() end)
    assert.has_error(function() p:throw "x" end)
    local own
    own = process(function() return pcall(own.throw, own, "me") end)
    own:start():join()
    assert.are.same({ false, "me" }, { own:results() })
  end)

  it("is false, and nothing else, for one that was killed or has ended", function()
    local killed = started(function() remoteobj.sleep(1e9) end)
    signal.kill(killed.pid, signal.SIGKILL)
    remoteobj.poll({ [killed.sentinel] = { events = { IN = true } } }, wait.LIMIT)
    wait.until_true(function() return not killed:is_alive() end)
    assert.is_false(killed:throw "x")
    local ended = started(function() end)
    ended:join()
    assert.is_false(ended:throw "x")
  end)

  it("has reached one that has found the error and ended before it was called", function()
    local p = started { function()
      coroutine.yield "ready"
      remoteobj.sleep(1e9)
    end, raises_ = false }
    await_yield(p)
    local append = p._channel.journal.append_error
    debug.sethook(function()
      if debug.getinfo(2, "f").func == append then -- the error is there, and nobody was called
        debug.sethook()
        p:throw "second"
        p:join()
      end
    end, "r")
    local reached = p:throw "first"
    debug.sethook()
    assert.is_true(reached)
    assert.is_false(p:is_alive())
    assert.equal("first", p.exc:all()[1].value)
  end)

  it("at the end of the process comes through or too late, and harms nobody", function()
    for i = 1, 40 do
      local p = started { function() for _ = 1, i * 500 do end return "done" end, raises_ = false }
      local told = p:throw "x"
      assert.is_true(p:join(wait.LIMIT))
      if p.exitcode == 1 then
        assert.is_true(told)
        assert.are.equal("x", p.exc.last.value)
      else
        assert.are.equal(0, p.exitcode)
        assert.are.equal("done", p.result)
      end
    end
  end)

  it("into one of many leaves the others and the parent alone", function()
    local list = {}
    for i = 1, 5 do
      list[i] = started(function()
        coroutine.yield "ready"
        while true do end
      end)
    end
    for i = 1, 5 do await_yield(list[i]) end
    list[3]:throw "three"
    assert.has_error(function() list[3]:join() end)
    for i = 1, 5 do assert.are.equal(i ~= 3, list[i]:is_alive()) end
  end)

  it("leaves the program's own handler and debug hook as they are", function()
    local p = started(function()
      local hook = function() end
      debug.sethook(hook, "", 1000)
      local ok, err = pcall(function()
        coroutine.yield "ready"
        while true do end
      end)
      return ok, err, debug.gethook() == hook
    end)
    await_yield(p)
    p:throw "x"
    p:join()
    assert.are.same({ false, "x", true }, { p:results() })
  end)

  it("does not go to the program that the process has become", function()
    local function name_of(pid)
      local file = io.open(("/proc/%d/comm"):format(pid))
      local name = file and file:read "a"
      if file then file:close() end
      return name
    end

    local own = name_of(unistd.getpid())
    for _, number in ipairs { signal.SIGURG, signal.SIGUSR1 } do
      local before = remoteobj.limits.signal
      remoteobj.limits.signal = number
      local p = process(function()
        unistd.exec("/bin/sh", { "-c", "exec sleep 0.3" })
      end)
      p:start()
      remoteobj.limits.signal = before
      wait.until_true(function() return name_of(p.pid) ~= own end)
      p:throw "x"
      p:join()
      assert.are.equal(0, p.exitcode)
    end
  end)

  it("goes by the signal that limits.signal was at the start, which must be usable", function()
    local before = remoteobj.limits.signal
    remoteobj.limits.signal = signal.SIGUSR2
    local p = started(function() while true do end end)
    remoteobj.limits.signal = "none"
    local q = started(function() coroutine.yield "ready" remoteobj.sleep(1e9) end)
    remoteobj.limits.signal = before
    p:throw "x"
    assert.has_error(function() p:join(wait.LIMIT) end)
    await_yield(q)
    local ok, message = pcall(q.throw, q, "x")
    assert.is_false(ok)
    assert.matches("limits.signal", message)
  end)

  it("to a listener goes on while it serves", function()
    local _, remote = fixture.open(fixture.counter())
    local p = started(function()
      local _ <close> = remote:listen_()
      local _, err = pcall(function()
        coroutine.yield "ready"
        remoteobj.sleep(1e9)
      end)
      coroutine.yield(err)
      remoteobj.sleep(1e9)
    end)
    local yields = p:iter()
    yields()
    for i = 1, 20 do assert.are.equal(i, remote:add()) end
    p:throw "end"
    assert.are.equal("end", yields())
    for i = 21, 40 do assert.are.equal(i, remote:add()) end
    p:throw "end"
    assert.has_error(function() p:join(wait.LIMIT) end)
    fixture.close()
  end)

  it("is not for a fork that the process has made by other means", function()
    local out = script.run([[
      local remoteobj = require "remoteobj"
      local unistd, wait = require "posix.unistd", require "posix.sys.wait"
      local p = remoteobj.process(function()
        local pid = unistd.fork()
        if pid == 0 then
          local until_time = os.time() + 1
          while os.time() <= until_time do end
          unistd._exit(7)
        end
        local ok = pcall(function()
          coroutine.yield(pid)
          while true do end
        end)
        return ok, select(3, wait.wait(pid))
      end)
      p:start()
      p:iter()()
      p:throw "x"
      p:join()
      print(p:results())
    ]], {})
    assert.are.equal("false\t7\n", out.stdout, out.stderr)
  end)
end)
