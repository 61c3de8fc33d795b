-- Deadlines: what is not begun any more, what comes too late, and by which clock.
local crash = require "spec.support.crash"
local fixture = require "spec.support.fixture"
local installation = require "spec.support.installation"
local poll = require "posix.poll"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local wait = require "spec.support.wait"

local LARGE_TEXT = ("x"):rep(4 << 20) -- more than a pipe holds

local function new_object()
  local object = fixture.counter()
  object.list = { 1, 2, 3 }
  function object.take(self, text)
    self.count = self.count + 1
    return #text
  end
  return object
end

local function kind_of(func, ...)
  local ok, err = pcall(func, ...)
  assert.is_false(ok)
  return err.kind, err.may_have_run
end

describe("a deadline", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
  end)
  after_each(fixture.close)

  --- Every operation, on a view.
  local operations = {
    call = function(view) return view:add() end,
    ["call without self"] = function(view) return view.echo(1) end,
    field = function(view) return view.count.__ end,
    get_ = function(view) return view.count:get_ { timeout = 0.05 } end,
    ["remoteobj.get"] = function(view) return remoteobj.get(view.count, { timeout = 0.05 }) end,
    assignment = function(view) view.count = 100 end,
    set_ = function(view) view:set_("count", 100) end,
    del_ = function(view) view:del_ "count" end,
    ["#"] = function(view) return #view.list end,
    pairs = function(view) for _ in pairs(view.list) do error "an entry" end end,
    ipairs_ = function(view) for _ in view.list:ipairs_() do error "an entry" end end,
    contains_ = function(view) return view:contains_ "count" end,
    passto = function(view) return view:passto(rawlen) end,
    super = function(view) return view.super:add() end,
    ["large argument"] = function(view) return view:take(LARGE_TEXT) end,
  }

  --- Each operation gives up in time.
  local function try_all()
    for name, operation in pairs(operations) do
      local start = wait.now()
      local kind = kind_of(operation, proxy:with_ { timeout = 0.05 })
      assert.equal("Timeout", kind, name)
      assert.is_true(wait.now() - start >= 0.049, name)
    end
  end

  for name, connected in pairs { ["has a connection"] = true, ["has no connection yet"] = false } do
    it("holds for every operation of a client that " .. name .. ", whatever its listener does not do", function()
      local server = processes.serve(proxy, function(link)
        link:receive()
        return object.count, proxy:stats_().served
      end)
      local before = 0
      if connected then
        before = proxy:add()
      end
      processes.suspend(server.pid)
      try_all()
      signal.kill(server.pid, signal.SIGCONT)
      assert.equal("word", proxy:echo "word") -- after all that was sent before
      server:send "end"
      assert.same({ before, before + 1 }, { server:result() })
      assert.equal(0, proxy:stats_().late_replies) -- what is not begun is not answered
    end)
  end

  it("holds for a client that waits to get through the door", function()
    local stage = crash.stage({}, true)
    local _ <close> = stage.proxy:listen_ { bg = false }
    local client = processes.fork(function()
      local start = wait.now()
      local kind, may_have_run = kind_of(function() return stage.proxy:with_ { timeout = 0.05 }:pid() end)
      return kind, may_have_run, wait.now() - start
    end)
    local kind, may_have_run, seconds = client:result()
    assert.same({ "Timeout", false }, { kind, may_have_run })
    assert.is_true(seconds >= 0.049)
    assert.equal(0, stage.proxy:process_requests())
  end)

  it("that has passed while a request was in the queue keeps it from being executed, others not", function()
    local server = processes.serve(proxy, function(link)
      while poll.rpoll(link.input, 1000) ~= 1 do -- luacheck: ignore
      end
      link:receive()
      link:send(object.count)
      link:receive()
    end, { preempt = false }) -- requests wait until the program does inside the library
    local patient, hasty = {}, {}
    for i = 1, 6 do
      patient[i] = processes.fork(function(link)
        link:send "begin"
        return proxy:add()
      end)
      hasty[i] = processes.fork(function()
        return kind_of(function() return proxy:with_ { timeout = 0.03 }:add(100) end)
      end)
      patient[i]:receive()
    end
    for i = 1, 6 do
      assert.equal("Timeout", (hasty[i]:result()))
      processes.wait_asleep(patient[i].pid)
    end
    server:send "go on"
    server:receive()
    local sum = 0
    for i = 1, 6 do
      sum = sum + patient[i]:result()
    end
    assert.equal(1 + 2 + 3 + 4 + 5 + 6, sum)
    server:stop()
  end)

  it("makes all answers that come later strangers, however many and large; each is counted", function()
    function object.late(self, i)
      self.begun = i
      while not self.released do
        remoteobj.sleep(0.001)
      end
      return LARGE_TEXT:sub(1, 20000 * i)
    end
    local server = processes.serve(proxy)
    for i = 1, 20 do
      repeat
        local kind, may_have_run = kind_of(function() return proxy:with_ { timeout = 0.02 }:late(i) end)
        assert.equal("Timeout", kind)
      until may_have_run and proxy.begun.__ == i
      assert.equal(i, proxy:echo(i))
    end
    proxy.released = true
    for i = 1, 100 do
      assert.equal(i, proxy:echo(i))
    end
    wait.until_true(function()
      proxy:echo()
      return proxy:stats_().late_replies >= 20
    end, "the late replies")
    local stats = proxy:stats_()
    assert.is_true(stats.late_replies >= 20) -- one that was slow to begin was asked for again
    server:stop()
  end)

  it("goes by no clock that can be set", function()
    local library = os.tmpname()
    installation.run { "cc", "-shared", "-fPIC", "-o", library, "spec/support/wall_clock.c" }
    local result = script.run([[
      local remoteobj = require "remoteobj"
      local wait = require "spec.support.wait"
      local time = os.time()
      assert(math.abs(os.time() - time) > 80000) -- the wall clock is what it is

      local object = { count = 0 }
      function object:add() self.count = self.count + 1 return self.count end
      function object.sleep(_, seconds) remoteobj.sleep(seconds) return "slept" end
      function object.busy()
        local last = wait.now() + 0.2
        while wait.now() < last do end
      end
      local remote = remoteobj.Proxy(object)

      local function lasts(seconds, func, ...)
        local start = wait.now()
        local result = table.pack(pcall(func, ...))
        local lasted = wait.now() - start
        assert(lasted >= seconds - 0.001 and lasted < seconds + 20, lasted)
        return table.unpack(result, 2, result.n)
      end

      lasts(0.05, remoteobj.sleep, 0.05)
      lasts(0.05, remoteobj.poll, {}, 0.05)
      assert(lasts(0.05, remote.wait_until_listening, remote, { timeout = 0.05 }).kind == "Timeout")

      local server = remoteobj.process(function()
        local _ <close> = remote:listen_()
        while not object.stop do remoteobj.sleep(0.001) end
      end):start()
      remote:wait_until_listening(server, { timeout = 60 })
      assert(lasts(0.05, server.join, server, 0.05) == false)
      for _ = 1, 20 do -- neither expired when they come nor when they go
        remote:with_ { timeout = 60 }:add()
      end
      assert(remote.count.__ == 20)
      assert(lasts(0.05, function() return remote:with_ { timeout = 0.05 }:sleep(0.3) end).kind == "Timeout")
      assert(lasts(0.05, function() return remote:with_ { timeout = 0.05 }:busy() end).kind == "Timeout")
      assert(remote:with_ { timeout = 60 }:sleep(0.02) == "slept")
      remote.stop = true
      assert(server:join(60))
      print "done"
    ]], {}, { env = { LD_PRELOAD = library } })
    os.remove(library)
    assert.same({ 0, "done\n", "" }, { result.code, result.stdout, result.stderr })
  end)
end)
