-- Forks by whatever means, at whatever moment: while requests run, inside of one, by a listener and its descendants.
local fcntl = require "posix.fcntl"
local fixture = require "spec.support.fixture"
local installation = require "spec.support.installation"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local scale = require "spec.support.scale"
local script = require "spec.support.script"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"
local wait_pid = require "posix.sys.wait".wait
local WNOHANG = require "posix.sys.wait".WNOHANG

--- What this process would say of its error is no business of who runs the specs.
local function silence()
  unistd.dup2(assert(fcntl.open("/dev/null", fcntl.O_WRONLY)), 2)
end

--- Waits in the library for the end of a process.
local function await_inside(pid)
  local got, how, code
  repeat
    remoteobj.sleep(0.0005)
    got, how, code = wait_pid(pid, WNOHANG)
  until got ~= 0
  return how, code
end

--- Waits for a fork of luaposix; it must have ended well.
local function await(pid)
  local _, how, code = wait_pid(pid)
  assert.same({ "exited", 0 }, { how, code })
end

describe("a fork", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(fixture.counter())
  end)
  after_each(fixture.close)

  it("by luaposix gives a client like any other, however often, while a background listener serves", function()
    wait.guard(scale(2, 40) * wait.LIMIT)
    proxy:listen_()
    local busy = {}
    for i = 1, 3 do
      busy[i] = processes.fork(function(link)
        local calls = 0
        repeat
          calls = calls + 1
          assert(proxy:echo(calls) == calls)
        until remoteobj.poll({ [link.input] = { events = { IN = true } } }, 0) > 0
        return calls
      end)
    end
    for i = 1, scale(150, 10000) do
      local pid = assert(unistd.fork())
      if pid == 0 then
        local ok, answer = pcall(proxy.echo, proxy, i)
        local code = ok and answer == i and not pcall(proxy.listen_, proxy) and 0 or 1
        if i % 3 == 0 then
          os.exit(code, true)
        elseif i % 3 == 1 then
          os.exit(code)
        end
        unistd._exit(code)
      end
      assert.same({ "exited", 0 }, { await_inside(pid) })
    end
    for _, client in ipairs(busy) do
      client:send "enough"
      assert.is_true(client:result() > 0)
    end
  end)

  it("keeps its own descriptors, whatever other threads close at that moment", function()
    local library = os.tmpname()
    installation.run { "cc", "-shared", "-fPIC", "-o", library, "spec/support/slow_close.c" }
    local result = script.run([[
      local remoteobj = require "remoteobj"
      local object = { n = 0 }
      function object:add() self.n = self.n + 1 end
      local remote = remoteobj.Proxy(object)
      remote:listen_() -- its thread closes the connection of each process while the next one starts
      for i = 1, tonumber(arg[1]) do
        local process = remoteobj.process { function() remote:add() return i end, raises_ = false }
        process:start():join()
        assert(process.exitcode == 0 and process.result == i, i)
      end
      print(object.n)
    ]], { tostring(scale(100, 2000)) }, { env = { LD_PRELOAD = library } })
    os.remove(library)
    assert.same({ 0, scale(100, 2000) .. "\n", "" }, { result.code, result.stdout, result.stderr })
  end)

  --- What a request does in a fork that it makes; in the end the fork is no more.
  local endings = {
    ["returns from the request"] = function() return "from the fork" end,
    ["fails"] = function()
      silence()
      error("in the fork", 0)
    end,
    ["yields in vain"] = function()
      silence()
      coroutine.yield()
    end,
    ["ends by _exit"] = function() unistd._exit(0) end,
    ["ends by os.exit"] = function() os.exit(0) end,
    ["ends by os.exit and closes its state"] = function() os.exit(0, true) end,
    ["is a client of the listener"] = function()
      unistd._exit(proxy:echo "word" == "word" and 0 or 1)
    end,
    ["sleeps and polls in the library"] = function()
      remoteobj.sleep(0.001)
      remoteobj.poll({}, 0.001)
      return "from the fork"
    end,
    ["starts a process"] = function()
      local p = remoteobj.process(function() return 5 end):start()
      p:join()
      unistd._exit(p.result == 5 and 0 or 1)
    end,
    ["listens for another object"] = function()
      local other = remoteobj.Proxy { value = 6 }
      local _ <close> = other:listen_()
      local p = remoteobj.process(function() return other.value.__ end):start()
      p:join()
      unistd._exit(p.result == 6 and 0 or 1)
    end,
  }

  for name, ending in pairs(endings) do
    it("inside a request may be one that " .. name, function()
      local waiting
      function object.fork(self)
        local pid = unistd.fork()
        if pid == 0 then
          return ending()
        end
        self.count = self.count + 1
        return pid
      end
      local server = processes.serve(proxy, function(link)
        while true do
          local pid = link:receive()
          if not pid then
            return
          end
          link:send(await_inside(pid)) -- which may call this process
        end
      end)
      waiting = processes.fork(function() return proxy:sleep(0.05) end) -- a request that has no thread in the fork
      for round = 1, 10 do
        local pid = proxy:fork()
        server:send(pid)
        local how, code = server:receive()
        local expected = (name == "fails" or name == "yields in vain") and 1 or 0
        assert.same({ "exited", expected }, { how, code })
        assert.equal(round, proxy.count.__) -- it has neither answered nor counted in the listener's place
      end
      assert.equal("slept", waiting:result())
      server:send(false)
      server:result()
    end)
  end

  it("inside a request that is served by hand goes on as the program, which must not serve", function()
    function object.fork() return unistd.fork() end
    local server = processes.serve(proxy, function(link)
      proxy:poll(wait.LIMIT)
      if unistd.getpid() ~= object.home then
        unistd._exit(not pcall(proxy.process_requests, proxy) and proxy:echo(7) == 7 and 0 or 1)
      end
      while remoteobj.poll({ [link.input] = { events = { IN = true } } }, 0.001) == 0 do
        proxy:process_requests()
      end
      link:receive()
    end, { bg = false }, function() object.home = unistd.getpid() end)
    local pid = proxy:fork()
    for i = 1, 20 do
      assert.equal(i, proxy:add())
    end
    local how, code
    repeat
      how, code = proxy:passto(function(_, id) -- without keeping it from being served
        return select(2, require("posix.sys.wait").wait(id, require("posix.sys.wait").WNOHANG))
      end, pid)
    until how ~= "running"
    assert.same({ "exited", 0 }, { how, code })
    server:stop()
  end)

  it("of a fork may listen for its grandparent, and goes on when its parent is killed", function()
    local middle = processes.fork(function(link)
      local p = remoteobj.process({ function()
        local _ <close> = proxy:listen_()
        while not object.stop do
          remoteobj.sleep(0.001)
        end
      end, daemon_ = false }):start()
      proxy:wait_until_listening(p)
      link:send(p.pid)
      link:receive()
    end)
    local pid = middle:receive()
    assert.equal(pid, proxy:pid())
    middle:kill()
    for i = 1, 50 do
      assert.equal(i, proxy:add())
    end
    local sibling = processes.fork(function() return proxy:pid(), proxy:add() end)
    assert.same({ pid, 51 }, { sibling:result() })
    proxy.stop = true
    wait.until_true(function() return not proxy.listening_ end, "the grandchild to stop")
  end)

  it("by luaposix of a process of the library's may listen, and be a client of others", function()
    local p = remoteobj.process(function()
      local pid = unistd.fork()
      if pid == 0 then
        do
          local _ <close> = proxy:listen_()
          wait.until_true(function() return object.stop end, "the word to stop")
        end
        unistd._exit(0)
      end
      proxy:wait_until_listening()
      local seen = proxy:pid()
      proxy.stop = true
      local _, how, code = wait_pid(pid)
      return seen == pid, how, code
    end):start()
    p:join()
    assert.same({ true, "exited", 0 }, { p:results() })
  end)

  it("neither holds up the listener it comes from nor takes its end for its own", function()
    for _, bg in ipairs { true, false } do
      local handle = proxy:listen_ { bg = bg }
      local pid = unistd.fork()
      if pid == 0 then
        unistd.sleep(100)
        unistd._exit(0)
      end
      getmetatable(handle).__close(handle)
      local server = processes.serve(proxy)
      assert.equal(server.pid, proxy:pid())
      signal.kill(pid, signal.SIGKILL)
      wait_pid(pid)
      assert.equal(server.pid, proxy:pid())
      server:stop()
    end
  end)

  it("ends at once while the state is closed, and while requests wait for the lock", function()
    local _ <close> = proxy:listen_ { preempt = false }
    local clients = {}
    for i = 1, 3 do
      clients[i] = processes.fork(function(link)
        link:send "calls"
        return proxy:add()
      end)
      clients[i]:receive()
    end
    for _ = 1, 20 do -- meanwhile nobody else is let in
      local pid = unistd.fork()
      if pid == 0 then
        os.exit(0, true)
      end
      await(pid)
    end
    for _, client in ipairs(clients) do
      client:result()
    end
    assert.equal(3, object.count)
  end)
end)
