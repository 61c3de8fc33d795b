-- Processes: what the handle promises, on real children.
local counts = require "spec.support.process_counts"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local process = remoteobj.process

--- Waits for ever (a test that hangs is killed with its parent, being a daemon).
local function stay()
  while true do
    remoteobj.sleep(60)
  end
end

--- Yields once, so that the parent knows that it runs, and stays.
local function announce_and_stay()
  coroutine.yield "ready"
  stay()
end

local function first_value(p)
  return (p.result or p:iter())()
end

local function started(...)
  local p = process(...):start()
  return p
end

--- Runs source as the main program of a process of its own, and checks that it went well.
local function run_script(source, options)
  local result = script.run(source, {}, options)
  assert.are.equal(0, result.code, result.stderr)
  return result.stdout
end

describe("the constructor of processes", function()
  it("refuses what can't be called", function()
    for _, bad in ipairs { true, 5, "f" } do
      assert.has_error(function() process(bad) end)
      assert.has_error(function() process { bad } end)
    end
    local ok, message = pcall(function() process(true) end)
    assert.is_false(ok)
    assert.matches("process_spec.lua:%d+: bad argument #1 to 'process' %(function expected, got boolean%)", message)
    assert.matches("got no value", select(2, pcall(process)))
    assert.matches("got nil", select(2, pcall(process, {})))
  end)

  it("takes objects that can be called", function()
    local object = setmetatable({ base = 40 }, { __call = function(self, x) return self.base + x end })
    local p <close> = started(object, 2)
    p:join()
    assert.are.equal(42, p.result)
  end)

  it("refuses unknown options and values of the wrong kind, naming both", function()
    local function message(options)
      options[1] = print
      return select(2, pcall(process, options))
    end
    assert.matches("unknown option 'nmae_'", message { nmae_ = "x" })
    assert.matches("'name_': a string expected, got 5 %(number%)", message { name_ = 5 })
    assert.matches("'daemon_': a boolean expected, got \"yes\"", message { daemon_ = "yes" })
    assert.matches("'timeout_': a number .* expected, got %-1", message { timeout_ = -1 })
    assert.matches("'raises_': a boolean", message { raises_ = 1 })
    assert.matches("'results_': a boolean", message { results_ = 1 })
    assert.matches("'close_': a function", message { close_ = 1 })
    assert.matches("'exc_': an Except", message { exc_ = {} })
    assert.matches("'exc_': an Except", message { exc_ = remoteobj.LocalExcept() })
  end)

  it("passes all arguments on, nil among them, in both forms", function()
    local function count(...)
      return select("#", ...), ...
    end
    local p <close> = started(count, nil, 2, nil)
    p:join()
    assert.are.same(table.pack(3, nil, 2, nil), table.pack(p:results()))
    local q <close> = process({ count, 1, nil, 3, name_ = "q" }):start()
    q:join()
    assert.are.same(table.pack(3, 1, nil, 3), table.pack(q:results()))
    local r <close> = process(table.pack(count, 1, nil)):start()
    r:join()
    assert.are.same(table.pack(2, 1, nil), table.pack(r:results()))
  end)

  it("is the same in util", function()
    assert.are.equal(remoteobj.process, remoteobj.util.process)
  end)
end)

local function as_upvalue() end

function _G.a_global_of_the_spec() end

describe("the name of a process", function()
  it("is the caller's name for the function and a number that counts per name", function()
    local function remote_func() end
    local other_name = function() end
    local n = tonumber(process(remote_func).name:match "^remote_func%-(%d+)$")
    assert.are.equal("remote_func-" .. n + 1, process(remote_func).name)
    assert.matches("^other_name%-%d+$", process(other_name).name)
    assert.are.equal("remote_func-" .. n + 2, process { remote_func }.name)
  end)

  it("is found among upvalues, globals and fields of modules", function()
    assert.matches("^as_upvalue%-%d+$", process(as_upvalue).name)
    assert.matches("^a_global_of_the_spec%-%d+$", process(_G.a_global_of_the_spec).name)
    assert.matches("^rep%-%d+$", process(string.rep).name)
    package.loaded["spec.made_up"] = { fresh_work = function() end }
    assert.matches("^fresh_work%-%d+$", process(package.loaded["spec.made_up"].fresh_work).name)
    package.loaded["spec.made_up"] = nil
    local M = {}
    function M.work() end
    assert.matches("^work%-%d+$", process(M.work).name)
  end)

  it("is the local's that is in scope, not one that is hidden", function()
    local outer_name = function() end
    do
      local inner_name = outer_name
      assert.matches("^inner_name%-%d+$", process(inner_name).name)
    end
    assert.matches("^outer_name%-%d+$", process(outer_name).name)
  end)

  it("is the place of a function without a name", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local p = process(function() end)
    assert.are.equal(("process_spec.lua:%d-1"):format(line), p.name)
  end)

  it("is found through pcall too", function()
    local function guarded_func() end
    local _, p = pcall(process, guarded_func)
    assert.matches("^guarded_func%-%d+$", p.name)
  end)

  it("is name_ as it is given", function()
    assert.are.equal("worker", process { print, name_ = "worker" }.name)
    assert.are.equal("worker", process { print, name_ = "worker" }.name)
  end)
end)

describe("a process", function()
  it("runs in another process, with the values as they were at the start", function()
    local value = "early"
    local p = process(function() return unistd.getpid(), unistd.getppid(), value end)
    value = "at the start"
    p:start()
    value = "late"
    assert.is_true(p:join())
    local pid, parent, seen = p:results()
    assert.are.equal(p.pid, pid)
    assert.are.equal(unistd.getpid(), parent)
    assert.are.equal("at the start", seen)
    assert.are.equal(0, p.exitcode)
    assert.are.equal("late", value)
  end)

  it("knows itself in the child", function()
    local p
    p = process(function() return p.pid, p:is_alive(), (pcall(p.start, p)) end)
    p:start():join()
    assert.are.same({ p.pid, true, false }, { p:results() })
  end)

  it("can't be started twice, or used before it is started", function()
    local p = process(function() end)
    assert.is_false(p:is_alive())
    assert.is_nil(p.pid)
    assert.is_nil(p.exitcode)
    assert.is_nil(p.result)
    for _, name in ipairs { "join", "iter", "terminate", "kill" } do
      local ok, message = pcall(p[name], p)
      assert.is_false(ok)
      assert.matches("has not been started", message)
    end
    p:start()
    assert.has_error(function() p:start() end)
    p:join()
    assert.has_error(function() p:start() end)
  end)

  it("has a sentinel that is readable once it has ended", function()
    local p = started(announce_and_stay)
    first_value(p)
    local fds = { [p.sentinel] = { events = { IN = true } } }
    assert.are.equal(0, remoteobj.poll(fds, 0))
    p:kill()
    assert.are.equal(1, remoteobj.poll(fds, wait.LIMIT))
    assert.are.equal(-9, p.exitcode)
  end)

  it("says in a word how it is", function()
    local p = process { function() end, name_ = "w" }
    assert.are.equal("<process w: not started>", tostring(p))
    p:start():join()
    assert.are.equal("<process w: ended with 0>", tostring(p))
  end)
end)

describe("join", function()
  it("waits no longer than it is told, and that is no error", function()
    local p = started(stay)
    local before = wait.now()
    assert.is_false(p:join(0.05))
    assert.is_true(wait.now() - before >= 0.05)
    assert.is_false(p:join(0))
    assert.is_nil(p.exitcode)
    p:kill()
    assert.is_true(p:join())
    assert.is_true(p:join(0))
  end)

  it("takes timeout_ where it is told nothing", function()
    local p = process({ stay, timeout_ = 0.01 }):start()
    assert.is_false(p:join())
    p:kill()
    assert.is_true(p:join(wait.LIMIT))
    assert.has_error(function() p:join "soon" end)
  end)

  it("does not wait for a process that has ended already", function()
    local shortest = math.huge
    for _ = 1, 10 do -- one of them is not held up by others
      local p = started(function() end)
      assert.are.equal(1, remoteobj.poll({ [p.sentinel] = { events = { IN = true } } }, wait.LIMIT))
      local begun = wait.now()
      p:join()
      shortest = math.min(shortest, wait.now() - begun)
    end
    assert.is_true(shortest < 0.02 * wait.SLOWNESS, shortest)
  end)

  it("calls close_ before, once", function()
    local reading, writing = unistd.pipe()
    local calls = 0
    local p = process {
      function() return unistd.read(reading, 1) end,
      close_ = function()
        calls = calls + 1
        unistd.write(writing, "x")
      end,
    }
    p:start()
    p:join()
    p:join()
    assert.are.equal("x", p.result)
    assert.are.equal(1, calls)
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("does not wait for grandchildren that hold descriptors", function()
    local p = started(function()
      local q = process({ stay, daemon_ = false }):start()
      local pid = unistd.fork()
      if pid == 0 then
        unistd.sleep(600)
        unistd._exit(0)
      end
      unistd.dup(1)
      return q.pid, pid
    end)
    assert.is_true(p:join(wait.LIMIT))
    for _, pid in ipairs { p:results() } do
      assert(signal.kill(pid, 9))
    end
  end)

  it("and all that waits is for the process alone that has started it", function()
    local sibling = started(announce_and_stay)
    first_value(sibling)
    local p <close> = started(function()
      local joined, join_message = pcall(sibling.join, sibling)
      local iterated, iter_message = pcall(sibling.iter, sibling)
      return joined, join_message, iterated, iter_message, sibling:is_alive(), sibling:kill(), sibling.exitcode
    end)
    p:join()
    local joined, join_message, iterated, iter_message, alive, killed, code = p:results()
    assert.is_false(joined)
    assert.matches("another process", join_message)
    assert.is_false(iterated)
    assert.matches("another process", iter_message)
    assert.is_true(alive)
    assert.is_true(killed)
    assert.is_nil(code)
    assert.is_false(pcall(sibling.join, sibling)) -- not killed through *this* handle
    assert.are.equal(-9, sibling.exitcode)
  end)
end)

describe("signals to a process", function()
  it("are truthful and can be repeated", function()
    for name, code in pairs { terminate = -15, kill = -9 } do
      local p = started(announce_and_stay)
      first_value(p)
      assert.is_true(p:is_alive())
      assert.is_true(p[name](p))
      assert.is_true(p:join())
      assert.is_false(p[name](p))
      assert.is_false(p:kill())
      assert.are.equal(code, p.exitcode)
      assert.is_false(p:is_alive())
    end
  end)

  it("do not go to a process that has ended but was not waited for", function()
    local p = started(function() end)
    assert.are.equal(1, remoteobj.poll({ [p.sentinel] = { events = { IN = true } } }, wait.LIMIT))
    assert.is_false(p:terminate())
    assert.are.equal(0, p.exitcode)
  end)

  it("from elsewhere raise ProcessDied, which names them", function()
    local p = started(function()
      signal.signal(11, signal.SIG_DFL) -- sanitizers catch it
      signal.raise(11)
    end)
    local ok, err = pcall(p.join, p)
    assert.is_false(ok)
    assert.are.equal(remoteobj.Error, getmetatable(err))
    assert.are.equal("ProcessDied", err.kind)
    assert.matches("SIGSEGV", tostring(err))
    assert.are.equal(-11, err.exitcode)
    assert.are.equal("SIGSEGV", err.signal)
    assert.are.equal(-11, p.exitcode)
    assert.are.equal(err, p.exc.last)
    assert.is_nil(p.result)
  end)

  it("raise if they are not the ones sent through the handle", function()
    local p = started(function()
      signal.signal(15, function() end)
      coroutine.yield "ready"
      signal.raise(9)
    end)
    first_value(p)
    p:terminate()
    local ok, err = pcall(p.join, p)
    assert.is_false(ok)
    assert.matches("SIGKILL", tostring(err))
  end)
end)

describe("the exit code", function()
  it("is 1 after an error, that of os.exit else", function()
    local function code_of(func, ...)
      local p = process { func, ..., raises_ = false }
      p:start():join()
      assert.is_nil(p.result)
      return p.exitcode
    end
    assert.are.equal(1, code_of(error, "x"))
    assert.are.equal(7, code_of(function() os.exit(7) end))
    assert.are.equal(0, code_of(function() os.exit(true) end))
    assert.are.equal(1, code_of(function() os.exit(false, true) end))
    assert.are.equal(0, code_of(function() pcall(os.exit) end))
    assert.are.equal(9, code_of(function() unistd._exit(9) end))
    local early = os.exit
    assert.are.equal(8, code_of(function() early(8) end))
  end)

  it("does not make join raise", function()
    local p <close> = started(function() os.exit(3) end)
    assert.is_true(p:join())
    assert.are.equal(3, p.exitcode)
  end)

  it("is known although another part of the program has taken the status", function()
    local p = started(function() return "kept" end)
    require("posix.sys.wait").wait(p.pid)
    assert.is_true(p:join())
    assert.are.equal(0, p.exitcode)
    assert.are.equal("kept", p.result)
    local q = started(stay)
    signal.kill(q.pid, 9)
    require("posix.sys.wait").wait(q.pid)
    local ok, err = pcall(q.join, q)
    assert.is_false(ok)
    assert.are.equal("ProcessDied", err.kind)
  end)
end)

describe("the end of a child", function()
  it("does not write twice what was buffered, and loses nothing of its own", function()
    assert.are.equal("parent child parent again", run_script [[
      local remoteobj = require "remoteobj"
      io.stdout:setvbuf "full"
      io.write "parent "
      local p <close> = remoteobj.process(function() io.write "child " end):start()
      p:join()
      io.write "parent again"
    ]])
    assert.are.equal("a b", run_script [[
      local remoteobj = require "remoteobj"
      io.stdout:setvbuf "full"
      io.write "a "
      remoteobj.process(function() io.write "b" os.exit(0, true) end):start():join()
    ]])
  end)

  it("runs neither the parent's closes nor its finalizers", function()
    local source = [[
      local remoteobj = require "remoteobj"
      local function say(what)
        return function() io.stderr:write(what, " ") end
      end
      local finalized = setmetatable({}, { __gc = say "gc" })
      do
        local closed <close> = setmetatable({}, { __close = say "close" })
        remoteobj.process { function() %s end, raises_ = false }:start():join()
      end
      io.stderr:write "end "
    ]]
    local ways = { "", "error 'x'", "os.exit(0, true)", "os.exit(1)", "coroutine.yield(1)", "collectgarbage()" }
    for _, body in ipairs(ways) do
      local result = script.run(source:format(body), {})
      assert.are.equal(0, result.code)
      assert.are.equal("close end gc ", result.stderr)
    end
  end)

  it("never comes back into the program, wherever it was started", function()
    local output = run_script [[
      local remoteobj = require "remoteobj"
      local p
      local co = coroutine.wrap(function()
        p = remoteobj.process(function() coroutine.yield(1) error "x" end)
        pcall(p.start, p)
        coroutine.yield()
        print "later"
      end)
      co()
      print(pcall(p.join, p))
      co()
    ]]
    assert.are.equal(1, select(2, output:gsub("later", "")))
    assert.are.equal(1, select(2, output:gsub("false", "")))
  end)
end)

describe("a result", function()
  it("is nil until the function has returned, and there without joining", function()
    local reading, writing = unistd.pipe()
    local p = started(function()
      unistd.read(reading, 1)
      return "first", nil, "third"
    end)
    assert.is_nil(p.result)
    assert.are.equal(0, select("#", p:results()))
    unistd.write(writing, "x")
    wait.until_true(function() return p.result end, "the result")
    assert.are.equal("first", p.result)
    assert.are.same(table.pack("first", nil, "third"), table.pack(p:results()))
    p:join()
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("may be of any size", function()
    local size = 100 * 1024 * 1024
    local p = started(function() return ("0123456789abcdef"):rep(size // 16), { n = 1 } end)
    assert.is_true(p:join())
    local text, t = p:results()
    assert.are.equal(size, #text)
    assert.are.equal("0123456789abcdef", text:sub(-16))
    assert.are.same({ n = 1 }, t)
  end)

  it("keeps what is shared between values, functions included", function()
    local p <close> = started(function()
      local shared = {}
      local n = 0
      return { shared, shared }, { f = function() n = n + 1 return n end }
    end)
    p:join()
    local list, t = p:results()
    assert.are.equal(list[1], list[2])
    assert.are.same({ 1, 2 }, { t.f(), t.f() })
  end)

  it("that can't be sent is raised by join, with the place", function()
    local p = started(function() return 1, { a = { io.stdout } } end)
    local ok, err = pcall(p.join, p)
    assert.is_false(ok)
    assert.are.equal("Unsendable", err.kind)
    assert.matches("cannot send result 2%.a%[1%]: userdata FILE%*", tostring(err))
    assert.are.equal(1, p.exitcode)
    local q = started(function() return coroutine.create(print) end)
    ok, err = pcall(q.join, q)
    assert.is_false(ok)
    assert.matches("cannot send result: ", tostring(err))
  end)

  it("is not sent with results_ = false", function()
    local p <close> = process({ function() return io.stdout end, results_ = false }):start()
    assert.is_true(p:join())
    assert.is_nil(p.result)
    assert.are.equal(0, select("#", p:results()))
    local q <close> = process({ function() coroutine.yield(1) return 2 end, results_ = false }):start()
    q:join()
    assert.is_nil(q.result)
    assert.are.equal(0, q.exitcode)
  end)
end)

local function range(first, last)
  for i = first, last do
    coroutine.yield(i, -i)
  end
  return "returned", last
end

local function collect(next_value, ...)
  local list = {}
  for a, b in next_value, ... do
    list[#list + 1] = { a, b }
  end
  return list
end

describe("yields", function()
  it("come one by one, all values of each, then what was returned", function()
    local p = started(range, 5, 7)
    assert.are.same({ { 5, -5 }, { 6, -6 }, { 7, -7 } }, collect(p:iter()))
    assert.are.same({ "returned", 7 }, { p:results() })
    assert.is_true(p:join())
    assert.are.same({}, collect(p:iter()))
  end)

  it("are drained by join, and can be iterated then", function()
    local p <close> = started(range, 1, 3000)
    p:join()
    assert.are.equal("function", type(p.result))
    assert.are.equal(p.result, p.result)
    local list = collect(p.result)
    assert.are.equal(3000, #list)
    assert.are.same({ 3000, -3000 }, list[3000])
    assert.are.same({}, collect(p.result))
  end)

  it("wait for each other: the parent sees the first before the last is made", function()
    local reading, writing = unistd.pipe()
    local p = started(function()
      coroutine.yield "one"
      coroutine.yield(unistd.read(reading, 3))
    end)
    local seen = {}
    for v in p:iter() do
      seen[#seen + 1] = v
      if v == "one" then
        assert.is_nil(p.exitcode)
        assert.are.equal("function", type(p.result))
        unistd.write(writing, "two")
      end
    end
    assert.are.same({ "one", "two" }, seen)
    p:join()
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("come from an iterator that is returned, with or without its state", function()
    local p <close> = started(pairs, { a = 1 })
    assert.are.same({ { "a", 1 } }, collect(p:iter()))
    local q <close> = started(function()
      local i = 0
      return function()
        i = i + 1
        if i <= 3 then
          return i
        end
      end
    end)
    q:join()
    assert.are.same({ { 1 }, { 2 }, { 3 } }, collect(q.result))
    local r <close> = started(ipairs, { "x", "y" })
    assert.are.same({ { 1, "x" }, { 2, "y" } }, collect(r:iter()))
    local s <close> = started(function() return { print } end)
    s:join()
    assert.are.equal(print, s.result[1])
  end)

  it("are followed by the error, unless raises_ is false", function()
    local function fail_after_two()
      coroutine.yield(1)
      coroutine.yield(2)
      error { code = 3 }
    end
    local p = started(fail_after_two)
    local seen = {}
    local ok, err = pcall(function()
      for v in p:iter() do
        seen[#seen + 1] = v
      end
    end)
    assert.are.same({ 1, 2 }, seen)
    assert.is_false(ok)
    assert.are.equal(3, err.code)
    assert.are.equal(err, select(2, pcall(p.join, p)))
    local q = process({ fail_after_two, raises_ = false }):start()
    assert.are.same({ { 1 }, { 2 } }, collect(q:iter()))
    assert.is_true(q:join())
    assert.are.equal(3, q.exc.last.code)
    local r = started(function() coroutine.yield(1) signal.raise(9) end)
    ok, err = pcall(collect, r:iter())
    assert.is_false(ok)
    assert.are.equal("ProcessDied", err.kind)
  end)

  it("that nobody has read when the process ends are all kept, whatever their size", function()
    local large = ("x"):rep(150000) -- more than one read takes, less than the stream holds
    local function yield_and_end()
      coroutine.yield(large)
      coroutine.yield "last"
      return "returned"
    end
    for _, joined_first in ipairs { true, false } do
      local p = started(yield_and_end)
      remoteobj.poll { [p.sentinel] = { events = { IN = true } } }
      if joined_first then
        p:join()
      end
      assert.are.same({ { large }, { "last" } }, collect(p:iter()))
      p:join()
      assert.are.equal("returned", p:results())
    end
  end)

  it("end when the loop is left: the generator is closed at its next yield", function()
    local reading, writing = unistd.pipe()
    local p = started(function()
      local _ <close> = setmetatable({}, { __close = function() unistd.write(writing, "closed") end })
      for i = 1, math.huge do
        coroutine.yield(i)
      end
    end)
    for v in p:iter() do
      if v == 100 then
        break
      end
    end
    assert.are.equal("closed", unistd.read(reading, 6))
    assert.is_true(p:join())
    assert.are.equal(0, p.exitcode)
    assert.are.same({}, collect(p:iter()))
    -- an iterator's closing value too
    local q = started(function()
      local closing = setmetatable({}, { __close = function() unistd.write(writing, "closed") end })
      return function() return 1 end, nil, nil, closing
    end)
    assert.is_false(pcall(function()
      for _ in q:iter() do
        error "left"
      end
    end))
    assert.are.equal("closed", unistd.read(reading, 6))
    assert.is_true(q:join())
    assert.are.equal(0, q.exitcode)
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("end so also while one of them waits for room", function()
    local p = started(function()
      while true do
        coroutine.yield(("x"):rep(1 << 20))
      end
    end)
    local next_value, state, control, closing = p:iter()
    next_value(state, control)
    getmetatable(closing).__close(closing)
    assert.is_true(p:join(wait.LIMIT))
    assert.are.equal(0, p.exitcode)
  end)

  it("take bounded memory in the child", function()
    local file = io.tmpfile()
    local p = started(function()
      file:setvbuf "no"
      for _ = 1, 64 do
        coroutine.yield(("x"):rep(1 << 20))
        file:write "."
      end
    end)
    first_value(p)
    remoteobj.sleep(0.2) -- time in which an unbounded stream would be done
    assert.is_true(file:seek "end" < 8)
    assert.is_nil(p.exitcode)
    assert.are.equal(63, #collect(p.result))
    p:join()
    file:close()
  end)

  it("go nowhere when the handle is gone, and the child goes on", function()
    local reading, writing = unistd.pipe()
    do
      local p = started(function()
        for _ = 1, 1000 do
          coroutine.yield(("x"):rep(1000))
        end
        unistd.write(writing, "done")
      end)
      first_value(p)
    end
    collectgarbage()
    collectgarbage()
    assert.are.equal("done", unistd.read(reading, 4))
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("that can't be sent end the process with an error", function()
    local p = started(function() coroutine.yield { io.stdout } end)
    local ok, err = pcall(collect, p:iter())
    assert.is_false(ok)
    assert.are.equal("Unsendable", err.kind)
    assert.matches("cannot send value%[1%]", tostring(err))
  end)
end)

describe("errors in a process", function()
  it("are raised by join and by the end of the block", function()
    local p = started(function() error "boom" end)
    local ok, err = pcall(p.join, p)
    assert.is_false(ok)
    assert.is_truthy(err:match "boom")
    assert.are.equal(p.pid, err.pid)
    assert.are.equal(p.name, err.process)
    assert.are.equal(1, p.exitcode)
    ok, err = pcall(function()
      local _ <close> = started(function() error "in the block" end)
    end)
    assert.is_false(ok)
    assert.is_truthy(err:match "in the block")
  end)

  it("take the place of the block's own error", function()
    local ok, err = pcall(function()
      local _ <close> = started(error, { "remote" })
      error "local"
    end)
    assert.is_false(ok)
    assert.are.same({ "remote" }, err)
    ok, err = pcall(function()
      local _ <close> = started(function() end)
      error "local"
    end)
    assert.is_false(ok)
    assert.matches("local", err)
  end)

  it("are kept with raises_ = false", function()
    for _, func in ipairs { function() error { code = 5 } end, function() signal.raise(9) end } do
      local p = process({ func, raises_ = false }):start()
      assert.is_true(p:join())
      assert.are.equal(1, #p.exc)
      local ok, err = pcall(p.raise_any, p)
      assert.is_false(ok)
      assert.are.equal(p.exc.last, err)
      assert.is_true(err.code == 5 or err.kind == "ProcessDied")
    end
  end)

  it("show every function on the way, and none of the library's", function()
    local function nested_3() error "deep" end
    local function nested_2() nested_3() return 1 end
    local function nested_1() nested_2() return 1 end
    local p = process(nested_1):start()
    local _, err = pcall(p.join, p)
    local text = remoteobj.traceback(err)
    for _, name in ipairs { "nested_1", "nested_2", "nested_3" } do
      assert.is_truthy(text:find(name, 1, true), text)
    end
    assert.is_nil(text:find("remoteobj/", 1, true), text)
    assert.are.equal(err.message .. "\n" .. text, tostring(err))
  end)

  it("are recorded in a group of a common book", function()
    local exc = remoteobj.Except()
    local p = process({ function() error { 1 } end, exc_ = exc, group_ = "workers", raises_ = false }):start()
    local q = process({ function() exc "inner"(function() error { 2 } end) end, exc_ = exc }):start()
    assert.is_true(p:join())
    local ok, err = pcall(q.join, q)
    assert.is_false(ok)
    assert.are.same({ 2 }, err)
    assert.are.equal(exc:get "inner", err)
    assert.are.same({ { 1 } }, exc:group "workers")
    assert.are.same({ { 2 } }, exc:group "inner")
    assert.are.equal(2, #exc)
    assert.are.equal(exc, p.exc)
  end)

  it("reach the middle of three processes too, whose parent made the book", function()
    local exc = remoteobj.Except()
    local p <close> = started(function()
      local q = process({ function() error { 7 } end, exc_ = exc }):start()
      local ok, err = pcall(q.join, q)
      return ok, err[1], exc.last[1]
    end)
    p:join()
    assert.are.same({ false, 7, 7 }, { p:results() })
    assert.are.same({ { 7 } }, exc:all())
  end)
end)

describe("a dropped handle", function()
  it("changes nothing: the child goes on, and is reaped when it ends", function()
    local reading, writing = unistd.pipe()
    local pid
    do
      local p = started(function()
        unistd.read(reading, 1)
        unistd.write(writing, "y")
      end)
      pid = p.pid
    end
    collectgarbage()
    collectgarbage()
    assert.is_truthy(counts.status(pid))
    unistd.write(writing, "x")
    wait.until_true(function() return counts.status(pid) == nil end, "the child to be reaped")
    assert.are.equal("y", unistd.read(reading, 1))
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("can't be used by a finalizer that comes after its own, and says so", function()
    assert.equal("true 10\n", run_script [[
      local remoteobj = require "remoteobj"
      local told = {}
      local user = setmetatable({}, { __gc = function(self)
        for _, use in ipairs { "join", "kill", "terminate", "is_alive" } do
          local _, err = pcall(self.process[use], self.process)
          told[#told + 1] = tostring(err):match "the handle of the process was collected"
        end
        for _, field in ipairs { "pid", "sentinel", "exitcode", "exc", "result" } do
          local _, err = pcall(function() return self.process[field] end)
          told[#told + 1] = tostring(err):match "the handle of the process was collected"
        end
        local _, err = pcall(tostring, self.process)
        told[#told + 1] = tostring(err):match "the handle of the process was collected"
        print(true, #told)
      end })
      user.process = remoteobj.process(function() end):start()
      user = nil
      collectgarbage()
    ]]:gsub("\t", " "))
  end)

  it("leaves no trace in great number", function()
    local function all_gone()
      collectgarbage()
      collectgarbage()
      wait.until_true(function() return #counts.children() == 0 end, "all to be reaped")
      started(function() end):join() -- what dropped ones have left is given back now
      collectgarbage()
      collectgarbage()
    end
    all_gone()
    local before = counts.descriptors()
    for _ = 1, 50 do
      started(function() end)
    end
    all_gone()
    assert.are.equal(before, counts.descriptors())
  end)
end)

describe("a fork of the program's own", function()
  it("keeps descriptors that took the place of the library's, whatever is collected", function()
    local function count()
      local n = 0
      for _ in require("posix.dirent").files "/proc/self/fd" do
        n = n + 1
      end
      return n
    end
    local held = { started(announce_and_stay), remoteobj.Except() }
    first_value(held[1])
    local p = held[1]
    local pid = unistd.fork()
    if pid == 0 then
      for fd = 3, 30 do
        unistd.dup2(2, fd)
      end
      local before = count()
      held, p = nil, nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      unistd._exit(count() == before and 0 or 1)
    end
    local _, _, code = require("posix.sys.wait").wait(pid)
    assert.are.equal(0, code)
    p:kill()
    p:join()
  end)

  it("tells nothing in place of the process that has made it, however its function ends there", function()
    for _, ending in ipairs { function() return "forked" end, function() error("forked", 0) end } do
      local p = started(function()
        local pid = unistd.fork()
        if pid == 0 then
          unistd.dup2(assert(require("posix.fcntl").open("/dev/null", 1)), 2) -- its error is written there
          return ending()
        end
        local _, how, code = require("posix.sys.wait").wait(pid)
        return how, code
      end)
      p:join()
      assert.are.same({ "exited", pcall(ending) and 0 or 1 }, { p:results() })
      assert.are.equal(0, #p.exc)
    end
  end)
end)

describe("the life of processes", function()
  it("leaves neither descriptors nor zombies", function()
    local function life(i)
      local p = process { function()
        coroutine.yield(i)
        if i % 3 == 0 then
          error "x"
        end
        return i
      end, raises_ = false }
      p:start()
      if i % 2 == 0 then
        collect(p:iter())
      end
      if i % 5 == 0 then
        p:kill()
      end
      p:join()
    end
    life(1)
    local before = counts.descriptors()
    for i = 1, 200 do
      life(i)
    end
    assert.are.equal(before, counts.descriptors())
    assert.are.same({}, counts.children())
  end)

  it("leaves the program's own children alone", function()
    local pid = unistd.fork()
    if pid == 0 then
      unistd._exit(5)
    end
    for _ = 1, 5 do
      started(function() end):join()
    end
    local _, _, code = require("posix.sys.wait").wait(pid)
    assert.are.equal(5, code)
  end)

  it("of a daemon ends with its parent, even when that is killed", function()
    for _, start in ipairs { "start(p)", "coroutine.wrap(start)(p)" } do
      local parent = script.start([[
        local remoteobj = require "remoteobj"
        local p = remoteobj.process(function() while true do end end)
        local function start(p) p:start() end
      ]] .. start .. [[
        io.write("pids ", p.pid, " ", require("posix.unistd").getpid(), "\n")
        io.flush()
        while true do remoteobj.sleep(60) end
      ]])
      local pid, parent_pid = parent:expect "pids (%d+) (%d+)\n"
      pid = tonumber(pid)
      assert.is_truthy(counts.status(pid))
      signal.kill(tonumber(parent_pid), signal.SIGKILL)
      parent:wait()
      wait.until_true(function()
        local state = counts.status(pid)
        return state == nil or state == "Z"
      end, "the daemon to end")
    end
  end)

  it("of a daemon ends when the state is closed, that of others is waited for", function()
    local output = run_script [[
      local remoteobj = require "remoteobj"
      local unistd = require "posix.unistd"
      local reading, writing = unistd.pipe()
      local daemon = remoteobj.process(function() while true do end end):start()
      local other = remoteobj.process({ function()
        unistd.close(writing)
        unistd.read(reading, 1) -- until the parent has nothing else to do
        print "awaited"
      end, daemon_ = false }):start()
      print(daemon.pid, other.pid)
      -- closing the state runs this before it waits: the finalizers of what was made later come first
      KEPT = setmetatable({}, { __gc = function() io.stdout:flush() unistd.close(writing) end })
    ]]
    local daemon, other = output:match "^(%d+)%s+(%d+)\nawaited\n$"
    assert.is_truthy(daemon, output)
    assert.is_nil(counts.status(tonumber(daemon)))
    assert.is_nil(counts.status(tonumber(other)))
  end)

  it("of one that is no daemon goes on when its parent is killed", function()
    local name = os.tmpname()
    local parent = script.start([[
      local remoteobj = require "remoteobj"
      local unistd = require "posix.unistd"
      local parent = unistd.getpid()
      remoteobj.process({ function(name)
        while unistd.getppid() == parent do
          remoteobj.sleep(0.01)
        end
        io.open(name, "w"):write "survived":close()
      end, ..., daemon_ = false }):start()
      print("started", parent)
      io.flush()
      while true do
        remoteobj.sleep(60)
      end
    ]], { name })
    signal.kill(tonumber((parent:expect "started%s+(%d+)\n")), signal.SIGKILL)
    wait.until_true(function()
      local file <close> = io.open(name)
      return file:read "a" == "survived"
    end, "the survivor's word")
    parent:wait()
    os.remove(name)
  end)
end)

describe("what only the child knows", function()
  --- Defines a class in the process that calls it.
  local function own_class()
    local class = { __name = "spec.OwnClass", __tostring = function(self) return "problem " .. self.code end }
    return remoteobj.register(class)
  end

  it("makes a result an error of join, which stays the process's", function()
    local p = started(function() return setmetatable({}, own_class()) end)
    local ok, err = pcall(p.join, p)
    assert.is_false(ok)
    assert.are.equal("Protocol", err.kind)
    assert.is_truthy(tostring(err):find("spec.OwnClass", 1, true))
    assert.is_nil(p.result)
    assert.is_false(pcall(p.raise_any, p))
  end)

  it("leaves of an error its text, traceback and process", function()
    local p = started(function() error(setmetatable({ code = 7 }, own_class())) end)
    local ok, err = pcall(p.join, p)
    assert.is_false(ok)
    assert.are.equal(remoteobj.RemoteError, getmetatable(err))
    assert.are.equal("problem 7", err.message)
    assert.are.equal(p.pid, err.pid)
    assert.is_truthy(remoteobj.traceback(err):find("process_spec", 1, true))
  end)
end)

describe("processes that share an Except", function()
  it("raise each its own error", function()
    local exc = remoteobj.Except()
    local first = started { function() error { 1 } end, exc_ = exc }
    local second = started { function() error { 2 } end, exc_ = exc }
    for i, p in ipairs { first, second } do
      assert.are.equal(i, select(2, pcall(p.join, p))[1])
    end
    for i, p in ipairs { first, second } do
      assert.are.equal(i, select(2, pcall(p.raise_any, p))[1])
    end
  end)

  it("have their errors recorded once, also where join is called in a context", function()
    local exc = remoteobj.Except()
    local p = started { function() exc "inner"(error, { code = 1 }) end, exc_ = exc }
    exc { raises = false } (function() exc "outer"(p.join, p) end)
    assert.are.equal(1, #exc)
    assert.are.equal(1, #exc:group "inner")
  end)
end)

describe("a signal handler that the function sets", function()
  it("runs while it waits in the library, although the function has a coroutine of its own", function()
    local p = started(function()
      signal.signal(signal.SIGTERM, function() os.exit(5) end)
      announce_and_stay()
    end)
    assert.are.equal("ready", first_value(p))
    assert.is_true(p:terminate())
    assert.is_true(p:join())
    assert.are.equal(5, p.exitcode)
  end)
end)
