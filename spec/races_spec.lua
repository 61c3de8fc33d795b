-- Clients that call all the time while listeners open, close, take over and die all the time: each call has its own
-- answer, its default, or an error that says that nobody listens. REMOTEOBJ_FULL=1 makes hundred thousands of calls.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local scale = require "spec.support.scale"
local signal = require "posix.signal"
local wait = require "spec.support.wait"

local CLIENTS = 4
local CALLS = scale(1000, 25000) -- of each client

local function new_object()
  local object = { seen = {}, count = 0 }
  -- The answer tells whose it is. An id that comes twice would have run twice.
  function object.ask(self, id, filling)
    local twice = self.seen[id] or false
    self.seen[id] = true
    self.count = self.count + 1
    return id, twice, filling
  end
  return object
end

describe("calls while a listener opens and closes:", function()
  local object, proxy

  before_each(function()
    object, proxy = fixture.open(new_object())
    wait.guard(scale(4, 60) * wait.LIMIT)
  end)
  after_each(fixture.close)

  local filling = ("x"):rep(70000) -- more than one read takes

  --- One call in one of several forms; returns what came of it: "answer", "default" or the kind of the error.
  local function call(id, i)
    local text = i % 10 == 0 and filling or nil
    local view = proxy
    if i % 2 == 0 then
      view = proxy:with_ { default = "default" }
    elseif i % 7 == 0 then
      view = proxy:with_ { timeout = wait.LIMIT }
    end
    local outcome = table.pack(pcall(view.ask, view, id, text))
    if not outcome[1] then
      return outcome[2].kind or error(outcome[2], 0)
    elseif outcome[2] == "default" then
      return "default"
    end
    assert(outcome[2] == id, "an answer to another's question: " .. tostring(outcome[2]))
    assert(outcome[3] == false, "a request that ran twice")
    assert(outcome[4] == text, "another's text")
    return "answer"
  end

  --- Starts the clients, which tell how often each outcome came.
  local function start_clients()
    local clients = {}
    for c = 1, CLIENTS do
      clients[c] = processes.fork(function(link)
        local counts = {}
        link:receive()
        for i = 1, CALLS do
          local kind = call(c .. ":" .. i, i)
          counts[kind] = (counts[kind] or 0) + 1
          if kind ~= "answer" and i % 5 ~= 0 then
            proxy:wait_until_listening()
          end
        end
        return counts
      end)
    end
    return clients
  end

  --- Adds up what the clients tell; nothing else than `allowed` must have come.
  local function check(clients, allowed)
    local sum = { answer = 0 } -- clients may be so slow that they never meet an open door
    for _, client in ipairs(clients) do
      for kind, count in pairs(client:result(scale(2, 50) * wait.LIMIT)) do
        sum[kind] = (sum[kind] or 0) + count
        assert.is_true(allowed[kind], ("%s, %d times"):format(kind, count))
      end
    end
    local all = 0
    for _, count in pairs(sum) do
      all = all + count
    end
    assert.equal(CLIENTS * CALLS, all)
    if os.getenv "REMOTEOBJ_TIMES" then
      for kind, count in pairs(sum) do
        io.stderr:write(("%s: %d  "):format(kind, count))
      end
    end
    return sum
  end

  local in_good_order = { answer = true, default = true, NotListening = true }

  --- Opens and closes until it is told to stop, in many ways. Returns how many requests it has executed.
  local function open_and_close(link, options)
    local rounds = 0
    local fds = { [link.input] = { events = { IN = true } } }
    repeat
      rounds = rounds + 1
      local handle = proxy:listen_(options)
      if options.bg == false then
        proxy:poll(0.001)
        proxy:process_requests(rounds % 5)
        if rounds % 4 == 0 then
          proxy:cancel_requests()
        end
      else
        remoteobj.sleep(0.0003 * (rounds % 4))
      end
      getmetatable(handle).__close(handle)
      if rounds % 3 == 0 then
        remoteobj.sleep(0.0002)
      end
    until remoteobj.poll(fds, 0) > 0
    return object.count
  end

  for name, options in pairs {
    ["in the background"] = { bg = true },
    ["in the background without interrupting"] = { bg = true, preempt = false },
    ["by hand"] = { bg = false },
  } do
    for _, fulfill in ipairs { true, false } do
      it(("%s, fulfill_final = %s"):format(name, fulfill), function()
        proxy = remoteobj.Proxy(object, { fulfill_final = fulfill })
        local listener = processes.fork(open_and_close, options)
        local clients = start_clients()
        for _, client in ipairs(clients) do
          client:send "go"
        end
        local sum = check(clients, in_good_order)
        listener:send "enough"
        assert.equal(sum.answer, listener:result()) -- no other call was executed
      end)
    end
  end

  it("several that take over from one another", function()
    local listeners = {}
    for i = 1, 3 do
      listeners[i] = processes.fork(function(link)
        local fds = { [link.input] = { events = { IN = true } } }
        while remoteobj.poll(fds, 0.0005) == 0 do
          local ok, handle = pcall(proxy.listen_, proxy)
          if ok then
            remoteobj.sleep(0.0005)
            getmetatable(handle).__close(handle)
          else
            assert(tostring(handle):find "listening already", handle)
          end
        end
        return object.count
      end)
    end
    local clients = start_clients()
    for _, client in ipairs(clients) do
      client:send "go"
    end
    local sum, executed = check(clients, in_good_order), 0
    for _, listener in ipairs(listeners) do
      listener:send "enough"
      executed = executed + listener:result()
    end
    assert.equal(sum.answer, executed)
  end)

  it("some of them killed in the middle", function()
    local clients = start_clients()
    for _, client in ipairs(clients) do
      client:send "go"
    end
    local over, fds = false, {}
    for _, client in ipairs(clients) do
      fds[client.input] = { events = { IN = true } }
    end
    while not over do
      local listener = remoteobj.process({ function()
        proxy:listen_()
        remoteobj.sleep(1000)
      end, raises_ = false }):start()
      proxy:wait_until_listening(listener)
      over = remoteobj.poll(fds, 0.002) == CLIENTS
      signal.kill(listener.pid, signal.SIGKILL)
      listener:join()
    end
    check(clients, { answer = true, default = true, NotListening = true, Disconnected = true })
  end)
end)
