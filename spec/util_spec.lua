-- The original's utilities: listeners for trials and tests, printing in one piece, crashing.
local counts = require "spec.support.process_counts"
local posix_wait = require "posix.sys.wait"
local private_pipe = require "spec.support.pipe"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local util = remoteobj.util

local function error_of(func, ...)
  local ok, err = pcall(func, ...)
  assert.is_false(ok)
  return err
end

describe("util.listener", function()
  before_each(function() wait.guard() end)
  after_each(wait.unguard)

  it("starts a process that listens for an object, and stops and joins it", function()
    local process
    do
      local listener <close>, remote = util.listener { x = 10 }
      process = listener
      assert.equal(10, remote.x.__)
      remote.x = 20
      assert.equal(20, remote.x.__)
      assert.matches("^listener%-%d+$", listener.name)
      assert.not_equal(unistd.getpid(), remote:passto(function() return require "posix.unistd".getpid() end))
    end
    assert.equal(0, process.exitcode)
    assert.same({}, counts.children())
  end)

  it("waits at the end of the block for a callback that does not return no longer than timeout_ says", function()
    local process
    do
      local listener <close> = util.listener({}, { callback = function() while true do end end, timeout_ = 0.01 })
      process = listener
    end
    assert.is_true(process:is_alive())
    process:kill()
    assert.is_true(process:join(wait.LIMIT))
  end)

  it("uses the proxy that the object has, or that it is given", function()
    local object = { x = 10 }
    object.remote = remoteobj.Proxy(object)
    do
      local _ <close>, remote = util.listener(object)
      assert.is_true(remote == object.remote)
      assert.equal(10, object.remote.x.__)
    end
    local _ <close>, remote = util.listener(object.remote)
    assert.is_true(remote == object.remote)
    assert.equal(10, object.remote.x.__)
  end)

  local function count(object)
    object.turns = object.turns + 1
  end

  for _, bg in ipairs { true, false } do
    it("calls a callback with the object again and again, bg = " .. tostring(bg), function()
      local _ <close>, remote = util.listener({ turns = 0 }, { callback = count, bg = bg, delay = 0.001 })
      wait.until_true(function() return remote.turns.__ > 10 end)
    end)

    it("raises the callback's error at the end of the block, bg = " .. tostring(bg), function()
      local function fail(object)
        if object.worn_out then
          error "worn out"
        end
      end
      local err = error_of(function()
        local _ <close>, remote = util.listener({}, { callback = fail, bg = bg })
        remote:with_({ default = false }):set_("worn_out", true)
        wait.until_true(function() return not remote.listening_ end)
      end)
      assert.matches("worn out", err.message)
      assert.same({}, counts.children())
    end)
  end

  it("serves what was sent before the end of the block", function()
    local object = { log = {} }
    local reader <close> = remoteobj.process(function()
      object.remote:wait_until_listening()
      for i = 1, 20 do
        object.remote.log[i] = i
      end
    end)
    object.remote = remoteobj.Proxy(object)
    local _ <close>, remote = util.listener(object)
    reader:start():join()
    assert.equal(20, #remote.log)
  end)

  it("passes options of processes on", function()
    local exc = remoteobj.Except()
    local listener <close> = util.listener({}, { callback = function() error "broken" end, wait = false,
      name_ = "device", group_ = "g", exc_ = exc, raises_ = false })
    wait.until_true(function() return not listener:is_alive() end)
    assert.equal("device", listener.name)
    assert.is_truthy(exc:get "g":match "broken")
  end)

  it("tells of a listener that was killed", function()
    local err = error_of(function()
      local listener <close>, remote = util.listener { x = 1 }
      signal.kill(listener.pid, signal.SIGKILL)
      wait.until_true(function() return not remote.listening_ end)
      assert.equal("gone", remote.x:get_ { default = "gone" })
    end)
    assert.equal("ProcessDied", err.kind)
    assert.equal("SIGKILL", err.signal)
  end)

  it("raises what keeps the process from listening", function()
    local remote = remoteobj.Proxy { x = {} }
    assert.matches("x", error_of(util.listener, remote.x).message)
    assert.same({}, counts.children())
  end)

  it("waits no longer than it is told, and leaves no process then", function()
    local err
    repeat -- in one that is not yet there; it may have been quick
      err = select(2, pcall(function() local _ <close> = util.listener({}, { wait_timeout = 0 }) end))
    until err
    assert.equal("Timeout", err.kind)
    assert.same({}, counts.children())
  end)

  it("does not wait where it need not", function()
    local listener <close>, remote = util.listener({ x = 1 }, { wait = false })
    remote:wait_until_listening(listener)
    assert.equal(1, remote.x.__)
  end)

  it("stops one that does not listen yet", function()
    for _ = 1, 5 do
      local _ <close> = util.listener({}, { wait = false })
    end
    assert.same({}, counts.children())
  end)

  it("refuses what is no object, and what somebody listens for", function()
    assert.matches("util_spec.lua:%d+: bad argument #1 to 'listener' %(an object expected",
      error_of(function() local _ = util.listener() end))
    local _ <close>, remote = util.listener {}
    assert.matches("util_spec.lua:%d+: .*somebody listens", error_of(function() util.listener(remote) end))
  end)

  it("refuses options that it has not", function()
    local function message(given)
      return error_of(function() util.listener({}, given) end)
    end
    assert.matches("util_spec.lua:%d+: bad argument #2 to 'listener' %(unknown option 'close_' %(there are bg,",
      message { close_ = print })
    assert.matches("option 'bg': a boolean expected, got 1 %(number%)", message { bg = 1 })
    assert.matches("option 'delay': a number of seconds, not negative, expected, got %-1", message { delay = -1 })
    assert.matches("option 'callback': a function expected", message { callback = {} })
    assert.matches("option 'name_': a string expected", message { name_ = 1 })
    assert.matches("table of options expected, got number", message(5))
  end)
end)

describe("util.listener_func", function()
  it("makes of a function one that gives listeners which call it", function()
    local counting = util.listener_func(function(object, by, limit)
      object.count = math.min(object.count + by, limit)
    end, 2, 100)
    for _, bg in ipairs { true, false } do
      local _ <close>, remote = counting({ count = 0 }, { bg = bg })
      wait.until_true(function() return remote.count.__ == 100 end)
    end
  end)

  it("refuses what can't be called, and what listeners refuse", function()
    assert.matches("util_spec.lua:%d+: bad argument #1 to 'listener_func' %(a function expected, got nil%)",
      error_of(function() util.listener_func() end))
    assert.matches("util_spec.lua:%d+: bad argument #2 to 'listener' %(unknown option 'x'",
      error_of(function() util.listener_func(print)({}, { x = 1 }) end))
  end)
end)

-- Runs a function in a child of luaposix's whose standard output is `fd`. Returns "exited" or "killed", and the code.
local function with_output(fd, func)
  local pid = assert(unistd.fork())
  if pid == 0 then
    unistd.dup2(fd, 1)
    local ok, err = pcall(func)
    if not ok then
      io.stderr:write(tostring(err), "\n")
    end
    io.stdout:flush()
    unistd._exit(ok and 0 or 1)
  end
  return select(2, posix_wait.wait(pid))
end

describe("util.mprint", function()
  it("prints as print does, in one write", function()
    local ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM, 0)
    local how, code = with_output(theirs, function()
      util.mprint("a", nil, 2.0, setmetatable({}, { __tostring = function() return "object" end }))
      util.mprint()
      io.write "before, "
      util.mprint(("x"):rep(3000))
    end)
    assert.same({ "exited", 0 }, { how, code })
    assert.equal("a\tnil\t2.0\tobject\n", socket.recv(ours, 5000))
    assert.equal("\n", socket.recv(ours, 5000))
    assert.equal("before, ", socket.recv(ours, 5000))
    assert.equal(("x"):rep(3000) .. "\n", socket.recv(ours, 5000))
    unistd.close(ours)
    unistd.close(theirs)
  end)

  it("keeps the lines of several processes apart", function()
    local result = script.run [[
      local remoteobj = require "remoteobj"
      local list = {}
      for i = 1, 4 do
        list[i] = remoteobj.process(function()
          for _ = 1, 100 do
            remoteobj.util.mprint(i, ("x"):rep(2000), i)
          end
        end):start()
      end
      for _, process in ipairs(list) do
        process:join()
      end
    ]]
    assert.equal(0, result.code, result.stderr)
    local seen = 0
    for line in result.stdout:gmatch "[^\n]*\n" do
      local first, middle, last = line:match "^(%d)\t(x+)\t(%d)\n$"
      assert.is_true(first ~= nil and first == last and #middle == 2000)
      seen = seen + 1
    end
    assert.equal(400, seen)
  end)

  it("waits for room where output does not wait by itself, and lets requests in meanwhile", function()
    local from, to = private_pipe()
    local size = 1 << 20 -- more than the pipe holds
    local object = { pings = 0 }
    local remote = remoteobj.Proxy(object)
    local printer = assert(unistd.fork())
    if printer == 0 then
      unistd.close(from)
      unistd.dup2(to, 1)
      pcall(function()
        local _ <close> = remote:listen_ { preempt = false } -- nothing is served but in waits of the library
        util.mprint(("y"):rep(size))
      end)
      unistd._exit(0)
    end
    unistd.close(to)
    remote:wait_until_listening()
    for i = 1, 10 do
      remote.pings = i
    end
    assert.equal(10, remote.pings.__)
    local parts = {}
    repeat
      parts[#parts + 1] = assert(unistd.read(from, 65536))
    until parts[#parts] == ""
    assert.equal(("y"):rep(size) .. "\n", table.concat(parts))
    unistd.close(from)
    posix_wait.wait(printer)
  end)

  it("raises when nothing can be printed", function()
    local from, to = private_pipe()
    local how, code = with_output(to, function()
      unistd.close(1)
      assert(error_of(util.mprint, "x"):match "cannot print")
    end)
    assert.same({ "exited", 0 }, { how, code })
    unistd.close(from)
    unistd.close(to)
  end)
end)

describe("util.segfault", function()
  it("ends the process by SIGSEGV, which ProcessDied names", function()
    for _, disposition in ipairs { signal.SIG_DFL, signal.SIG_IGN } do
      local process = remoteobj.process(function()
        signal.signal(signal.SIGSEGV, disposition)
        util.segfault()
      end):start()
      local err = error_of(process.join, process)
      assert.equal("ProcessDied", err.kind)
      assert.equal("SIGSEGV", err.signal)
      assert.equal(-signal.SIGSEGV, process.exitcode)
    end
  end)

  it("loses nothing that was printed before", function()
    local result = script.run [[
      local remoteobj = require "remoteobj"
      io.write "printed"
      remoteobj.util.segfault()
    ]]
    assert.equal(signal.SIGSEGV, result.signal)
    assert.equal("printed", result.stdout)
  end)
end)
