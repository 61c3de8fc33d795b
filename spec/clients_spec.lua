-- Who may be a client, and many of them at once.
local dirent = require "posix.dirent"
local fixture = require "spec.support.fixture"
local pipe = require "spec.support.pipe"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local function new_object()
  local object = fixture.counter()
  object.log = {}
  function object.record(self, who)
    self.log[#self.log + 1] = who
  end
  return object
end

describe("a client", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  it("may be the parent of the listener", function()
    local server = processes.serve(proxy)
    assert.equal(server.pid, proxy:pid())
    assert.equal(1, proxy:add())
    assert.equal(0, object.count)
    server:stop()
  end)

  it("may be a child of the listener, which is the program that was started", function()
    proxy:listen_()
    local child = processes.fork(function() return proxy:pid(), proxy:add(), proxy.count.__ end)
    assert.same({ unistd.getpid(), 1, 1 }, { child:result() })
    assert.equal(1, object.count)
  end)

  it("may be a child of the listener that is forked while it listens", function()
    local server = processes.serve(proxy, function(link)
      local child = processes.fork(function()
        for _ = 1, 100 do
          proxy:add()
        end
        return proxy:pid()
      end)
      link:send(child:result())
      return object.count
    end)
    assert.equal(server.pid, server:receive())
    assert.equal(100, server:result())
  end)

  it("may be a sibling", function()
    local server = processes.serve(proxy)
    local sibling = processes.fork(function() return proxy:pid(), proxy:add(5) end)
    assert.same({ server.pid, 5 }, { sibling:result() })
    assert.equal(5, proxy.count.__)
    server:stop()
  end)

  it("may be a sibling that was started before the listener", function()
    local sibling = processes.fork(function(link)
      proxy:wait_until_listening()
      link:send(proxy:pid())
    end)
    local server = processes.serve(proxy)
    assert.equal(server.pid, sibling:receive())
    server:stop()
  end)

  it("may be a grandchild, of the listener's parent and of the listener", function()
    local server = processes.serve(proxy, function(link)
      local between = processes.fork(function()
        local below = processes.fork(function() return proxy:pid() end)
        return below:result(), proxy:pid()
      end)
      link:send(between:result())
      link:receive()
    end)
    assert.same({ server.pid, server.pid }, { server:receive() })
    local between = processes.fork(function()
      local below = processes.fork(function() return proxy:pid(), proxy:add() end)
      return below:result()
    end)
    assert.same({ server.pid, 1 }, { between:result() })
    server:stop()
  end)

  it("may be the parent of a grandchild that listens", function()
    local between = processes.fork(function(link)
      local server = processes.serve(proxy)
      link:send(server.pid)
      link:receive()
      server:stop()
    end)
    local pid = between:receive()
    assert.equal(pid, proxy:pid())
    between:stop()
  end)

  it("may be a process of the library's own", function()
    local server = processes.serve(proxy)
    local p = remoteobj.process(function() return proxy:pid() end):start()
    p:join()
    assert.equal(server.pid, p.result)
    server:stop()
  end)

  it("has a connection of its own after a fork, like its parent", function()
    local server = processes.serve(proxy)
    assert.equal(1, proxy:add())
    local child = processes.fork(function(link)
      for i = 1, 500 do
        assert(proxy:echo("child" .. i) == "child" .. i)
      end
      link:send(proxy:stats_().requests)
    end)
    for i = 1, 500 do
      assert.equal("parent" .. i, (proxy:echo("parent" .. i)))
    end
    assert.equal(501, proxy:stats_().requests)
    assert.is_true(child:receive() >= 500)
    server:stop()
  end)

  it("may be forked in the middle of an iteration and go on", function()
    for i = 1, 5000 do
      object.log[i] = i
    end
    local server = processes.serve(proxy)
    local count = 0
    for key, value in pairs(proxy.log) do
      assert.equal(key, value)
      count = count + 1
      if count == 10 then
        local child = processes.fork(function() return proxy:add() end)
        assert.equal(1, child:result())
      end
    end
    assert.equal(5000, count)
    server:stop()
  end)
end)

describe("several clients", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  local function hammer(name, rounds)
    return processes.fork(function(link)
      link:receive()
      for i = 1, rounds do
        local word = name .. ":" .. i
        local a, b, c = proxy:echo(word, { word, i }, nil)
        assert(a == word and b[1] == word and b[2] == i and c == nil)
        proxy:add()
      end
      return name
    end)
  end

  for where, listen in pairs {
    ["a child"] = function() return processes.serve(proxy) end,
    ["the parent"] = function()
      proxy:listen_()
    end,
  } do
    it("get their own answers, all at once, from " .. where, function()
      local server = listen()
      local clients = {}
      for i = 1, 6 do
        clients[i] = hammer("client" .. i, 300)
      end
      for _, client in ipairs(clients) do
        client:send "go"
      end
      for i, client in ipairs(clients) do
        assert.equal("client" .. i, client:result())
      end
      assert.equal(1800, proxy.count.__)
      if server then
        server:stop()
      end
    end)
  end

  it("are served by polling as well", function()
    local server = processes.serve(proxy, function(link)
      link:receive()
      while proxy:stats_().served < 400 do
        proxy:poll(wait.LIMIT)
      end
      return object.count
    end, { bg = false })
    local one, two = hammer("one", 100), hammer("two", 100)
    one:send "go"
    two:send "go"
    server:send "go"
    assert.same({ "one", "two" }, { one:result(), two:result() })
    assert.equal(200, server:result())
  end)

  it("are counted while they are connected", function()
    local server = processes.serve(proxy, function(link)
      while link:receive() == "clients" do
        link:send(proxy:stats_().clients)
      end
    end)
    local function connected()
      server:send "clients"
      return server:receive()
    end
    local clients = {}
    for i = 1, 3 do
      clients[i] = processes.fork(function(link)
        link:send(proxy:add())
        link:receive()
      end)
      clients[i]:receive()
    end
    assert.equal(3, connected())
    clients[1]:kill()
    wait.until_true(function() return connected() == 2 end, "the killed client to be forgotten")
    clients[2]:stop()
    wait.until_true(function() return connected() == 1 end, "the client that left to be forgotten")
    clients[3]:stop()
    wait.until_true(function() return connected() == 0 end, "the last client to be forgotten")
    server:stop()
  end)

  it("leave no descriptors behind in the listener", function()
    local server = processes.serve(proxy, function(link)
      while link:receive() == "count" do
        local count = 0
        for _ in require("posix.dirent").files "/proc/self/fd" do
          count = count + 1
        end
        link:send(count, proxy:stats_().clients)
      end
    end)
    local function count()
      server:send "count"
      return server:receive()
    end
    proxy:add()
    local before = count()
    for i = 1, 40 do
      local client = processes.fork(function(link)
        proxy:add()
        if i % 2 == 0 then
          link:send "there"
          link:receive()
        end
      end)
      if i % 2 == 0 then
        client:receive()
        client:kill()
      else
        client:result()
      end
    end
    wait.until_true(function() return select(2, count()) == 1 end, "the clients to be forgotten")
    assert.equal(before, (count()))
    server:kill()
  end)

  it("go on when one of them is killed while it waits, sends or receives", function()
    local server = processes.serve(proxy)
    for round = 1, 8 do
      local victims = {}
      for i = 1, 2 do
        victims[i] = processes.fork(function(link)
          link:send "begin"
          local big = ("x"):rep(300000)
          while true do
            proxy:echo(big)
          end
        end)
        victims[i]:receive()
      end
      local waiting = processes.fork(function(link)
        link:send "begin"
        proxy:sleep(0.05)
        proxy:sleep(100)
      end)
      waiting:receive()
      for i = 1, 20 do
        assert.equal(i, (proxy:echo(i)))
      end
      victims[1]:kill()
      for i = 1, 20 do
        assert.equal(i, (proxy:echo(i)))
      end
      victims[2]:kill(signal.SIGTERM)
      waiting:kill()
      assert.equal(round, proxy:add())
    end
    server:kill()
  end)

  -- The threads of this process but the caller's own: are all asleep, and how often have they gone to sleep.
  local function other_threads()
    local own = unistd.readlink and unistd.readlink "/proc/thread-self" or ""
    local asleep, times = true, 0
    for task in dirent.files "/proc/self/task" do
      local file = task:match "^%d+$" and not own:find("task/" .. task, 1, true)
        and io.open("/proc/self/task/" .. task .. "/status")
      if file then
        local text = file:read "a"
        file:close()
        asleep = asleep and text:match "State:%s+(%a)" == "S"
        times = times + tonumber(text:match "\nvoluntary_ctxt_switches:%s+(%d+)")
      end
    end
    return asleep, times
  end

  local function spin_until_asleep(more_than)
    local times
    wait.spin_until(function()
      local asleep
      asleep, times = other_threads()
      return asleep and times > more_than
    end, "the other threads to sleep")
    return times
  end

  -- Who is delayed (spec/support/delays.c) sleeps, too.
  local told_apart = os.getenv "REMOTEOBJ_DELAYS" and pending or it
  told_apart("go on in the order in which they ended to wait, and before those that come new", function()
    local pipes = {}
    for i = 1, 5 do
      pipes[i] = { pipe() }
    end
    object.waiting = 0
    function object.wait(self, i)
      self.waiting = self.waiting + 1
      remoteobj.poll { [pipes[i][1]] = { events = { IN = true } } }
      self:record(i)
    end
    -- A request that doesn't wait itself: it wakes the others, each once the one before wants to go on.
    function object.wake(self)
      local times = spin_until_asleep(0)
      unistd.write(pipes[5][2], "x")
      for i = 1, 4 do
        unistd.write(pipes[i][2], "x")
        times = spin_until_asleep(times)
      end
      self:record "woken"
    end
    fixture.serve()
    local clients = {}
    for i = 1, 4 do
      clients[i] = processes.fork(function() proxy:wait(i) end)
      wait.until_true(function() return proxy.waiting.__ == i end, "the request to wait")
    end
    clients[5] = processes.fork(function()
      unistd.read(pipes[5][1], 1)
      proxy:record "new"
    end)
    clients[6] = processes.fork(function() proxy:wake() end)
    for _, client in ipairs(clients) do
      client:result()
    end
    assert.same({ "woken", 1, 2, 3, 4, "new" }, proxy.log.__)
    for _, ends in ipairs(pipes) do
      unistd.close(ends[1])
      unistd.close(ends[2])
    end
  end)

  it("are not held up by one that is stopped in the middle of a frame", function()
    local server = processes.serve(proxy)
    local slow = processes.fork(function(link)
      link:send "begin"
      local big = ("x"):rep(8000000)
      while true do
        proxy:echo(big)
      end
    end)
    slow:receive()
    for _ = 1, 10 do
      remoteobj.sleep(0.01)
      signal.kill(slow.pid, signal.SIGSTOP)
      for i = 1, 20 do
        assert.equal(i, (proxy:with_ { timeout = wait.LIMIT }:echo(i)))
      end
      signal.kill(slow.pid, signal.SIGCONT)
    end
    slow:kill()
    server:stop()
  end)

  it("of several proxies and listeners do not mix", function()
    local first, second = remoteobj.Proxy { name = "first" }, remoteobj.Proxy { name = "second" }
    local one, two = processes.serve(first), processes.serve(second)
    local child = processes.fork(function()
      for _ = 1, 200 do
        assert(first.name.__ == "first" and second.name.__ == "second")
      end
      return true
    end)
    for _ = 1, 200 do
      assert.same({ "first", "second" }, { first.name.__, second.name.__ })
    end
    assert.is_true(child:result())
    one:stop()
    two:stop()
  end)

  it("of several proxies in one listener do not mix", function()
    local first, second = remoteobj.Proxy { name = "first" }, remoteobj.Proxy { name = "second" }
    local server = processes.fork(function(link)
      local _ <close>, _ <const> = first:listen_(), second:listen_()
      link:send "listening"
      link:receive()
    end)
    server:receive()
    for _ = 1, 50 do
      assert.same({ "first", "second" }, { first.name.__, second.name.__ })
    end
    server:stop()
  end)
end)

describe("processes that are listener and client at once", function()
  before_each(wait.guard)
  after_each(function()
    processes.cleanup()
    wait.unguard()
  end)

  it("call each other at the same time", function()
    local one, two = new_object(), new_object()
    local first, second = remoteobj.Proxy(one), remoteobj.Proxy(two)
    local function work(own, other, link)
      local _ <close> = own:listen_()
      link:send "listening"
      link:receive()
      for i = 1, 500 do
        assert(other:echo(i) == i)
        other:add()
      end
      link:send "done"
      link:receive()
      return own.count.__
    end
    local a = processes.fork(function(link) return work(first, second, link) end)
    local b = processes.fork(function(link) return work(second, first, link) end)
    a:receive()
    b:receive()
    a:send "go"
    b:send "go"
    a:receive()
    b:receive()
    a:send "end"
    b:send "end"
    assert.same({ 500, 500 }, { a:result(), b:result() })
  end)

  it("call back during a call, to any depth", function()
    local one, two = {}, {}
    local first, second = remoteobj.Proxy(one), remoteobj.Proxy(two)
    function one.down(_, n) return n == 0 and "bottom" or second:down(n - 1) end
    function two.down(_, n) return n == 0 and "bottom" or first:down(n - 1) end
    local a, b = processes.serve(first), processes.serve(second)
    assert.equal("bottom", first:down(0))
    assert.equal("bottom", first:down(1))
    assert.equal("bottom", first:down(20))
    a:stop()
    b:stop()
  end)

  it("pass proxies of other objects on, which work where they arrive", function()
    local worker, registry = new_object(), { known = {} }
    local worker_proxy, registry_proxy = remoteobj.Proxy(worker), remoteobj.Proxy(registry)
    function registry.register(self, name, who) self.known[name] = who end
    function registry.find(self, name) return self.known[name] end
    function registry.use(self, name) return self.known[name]:add(10), type(self.known[name]) end
    local a, b = processes.serve(worker_proxy), processes.serve(registry_proxy)
    registry_proxy:register("w", worker_proxy)
    assert.same({ 10, "userdata" }, { registry_proxy:use "w" })
    local found = registry_proxy:find "w"
    assert.equal(worker_proxy, found)
    assert.equal(20, found:add(10))
    assert.equal(a.pid, found:pid())
    registry_proxy.direct = worker_proxy.count
    assert.equal(worker_proxy.count, registry_proxy.direct.__)
    assert.equal(20, registry_proxy.direct.__.__)
    assert.equal(worker_proxy, registry_proxy.known.__.w)
    assert.equal(30, registry_proxy:passto(function(_, w) return w:add(10) end, worker_proxy))
    a:stop()
    b:stop()
  end)
end)
