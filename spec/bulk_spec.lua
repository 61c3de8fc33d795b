-- Bulk data: transfers that fill the pipes many times over, and what they leave behind.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
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
    local text = ("t"):rep(16 * MIB)
    local other = processes.fork(function(link)
      there:listen_()
      link:send "listening"
      link:receive()
      for _ = 1, 3 do
        assert(here:echo(text) == text)
      end
      link:send "done"
      link:receive()
      return true
    end)
    here:listen_()
    other:receive()
    other:send "begin"
    for _ = 1, 3 do
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
    signal.kill(server.pid, signal.SIGSTOP)
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
