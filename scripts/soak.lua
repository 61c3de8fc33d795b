-- Everything at random, with random kills, until the time is over: a parent with a model of what must be, servers of
-- one store after the other, clients that call, loop, time out and are killed. Prints its seed first; a run with the
-- same seed makes the same choices (the machine decides what comes in between).
--
-- Invariants: an operation that is answered has been run once; one that certainly was not run has left no trace; one
-- that may have been run has left one or none; nothing waits for longer than LIMIT; at the end no descriptor and no
-- child is left.
--
-- Usage: lua5.4 scripts/soak.lua SECONDS [SEED]
local remoteobj = require "remoteobj"
local counts = require "spec.support.process_counts"

local SECONDS = tonumber(arg[1]) or 60
local SEED = tonumber(arg[2]) or os.time()
local LIMIT = 60 -- seconds that any single thing may take

math.randomseed(SEED)
print(("soak: %d s, SEED=%d"):format(SECONDS, SEED))
io.stdout:flush()

local random = math.random

local function check(condition, what, ...)
  if not condition then
    error(("SEED=%d: "):format(SEED) .. what:format(...), 0)
  end
end

-- What the server has: which tickets were used, how often.
local Store = {}
Store.__index = Store
function Store:use(ticket)
  self.used[ticket] = (self.used[ticket] or 0) + 1
  return ticket
end
function Store:slow(ticket, seconds)
  remoteobj.sleep(seconds)
  return self:use(ticket)
end
function Store:large(ticket, size)
  return self:use(ticket), ("x"):rep(size)
end
function Store:thing(ticket)
  return { ticket = self:use(ticket) }
end
function Store.same(_, ...) return ... end
function Store:fail(ticket)
  self:use(ticket)
  error { ticket = ticket }
end

local store = setmetatable({ used = {} }, Store)
local remote = remoteobj.Proxy(store)

local function serve(bg, stop_after)
  remote:listen_ { bg = bg }
  local stop = false
  function store.stop() stop = true end
  local turns = 0
  while not stop do
    if bg then
      for _ = 1, 10000 do turns = turns + 1 end -- busy: requests interrupt it
      remoteobj.sleep(0.001)
    else
      remote:poll(0.01)
    end
    if stop_after and turns > stop_after then
      remote:stop_listen_()
      remote:listen_ { bg = bg }
      turns = 0
    end
  end
  remote:stop_listen_()
  return store.used
end

--- What became of an operation: "once", "never" or "maybe".
local function outcome_of(ok, value, ticket)
  if ok then
    check(value == ticket, "%s is the answer to %s", value, ticket)
    return "once"
  end
  if type(value) == "table" and value.ticket then
    check(value.ticket == ticket, "%s is the error of %s", value.ticket, ticket)
    return "once"
  end
  local kind = type(value) == "table" and value.kind
  check(kind == "NotListening" or kind == "Disconnected" or kind == "Timeout", "%s: %s", ticket, tostring(value))
  if kind == "NotListening" or value.may_have_run == false then
    return "never"
  end
  return "maybe"
end

local OPERATIONS = {
  function(p, ticket) return p:use(ticket) end,
  function(p, ticket) return p:slow(ticket, random() / 500) end,
  function(p, ticket) return (p:large(ticket, random(0, 300000))) end,
  function(p, ticket) return p:fail(ticket) end,
  function(p, ticket) return p:passto(function(s, t) return s:use(t) end, ticket) end,
  function(p, ticket) return p:with_ { timeout = random() / 300 }:use(ticket) end,
  function(p, ticket) return p:with_ { async = true }:use(ticket):get() end,
  function(p, ticket)
    local _ <close> = p:with_ { ref = true }:thing(ticket)
    return ticket
  end,
  function(p, ticket)
    local calls = 0
    local result = p:passto(function(s, t, back) return back(s:use(t)) end, ticket, remoteobj.callback(function(t)
      calls = calls + 1
      return t
    end))
    check(calls == 1, "%s was called back for %d times", ticket, calls)
    return result
  end,
  function(p, ticket)
    local async = p:with_ { async = true }
    local first = async:use(ticket)
    local second = async:same(first)
    local ok, value = pcall(second.get, second) -- ends, whatever has become of the first
    check(not ok or value == ticket, "%s is the result of %s", value, ticket)
    return first:get()
  end,
  function(p, ticket)
    for _ in pairs(p.used) do
      if random(50) == 1 then break end
    end
    return p:use(ticket)
  end,
}

--- A client: does some operations, and yields what became of each before the next.
local function client(name, seed, count)
  math.randomseed(seed)
  for i = 1, count do
    local ticket = name .. ":" .. i
    coroutine.yield(ticket, "begun")
    local ok, value = pcall(OPERATIONS[random(#OPERATIONS)], remote, ticket)
    local outcome = outcome_of(ok, value, ticket)
    if outcome == "never" then
      remoteobj.sleep(0.002) -- nobody listens: give it time
    end
    coroutine.yield(ticket, outcome)
  end
end

local totals = { once = 0, never = 0, maybe = 0, begun = 0 }

--- Compares what the clients say with what a server that was not killed says it has done.
local function compare(outcomes, used)
  for ticket, outcome in pairs(outcomes) do
    totals[outcome] = totals[outcome] + 1
    local times = used[ticket] or 0
    check(times <= 1, "%s was run %d times", ticket, times)
    check(outcome ~= "once" or times == 1, "%s was answered, and not run", ticket)
    check(outcome ~= "never" or times == 0, "%s was run, and said not to be", ticket)
  end
end

local function join(process, what)
  check(process:join(LIMIT), "%s does not end", what)
end

--- Asks the server to end; it may be between two listeners.
local function stop(server)
  local ok, err
  repeat
    remote:wait_until_listening(server, { timeout = LIMIT })
    ok, err = pcall(remote.stop)
    check(ok or err.kind == "NotListening", "stopping: %s", tostring(err))
  until ok
end

--- One server, clients, and perhaps somebody who kills, in all rounds but the first, number 0.
local function round(number)
  local dies = number > 0 and random(3) == 1
  local server = remoteobj.process { serve, random(2) == 1, random(4) == 1 and random(20000) or nil, raises_ = false }
  server:start()
  remote:wait_until_listening(server, { timeout = LIMIT })
  local clients, outcomes, doomed = {}, {}, {}
  for i = 1, random(4) do
    local name = number .. "." .. i
    clients[i] = remoteobj.process { client, name, random(1 << 30), random(60), raises_ = false }:start()
    doomed[i] = random(5) == 1
  end
  remoteobj.sleep(random() / 50)
  for i, process in ipairs(clients) do
    if doomed[i] then process:kill() end
  end
  if dies then
    remoteobj.sleep(random() / 50)
    server:kill()
  end
  for i, process in ipairs(clients) do
    for ticket, outcome in process:iter() do
      outcomes[ticket] = outcome
    end
    join(process, "client " .. i)
    if not doomed[i] then
      process:raise_any()
    end
  end
  if dies then
    join(server, "the server that was killed")
    return
  end
  stop(server)
  join(server, "the server")
  server:raise_any()
  compare(outcomes, server.result)
end

local function settle()
  collectgarbage()
  collectgarbage()
end

round(0) -- the parent has asked its server to end: its own connection is among the descriptors
settle()
local descriptors = counts.descriptors()
local deadline, rounds = os.time() + SECONDS, 0
while os.time() < deadline do
  rounds = rounds + 1
  round(rounds)
end
settle()
check(counts.descriptors() <= descriptors, "%d descriptors instead of %d", counts.descriptors(), descriptors)
check(#counts.children() == 0, "%d children are left", #counts.children())
print(("soak: %d rounds; of the operations %d were answered, %d certainly not run, %d perhaps, %d cut off"):format(
  rounds, totals.once, totals.never, totals.maybe, totals.begun))
