-- Bulk data: transfers that fill the pipes many times over, and what they leave behind.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local scale = require "spec.support.scale"
local signal = require "posix.signal"
local wait = require "spec.support.wait"

local MIB = 1 << 20

-- Sanitizers keep what was freed.
local measured = os.getenv "REMOTEOBJ_SANITIZED" and pending or it

-- Bytes that a process which has let all garbage go holds in memory of its own.
local function held()
  collectgarbage()
  collectgarbage()
  local file <close> = assert(io.open "/proc/self/status")
  return 1024 * file:read("a"):match "RssAnon:%s*(%d+)"
end

describe("bulk data", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(fixture.counter())
    object.held = held
  end)
  after_each(fixture.close)

  it("arrives as it was, whatever lies before and behind it in the frame", function()
    fixture.serve()
    for _, size in ipairs { MIB - 1, 4 * MIB - 1, 4 * MIB, 5 * MIB + 3, 24 * MIB + 1 } do
      local text = ("0123456789abcde"):rep(size // 15 + 1):sub(1, size)
      local first, back, list, last = proxy:echo("first", text, { 1, text, x = text }, 2.5)
      assert.equal("first", first)
      assert.is_true(text == back and text == list[2] and text == list.x)
      assert.equal(2.5, last)
    end
  end)

  it("travels both ways at once between two that call each other", function()
    local there, here = proxy, remoteobj.Proxy(fixture.counter())
    local texts = { ("s"):rep(16 * MIB), ("t"):rep(64 * MIB) }
    local other = processes.fork(function(link)
      there:listen_()
      link:send "listening"
      link:receive()
      for _, text in ipairs(texts) do
        assert(here:echo(text) == text)
      end
      link:send "done"
      link:receive()
      return true
    end)
    here:listen_()
    other:receive()
    other:send "begin"
    for _, text in ipairs(texts) do
      assert.is_true(there:echo(text) == text)
    end
    assert.equal("done", other:receive())
    other:send "end"
    assert.is_true(other:result())
    here:stop_listen_()
  end)

  it("that a stopped listener leaves half sent ends with its timeout, and the connection goes on", function()
    local server = fixture.serve()
    local text = ("t"):rep(16 * MIB)
    assert.equal("before", proxy:echo "before")
    processes.suspend(server.pid)
    local ok, err = pcall(function()
      return proxy:with_ { timeout = 0.1 }:add(text)
    end)
    signal.kill(server.pid, signal.SIGCONT)
    assert.is_false(ok)
    assert.equal("Timeout", err.kind)
    assert.is_false(err.may_have_run)
    collectgarbage()
    assert.is_true(proxy:echo(text) == text)
    assert.equal(0, proxy.count.__)
  end)

  it("that a killed listener leaves half sent or half answered is Disconnected", function()
    local text = ("t"):rep(16 * MIB)
    for _ = 1, 5 do
      local server = processes.serve(proxy)
      proxy:echo "connected"
      local killer = processes.fork(function(link)
        link:receive()
        signal.kill(server.pid, signal.SIGKILL)
        return true
      end)
      killer:send "begin"
      local ok, err
      repeat
        ok, err = pcall(proxy.echo, proxy, text)
      until not ok
      assert.is_true(err.kind == "Disconnected" or err.kind == "NotListening")
      assert.is_true(killer:result())
      server:kill()
    end
  end)

  measured("leaves no memory behind on either side", function()
    fixture.serve()
    local text = ("t"):rep(32 * MIB)
    proxy:echo(text:sub(1, 100))
    local here, there = held(), proxy.held()
    for _ = 1, 3 do
      proxy:echo(text)
    end
    assert.is_true(held() - here < 8 * MIB)
    assert.is_true(proxy.held() - there < 8 * MIB)
  end)
end)

describe("a stream of many values", function()
  before_each(function() wait.guard() end)
  after_each(function() wait.unguard() end)

  measured("takes no more memory the longer it lasts", function()
    local COUNT = 200000
    local process <close> = remoteobj.process(function()
      for _ = 1, 2 do
        for i = 1, COUNT do
          coroutine.yield(i)
        end
        coroutine.yield(held())
      end
    end):start()
    local values = process:iter()
    local here, there = {}, {}
    for round = 1, 2 do
      for i = 1, COUNT do
        assert(values() == i)
      end
      there[round], here[round] = values(), held()
    end
    assert.is_true(here[2] - here[1] < MIB)
    assert.is_true(there[2] - there[1] < MIB)
  end)
end)

-- The edges: what the system writes in one piece, what pipes hold, what the library does in pieces. Strings of all
-- sizes just below one, so that what they travel in has exactly that size, and one byte less and more, whatever lies
-- around them.
describe("strings at the edge of", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(fixture.counter())
    function object.visit(_, visit, value) return visit(value) end
    function object.keep(self, value) self.kept = value end
  end)
  after_each(fixture.close)

  for name, edge in pairs { ["4 KiB"] = 4096, ["64 KiB"] = 65536, ["128 KiB"] = 131072, ["1 MiB"] = MIB } do
    local below = 100 -- more than there is around a string in anything
    local whole = ("0123456789abcdefg"):rep(edge // 17 + 2)

    local function sizes()
      local size = edge - below
      return function()
        size = size + 1
        return size <= edge + 2 and size or nil
      end
    end

    local function is_right(text, size)
      return #text == size and text == whole:sub(1, size)
    end

    it(name .. " are requests, answers and futures", function()
      fixture.serve()
      local async, futures = proxy:with_ { async = true }, {}
      for size in sizes() do
        local text = whole:sub(1, size)
        assert.is_true(is_right(proxy:echo(text), size))
        if edge < MIB then
          futures[#futures + 1] = async:echo(text)
          proxy:with_({ oneway = true }):keep(text)
          assert.is_true(is_right(proxy.kept.__, size))
        end
      end
      for i, future in ipairs(futures) do
        assert.is_true(is_right(future:get(), edge - below + i))
      end
    end)

    it(name .. " are only requests, or only answers", function()
      fixture.serve(nil, nil, function()
        function object.size(_, text) return #text end
        function object.make(_, size) return whole:sub(1, size) end
      end)
      for size in sizes() do
        assert.equal(size, proxy:size(whole:sub(1, size)))
        assert.is_true(is_right(proxy:make(size), size))
      end
    end)

    it(name .. " are given to callbacks, and by them", function()
      fixture.serve()
      for size in sizes() do
        local text = whole:sub(1, size)
        assert.is_true(is_right(proxy:visit(remoteobj.callback(function(got)
          assert(got == text)
          return got
        end), text), size))
      end
    end)

    it(name .. " are errors", function()
      object.fail = function(_, text) error({ text = text }) end
      fixture.serve()
      for size in sizes() do
        local ok, err = pcall(proxy.fail, proxy, whole:sub(1, size))
        assert.is_false(ok)
        assert.is_true(is_right(err.text, size))
      end
    end)

    it(name .. " are yields and results of processes and threads", function()
      for _, make in ipairs { remoteobj.process, remoteobj.thread } do
        local job <close> = make(function()
          local all = {}
          for size in sizes() do
            coroutine.yield(whole:sub(1, size))
            all[#all + 1] = edge < MIB and whole:sub(1, size) or nil
          end
          return table.unpack(all)
        end):start()
        local next_size = sizes()
        for text in job:iter() do
          assert.is_true(is_right(text, next_size()))
        end
        assert.is_nil(next_size())
        job:join()
        for i, text in ipairs { job:results() } do
          assert.is_true(is_right(text, edge - below + i))
        end
      end
    end)

    it(name .. " are results alone, and records of errors", function()
      local exc = remoteobj.Except()
      for _, size in ipairs { edge - 60, edge - 1, edge, edge + 1 } do
        local process = remoteobj.process(function()
          exc { raises = false } (error, { text = whole:sub(1, size) })
          return whole:sub(1, size)
        end):start()
        process:join()
        assert.is_true(is_right(process.result, size))
        assert.is_true(is_right(exc.last.text, size))
      end
      local process = remoteobj.process(function()
        for size in sizes() do
          exc(tostring(size), { raises = false }) (error, { text = whole:sub(1, size) })
        end
      end):start()
      process:join()
      for size in sizes() do
        assert.is_true(is_right(exc:get(tostring(size)).text, size))
      end
    end)
  end
end)

-- Bytes that the machine could give now.
local function available()
  local file = io.open "/proc/meminfo"
  local text = file and file:read "a" or ""
  if file then
    file:close()
  end
  return 1024 * (tonumber(text:match "MemAvailable:%s*(%d+)") or 0)
end

describe("a string of more than 2 GiB", function()
  local NEEDED <const> = 14 << 30
  local SIZE <const> = (1 << 31) + 12345
  local reason = not scale(false, true) and "only with REMOTEOBJ_FULL=1"
    or available() < NEEDED and "needs 14 GiB of memory"

  local function full(name, func)
    if reason then
      return pending(name .. ": " .. reason)
    end
    it(name, function()
      wait.guard(20 * wait.LIMIT)
      local frame = remoteobj.limits.frame
      remoteobj.limits.frame = 1 << 33
      local ok, err = pcall(func)
      remoteobj.limits.frame = frame
      processes.cleanup()
      wait.unguard()
      collectgarbage()
      assert(ok, err)
    end)
  end

  local function make()
    local quarter = ("0123456789abcdef"):rep(1 << 25) -- the most that one call of rep gives is below 2 GiB
    return quarter .. quarter .. quarter .. quarter .. quarter:sub(1, SIZE - 4 * #quarter)
  end

  full("is packed and unpacked", function()
    local text = make()
    local before, back, after = remoteobj.unpack(remoteobj.pack(1, text, 2))
    assert(before == 1 and after == 2 and back == text)
  end)

  full("travels to a listener and back", function()
    local proxy = remoteobj.Proxy(fixture.counter())
    local server = processes.serve(proxy, function(link) link:receive(4 * wait.LIMIT) end)
    local text = make()
    local before, back, after = proxy:echo(1, text, 2)
    assert(before == 1 and after == 2 and back == text)
    back, text = nil, nil -- luacheck: ignore
    assert(proxy:echo(3) == 3)
    server:stop()
  end)

  full("is the result of a process", function()
    local process = remoteobj.process(make):start()
    process:join()
    assert(process.result == make())
  end)

  full("is too large for a message, unless that is allowed", function()
    local proxy = remoteobj.Proxy(fixture.counter())
    local server = processes.serve(proxy)
    remoteobj.limits.frame = 1 << 30
    local ok, err = pcall(proxy.echo, proxy, make())
    assert(not ok, "it is sent")
    assert(tostring(err):find "frame", tostring(err))
    assert(proxy:echo(3) == 3)
    server:stop()
  end)
end)
