-- Pools: tasks in order, and what becomes of them when workers die, initializers fail and loops are left.
local counts = require "spec.support.process_counts"
local private_pipe = require "spec.support.pipe"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local terminal = require "spec.support.terminal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local function square(x) return x * x end

local function pid() return require "posix.unistd".getpid() end

local function fail(problem) error(problem, 0) end

local function has_ended(process)
  local state = counts.status(process)
  return state == nil or state == "Z"
end

local function error_of(func, ...)
  local ok, err = pcall(func, ...)
  assert.is_false(ok)
  return err
end

-- What pools of a test leave must be nothing.
local descriptors

local function begin()
  wait.guard(4 * wait.LIMIT)
  descriptors = counts.descriptors()
end

local function finish()
  wait.unguard()
  processes.cleanup()
  assert.same({}, counts.children())
  assert.equal(descriptors, counts.descriptors())
end

-- A pipe for tasks, which inherit it: open() lets one pass() go on, in whichever process.
local function new_gate()
  local from, to = private_pipe()
  local function open() assert(require "posix.unistd".write(to, "x")) end
  local function pass() assert(require "posix.unistd".read(from, 1)) end
  return setmetatable({ open = open, pass = pass }, { __close = function()
    unistd.close(from)
    unistd.close(to)
  end })
end

-- A file that tasks append to.
local function new_log()
  local log = { name = os.tmpname() }
  function log.lines()
    local list = {}
    for line in io.lines(log.name) do
      list[#list + 1] = line
    end
    return list
  end
  return setmetatable(log, { __close = function() os.remove(log.name) end })
end

local function append(name, text)
  local file <close> = assert(io.open(name, "a"))
  file:write(text, "\n")
end

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

describe("pool", function()
  before_each(begin)
  after_each(finish)

  it("has as many workers as there are processors, or as it is told", function()
    local nproc <close> = assert(io.popen "nproc")
    local pool <close> = remoteobj.pool()
    assert.equal(nproc:read "n", #pool)
    local three <close> = remoteobj.pool(3, { name = "three" })
    assert.equal(3, #three)
    assert.matches("^pool%-%d+$", pool.name)
    assert.equal("<pool three: 3 workers, 0 unfinished>", tostring(three))
  end)

  it("refuses wrong arguments, naming them", function()
    local function message(...)
      local arguments = table.pack(...)
      return error_of(function() local _ = remoteobj.pool(table.unpack(arguments, 1, arguments.n)) end)
    end
    for _, n in ipairs { 0, -1, 1.5, 1025 } do
      assert.matches("pool_spec.lua:%d+: bad argument #1 to 'pool' %(a number of workers, 1 to 1024, expected, got "
        .. tostring(n):gsub("%p", "%%%0"), message(n))
    end
    assert.matches("got table", message {})
    assert.matches("pool_spec.lua:%d+: bad argument #2 to 'pool' %(table of options expected, got number%)",
      message(1, 2))
    assert.matches("unknown option 'retrys' %(there are init, name, object, retries%)", message(1, { retrys = 1 }))
    assert.matches("option 'retries': an integer from 0 on expected, got %-1", message(1, { retries = -1 }))
    assert.matches("option 'name': a string", message(1, { name = {} }))
    assert.matches("option 'init': a function, or a list of one", message(1, { init = 5 }))
    assert.matches("option 'init': a function, or a list of one", message(1, { init = { "x", print } }))
    assert.matches("option 'object': a function, or a list of one", message(1, { object = {} }))
  end)

  it("gives names of its own to workers, which errors tell", function()
    local pool <close> = remoteobj.pool(1, { name = "numbers" })
    local err = error_of(pool.map, pool, fail, { "no" })
    assert.equal("numbers:1", err.process)
  end)

  it("can't be used by another process", function()
    local pool <close> = remoteobj.pool(1)
    local child = processes.fork(function()
      for _, method in ipairs { "map", "imap", "submit", "close", "kill" } do
        local ok, err = pcall(pool[method], pool, square, {})
        assert(not ok and err:match(method .. ": pool '.-' belongs to process " .. unistd.getppid()), err)
      end
    end)
    child:result()
    assert.same({ 4 }, pool:map(square, { 2 }))
  end)

  it("can't be used once it is closed", function()
    local pool = remoteobj.pool(1)
    pool:close()
    pool:close()
    pool:kill()
    for _, method in ipairs { "map", "imap", "submit" } do
      assert.matches("pool_spec.lua:%d+: " .. method .. ": pool '.-' is closed",
        error_of(function() local _ = pool[method](pool, square, {}) end))
    end
    assert.matches("closed", tostring(pool))
  end)

  it("tells of a method that is called without it", function()
    assert.matches("bad self of 'map' %(a pool expected, got function%)", error_of(function()
      local pool <close> = remoteobj.pool(1)
      local _ = pool.map(square, { 1 })
    end))
  end)

  it("calls an initializer and makes an object in each worker", function()
    local log <close> = new_log()
    do
      local pool <close> = remoteobj.pool(2, {
        init = { append, log.name, "init" },
        object = function()
          append(log.name, "object")
          return { pid = pid(), calls = 0 }
        end,
      })
      local function describe_object(object, x)
        object.calls = object.calls + 1
        return { object.pid == pid(), object.calls, x }
      end
      local first = pool:submit(describe_object, "a"):get()
      assert.same({ true, 1, "a" }, first)
      local seen = 0
      for _, result in ipairs(pool:map(describe_object, { 1, 2, 3 })) do
        assert.is_true(result[1])
        seen = math.max(seen, result[2])
      end
      assert.is_true(seen >= 2) -- it is the same in all tasks of a worker
    end
    local lines = log.lines()
    table.sort(lines)
    assert.same({ "init", "init", "object", "object" }, lines)
  end)
end)

describe("pool:map", function()
  before_each(begin)
  after_each(finish)

  it("gives the first results in the order of the list, and how many", function()
    local pool <close> = remoteobj.pool(2)
    for _, chunk in ipairs { false, 1, 7, 2000 } do
      local results, n = pool:map(function(x) return x * x, "more" end, numbers(1000), { chunk = chunk or nil })
      assert.equal(1000, n)
      assert.equal(1000, #results)
      for i, result in ipairs(results) do
        assert.equal(i * i, result)
      end
    end
  end)

  it("keeps the order where later tasks end first", function()
    local gate <close> = new_gate()
    local pass, open = gate.pass, gate.open
    local pool <close> = remoteobj.pool(2)
    local function work(i)
      if i == 1 then
        pass() -- until the last one has run
      elseif i == 20 then
        open()
      end
      return i
    end
    assert.same(numbers(20), (pool:map(work, numbers(20), { chunk = 1 })))
  end)

  it("takes empty lists, false, nil results and iterators", function()
    local pool <close> = remoteobj.pool(2)
    assert.same({ {}, 0 }, { pool:map(square, {}) })
    assert.same({ { true, false }, 2 }, { pool:map(function(x) return not x end, { false, true }) })
    local results, n = pool:map(function(x)
      if x % 2 == 0 then
        return x
      end
    end, { 1, 2, 3, 4, 5 })
    assert.same({ [2] = 2, [4] = 4 }, results)
    assert.equal(5, n)
    assert.same({ 1, 4, 9 }, (pool:map(square, coroutine.wrap(function()
      for i = 1, 3 do
        coroutine.yield(i)
      end
    end))))
  end)

  it("takes the processors: two tasks run at the same time", function()
    local here <close> = new_gate()
    local there <close> = new_gate()
    local pool <close> = remoteobj.pool(2)
    local gates = { { here.open, there.pass }, { there.open, here.pass } }
    local function meet(i)
      gates[i][1]()
      gates[i][2]()
      return "met"
    end
    assert.same({ "met", "met" }, (pool:map(meet, { 1, 2 })))
  end)

  it("sends nothing behind a long task that another worker could do", function()
    local gate <close> = new_gate()
    local log <close> = new_log()
    local name, open, pass = log.name, gate.open, gate.pass
    local pool <close> = remoteobj.pool(2)
    local results = pool:map(function(i)
      if i == 20 then
        pass()
        local file <close> = io.open(name)
        return file:read "a"
      end
      remoteobj.sleep(0.01)
      append(name, tostring(i))
      if i == 30 then
        open()
      end
    end, numbers(30), { chunk = 1 })
    assert.equal(29, select(2, results[20]:gsub("\n", ""))) -- all others are done
  end)

  it("raises the first error, with a traceback that names the task, and leaves the rest undone", function()
    local log <close> = new_log()
    local pool <close> = remoteobj.pool(2)
    local name = log.name
    local function work(i)
      if i == 5 then
        error "worn out"
      end
      append(name, tostring(i))
    end
    for _, chunk in ipairs { false, 1, 3 } do
      local err = error_of(pool.map, pool, work, numbers(5000), { chunk = chunk or nil })
      assert.matches("worn out$", err.message)
      assert.matches("in task 5 of pool '" .. pool.name:gsub("%p", "%%%0") .. "'$", remoteobj.traceback(err))
      assert.matches("pool_spec.lua:%d+: in ", remoteobj.traceback(err))
    end
    assert.equal(4, pool:map(square, { 2 })[1]) -- goes on
    assert.is_true(#log.lines() < 3 * 2500)
  end)

  it("raises errors that are tables as they are", function()
    local pool <close> = remoteobj.pool(1)
    local err = error_of(pool.map, pool, fail, { { code = 42 } })
    assert.same({ code = 42 }, err)
    assert.matches("in task 1 of pool", remoteobj.traceback(err))
  end)

  it("raises what can't be sent in the program's words", function()
    local pool <close> = remoteobj.pool(1)
    local err = error_of(pool.map, pool, square, { 1, 2, { deep = io.stdout } }, { chunk = 2 })
    assert.equal("Unsendable", err.kind)
    assert.equal("cannot send argument 2[3].deep: userdata FILE*", err.message)
    local file = io.stdout
    err = error_of(pool.map, pool, function() return file end, { 1 })
    assert.equal("cannot send argument 1.upvalue(file): userdata FILE*", err.message)
    err = error_of(pool.map, pool, function(i) return i == 4 and { io.stdout } or i end, numbers(5), { chunk = 3 })
    assert.equal("task 4: cannot send result[1]: userdata FILE*", err.message)
    assert.same({ 9 }, (pool:map(square, { 3 })))
    err = error_of(function()
      for _ in pool:imap(function(i) return i, i == 4 and { io.stdout } end, numbers(5), { chunk = 3 }) do end
    end)
    assert.equal("task 4: cannot send result 2[1]: userdata FILE*", err.message)
  end)

  it("refuses wrong arguments, naming them", function()
    local pool <close> = remoteobj.pool(1)
    local function message(...)
      local arguments = table.pack(...)
      return error_of(function() local _ = pool:map(table.unpack(arguments, 1, arguments.n)) end)
    end
    assert.matches("pool_spec.lua:%d+: bad argument #1 to 'map' %(function expected, got nil%)", message())
    assert.matches("bad argument #2 to 'map' %(list or iterator function expected, got nil%)", message(square))
    assert.matches("bad argument #3 to 'map' %(table of options expected, got number%)", message(square, {}, 1))
    assert.matches("unknown option 'window' %(there are chunk, progress%)", message(square, {}, { window = 1 }))
    assert.matches("option 'chunk': an integer from 1 on expected, got 0", message(square, {}, { chunk = 0 }))
    assert.matches("option 'progress': a boolean, or a label, expected", message(square, {}, { progress = {} }))
  end)

  it("moves arguments and results of 16 MiB, several at once", function()
    local pool <close> = remoteobj.pool(2)
    local big = ("0123456789abcdef"):rep(1 << 20)
    local list = { big, big, big, big, big, big }
    for i, result in ipairs((pool:map(function(text) return text .. "!" end, list))) do
      assert.is_true(result == big .. "!", i)
    end
  end)
end)

describe("pool:imap", function()
  before_each(begin)
  after_each(finish)

  it("gives all results of each call in order", function()
    local pool <close> = remoteobj.pool(2)
    for _, chunk in ipairs { false, 1, 7 } do
      local i = 0
      for a, b, c in pool:imap(function(x) return x, nil, x + 1 end, numbers(50), { chunk = chunk or nil }) do
        i = i + 1
        assert.same({ i, nil, i + 1 }, { a, b, c })
      end
      assert.equal(50, i)
    end
  end)

  it("takes no more items than its window has room for", function()
    local pool <close> = remoteobj.pool(2)
    for _, case in ipairs { { window = 5 }, { window = 6, chunk = 4 }, { window = 1 }, {} } do
      local taken, given = 0, 0
      local function source()
        taken = taken + 1
        return taken <= 100 and taken or nil
      end
      local window = case.window or 8
      for result in pool:imap(square, source, case) do
        given = given + 1
        assert.equal(given * given, result)
        remoteobj.sleep(given < 5 and 0.01 or 0) -- answers come in
        assert.is_true(taken <= given + window, taken)
      end
      assert.equal(100, given)
    end
  end)

  it("leaves undone what was not begun when the loop is left", function()
    local log <close> = new_log()
    local name = log.name
    do
      local pool <close> = remoteobj.pool(2)
      for result in pool:imap(function(i)
        append(name, tostring(i))
        return i
      end, numbers(1000)) do
        if result == 3 then
          break
        end
      end
      assert.same({ 1, 4 }, (pool:map(square, { 1, 2 })))
    end
    assert.is_true(#log.lines() <= 3 + 8)
  end)

  it("raises an error when its turn comes", function()
    local pool <close> = remoteobj.pool(2)
    local seen = {}
    local err = error_of(function()
      for result in pool:imap(function(i)
        if i == 5 then
          error "worn out"
        end
        return i
      end, numbers(20)) do
        seen[#seen + 1] = result
      end
    end)
    assert.matches("worn out", err.message)
    assert.matches("in task 5 of pool", remoteobj.traceback(err))
    assert.same({ 1, 2, 3, 4 }, seen)
  end)

  it("tells of a result that would end the loop", function()
    local pool <close> = remoteobj.pool(1)
    local seen = {}
    local err = error_of(function()
      for result in pool:imap(function(i) return i ~= 3 and i or nil end, numbers(5)) do
        seen[#seen + 1] = result
      end
    end)
    assert.matches("task 3 of 'imap' has given nil", err)
    assert.same({ 1, 2 }, seen)
  end)

  it("passes on an error of the source when its turn comes, whenever the item was asked for", function()
    local pool <close> = remoteobj.pool(2)
    for _, chunk in ipairs { 1, 3 } do
      local taken, seen = 0, {}
      local function source()
        taken = taken + 1
        if taken > 20 then
          error "no more items"
        end
        return taken
      end
      local err = error_of(function()
        for result in pool:imap(square, source, { chunk = chunk, window = 12 }) do
          seen[#seen + 1] = result
          remoteobj.sleep(0.001) -- more are asked for when answers come
        end
      end)
      assert.matches("no more items", err)
      assert.equal(21, taken) -- which is not asked again
      for i = 1, 18 do
        assert.equal(i * i, seen[i])
      end
    end
    assert.same({ 4 }, (pool:map(square, { 2 })))
  end)

  it("may take its items from another loop of the same pool", function()
    local pool <close> = remoteobj.pool(2)
    local inner = pool:imap(square, numbers(50))
    local i = 0
    for result in pool:imap(square, inner) do
      i = i + 1
      assert.equal(i * i * i * i, result)
    end
    assert.equal(50, i)
  end)

  it("passes on an error of the source", function()
    local pool <close> = remoteobj.pool(1)
    assert.matches("no items", error_of(function()
      for _ in pool:imap(square, function() error "no items" end) do -- luacheck: ignore
      end
    end))
    assert.same({ 4 }, (pool:map(square, { 2 })))
  end)

  it("refuses wrong arguments, naming them", function()
    local pool <close> = remoteobj.pool(1)
    local function message(...)
      local arguments = table.pack(...)
      return error_of(function() local _ = pool:imap(table.unpack(arguments, 1, arguments.n)) end)
    end
    assert.matches("pool_spec.lua:%d+: bad argument #1 to 'imap'", message(1, {}))
    assert.matches("unknown option 'windw' %(there are chunk, progress, window%)", message(square, {}, { windw = 1 }))
    assert.matches("option 'window': an integer from 1 on", message(square, {}, { window = 0 }))
  end)
end)

describe("pool:submit", function()
  before_each(begin)
  after_each(finish)

  it("gives a future for all results", function()
    local pool <close> = remoteobj.pool(2)
    local future = pool:submit(function(...) return select("#", ...), ... end, nil, 2, nil)
    assert.same(table.pack(3, nil, 2, nil), table.pack(future:get()))
    assert.is_true(future:done())
    assert.same(table.pack(), table.pack(pool:submit(function() end):get()))
  end)

  it("carries tasks out while the program waits for whatever", function()
    local pool <close> = remoteobj.pool(2)
    local futures, called = {}, 0
    for i = 1, 50 do
      futures[i] = pool:submit(square, i)
      futures[i]:on_done(function() called = called + 1 end)
    end
    wait.until_true(function() return called == 50 end)
    local done, others = remoteobj.wait(futures)
    assert.same({ 50, 0 }, { #done, #others })
    for i, future in ipairs(done) do
      assert.equal(i * i, future:get())
    end
  end)

  it("moves on at each submit of a program that waits for nothing", function()
    local log <close> = new_log()
    local name = log.name
    local pool <close> = remoteobj.pool(1)
    wait.spin_until(function()
      pool:submit(append, name, "x")
      return #log.lines() > 10
    end)
  end)

  it("shows errors at the future", function()
    local pool <close> = remoteobj.pool(2)
    local futures = {
      pool:submit(error, { code = 1 }),
      pool:submit(fail, "text"),
      pool:submit(square, io.stdout),
      pool:submit(function() return 1, io.stdout end),
    }
    local first = error_of(futures[1].get, futures[1])
    assert.equal(1, first.code)
    assert.matches("in task 1 of pool", remoteobj.traceback(first))
    assert.equal("text", error_of(futures[2].get, futures[2]).message)
    assert.equal("cannot send argument 2: userdata FILE*", error_of(futures[3].get, futures[3]).message)
    assert.equal("cannot send result 2: userdata FILE*", error_of(futures[4].get, futures[4]).message)
    assert.matches("pool_spec.lua:%d+: bad argument #1 to 'submit' %(function expected, got nil%)",
      error_of(function() local _ = pool:submit() end))
  end)

  it("may be called by what waits for a future", function()
    local pool <close> = remoteobj.pool(1)
    local second
    pool:submit(square, 2):on_done(function(future) second = pool:submit(square, future:get()) end)
    wait.until_true(function() return second end)
    assert.equal(16, second:get())
  end)

  it("keeps short tasks at a worker, long ones where they can be done by another", function()
    local gate <close> = new_gate()
    local pool <close> = remoteobj.pool(2)
    local long = pool:submit(gate.pass)
    local futures = {}
    for i = 1, 20 do
      futures[i] = pool:submit(square, i)
    end
    for i = 1, 20 do
      assert.equal(i * i, futures[i]:get())
    end
    assert.is_false(long:done())
    gate.open()
    long:get()
  end)
end)

describe("pool:cancel", function()
  before_each(begin)
  after_each(finish)

  it("takes back what no worker has, and only that", function()
    local gate <close> = new_gate()
    local log <close> = new_log()
    local pool <close> = remoteobj.pool(1)
    local running = pool:submit(gate.pass)
    local waiting = pool:submit(append, log.name, "waiting")
    local cancelled = pool:submit(append, log.name, "cancelled")
    assert.is_false(pool:cancel(running))
    assert.is_true(pool:cancel(cancelled))
    assert.is_true(cancelled:done())
    local err = error_of(cancelled.get, cancelled)
    assert.equal("NotListening", err.kind)
    assert.matches("task 3 of pool '.-' was cancelled", err.message)
    assert.is_false(pool:cancel(cancelled))
    gate.open()
    waiting:get()
    assert.is_false(pool:cancel(waiting))
    assert.same({ "waiting" }, log.lines())
  end)

  it("refuses futures that the pool has not given", function()
    local pool <close> = remoteobj.pool(1)
    local other <close> = remoteobj.pool(1)
    for _, value in ipairs { other:submit(square, 1), 5 } do
      assert.matches("pool_spec.lua:%d+: bad argument #1 to 'cancel'", error_of(function() pool:cancel(value) end))
    end
  end)
end)

-- How many pipes and sockets this process has.
local function ends_held()
  local n = 0
  for _, name in ipairs(require "posix.glob".glob("/proc/self/fd/*", 0)) do
    local what = require "posix.unistd".readlink(name)
    if what and (what:match "^pipe:" or what:match "^socket:") then
      n = n + 1
    end
  end
  return n
end

describe("a worker that dies", function()
  before_each(begin)
  after_each(finish)

  it("is replaced when it had nothing to do", function()
    local pool <close> = remoteobj.pool(1, { object = ends_held }) -- before it waits, for which it may open more itself
    local function object(n) return n end
    local first, held = pool:submit(pid):get(), nil
    for _ = 1, 6 do
      collectgarbage() -- handles of those before
      collectgarbage()
      signal.kill(first, signal.SIGKILL)
      local second = pool:submit(pid):get()
      assert.not_equal(first, second)
      local holds = pool:submit(object):get()
      held = held or holds
      assert.equal(held, holds) -- nothing of those before
      first = second
    end
  end)

  it("makes its task raise ProcessDied, which names signal and task", function()
    local pool <close> = remoteobj.pool(2)
    local future = pool:submit(remoteobj.util.segfault)
    local other = pool:submit(square, 3)
    local err = error_of(future.get, future)
    assert.equal("ProcessDied", err.kind)
    assert.equal("SIGSEGV", err.signal)
    assert.matches("^task 1 of pool '.-': process '.-:%d' %(pid %d+%) was killed by SIGSEGV$", err.message)
    assert.equal(9, other:get())
  end)

  it("is killed from outside in the middle of a task", function()
    local gate <close> = new_gate()
    local report, told = private_pipe()
    local pool <close> = remoteobj.pool(2)
    local pass = gate.pass
    local function work()
      require "posix.unistd".write(told, pid() .. "\n")
      pass()
    end
    local future = pool:submit(work)
    local others = {}
    for i = 1, 10 do
      others[i] = pool:submit(square, i)
    end
    local victim = tonumber((unistd.read(report, 20)))
    signal.kill(victim, signal.SIGKILL)
    local err = error_of(future.get, future)
    assert.same({ "ProcessDied", "SIGKILL", victim, -9 }, { err.kind, err.signal, err.pid, err.exitcode })
    for i = 1, 10 do
      assert.equal(i * i, others[i]:get())
    end
    unistd.close(report)
    unistd.close(told)
  end)

  it("is one whose connection is damaged: what it had begun fails, all else runs once", function()
    local log <close> = new_log()
    local name, limit = log.name, remoteobj.limits.frame
    local pool <close> = remoteobj.pool(1, { retries = 0 })
    local function work(size)
      append(name, tostring(size))
      return ("x"):rep(size)
    end
    assert.equal("x", pool:submit(work, 1):get())
    remoteobj.limits.frame = 10000
    local futures = { pool:submit(work, 2), pool:submit(work, 20000), pool:submit(work, 3), pool:submit(work, 4) }
    assert.equal("xx", futures[1]:get())
    local err = error_of(futures[2].get, futures[2])
    remoteobj.limits.frame = limit
    assert.equal("ProcessDied", err.kind)
    assert.matches("^task 3 of pool .- was ended: .*a frame larger than", err.message)
    for i = 3, 4 do -- behind the damage it had begun them by then, or not
      local ok, problem = pcall(futures[i].get, futures[i])
      assert.equal(ok and ("x"):rep(i) or "ProcessDied", ok and problem or problem.kind)
    end
    local lines = log.lines()
    table.sort(lines, function(a, b) return tonumber(a) < tonumber(b) end)
    assert.same({ "1", "2", "3", "4", "20000" }, lines)
  end)

  it("may end by os.exit", function()
    local pool <close> = remoteobj.pool(1)
    for _, code in ipairs { 0, 3 } do
      local future = pool:submit(function() os.exit(code) end)
      local err = error_of(future.get, future)
      assert.equal("ProcessDied", err.kind)
      assert.equal(code, err.exitcode)
      assert.matches("has ended with exit code " .. code, err.message)
    end
    assert.equal(4, pool:submit(square, 2):get())
  end)

  it("names the very task of a chunk", function()
    local pool <close> = remoteobj.pool(2)
    local function work(i)
      if i == 37 then
        remoteobj.util.segfault()
      end
      return i
    end
    for _, chunk in ipairs { 1, 10, 100 } do
      local err = error_of(pool.map, pool, work, numbers(100), { chunk = chunk })
      assert.equal("ProcessDied", err.kind)
      assert.matches("^task 37 of pool", err.message)
    end
  end)

  it("does no harm to tasks that wait behind: each runs once", function()
    local log <close> = new_log()
    local name = log.name
    local failed = 0
    do
      local pool <close> = remoteobj.pool(2)
      local futures = {}
      for i = 1, 200 do
        futures[i] = pool:submit(function()
          append(name, tostring(i))
          if i % 50 == 0 then
            remoteobj.util.segfault()
          end
          return i
        end)
      end
      for i, future in ipairs(futures) do
        if i % 50 == 0 then
          assert.matches("^task " .. i .. " of pool", error_of(future.get, future).message)
          failed = failed + 1
        else
          assert.equal(i, future:get())
        end
      end
    end
    local lines = log.lines()
    table.sort(lines, function(a, b) return tonumber(a) < tonumber(b) end)
    for i = 1, 200 do
      assert.equal(tostring(i), lines[i])
    end
    assert.same({ 200, 4 }, { #lines, failed })
  end)

  it("has its task tried again, as often as it is told", function()
    for retries = 0, 2 do
      local log <close> = new_log()
      local pool <close> = remoteobj.pool(2, { retries = retries })
      local name = log.name
      local function work(crashes)
        append(name, "tried")
        local tries = 0
        for _ in io.lines(name) do
          tries = tries + 1
        end
        if tries <= crashes then
          remoteobj.util.segfault()
        end
        return "done"
      end
      assert.equal("done", pool:submit(work, retries):get())
      assert.equal(retries + 1, #log.lines())
      os.remove(name)
      assert.equal("ProcessDied", error_of(pool.map, pool, work, { 100 }).kind)
      assert.equal(retries + 1, #log.lines())
    end
  end)

  it("is no reason to try tasks again that raise errors", function()
    local log <close> = new_log()
    local pool <close> = remoteobj.pool(1, { retries = 5 })
    local name = log.name
    local err = error_of(pool.map, pool, function()
      append(name, "tried")
      error(setmetatable({ kind = "Disconnected", message = "not the worker" }, remoteobj.Error))
    end, { 1 })
    assert.equal("not the worker", err.message)
    assert.same({ "tried" }, log.lines())
  end)

  it("may crash each time: all else is done", function()
    local pool <close> = remoteobj.pool(2)
    local good, bad = 0, 0
    local futures = {}
    for i = 1, 20 do
      futures[i] = pool:submit(i % 2 == 0 and remoteobj.util.segfault or square, i)
    end
    for _, future in ipairs(futures) do
      if pcall(future.get, future) then
        good = good + 1
      else
        bad = bad + 1
      end
    end
    assert.same({ 10, 10 }, { good, bad })
  end)
end)

describe("a worker that does not become ready", function()
  before_each(begin)
  after_each(finish)

  it("makes all tasks raise the error of its initializer", function()
    for _, option in ipairs { "init", "object" } do
      local pool <close> = remoteobj.pool(2, { [option] = { fail, "no init" } })
      for _ = 1, 2 do
        assert.equal("no init", error_of(pool.map, pool, square, { 1, 2 }).message)
        local future = pool:submit(square, 1)
        assert.equal("no init", error_of(future.get, future).message)
      end
    end
  end)

  it("begins none that it was sent meanwhile", function()
    for _, option in ipairs { "init", "object" } do
      local gate <close> = new_gate()
      local log <close> = new_log()
      local name = log.name
      local pool <close> = remoteobj.pool(1, { [option] = function()
        gate.pass()
        error("no init", 0)
      end })
      local future = pool:submit(append, name, "begun")
      wait.until_true(function() return pool._crew.members[1].load == 1 end, "the task to be sent")
      gate.open()
      assert.equal("no init", error_of(future.get, future).message)
      assert.same({}, log.lines())
    end
  end)

  it("makes the end of the block raise that, where no task was told", function()
    assert.equal("no init", error_of(function()
      local _ <close> = remoteobj.pool(2, { init = { fail, "no init" } })
    end).message)
  end)

  it("is not replaced for ever when it crashes", function()
    local log <close> = new_log()
    local name = log.name
    local pool <close> = remoteobj.pool(1, { init = function()
      append(name, "init")
      remoteobj.util.segfault()
    end })
    local err = error_of(pool.map, pool, square, { 1 })
    assert.same({ "ProcessDied", "SIGSEGV" }, { err.kind, err.signal })
    assert.equal(3, #log.lines())
  end)

  it("is replaced when it was killed", function()
    local gate <close> = new_gate()
    local report, told = private_pipe()
    local pool <close> = remoteobj.pool(1, { init = function()
      require "posix.unistd".write(told, pid() .. "\n")
      gate.pass()
    end })
    local future = pool:submit(square, 5)
    local victim = tonumber((unistd.read(report, 20)))
    signal.kill(victim, signal.SIGKILL)
    wait.until_true(function() return has_ended(victim) end, "the worker to end") -- or it might pass the gate yet
    gate.open()
    assert.equal(25, future:get())
    unistd.close(report)
    unistd.close(told)
  end)
end)

describe("a pool that several threads use at once", function()
  before_each(function()
    remoteobj.thread(remoteobj.sleep, 0.001):start():join()
    remoteobj.sleep(0) -- opens, if nothing has yet, the event that wakes a program with threads, which stays
    begin()
  end)
  after_each(finish)

  it("does all that each of them asks for", function()
    local pool <close> = remoteobj.pool(2)
    local function items() -- that take long enough for others to come in between
      local i = 0
      return function()
        i = i + 1
        for _ = 1, 200 do end
        return i <= 100 and i or nil
      end
    end
    local function use()
      for _ = 1, 5 do
        local results, count = pool:map(square, items(), { chunk = 1 })
        assert.equal(100, count)
        local futures = {}
        for i = 1, 100 do
          assert.equal(i * i, results[i])
          futures[i] = pool:submit(square, i)
        end
        for i = 1, 100 do
          assert.equal(i * i, futures[i]:get())
        end
      end
    end
    local threads = {}
    for i = 1, 4 do
      threads[i] = remoteobj.thread(use):start()
    end
    for _, thread in ipairs(threads) do
      thread:join()
    end
  end)
end)

describe("a loop of imap that several threads share", function()
  before_each(function()
    remoteobj.thread(remoteobj.sleep, 0.001):start():join()
    remoteobj.sleep(0) -- as above
    begin()
  end)
  after_each(finish)

  local THREADS = 4

  --- Calls func(list) in so many threads, each with a list of its own; gives all that is in these then.
  local function in_threads(func)
    local threads, all = {}, {}
    for i = 1, THREADS do
      threads[i] = remoteobj.thread(function()
        local list = {}
        func(list)
        return list
      end):start()
    end
    for _, thread in ipairs(threads) do
      thread:join()
      table.move(thread.result, 1, #thread.result, #all + 1, all)
    end
    return all
  end

  it("gives each result once, in order", function()
    local pool <close> = remoteobj.pool(2)
    for _, case in ipairs { { window = 1 }, {}, { chunk = 7 }, { chunk = 100 } } do
      local loop = pool:imap(square, numbers(300), case)
      local all = in_threads(function(list)
        for result in loop do
          assert.is_true(result > (list[#list] or 0))
          list[#list + 1] = result
          for _ = 1, 50 do end -- others come in between
        end
      end)
      table.sort(all)
      assert.same((pool:map(square, numbers(300))), all)
    end
  end)

  it("goes on with the chunk that another has taken while one was taking items", function()
    local pool <close> = remoteobj.pool(2)
    local asked, go_on = 0, false
    local loop = pool:imap(square, function()
      asked = asked + 1
      while asked > 10 and not go_on do
        remoteobj.sleep(0.001)
      end
      return asked <= 20 and asked or nil
    end, { chunk = 10 })
    local thread = remoteobj.thread(loop):start()
    wait.until_true(function() return asked > 10 end, "the second chunk")
    local all = {}
    for i = 1, 5 do
      all[i] = loop()
    end
    go_on = true
    thread:join()
    all[#all + 1] = thread.result
    for result in loop do
      all[#all + 1] = result
    end
    assert.same((pool:map(square, numbers(20))), all)
  end)

  it("gives each error to one of them, and goes on for all", function()
    local pool <close> = remoteobj.pool(2)
    for _, window in ipairs { 1, 8 } do
      local loop = pool:imap(function(i)
        if i % 10 == 0 then
          error { i }
        end
        return i
      end, numbers(100), { window = window })
      local all = in_threads(function(list)
        local ok, result = pcall(loop)
        while result do
          list[#list + 1] = ok and result or result[1]
          ok, result = pcall(loop)
        end
      end)
      table.sort(all)
      assert.same(numbers(100), all)
    end
  end)

  it("tells each of them why there are no more items", function()
    local pool <close> = remoteobj.pool(2)
    local loop = pool:imap(square, function() error "no more items" end)
    in_threads(function()
      assert.matches("no more items", error_of(loop))
    end)
  end)

  it("ends for all of them when it is left", function()
    local gate <close> = new_gate()
    local pass = gate.pass
    local pool <close> = remoteobj.pool(1)
    local loop, _, _, closing = pool:imap(function(i)
      if i > 1 then
        pass()
      end
      return i
    end, numbers(10))
    assert.equal(1, loop())
    local thread = remoteobj.thread(function() return loop() end):start()
    remoteobj.sleep(0) -- it waits now, or asks later
    getmetatable(closing).__close(closing)
    thread:join()
    assert.is_nil(thread.result)
    assert.is_nil(loop())
    for _ = 2, 10 do -- as many as may have been begun
      gate.open()
    end
  end)

  it("ends also for one that is taking an item when it is left", function()
    local gate <close> = new_gate()
    local pool <close> = remoteobj.pool(1)
    local future, asked = pool:submit(gate.pass), false
    local loop, _, _, closing = pool:imap(square, function()
      asked = true
      future:get()
      return 1
    end)
    local thread = remoteobj.thread(function() return loop() end):start()
    wait.until_true(function() return asked end, "the thread to ask for an item")
    getmetatable(closing).__close(closing)
    gate.open()
    thread:join()
    assert.is_nil(thread.result)
  end)

  it("can't be where its own items come from", function()
    local pool <close> = remoteobj.pool(1)
    local loop
    loop = pool:imap(square, function() return loop() end)
    assert.matches("can't be taken from its own results", error_of(loop))
    assert.same({ 4 }, (pool:map(square, { 2 })))
  end)
end)

describe("the end of a pool", function()
  before_each(begin)
  after_each(finish)

  it("waits for all that was submitted", function()
    local futures = {}
    do
      local pool <close> = remoteobj.pool(2)
      for i = 1, 100 do
        futures[i] = pool:submit(square, i)
      end
    end
    for i = 1, 100 do
      assert.is_true(futures[i]:done())
      assert.equal(i * i, futures[i]:get())
    end
  end)

  it("does so when the block ends with an error", function()
    local future
    assert.equal("left", error_of(function()
      local pool <close> = remoteobj.pool(1)
      future = pool:submit(square, 2)
      error("left", 0)
    end))
    assert.equal(4, future:get())
  end)

  it("kills, and no future is left hanging", function()
    local gate <close> = new_gate()
    local pass = gate.pass
    local report, told = private_pipe()
    local pool = remoteobj.pool(2)
    local futures = {}
    for i = 1, 10 do
      futures[i] = pool:submit(function()
        require "posix.unistd".write(told, "x")
        pass()
      end)
    end
    for _ = 1, 2 do
      unistd.read(report, 1) -- a task has begun
    end
    local stream = pool:imap(gate.pass, numbers(10))
    pool:kill()
    for i, future in ipairs(futures) do
      assert.is_true(future:done())
      local err = error_of(future.get, future)
      assert.equal(i <= 2 and "ProcessDied" or "NotListening", err.kind)
      assert.matches(i <= 2 and "^task " .. i .. " of pool '.-': the pool was killed" or "pool '.-' was killed",
        err.message)
    end
    assert.equal("NotListening", error_of(stream).kind)
    pool:close()
    unistd.close(report)
    unistd.close(told)
  end)

  it("comes by itself when nobody has the pool any more and its tasks are done", function()
    local gate <close> = new_gate()
    local log <close> = new_log()
    local name, pass = log.name, gate.pass
    do
      local pool = remoteobj.pool(2)
      for i = 1, 3 do
        pool:submit(function()
          pass()
          append(name, tostring(i))
        end)
      end
    end
    for _ = 1, 3 do
      collectgarbage()
    end
    assert.equal(2, #counts.children())
    for _ = 1, 3 do
      gate.open()
    end
    wait.until_true(function()
      collectgarbage()
      return #counts.children() == 0
    end, "the workers to end")
    remoteobj.process(function() end):start():join() -- what dropped ones have left is given back now
    assert.equal(3, #log.lines())
  end)

  local counts_all = os.getenv "REMOTEOBJ_SANITIZED" == "valgrind" and pending or it -- which has descriptors of its own
  counts_all("comes before it has begun when the system refuses a process, and says so", function()
    local result = script.run([[
      local counts = require "spec.support.process_counts"
      local remoteobj = require "remoteobj"
      local resource = require "posix.sys.resource"
      local limit = resource.getrlimit(resource.RLIMIT_NOFILE)
      remoteobj.pool(1):close() -- what is opened once is there
      local before, refused = counts.descriptors(), 0
      for most = before + 1, before + 200 do
        resource.setrlimit(resource.RLIMIT_NOFILE, { rlim_cur = most, rlim_max = limit.rlim_max })
        local ok, problem = pcall(remoteobj.pool, 4)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        if ok then
          problem:close()
          break
        end
        refused = refused + 1
        assert(tostring(problem):find "Too many open files", problem)
        problem = nil
        assert(#counts.children() == 0)
        assert(counts.descriptors() == before)
      end
      assert(refused > 8, refused)
    ]])
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)

  it("comes with that of the program, however that ends", function()
    for _, how in ipairs { "return", "os.exit(0, true)", "os.exit(0)", "error 'x'", "kill" } do
      local child = script.start(([[
        local remoteobj = require "remoteobj"
        local pool = remoteobj.pool(2)
        local function pid() return require "posix.unistd".getpid() end
        local busy = pool:submit(remoteobj.sleep, 1000)
        print(pool:submit(pid):get())
        print "there"
        io.read()
        %s
      ]]):format(how == "kill" and "" or how))
      local worker = tonumber(child:expect "^(%d+)\nthere")
      if how == "kill" then
        child:kill(signal.SIGKILL)
      else
        child:write "\n"
      end
      child:wait()
      wait.until_true(function()
        return has_ended(worker)
      end, "the worker to end after " .. how)
    end
  end)
end)

describe("the progress of a pool", function()
  local SOURCE = [[
    local remoteobj = require "remoteobj"
    local pool <close> = remoteobj.pool(2)
    local list = {}
    for i = 1, 20 do
      list[i] = i
    end
    local label = (...) ~= "true" and ... or true
    pool:map(math.sqrt, list, { progress = label })
    for _ in pool:imap(math.sqrt, function() return table.remove(list) end, { progress = label }) do
    end
    print "end"
  ]]

  it("is shown on a terminal: share, rate, time", function()
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write(SOURCE)
    file:close()
    for _, label in ipairs { "work", "true" } do
      local session <close> = terminal.start({ os.getenv "LUA" or "lua5.4", name, label })
      local shown = label == "work" and "work" or "pool%-1"
      session:expect(shown .. ": +%d+ %% %[[#.]+%] %d+/20, [%d.]+k?M?/s, [%d:?]+ left")
      session:expect(shown .. ": 100 %% %[#+%] 20/20, [%d.]+k?M?/s, 0:0%d[^\r\n]*\r?\n")
      session:expect(shown .. ": 20 [%d.]+k?M?/s, 0:0%d[^\r\n]*\r?\nend")
      assert.equal("exited", session:finish())
    end
    os.remove(name)
  end)

  it("is not shown elsewhere", function()
    local result = script.run(SOURCE, { "work" })
    assert.same({ 0, "", "end\n" }, { result.code, result.stderr, result.stdout })
  end)
end)
