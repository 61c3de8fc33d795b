-- Processes and proxies that come and go: what is left of them, and what holds up whom. REMOTEOBJ_FULL=1 has
-- thousands of them.
local counts = require "spec.support.process_counts"
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local scale = require "spec.support.scale"
local script = require "spec.support.script"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local function is_gone(pid)
  local state = counts.status(pid)
  return state == nil or state == "Z"
end

describe("lives of processes and proxies", function()
  it("leave neither descriptors nor children, however they end", function()
    local lives = scale(240, 10000)
    local result = script.run([[
      local counts = require "spec.support.process_counts"
      local dirent = require "posix.dirent"
      local remoteobj = require "remoteobj"

      local ways = {
        function(remote, object) -- the process listens
          local process = remoteobj.process { function()
            local _ <close> = remote:listen_()
            while not object.stop do remoteobj.sleep(0.001) end
          end, raises_ = false }
          process:start()
          remote:wait_until_listening(process)
          assert(remote.value.__ == 5)
          return process, function() remote.stop = true end
        end,
        function(remote) -- the parent listens in the background
          remote:listen_()
          local process = remoteobj.process { function() return remote.value.__ end, raises_ = false }
          return process:start(), function() remote:stop_listen_() end
        end,
        function(remote) -- the parent listens by hand, and stops at the end
          local _ <close> = remote:listen_ { bg = false }
          local process = remoteobj.process { function() return remote.value:get_ { default = 5 } end, raises_ = false }
          process:start()
          remote:poll(60)
          return process, function() end
        end,
        function() -- the process yields, and is left in the middle
          local process = remoteobj.process { function()
            for i = 1, 100 do coroutine.yield(i) end
          end, raises_ = false }
          process:start()
          for i in process:iter() do
            if i == 50 then break end
          end
          return process, function() end
        end,
        function() -- the process fails
          local process = remoteobj.process { function() error { "x" } end, raises_ = false }
          return process:start(), function() end
        end,
      }

      local function life(i)
        local object = { value = 5 }
        local process, finish = ways[i % #ways + 1](remoteobj.Proxy(object), object)
        if i % 7 == 0 then
          process:kill()
        end
        pcall(finish)
        if i % 11 ~= 0 then -- else dropped with its handle while it may still run
          process:join()
        end
      end

      --- The descriptors that are open, as text.
      local function open_ones()
        collectgarbage()
        collectgarbage()
        local list = {}
        for name in dirent.files "/proc/self/fd" do
          list[#list + 1] = name
        end
        table.sort(list)
        return table.concat(list, " ")
      end

      --- Waits until all children have ended, those among them that were dropped too.
      local function settle()
        collectgarbage()
        collectgarbage()
        while #counts.children() > 0 do remoteobj.sleep(0.005) end
        remoteobj.process(function() end):start():join() -- gives back what dropped ones have left
      end

      for i = 1, 2 * #ways do life(i) end
      settle()
      local before = open_ones()
      for i = 1, tonumber(arg[1]) do
        life(i)
        if i % 20 == 0 then collectgarbage() end -- the system's limit of descriptors is not Lua's
      end
      settle()
      local after = open_ones()
      assert(after == before, before .. "\n" .. after)
      assert(#counts.children() == 0)
      print "done"
    ]], { tostring(lives) }, { timeout = scale(2, 40) * wait.LIMIT })
    assert.equal("", result.stderr)
    assert.equal("done\n", result.stdout)
    assert.equal(0, result.code)
  end)

  it("leave no descriptors although their handles are kept, once their end is known", function()
    local result = script.run([[
      local counts = require "spec.support.process_counts"
      local remoteobj = require "remoteobj"

      local function start(func)
        return remoteobj.process { func, raises_ = false }:start()
      end

      local function await(process)
        while not process.exitcode do remoteobj.sleep(0.001) end
      end

      local function yield()
        for i = 1, 3 do coroutine.yield(i) end
      end

      local function iterate(process)
        local list = {}
        for i in process:iter() do list[#list + 1] = i end
        return table.concat(list, " ")
      end

      local ways = { -- each ends a process, and gives what is looked at long after that
        function()
          local p = start(function() return 5 end)
          p:join()
          return function() assert(p:results() == 5) end
        end,
        function()
          local p = start(function() return ("x"):rep(1000000) end)
          await(p)
          return function() assert(#p.result == 1000000) end
        end,
        function()
          local p = start(function() error "x" end)
          p:join()
          return function() assert(p.exitcode == 1 and tostring(p.exc.last):find "x" and #p.exc == 1) end
        end,
        function()
          local p = start(function() remoteobj.sleep(1000) end)
          require "posix.signal".kill(p.pid, 9)
          p:join()
          return function()
            assert(p.exc.last.kind == "ProcessDied" and not p:is_alive() and not p:kill() and not p:throw "x")
          end
        end,
        function()
          local p = start(yield)
          p:join()
          return function() assert(iterate(p) == "1 2 3") end
        end,
        function()
          local p = start(yield)
          await(p)
          return function() assert(iterate(p) == "1 2 3") end
        end,
        function()
          local p = start(yield)
          for _ in p:iter() do break end
          await(p)
          return function() assert(iterate(p) == "") end
        end,
        function()
          local p = start(function() end)
          p:join()
          return function()
            assert(remoteobj.poll({ [p.sentinel] = { events = { IN = true } } }, 0) == 1 and p.sentinel == p.sentinel)
          end
        end,
        function()
          local p = start(function() end)
          p:join()
          return function()
            local exc = p.exc
            remoteobj.process(function() exc { raises = false } (error, "later") end):start():join()
            assert(tostring(exc.last):find "later")
          end
        end,
      }

      ways[1]()
      collectgarbage()
      collectgarbage()
      local before, checks = counts.descriptors(), {}
      collectgarbage "stop"
      for i = 1, tonumber(arg[1]) do
        checks[i] = ways[i % #ways + 1]()
      end
      local after = 0
      for _ in require "posix.dirent".files "/proc/self/fd" do after = after + 1 end
      assert(after == before, before .. " descriptors before, " .. after .. " then")
      for _, check in ipairs(checks) do check() end
      print "done"
    ]], { tostring(scale(36, 1000)) }, { timeout = scale(2, 40) * wait.LIMIT })
    assert.same({ 0, "", "done\n" }, { result.code, result.stderr, result.stdout })
  end)

  it("leave no descriptors and threads when they were listeners that their own requests have stopped", function()
    local result = script.run([[
      local counts = require "spec.support.process_counts"
      local remoteobj = require "remoteobj"

      local remote
      remote = remoteobj.Proxy { leave = function() remote:stop_listen_() end }

      -- Opens a listener and has it stopped, which leaves one thread and its descriptor until the next one.
      local function live()
        remote:listen_()
        remoteobj.process(function() pcall(remote.leave, remote) end):start():join()
        while remote.listening_ do remoteobj.sleep(0.001) end
      end

      local function count()
        remote:stop_listen_()
        local threads, descriptors = counts.threads(), 0
        for _ in require "posix.dirent".files "/proc/self/fd" do descriptors = descriptors + 1 end
        return threads .. " threads, " .. descriptors .. " descriptors"
      end

      live()
      collectgarbage()
      collectgarbage()
      collectgarbage "stop"
      local before = count()
      for _ = 1, 30 do live() end
      local after = count()
      assert(after == before, before .. " before, " .. after .. " then")
    ]])
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)

  it("leave no descriptors whoever waits for the end of one, also when several do, or are torn out of that", function()
    local result = script.run([[
      local counts = require "spec.support.process_counts"
      local remoteobj = require "remoteobj"

      local function join_by_threads(process)
        local threads = {}
        for i = 1, 3 do
          threads[i] = remoteobj.thread(function() process:join() end):start()
        end
        local torn = remoteobj.thread { function() process:join() end, raises_ = false }:start()
        torn:throw "torn"
        torn:join()
        process:join()
        for i = 1, 3 do threads[i]:join() end
      end

      join_by_threads(remoteobj.process(remoteobj.sleep, 0.02):start())
      remoteobj.sleep(0) -- opens, if nothing has yet, the event that wakes a program with threads, which stays
      local before, kept = counts.descriptors(), {}
      collectgarbage "stop"
      for i = 1, 10 do
        kept[i] = remoteobj.process(remoteobj.sleep, 0.02):start()
        join_by_threads(kept[i])
      end
      local after = 0
      for _ in require "posix.dirent".files "/proc/self/fd" do after = after + 1 end
      assert(after == before, before .. " descriptors before, " .. after .. " then")
    ]], {}, { timeout = 2 * wait.LIMIT })
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)

  it("leave no descriptors when they were workers of a pool that were replaced", function()
    local result = script.run([[
      local counts = require "spec.support.process_counts"
      local remoteobj = require "remoteobj"
      local unistd = require "posix.unistd"

      local function die()
        require "posix.signal".kill(unistd.getpid(), 9)
      end

      local pool <close> = remoteobj.pool(1)
      pool:submit(unistd.getpid):get() -- it is connected
      local before = counts.descriptors()
      collectgarbage "stop"
      for _ = 1, tonumber(arg[1]) do
        local future = pool:submit(die)
        assert(not pcall(future.get, future))
      end
      assert(pool:submit(unistd.getpid):get() ~= unistd.getpid())
      local after = 0
      for _ in require "posix.dirent".files "/proc/self/fd" do after = after + 1 end
      assert(after == before, before .. " descriptors before, " .. after .. " then")
    ]], { tostring(scale(20, 300)) }, { timeout = scale(1, 10) * wait.LIMIT })
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)
end)

describe("an end is told although others live that have come later:", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(fixture.counter())
  end)
  after_each(fixture.close)

  --- Starts thirty-two processes by all means there are, which this one does not wait for; returns their ids.
  local function start_many()
    local pids = {}
    for i = 1, 32 do
      if i % 4 == 0 then
        local stream = io.popen "echo $$; exec sleep 100"
        pids[i] = stream:read "n"
        _G["stream of the spec " .. i] = stream -- stays open
      elseif i % 4 == 1 then
        pids[i] = unistd.fork()
        if pids[i] == 0 then
          unistd.sleep(100)
          unistd._exit(0)
        end
      else
        pids[i] = remoteobj.process({ function() remoteobj.sleep(100) end, daemon_ = false }):start().pid
      end
    end
    return pids
  end

  local function end_all(pids)
    for _, pid in ipairs(pids) do
      signal.kill(pid, signal.SIGKILL)
    end
  end

  it("that of a listener, be they its own or its client's", function()
    local server = processes.serve(proxy, nil, nil, function(link)
      function object.stay()
        link:send(start_many())
        remoteobj.sleep(1000)
      end
    end)
    local client = processes.fork(function(link)
      proxy:add()
      link:send(start_many())
      local ok, err = pcall(proxy.stay, proxy)
      return ok, err.kind
    end)
    local pids = { client:receive(), server:receive() }
    server:kill()
    local ok, kind = client:result()
    end_all(pids[1])
    end_all(pids[2])
    assert.same({ false, "Disconnected" }, { ok, kind })
  end)

  it("that of a client, be they its own or the listener's", function()
    local server = processes.serve(proxy, function(link)
      link:receive()
      link:send(start_many(), proxy:stats_().clients)
      wait.until_true(function() return proxy:stats_().clients == 0 end, "the client to be forgotten")
    end)
    local client = processes.fork(function(link)
      proxy:add()
      link:send(start_many())
      remoteobj.sleep(1000)
    end)
    local pids = { client:receive() }
    server:send "start"
    local more, clients = server:receive()
    pids[2] = more
    assert.equal(1, clients)
    client:kill()
    server:result()
    end_all(pids[1])
    end_all(pids[2])
  end)

  it("that of a process which yields, and of its parent's patience", function()
    local parent = processes.fork(function(link)
      local p = remoteobj.process({ function()
        coroutine.yield(start_many())
        remoteobj.sleep(1000)
      end, raises_ = false }):start()
      local next_value = p:iter()
      link:send(next_value(), start_many())
      signal.kill(p.pid, signal.SIGKILL)
      local after = next_value()
      return after, p:join(), p.exitcode
    end)
    local first, second = parent:receive()
    local after, joined, code = parent:result()
    end_all(first)
    end_all(second)
    assert.is_nil(after)
    assert.is_true(joined)
    assert.equal(-9, code)
  end)
end)

describe("kill -9 of a parent", function()
  --- How long daemons that do this outlive their parent, in seconds.
  local function outlive(body)
    local parent <const> = script.start([[
      local remoteobj = require "remoteobj"
      local unistd = require "posix.unistd"
      local body, pid, all = load("local remoteobj, unistd = ... " .. arg[1]), unistd.getpid(), {}
      local function work() body(remoteobj, unistd) end

      all[1] = remoteobj.process(work):start()
      coroutine.wrap(function() all[2] = remoteobj.process(work):start() end)()

      -- a daemon's own daemon
      local middle = remoteobj.process(function()
        coroutine.yield(remoteobj.process(work):start().pid)
        while true do remoteobj.sleep(1000) end
      end):start()
      all[3], all[4] = middle, { pid = middle:iter()() }

      -- one that is started on another thread
      local remote = remoteobj.Proxy { start = function() return remoteobj.process(work):start().pid end }
      remote:listen_()
      local client = remoteobj.process(function() return remote:start() end):start()
      client:join()
      all[5] = { pid = client.result }

      io.write("pids")
      for _, process in ipairs(all) do io.write(" ", process.pid) end
      io.write("\n")
      io.flush()
      while true do remoteobj.sleep(1000) end
    ]], { body })
    local pids = {}
    for pid in parent:expect "pids ([%d ]+)\n":gmatch "%d+" do
      pids[#pids + 1] = tonumber(pid)
    end
    assert.equal(5, #pids)
    for _, pid in ipairs(pids) do
      assert.is_false(is_gone(pid))
    end
    parent:kill()
    local killed_at = wait.now()
    wait.until_true(function()
      for _, pid in ipairs(pids) do
        if not is_gone(pid) then
          return false
        end
      end
      return true
    end, "the daemons to end")
    local seconds = wait.now() - killed_at
    parent:wait()
    return seconds
  end

  for name, body in pairs {
    ["in a busy loop"] = "while true do end",
    ["in a foreign sleep"] = "while true do unistd.sleep(1000) end",
    ["in a foreign read"] = "local reading, writing = unistd.pipe() unistd.read(reading, 1) unistd.close(writing)",
    ["in the library"] = "remoteobj.sleep(1000)",
    ["that are threads too"] = "local _ <close> = remoteobj.Proxy({}):listen_() while true do end",
  } do
    it("ends daemons within a second " .. name, function()
      local least = math.huge
      for _ = 1, 5 do -- a machine may be busy now, but hardly five times
        least = math.min(least, outlive(body))
        if least < 1 then
          break
        end
      end
      assert.is_true(least < 1, least)
    end)
  end
end)
