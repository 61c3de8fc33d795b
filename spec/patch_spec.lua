local helper = require "spec.support.lock_helper"

local has_posix = pcall(require, "posix.unistd")
local has_socket = pcall(require, "socket.core")
local has_unix = pcall(require, "socket.unix")

-- A thread that only runs while the program waits inside the library, and what the scripts check with it: `during`
-- calls a function and says whether the thread ran meanwhile.
local prologue = [[
  local served = 0
  local thread = T.start(function() served = served + 1 end, {times = -1, pause = 500, preempt = false})
  local patch_blocking = require "remoteobj.patch"
  local function during(f, ...)
    local before = served
    local results = table.pack(f(...))
    assert(served > before, "nothing was served")
    return table.unpack(results, 1, results.n)
  end
  local function same(what, ...)
    local t = table.pack(...)
    for i = 1, t.n do t[i] = tostring(t[i]) end
    local got = table.concat(t, "|")
    assert(got == what, got)
  end
  -- For what ends by itself: again and again, should the thread not have got to run. The results of the first call.
  local function during_each(f, ...)
    local before, tries = served, 0
    local results = table.pack(f(...))
    while served == before and tries < 1000 do
      f(...)
      tries = tries + 1
    end
    assert(served > before, "nothing was served")
    return table.unpack(results, 1, results.n)
  end
  -- A thread that calls f() once the program waits, and the other thread has run meanwhile.
  local function later(f)
    local goal = served + 1
    return T.start(function()
      while served < goal do T.sleep(0.001) end
      f()
    end, {preempt = false})
  end
  -- Lets the program read, and wait again.
  local function pause()
    local goal = served + 5
    while served < goal do T.sleep(0.001) end
  end
  -- Again and again: the first may come before the program is in the call that it is to end.
  local function alarm_handler()
    local signal, unistd = require "posix.signal", require "posix.unistd"
    local handled = 0
    signal.signal(signal.SIGALRM, function() handled = handled + 1 end)
    return function()
      local before = handled
      later(function()
        while handled == before do
          signal.kill(unistd.getpid(), signal.SIGALRM)
          T.sleep(0.01)
        end
      end)
    end
  end
]]

local function ok(script)
  helper.expect_ok(prologue .. script)
end

describe("patch_blocking", function()
  teardown(helper.clean)

  it("does without the libraries, and twice", function()
    ok [[
      package.path, package.cpath = "", ""
      local searchers = #package.searchers
      patch_blocking()
      patch_blocking()
      assert(#package.searchers == searchers + 1)
      assert(not pcall(require, "posix.unistd"))
      print "ok"
    ]]
  end)

  if has_posix then
    it("lets requests run while luaposix sleeps", function()
      ok [[
        local unistd, time, posix = require "posix.unistd", require "posix.time", require "posix"
        patch_blocking()
        local sleep = unistd.sleep
        patch_blocking()
        assert(sleep == unistd.sleep and posix.sleep == sleep)
        same("0", during_each(sleep, 1))
        same("0", during_each(time.nanosleep, {tv_sec = 0, tv_nsec = 50000000}))
        same("0", during_each(posix.nanosleep, 0, 50000000))
        local fine, message = pcall(time.nanosleep, {tv_sec = 0, tv_nsec = 0, more = 1})
        assert(not fine and message:match "invalid field name 'more'", message)
        same("nil|nanosleep: Invalid argument|22", time.nanosleep {tv_sec = -1, tv_nsec = 0})
        assert(not pcall(unistd.sleep, "x") and not pcall(unistd.sleep))
        print "ok"
      ]]
    end)

    it("ends such sleeps at a signal, as the originals do", function()
      ok [[
        patch_blocking()
        local unistd, time, poll = require "posix.unistd", require "posix.time", require "posix.poll"
        local alarm = alarm_handler()
        local r = unistd.pipe()
        alarm()
        local left = during(unistd.sleep, 60)
        assert(math.type(left) == "integer" and left >= 30 and left <= 60, left)
        alarm()
        local none, message, code, rest = during(time.nanosleep, {tv_sec = 60, tv_nsec = 0})
        same("nil|nanosleep: Interrupted system call|4", none, message, code)
        assert(rest.tv_sec >= 30 and rest.tv_sec <= 59 and getmetatable(rest) == getmetatable(time.clock_gettime(0)))
        alarm() same("nil|Interrupted system call|4", during(poll.rpoll, r, 60000))
        alarm() same("nil|Interrupted system call|4", during(poll.poll, {[r] = {events = {IN = true}}}, -1))
        alarm() same("nil|Interrupted system call|4", during(unistd.read, r, 1))
        print "ok"
      ]]
    end)

    it("lets them run while luaposix polls and reads", function()
      ok [[
        patch_blocking()
        local unistd, poll = require "posix.unistd", require "posix.poll"
        local r, w = unistd.pipe()
        local fds = {[r] = {events = {IN = true}}, [-1] = {events = {}}}
        same("0", during_each(poll.poll, fds, 50))
        same("0", during_each(poll.rpoll, r, 50))
        local function write_later(bytes)
          return later(function() unistd.write(w, bytes) end)
        end
        local writer = write_later "abc"
        same("1", during(poll.poll, fds))
        assert(fds[r].revents.IN == true)
        same("1", poll.rpoll(r, -1))
        same("abc", unistd.read(r, 10))
        writer:join()
        writer = write_later "more"
        same("more", during(unistd.read, r, 10))
        writer:join()
        same("0", poll.poll({}, 0))
        same("", unistd.read(r, 0)) -- reads nothing, and waits for nothing
        same("nil|Bad file descriptor|9", unistd.read(999, 1))
        assert(not pcall(unistd.read, "x", 1) and not pcall(poll.poll, 1) and not pcall(poll.rpoll, "x", 0))
        local fcntl = require "posix.fcntl"
        fcntl.fcntl(r, fcntl.F_SETFL, fcntl.O_NONBLOCK)
        same("nil|Resource temporarily unavailable|11", unistd.read(r, 1))
        print "ok"
      ]]
    end)

    it("lets them run while luaposix waits for a child", function()
      ok [[
        patch_blocking()
        local unistd, wait, posix = require "posix.unistd", require "posix.sys.wait", require "posix"
        local r, w = unistd.pipe()
        local function child(code)
          local pid = unistd.fork()
          if pid == 0 then
            unistd.read(r, 1)
            unistd._exit(code)
          end
          return pid
        end
        -- One that ends once the parent waits.
        local function ending(code)
          local pid = child(code)
          later(function() unistd.write(w, "x") end)
          return pid
        end
        local pid = ending(3)
        same("0|running", wait.wait(pid, wait.WNOHANG))
        same(pid .. "|exited|3", during(wait.wait, pid))
        pid = ending(4)
        same(pid .. "|exited|4", during(wait.wait, -1))
        pid = ending(5)
        same(pid .. "|exited|5", during(posix.wait))
        pid = ending(6)
        same(pid .. "|exited|6", during(wait.wait, 0))
        same("nil|No child processes|10", wait.wait(-1))
        same("nil|No child processes|10", wait.wait(pid))
        local alarm = alarm_handler()
        pid = child(7)
        alarm() same("nil|Interrupted system call|4", during(wait.wait, pid))
        alarm() same("nil|Interrupted system call|4", during(wait.wait, -1))
        local signal = require "posix.signal"
        local stopper = later(function() signal.kill(pid, signal.SIGSTOP) end)
        same(pid .. "|stopped|" .. signal.SIGSTOP, during(wait.wait, pid, wait.WUNTRACED))
        stopper:join()
        signal.kill(pid, signal.SIGKILL)
        same(pid .. "|killed|9", wait.wait(pid))
        pid = ending(8)
        local got
        local waiter = T.start(function() got = table.pack(wait.wait(-1)) end, {preempt = false})
        while not got do T.sleep(0.01) end
        same(pid .. "|exited|8", table.unpack(got))
        local fine, message = waiter:join()
        assert(fine, message)
        print "ok"
      ]]
    end)

    it("lets them run while luaposix receives", function()
      ok [[
        local S = require "posix.sys.socket"
        patch_blocking()
        local unistd = require "posix.unistd"
        local a, b = S.socketpair(S.AF_UNIX, S.SOCK_STREAM, 0)
        local t = later(function() S.send(b, "one") end)
        same("one", during(S.recv, a, 10))
        t:join()
        t = later(function() S.send(b, "two") end)
        assert(during(S.recvfrom, a, 10) == "two")
        t:join()
        S.setsockopt(a, S.SOL_SOCKET, S.SO_RCVTIMEO, 0, 50000)
        same("nil|Resource temporarily unavailable|11", during_each(S.recv, a, 10))
        local listener = S.socket(S.AF_INET, S.SOCK_STREAM, 0)
        S.bind(listener, {family = S.AF_INET, addr = "127.0.0.1", port = 0})
        S.listen(listener, 5)
        local name = S.getsockname(listener)
        t = later(function() assert(S.connect(S.socket(S.AF_INET, S.SOCK_STREAM, 0), name)) end)
        local fd = during(S.accept, listener)
        assert(math.type(fd) == "integer" and fd > 2)
        t:join()
        local msg = require "posix.sys.msg"
        local queue = msg.msgget(msg.IPC_PRIVATE, 384)
        if queue then
          t = later(function() msg.msgsnd(queue, 3, "text") end)
          same("3|text", during(msg.msgrcv, queue, 100))
          t:join()
          same("nil|No message of desired type|42", msg.msgrcv(queue, 100, 0, msg.IPC_NOWAIT))
          msg.msgctl(queue, msg.IPC_RMID)
        end
        print "ok"
      ]]
    end)

    it("finds the copies that other functions have taken", function()
      ok [[
        local posix, wait = require "posix", require "posix.sys.wait".wait
        local unistd = require "posix.unistd"
        package.loaded["my.module"] = {pause = unistd.sleep}
        patch_blocking()
        assert(package.loaded["my.module"].pause == unistd.sleep)
        assert(posix.wait == require "posix.sys.wait".wait and posix.wait ~= wait)
        -- posix.spawn waits by a copy of its own
        same("0", 0)
        local before = served
        posix.spawn {"sleep", "0.3"}
        assert(served > before, "nothing was served")
        print "ok"
      ]]
    end)
  end

  if has_posix then
    it("lets them run in posix.poll, the module that can be called, loaded before or after", function()
      local before, after = "local P = require 'posix' patch_blocking()", "patch_blocking() local P = require 'posix'"
      for _, order in ipairs { before, after } do
        ok(order .. [[
          patch_blocking()
          assert(type(P.poll) == "table" and P.poll == require "posix.poll")
          local r, w = P.pipe()
          local fds = {[r] = {events = {IN = true}}}
          same("0", during_each(P.poll, fds, 50))
          same("0", during_each(P.poll.poll, fds, 50))
          same("0", during_each(P.rpoll, r, 50))
          local writer = later(function() P.write(w, "x") end)
          same("1", during(P.poll, fds))
          assert(fds[r].revents.IN == true)
          writer:join()
          same("1", P.poll(fds, 0))
          print "ok"
        ]])
      end
    end)
  end

  if has_socket then
    it("lets requests run in LuaSocket, loaded before or after", function()
      local before, after = "local S = require 'socket' patch_blocking()", "patch_blocking() local S = require 'socket'"
      for _, order in ipairs { before, after } do
        ok(order .. [[
          assert(select("#", during_each(S.sleep, 0.05)) == 0)
          local server = assert(S.bind("127.0.0.1", 0))
          local _, port = server:getsockname()
          local client
          local t = later(function() client = assert(S.connect("127.0.0.1", port)) end)
          local readable, writable = during(S.select, {server}, nil)
          assert(readable[1] == server and readable[server] and #writable == 0)
          assert(server:accept()):close()
          t:join()
          t = later(function() client = assert(S.connect("127.0.0.1", port)) end)
          local peer = assert(during(server.accept, server))
          t:join()
          t = later(function() client:send "first\nsecond line\n12345tail" end)
          same("first", (during(peer.receive, peer)))
          t:join()
          same("second line", (peer:receive "*l"))
          same("pre123", (peer:receive(6, "pre")))
          t = later(function() client:send "rest" pause() client:close() end)
          same("45tailrest", (during(peer.receive, peer, "*a")))
          t:join()
          same("nil|closed|", peer:receive(1))
          server:settimeout(0.05)
          same("nil|timeout", during_each(server.accept, server))
          local b, total = server:gettimeout()
          assert(b == 0.05 and total == -1)
          server:settimeout(0)
          same("nil|timeout", server:accept())
          local r, w, message = during_each(S.select, {server}, {}, 0.05)
          assert(#r == 0 and #w == 0 and message == "timeout")
          local udp = S.udp()
          udp:setsockname("127.0.0.1", 0)
          udp:settimeout(0.05)
          same("nil|timeout", during_each(udp.receive, udp))
          udp:settimeout(nil)
          local _, udp_port = udp:getsockname()
          t = later(function() S.udp():sendto("datagram", "127.0.0.1", udp_port) end)
          same("datagram|127.0.0.1", (function(data, address) return data, address end)(during(udp.receivefrom, udp)))
          t:join()
          local fine = pcall(peer.receive, peer, "nonsense")
          assert(not fine and not pcall(S.sleep, "x"))
          print "ok"
        ]])
      end
    end)
  end

  if has_unix then
    local unix = [[
      local path = os.tmpname()
      local function listening()
        os.remove(path)
        local server = U.stream()
        assert(server:bind(path))
        assert(server:listen())
        return server
      end
      local function connected()
        local client = U()
        assert(client:connect(path))
        return client
      end
    ]]

    it("lets requests run in LuaSocket's unix stream sockets, loaded before or after", function()
      local before, after = "local U = require 'socket.unix' patch_blocking()",
        "patch_blocking() local U = require 'socket.unix'"
      for _, order in ipairs { before, after } do
        ok(order .. unix .. [[
          patch_blocking()
          local server, client = listening(), nil
          local t = later(function() client = connected() end)
          local peer = assert(during(server.accept, server))
          t:join()
          t = later(function() client:send "first\nsecond line\n12345tail" end)
          same("first", (during(peer.receive, peer)))
          t:join()
          same("second line", (peer:receive "*l"))
          same("pre123", (peer:receive(6, "pre")))
          t = later(function() client:send "rest" pause() client:close() end)
          same("45tailrest", (during(peer.receive, peer, "*a")))
          t:join()
          same("nil|closed|", peer:receive(1))
          server:settimeout(0.05)
          same("nil|timeout", during_each(server.accept, server))
          same("nil|timeout", during_each(server.accept, server)) -- the timeout is as it was
          server:settimeout(0)
          same("nil|timeout", server:accept())
          server:settimeout(nil)
          server:settimeout(0.05, "t")
          same("nil|timeout", during_each(server.accept, server))
          server:settimeout(nil, "t")
          t = later(function() client = connected() end)
          peer = assert(during(server.accept, server))
          t:join()
          client:send "part"
          peer:settimeout(0.05)
          same("nil|timeout|part", during_each(peer.receive, peer, 10))
          assert(not pcall(peer.accept, peer) and not pcall(server.receive, server))
          assert(not pcall(peer.receive, peer, "nonsense"))
          assert(server.gettimeout == nil)
          os.remove(path)
          print "ok"
        ]])
      end
    end)

    it("heeds the timeouts of such sockets from before", function()
      ok("local U = require 'socket.unix'" .. unix .. [[
        local server = listening()
        local client = connected()
        local peer = server:accept()
        server:settimeout(0)
        peer:settimeout(0.05)
        client:settimeout(0.05, "t")
        patch_blocking()
        same("nil|timeout", server:accept())
        same("nil|timeout|", during_each(peer.receive, peer))
        same("nil|timeout|", during_each(client.receive, client))
        os.remove(path)
        print "ok"
      ]])
    end)
  end
end)
