-- The crash matrix: who dies, how, and at which moment; who is told of it, how soon, and what goes on after it.
--
-- Each test is a victim and a moment, and tries all ways to die at once, each on a stage of its own. What a waiter
-- needs longer than one at the end of a plain pipe is the library's. REMOTEOBJ_TIMES=1 prints that.
local crash = require "spec.support.crash"
local deaths = require "spec.support.deaths"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local scale = require "spec.support.scale"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local check = crash.check

local LARGE = 8 << 20 -- bytes: more than a pipe holds
local SOON = 0.1 -- seconds until everybody is told

local LARGE_TEXT = ("x"):rep(LARGE)

-- An error that lets go on in the middle of being recorded.
local Slow = { __name = "spec.crash.Slow" }
function Slow:__pack() return self.go_on and self:go_on() or 1 end
function Slow.__unpack(code) return setmetatable({ code = code }, Slow) end
remoteobj.register(Slow)

---- what clients wait for ----

local operations = {}
function operations.call(proxy) return proxy:stuck() end
operations["#"] = function(proxy) return #proxy.stuck_length end
function operations.pairs(proxy)
  local count = 0
  for _ in pairs(proxy.stuck_pairs) do
    count = count + 1
  end
  return count
end
operations["large call"] = function(proxy) return #proxy:large() end
operations["large pairs"] = function(proxy)
  local size = 0
  for _, text in pairs(proxy.large_table) do
    size = size + #text
  end
  return size
end
operations["next call"] = function(proxy, link)
  proxy:pid()
  link:send "connected"
  link:receive()
  return proxy:stuck()
end

--- Gives the stage's object what the operations ask for; they wait in `waits(name)`.
local function furnish(stage, waits)
  local object = stage.object
  local function stuck(name, value)
    return function()
      waits(name)
      return value
    end
  end
  object.stuck = stuck("call", 1)
  object.stuck_length = setmetatable({}, { __len = stuck("#", 1) })
  object.stuck_pairs = setmetatable({}, { __pairs = function()
    waits "pairs"
    return next, { 1 }
  end })
  object.large_table = { LARGE_TEXT }
  function object.large() return LARGE_TEXT end
  function object.take(_, text) return #text end
end

local function nothing() end

--- A client that does two things at once with one connection: waits for a large answer, and sends a large request
-- for a client of its own. Returns it, and a function that has the latter begin.
local function start_client_both_ways(stage)
  local own_object, second = {}, nil
  local own = remoteobj.Proxy(own_object)
  local client = stage:start_client("large call", function(proxy, link)
    function own_object.send_on()
      link:send "sends"
      second = table.pack(pcall(proxy.take, proxy, LARGE_TEXT))
    end
    local _ <close> = own:listen_()
    local ok, first = pcall(proxy.give, proxy)
    wait.until_true(function() return second end, "the second request")
    check(second[1] or not second[2].may_have_run, "the second may have run")
    return ok and #first + (second[1] and second[2] or 0) or error(first, 0)
  end)
  return client, function()
    processes.fork(function()
      own:wait_until_listening()
      own:with_ { default = false }:send_on()
    end)
  end
end

---- kinds of errors ----

local function not_begun(kind, may_have_run)
  return kind == "NotListening" or kind == "Disconnected" and may_have_run == false
end

local function begun(kind, may_have_run)
  return kind == "Disconnected" and may_have_run == true
end

local function cut_off(kind)
  return kind == "Disconnected"
end

local function unheard(kind)
  return kind == "NotListening"
end

local function process_died(kind)
  return kind == "ProcessDied"
end

---- moments of a listener ----
--
-- play(stage)      in the listener: comes to the moment, and goes on after it if it lives
-- arrange(stage)   in the case: starts the clients, and waits for the moment
-- failure          what clients are told if it dies; value: if it lives
-- orderly          what they are told if it dies by a way that puts listeners in order before
-- Each is a value or a function that checks the error; or such things by the names of the clients.
-- parent           how its parent waits for it, by default by turns `join` and `iter`
-- left_out         ways to die that make no sense then, and why
-- by_signal        it is in a call of the library: SIGUSR1 has it die. A handler of luaposix raises no error.

--- Lives on until the case has no more wishes.
local function stay(stage)
  stage.there:receive()
end

local function start_clients(stage, ...)
  for _, name in ipairs { ... } do
    stage:start_client(name, operations[name])
  end
end

local function await_asleep(stage)
  for _, client in ipairs(stage.clients) do
    processes.wait_asleep(client.pid)
  end
end

local function suspend_clients(stage)
  for _, client in ipairs(stage.clients) do
    processes.suspend(client.pid)
  end
end

local function resume_clients(stage)
  for _, client in ipairs(stage.clients) do
    stage.since[client] = wait.now()
    signal.kill(client.pid, signal.SIGCONT)
  end
end

local moments = {}

moments["before it listens"] = {
  parent = "wait_until_listening",
  failure = process_died,
  value = true,
  play = function(stage)
    stage:fork_third()
    stage:obey()
    stage.proxy:listen_()
    stay(stage)
  end,
  arrange = function(stage)
    stage:expect_third()
    stage:start_client("wait_until_listening", function(proxy) return proxy:wait_until_listening(stage.victim) end)
    await_asleep(stage)
  end,
}

moments["while it is idle"] = {
  failure = unheard,
  value = 1,
  play = function(stage)
    furnish(stage, nothing)
    stage.proxy:listen_()
    stage:fork_third()
    stage:obey()
    stay(stage)
  end,
  arrange = function(stage)
    stage:expect_third()
    stage:start_client("next call", operations["next call"]):receive()
  end,
  after = function(stage)
    local client = stage.clients[1]
    stage.victim:join(stage.way_of_third and 0 or wait.LIMIT)
    stage.since[client] = wait.now()
    client:send "call"
  end,
}

moments["before requests are read"] = {
  failure = not_begun,
  value = 1,
  play = function(stage)
    furnish(stage, nothing)
    stage.proxy:listen_ { bg = false }
    stage:fork_third()
    stage:obey()
    stage:serve_by_hand()
  end,
  arrange = function(stage)
    stage:expect_third()
    start_clients(stage, "call", "#", "pairs")
    await_asleep(stage)
  end,
}

--- Requests that go on until the stage says so, each in its own way.
local function play_executing(pause)
  return function(stage)
    local released = false
    furnish(stage, function(name)
      stage:tell(name)
      while not released do
        pause()
      end
    end)
    stage.proxy:listen_()
    stage:fork_third()
    stage:obey()
    released = true
    stay(stage)
  end
end

moments["while requests are executed that wait"] = {
  failure = begun,
  value = 1,
  play = play_executing(function() remoteobj.sleep(0.005) end),
  arrange = function(stage)
    stage:expect_third()
    for _, name in ipairs { "call", "#", "pairs" } do
      start_clients(stage, name)
      stage:expect(name)
    end
  end,
}

moments["while a request is executed that computes"] = {
  failure = begun,
  value = 1,
  play = play_executing(nothing),
  arrange = function(stage)
    stage:expect_third()
    start_clients(stage, "call")
    stage:expect "call"
  end,
}

moments["in the middle of large replies"] = {
  failure = begun,
  orderly = { ["large call"] = LARGE, ["large pairs"] = unheard }, -- time is left for answers that are under way
  value = LARGE,
  play = function(stage)
    furnish(stage, nothing)
    stage.proxy:listen_ { bg = false }
    stage:fork_third()
    stay(stage)
    for _ = 1, 2 do
      check(stage.proxy:poll(wait.LIMIT), "nothing to serve")
    end
    stage:tell "served"
    stage:obey()
    stage:serve_by_hand()
  end,
  arrange = function(stage)
    stage:expect_third()
    start_clients(stage, "large call", "large pairs")
    await_asleep(stage)
    suspend_clients(stage)
    stage.here:send "serve"
    stage:expect "served"
  end,
  after = resume_clients,
}

moments["with the pipes full both ways"] = {
  failure = begun,
  orderly = LARGE,
  value = 2 * LARGE,
  play = function(stage)
    furnish(stage, nothing)
    function stage.object.give()
      stage:tell "executes"
      stage:obey_holding_the_lock()
      return LARGE_TEXT
    end
    stage.proxy:listen_ { bg = false }
    stage:fork_third()
    check(stage.proxy:poll(wait.LIMIT), "nothing to serve")
    stage:tell "served"
    stage:obey()
    stage:serve_by_hand()
  end,
  arrange = function(stage)
    stage:expect_third()
    local client, send_on = start_client_both_ways(stage)
    stage:expect "executes"
    send_on()
    check(client:receive() == "sends", "a second request")
    await_asleep(stage)
    suspend_clients(stage)
    stage.here:send "answer"
    stage:expect "served"
  end,
  after = resume_clients,
}

moments["while clients connect"] = {
  full_door = true,
  failure = unheard,
  value = 1,
  play = moments["before requests are read"].play,
  arrange = function(stage)
    stage:expect_third()
    start_clients(stage, "call", "call")
    await_asleep(stage)
  end,
}

moments["while it closes"] = {
  failure = begun,
  value = 1,
  left_out = { ["an uncaught error"] = "it can come of the request alone, which is one of many" },
  play = function(stage)
    local executing = false
    furnish(stage, function(name)
      stage:tell(name)
      executing = true
      stage:obey()
    end)
    stage.proxy:listen_()
    stage:fork_third()
    wait.until_true(function() return executing end, "the request")
    stage.proxy:stop_listen_()
    stay(stage)
  end,
  arrange = function(stage)
    stage:expect_third()
    start_clients(stage, "call")
    stage:expect "call"
    wait.until_true(function() return not stage.proxy.listening_ end, "the listener to close")
  end,
}

moments["while it holds the lock"] = {
  failure = cut_off,
  orderly = unheard,
  value = 1,
  play = function(stage)
    furnish(stage, nothing)
    stage.proxy:listen_ { preempt = false }
    stage:fork_third()
    stage:obey_holding_the_lock()
    stay(stage)
  end,
  arrange = moments["before requests are read"].arrange,
}

moments["in the middle of a yield"] = {
  parent = "iter",
  by_signal = true,
  play = function(stage)
    stage:fork_third()
    coroutine.yield "small"
    coroutine.yield(LARGE_TEXT)
    stay(stage)
  end,
  arrange = function(stage)
    stage:expect_third()
    processes.wait_asleep(stage.victim.pid)
  end,
  lives = function(stage)
    local next_value = stage.victim:iter()
    check(next_value() == "small" and #next_value() == LARGE, "the values that were yielded")
  end,
  finally = function(stage)
    check(stage.way_of_third or stage.values[1] == 5 and not stage.values[2], "what was yielded before")
  end,
}

moments["in the middle of a record of an Except"] = {
  left_out = { ["an uncaught error"] = "it is recorded in place of what can't be" },
  prepare = function(stage)
    stage.exc = remoteobj.Except { raises = false }
  end,
  play = function(stage)
    stage.exc "first"(error, { 1 })
    stage:fork_third()
    stage.exc "second"(error, setmetatable({ go_on = function() return stage:obey() or 2 end }, Slow))
    stage.exc "third"(error, { 3 })
    stay(stage)
  end,
  arrange = function(stage)
    stage:expect_third()
    processes.wait_asleep(stage.victim.pid)
  end,
  finally = function(stage)
    local exc = stage.exc
    check(exc:get "first"[1] == 1, "the record before")
    if stage.way_of_third then
      check(exc:get "second".code == 2 and exc:get "third"[1] == 3, "the records after")
    else
      check(#exc == 1 and not exc:get "second", "%d records", #exc)
    end
  end,
}

---- moments of a client ----
--
-- The case is the listener, with the options `listen`; the rest is as above. Left out are: before it listens, which it
-- does not; while it holds the lock of its state, for which nobody else waits; in the middle of a yield and of a record
-- of an Except, which have nothing to do with proxies.

local client_moments = {}

client_moments["while it is idle"] = {
  play = function(stage)
    stage.proxy:pid()
    stage:fork_third()
    stage:obey()
  end,
  arrange = function(stage) stage:expect_third() end,
}

--- The client waits for the stuck operation.
local function play_call(stage)
  stage:fork_third()
  operations.call(stage.proxy)
end

local function await_victim_asleep(stage)
  stage:expect_third()
  processes.wait_asleep(stage.victim.pid)
end

client_moments["before its request is read"] = {
  listen = { bg = false },
  by_signal = true,
  play = play_call,
  arrange = await_victim_asleep,
}

client_moments["while it connects"] = {
  full_door = true,
  listen = { bg = false },
  by_signal = true,
  play = play_call,
  arrange = await_victim_asleep,
}

client_moments["while its request is executed"] = {
  by_signal = true,
  play = play_call,
  prepare = function(stage)
    furnish(stage, function()
      stage.executing = true
      wait.until_true(function() return stage.died_at end, "the death")
    end)
  end,
  arrange = function(stage)
    stage:expect_third()
    wait.until_true(function() return stage.executing end, "the request")
  end,
}

client_moments["in the middle of a large reply"] = {
  listen = { bg = false },
  by_signal = true,
  play = function(stage)
    stage:fork_third()
    operations["large call"](stage.proxy)
  end,
  arrange = function(stage)
    local pid = stage.victim.pid
    stage:expect_third()
    wait.until_true(function()
      processes.suspend(pid) -- so that the listener gets rid of no more than a pipe holds
      local served = stage.proxy:process_requests()
      signal.kill(pid, signal.SIGCONT)
      return served == 1
    end, "a request")
    processes.wait_asleep(pid)
  end,
}

client_moments["with the pipes full both ways"] = {
  listen = { bg = false },
  left_out = {
    ["os.exit"] = "a process that is stopped does nothing itself",
    ["_exit"] = "the same",
    ["an uncaught error"] = "the same",
  },
  prepare = function(stage)
    furnish(stage, nothing)
    stage.own = remoteobj.Proxy {
      send_on = function()
        stage:tell "sends"
        stage.proxy:take(LARGE_TEXT)
      end,
    }
    function stage.object.give()
      stage:expect "sends"
      processes.wait_asleep(stage.victim.pid)
      processes.suspend(stage.victim.pid)
      return LARGE_TEXT
    end
  end,
  play = function(stage)
    stage.own:listen_()
    stage:fork_third()
    stage.proxy:give()
  end,
  arrange = function(stage)
    stage:expect_third()
    processes.fork(function() stage.own:with_ { default = false }:send_on() end)
    check(stage.proxy:poll(wait.LIMIT), "a request")
  end,
  after = function(stage) signal.kill(stage.victim.pid, signal.SIGCONT) end,
}

client_moments["while the listener closes"] = {
  by_signal = true,
  play = play_call,
  prepare = function(stage)
    furnish(stage, function()
      stage.executing = true
      wait.until_true(function() return not stage.proxy.listening_ end, "the end of listening")
      stage:kill(true)
    end)
  end,
  arrange = client_moments["while its request is executed"].arrange,
  kill = function(stage)
    stage.proxy:stop_listen_()
    stage:note("stop_listen_", wait.now(), 0)
    stage.proxy:listen_()
  end,
}

---- cases ----

local PARENTS = { "join", "iter" }

--- Are the clients told what they should be.
local function check_clients(stage, all_expected)
  for _, client in ipairs(stage.clients) do
    local expected = type(all_expected) == "table" and all_expected[client.name] or all_expected
    local fails = type(expected) == "function"
    local ok, result, may_have_run = stage:told(client)
    check(ok ~= fails and (fails and expected(result, may_have_run) or result == expected), "%s is told %s %s %s",
      client.name, ok, result, may_have_run)
  end
end

local function optional(func, ...)
  if func then
    func(...)
  end
end

local function begin_case(moment, way, third)
  local stage = crash.stage(way, moment.full_door)
  optional(moment.prepare, stage)
  stage:start(moment.play, third)
  moment.arrange(stage)
  return stage
end

local function listener_dies(moment, way, number)
  local stage = begin_case(moment, way, false)
  stage:kill(moment.by_signal)
  optional(moment.after, stage)
  stage:wait_for_victim(moment.parent or PARENTS[number % 2 + 1])
  check_clients(stage, stage.way.orderly and moment.orderly or moment.failure)
  optional(moment.finally, stage)
  stage:succeed()
  return stage:finish()
end

local function third_dies(moment, way)
  local stage = begin_case(moment, way, true)
  stage:kill()
  stage.watcher:result()
  stage.here:send "go on"
  optional(moment.after, stage)
  optional(moment.lives, stage)
  check_clients(stage, moment.value)
  stage.here:send "end"
  check(stage.victim:join() and stage.victim.exitcode == 0, "exit code %s", stage.victim.exitcode)
  stage.victim:raise_any()
  optional(moment.finally, stage)
  stage:succeed()
  return {}
end

--- How many clients the listener has, and that it answers them.
local function check_listener(stage)
  local bystander = processes.fork(function() return stage.proxy:pid() end)
  local fds = { [bystander.input] = { events = { IN = true } } }
  repeat
    if stage.hand then
      fds[stage.hand] = { events = { IN = true } }
    end
    remoteobj.poll(fds)
    stage.proxy:process_requests()
  until fds[bystander.input].revents.IN
  check(bystander:result() == unistd.getpid(), "another client")
  wait.until_true(function()
    stage.proxy:process_requests()
    return stage.proxy:stats_().clients == 0
  end, "the clients to be forgotten")
end

local function client_dies(moment, way, number)
  local stage = crash.stage(way, moment.full_door)
  furnish(stage, nothing)
  optional(moment.prepare, stage)
  stage.proxy:listen_(moment.listen)
  stage.hand = moment.listen and stage.proxy:fileno_()
  stage:start(moment.play, false)
  moment.arrange(stage)
  local kill = moment.kill or stage.kill
  kill(stage, moment.by_signal)
  optional(moment.after, stage)
  stage:wait_for_victim(PARENTS[number % 2 + 1])
  check_listener(stage)
  stage.proxy:stop_listen_()
  return stage:finish()
end

--- What the waiters have measured: name -> list of seconds.
local times = {}

local function keep_times(delays)
  for _, delay in ipairs(delays) do
    times[delay.name] = times[delay.name] or {}
    table.insert(times[delay.name], delay.seconds)
  end
end

--- Runs case(moment, way, number) for all ways to die, each in a process of its own.
local function try_all_ways(case, moment, round)
  local running = {}
  for number, way in ipairs(deaths.ways) do
    local in_call = moment.by_signal and way.name == "an uncaught error"
    if not in_call and not (moment.left_out and moment.left_out[way.name]) then
      running[#running + 1] = { way = way, process = processes.fork(function()
        return case(moment, way, number + round)
      end) }
    end
  end
  for _, one in ipairs(running) do
    local ok, result = pcall(one.process.result, one.process, 3 * wait.LIMIT)
    if not ok then
      error(("by %s: %s"):format(one.way.name, result), 0)
    end
    keep_times(result)
  end
end

--- What the waiters have needed beyond what the control on the same stage has.
local function excesses()
  local all, text = {}, {}
  for name, list in pairs(times) do
    table.sort(list)
    table.move(list, 1, #list, #all + 1, all)
    text[#text + 1] = ("%-22s %4d times, median %.1f ms, most %.1f ms\n"):format(name, #list,
      1000 * list[(#list + 1) // 2], 1000 * list[#list])
  end
  table.sort(all)
  table.sort(text)
  return all, table.concat(text)
end

describe("the death of", function()
  before_each(function() wait.guard(6 * wait.LIMIT) end)
  after_each(function()
    processes.cleanup()
    wait.unguard()
  end)

  local function test(victim, case, name, moment)
    it(victim .. " " .. name, function()
      for round = 1, scale(1, 10) do
        try_all_ways(case, moment, round)
      end
    end)
  end

  for name, moment in pairs(moments) do
    test("a listener", listener_dies, name, moment)
    test("a third process that shares a listener's descriptors,", third_dies, name, moment)
  end
  for name, moment in pairs(client_moments) do
    test("a client", client_dies, name, moment)
  end

  it("is told to everybody within a tenth of a second", function()
    local all, text = excesses()
    if os.getenv "REMOTEOBJ_TIMES" then
      io.stderr:write("\n", text)
    end
    assert.is_true(all[(#all + 1) // 2] < SOON, text)
  end)
end)
