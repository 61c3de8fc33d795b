-- Signals: Ctrl-C on a terminal, pipes without readers, the program's own handlers, interrupted calls.
local counts = require "spec.support.process_counts"
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local terminal = require "spec.support.terminal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local INTERPRETER = os.getenv "LUA" or "lua5.4"

local function is_gone(pid)
  local state = counts.status(pid)
  return state == nil or state == "Z"
end

describe("on a terminal", function()
  before_each(function() wait.guard() end)
  after_each(wait.unguard)

  --- Runs a script on a terminal until it has said which children it has. Returns the session and their ids.
  local function start(source)
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write([[
      local remoteobj = require "remoteobj"
      local unistd = require "posix.unistd"
      local function tell(...)
        io.write "pids"
        for _, process in ipairs { ... } do io.write(" ", process.pid) end
        io.write " .\n"
        io.flush()
      end
      -- A process that has begun to run when this returns: Ctrl-C finds it there.
      local function begun(options)
        local body = options[1]
        options[1] = function()
          coroutine.yield "begun"
          return body()
        end
        local process = remoteobj.process(options):start()
        process:iter()()
        return process
      end
    ]], source)
    file:close()
    local session = terminal.start { INTERPRETER, name }
    local pids = {}
    for pid in session:expect "pids([%d ]+)%.":gmatch "%d+" do
      pids[#pids + 1] = tonumber(pid)
    end
    os.remove(name)
    return session, pids
  end

  local function assert_gone(pids)
    assert.is_true(#pids > 0)
    for _, pid in ipairs(pids) do
      wait.until_true(function() return is_gone(pid) end, "the children to end")
    end
  end

  -- What a parent and its children do when Ctrl-C comes.
  local parents = {
    ["waits for a process"] = "all[1]:join()",
    ["iterates over what a process yields"] = "for _ in all[1]:iter() do end",
    ["sleeps in the library"] = "remoteobj.sleep(1000)",
    ["waits for an answer"] = "remote:stay()",
    ["computes"] = "while true do end",
    ["sleeps outside the library"] = "while true do unistd.sleep(1000) end",
  }

  for name, body in pairs(parents) do
    it("Ctrl-C ends a program that " .. name .. ", with all its children", function()
      local session <close>, pids = start([[
        local remote = remoteobj.Proxy { stay = function() remoteobj.sleep(1000) end }
        local all = {
          begun { function() while true do end end },
          begun { function() remoteobj.sleep(1000) end, daemon_ = false },
          begun { function() while true do unistd.sleep(1000) end end },
          begun { function() remote:listen_() remoteobj.sleep(1000) end },
          begun { function() remote:wait_until_listening() remote:stay() end },
          begun { function() remoteobj.Proxy({}):listen_() while true do end end },
        }
        local own = remoteobj.Proxy {}
        own:listen_()
        remote:wait_until_listening()
        tell(table.unpack(all))
      ]] .. body)
      if name == "sleeps outside the library" then -- before it a signal only comes when it is over
        processes.wait_asleep(session.pid)
      end
      session:write "\3"
      session:expect "interrupted!"
      assert.same({ "exited", 1 }, { session:finish() })
      assert_gone(pids)
    end)
  end

  it("Ctrl-C can be caught, in the program and in its children", function()
    local session <close>, pids = start [[
      -- Both tell when they are where they catch it. What a process yields is sent outside of its function.
      local is_ready, ready = unistd.pipe()
      local child = remoteobj.process(function()
        local ok, message = pcall(function()
          unistd.write(ready, "!")
          remoteobj.sleep(1000)
        end)
        return ok, tostring(message):match "interrupted!"
      end):start()
      unistd.read(is_ready, 1)
      local ok, message = pcall(function()
        tell(child)
        remoteobj.sleep(1000)
      end)
      child:join()
      print(ok, message:match "interrupted!", child:results())
    ]]
    session:write "\3"
    session:expect "false%s+interrupted!%s+false%s+interrupted!"
    assert.same({ "exited", 0 }, { session:finish() })
    assert_gone(pids)
  end)

  it("Ctrl-C is an error of a process that doesn't catch it", function()
    local session <close> = start [[
      local signal = require "posix.signal"
      local child = begun { function() remoteobj.sleep(1000) end, raises_ = false }
      signal.signal(signal.SIGINT, signal.SIG_IGN)
      tell(child)
      child:join()
      print(child.exitcode, tostring(child.exc.last):match "interrupted!", select(2, pcall(child.raise_any, child)))
    ]]
    session:write "\3"
    session:expect "1%s+interrupted!%s+[^\n]*interrupted!"
    assert.same({ "exited", 0 }, { session:finish() })
  end)

  it("Ctrl-\\ ends the program and its children", function()
    local session <close>, pids = start [[
      require("posix.sys.resource").setrlimit(4, { rlim_cur = 0, rlim_max = 0 }) -- no picture of the process
      tell(begun { function() while true do end end }, begun { function() remoteobj.sleep(1000) end })
      remoteobj.sleep(1000)
    ]]
    session:write "\28"
    assert.same({ "killed", signal.SIGQUIT }, { session:finish() })
    assert_gone(pids)
  end)
end)

describe("SIGPIPE", function()
  it("never comes from the library, and remains what the program has made of it", function()
    local result = script.run([[
      local remoteobj = require "remoteobj"
      local signal = require "posix.signal"
      local unistd = require "posix.unistd"
      signal.signal(signal.SIGPIPE, signal.SIG_DFL) -- whatever has been inherited
      local large = ("x"):rep(1 << 20)

      local object = {}
      function object.large() return large end
      function object.take() return true end

      -- listeners that die while their client sends
      for round = 1, 20 do
        local remote = remoteobj.Proxy(object)
        local server = remoteobj.process { function()
          remote:listen_ { bg = round % 2 == 0 }
          remoteobj.sleep(0.002 * (round % 5))
          signal.raise(signal.SIGKILL)
        end, raises_ = false }
        server:start()
        if remote:wait_until_listening(server, { fail = false }) then
          repeat
            local ok, err = pcall(remote.take, remote, large)
          until not ok and (err.kind == "Disconnected" or err.kind == "NotListening")
        end
        server:join()
      end

      -- clients that die while they are answered
      local remote = remoteobj.Proxy(object)
      local handle = remote:listen_()
      for round = 1, 20 do
        local client = remoteobj.process { function()
          while true do remote:large() end
        end, raises_ = false }
        client:start()
        remoteobj.sleep(0.002 * (round % 5))
        client:kill()
        client:join()
      end
      remote:stop_listen_()

      -- readers that don't want to read on: they leave the loop, forget the handle, are killed
      for round = 1, 20 do
        local generator = remoteobj.process { function()
          for _ = 1, 100 do coroutine.yield(large) end
          return "ended"
        end, raises_ = false }
        generator:start()
        for _ in generator:iter() do
          if round % 2 == 0 then break end
          generator = nil
          collectgarbage()
          collectgarbage()
          break
        end
        if generator then
          generator:join()
          assert(generator.exitcode == 0, generator.exitcode)
        end
      end
      local reading, writing = unistd.pipe()
      local middle = remoteobj.process(function()
        remoteobj.process({ function()
          unistd.close(reading)
          for _ = 1, 100 do coroutine.yield(large) end
          unistd.write(writing, "survived")
        end, daemon_ = false }):start():iter()()
        unistd._exit(0)
      end):start()
      middle:join()
      unistd.close(writing)
      assert(unistd.read(reading, 100) == "survived")

      print "survived"
      io.flush()
      unistd.close(reading)
      local r, w = unistd.pipe()
      unistd.close(r)
      unistd.write(w, "x") -- the program's own
      print "not reached"
    ]], {})
    assert.same({ signal.SIGPIPE, "survived\n", "" }, { result.signal, result.stdout, result.stderr })
  end)
end)

describe("the program's own handlers", function()
  local proxy

  before_each(function()
    proxy = select(2, fixture.open(fixture.counter()))
  end)
  after_each(fixture.close)

  it("get every signal, on the program's thread, while requests come and processes start and end", function()
    local numbers = { signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM }
    local server = processes.fork(function(link)
      local seen = {}
      for _, number in ipairs(numbers) do
        seen[number] = 0
        signal.signal(number, function() seen[number] = seen[number] + 1 end)
      end
      local ended = 0
      signal.signal(signal.SIGCHLD, function() ended = ended + 1 end)
      local _ <close> = proxy:listen_()
      link:send "ready"
      for _ = 1, 20 do
        remoteobj.process(function() return proxy:add() end):start():join()
      end
      while link:receive() do
        link:send(seen)
      end
      return ended
    end)
    server:receive()
    local client = processes.fork(function(link)
      repeat
        proxy:add()
      until remoteobj.poll({ [link.input] = { events = { IN = true } } }, 0) > 0
    end)
    for round = 1, 10 do
      for _, number in ipairs(numbers) do
        signal.kill(server.pid, number)
      end
      wait.until_true(function() -- two that come at once are one
        server:send(true)
        local seen = server:receive()
        for _, number in ipairs(numbers) do
          if seen[number] < round then
            return false
          end
        end
        return true
      end, "the handlers")
    end
    client:stop()
    server:send(false)
    assert.is_true(server:result() > 0)
  end)

  it("are those of its children, and nothing is blocked there", function()
    local function state()
      local masks = {}
      for line in io.lines "/proc/self/status" do
        local name, mask = line:match "^Sig(%a+):%s*(%x+)"
        if name == "Blk" or name == "Ign" or name == "Cgt" then
          masks[name] = tonumber(mask, 16) & ~(3 << 31) -- without two that the C library has for itself
        end
      end
      return masks
    end
    signal.signal(signal.SIGUSR1, function() end)
    local before = state()
    local _ <close> = proxy:listen_()
    local p = remoteobj.process(state):start() -- which may call, and needs no signal of the library's for it
    p:join()
    local from_request = processes.fork(function()
      return proxy:passto(function(_, func)
        local q = require "remoteobj".process(func):start() -- on a thread that blocks all signals
        q:join()
        return q.result
      end, state)
    end)
    local seen = from_request:result()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert.equal(before.Blk, p.result.Blk)
    assert.equal(before.Ign, p.result.Ign)
    assert.equal(before.Blk, seen.Blk)
    assert.equal(before.Ign, seen.Ign)
  end)
end)

describe("a call outside the library", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(fixture.counter())
  end)
  after_each(fixture.close)

  --- Runs body(link) in a listener that is called all the time; action() ends the wait that it has told of.
  local function under_requests(body, action)
    local server = processes.fork(function(link)
      local _ <close> = proxy:listen_()
      link:send "listening"
      return body(link)
    end)
    server:receive()
    local clients = {}
    for i = 1, 2 do
      clients[i] = processes.fork(function(link)
        repeat
          proxy:with_ { timeout = 0.005, default = false }:add() -- each announces itself by a signal
        until remoteobj.poll({ [link.input] = { events = { IN = true } } }, 0) > 0
      end)
    end
    server:receive() -- it is about to wait
    remoteobj.sleep(0.05) -- time in which it is interrupted many times
    action()
    local result = table.pack(server:result())
    for _, client in ipairs(clients) do
      client:stop()
    end
    return table.unpack(result, 1, result.n)
  end

  it("that reads a stream of io goes on", function()
    local name = os.tmpname()
    os.remove(name)
    assert(require("posix.sys.stat").mkfifo(name, 384))
    local text = under_requests(function(link)
      link:send "waits"
      local stream <close> = assert(io.popen(("cat %s"):format(name))) -- the open of the fifo waits there
      return stream:read "a"
    end, function()
      local stream <close> = assert(io.open(name, "w"))
      stream:write "a line"
    end)
    os.remove(name)
    assert.equal("a line", text)
  end)

  it("that accepts a connection goes on", function()
    local socket = require "posix.sys.socket"
    local path = os.tmpname()
    os.remove(path)
    local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert(socket.bind(fd, { family = socket.AF_UNIX, path = path }))
    assert(socket.listen(fd, 1))
    local ok, message = under_requests(function(link)
      link:send "waits"
      local client, text = socket.accept(fd)
      return client ~= nil, client and "accepted" or text
    end, function()
      local client = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
      assert(socket.connect(client, { family = socket.AF_UNIX, path = path }))
      unistd.close(client)
    end)
    unistd.close(fd)
    os.remove(path)
    assert.same({ true, "accepted" }, { ok, message })
  end)

  it("that writes to a full pipe goes on", function()
    local reading, writing = unistd.pipe()
    local size = 1 << 20
    local written, message = under_requests(function(link)
      link:send "waits"
      local done = 0
      while done < size do -- one that has begun may write less, as POSIX has it
        local count, problem = unistd.write(writing, ("x"):rep(size - done))
        if not count then
          return count, problem
        end
        done = done + count
      end
      return done
    end, function()
      local got = 0
      while got < size do
        got = got + #assert(unistd.read(reading, 65536))
      end
    end)
    unistd.close(reading)
    unistd.close(writing)
    assert.equal(size, written, message)
  end)

  it("is not interrupted by anything but requests", function()
    local server = processes.fork(function(link)
      local _ <close> = proxy:listen_()
      link:send "listening"
      for i = 1, 5 do -- which end meanwhile
        remoteobj.process(function() remoteobj.sleep(0.01 * i) end):start()
      end
      proxy:stats_()
      link:send "sleeps"
      local result, _, code = require("posix.time").nanosleep { tv_sec = 0, tv_nsec = 200000000 }
      return result, code
    end)
    server:receive()
    local clients = {}
    for i = 1, 4 do
      clients[i] = processes.fork(function(link)
        link:receive()
      end)
    end
    server:receive()
    for _, client in ipairs(clients) do
      client:kill()
    end
    assert.equal(0, (server:result()))
    assert.equal(0, object.count)
  end)
end)
