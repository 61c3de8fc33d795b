-- What a client can do with the proxy of a store: operations that use a ticket once, by name. Each is given the proxy,
-- the ticket and dice; it returns the ticket, or what takes its place (see `outcome_of`), or raises.
local check = require "scripts.soak.check"
local forks = require "scripts.soak.forks"
local remoteobj = require "remoteobj"
local store = require "scripts.soak.store"

local operations = {}

function operations.use(p, ticket) return p:use(ticket) end

function operations.slow(p, ticket, dice) return p:slow(ticket, dice:seconds(0.002)) end

function operations.large(p, ticket, dice)
  local size = dice:roll(300000)
  local answer, text = p:large(ticket, size)
  check.that(#text == size, "%s: %d bytes instead of %d", ticket, #text, size)
  return answer
end

function operations.take(p, ticket, dice)
  local size = dice:roll(300000)
  local answer, taken = p:take(ticket, ("x"):rep(size))
  check.that(taken == size, "%s: %d bytes instead of %d", ticket, taken, size)
  return answer
end

function operations.fail(p, ticket) return p:fail(ticket) end

function operations.pass(p, ticket) return p:passto(function(s, t) return s:use(t) end, ticket) end

function operations.assign(p, ticket)
  p.flags[ticket] = true
  return ticket
end

function operations.fork_inside(p, ticket) return p:fork(ticket) end

function operations.timeout(p, ticket, dice) return p:with_({ timeout = dice:seconds(0.003) }):use(ticket) end

function operations.default(p, ticket) return p:with_({ default = "default" }):use(ticket) end

function operations.oneway(p, ticket)
  p:with_({ oneway = true }):use(ticket)
  return "told"
end

function operations.unsendable_argument(p, ticket)
  return p:take(ticket, { file = io.stdout })
end

function operations.unsendable_result(p, ticket)
  local ok, problem = pcall(p.passto, p, function(s, t) return io.stdout, s:use(t) end, ticket)
  check.that(not ok, "%s: a file has travelled", ticket)
  return problem.kind == "Unsendable" and ticket or error(problem, 0)
end

-- ---- loops ----

function operations.pairs(p, ticket, dice)
  local last, sum, count = dice:roll(2 * store.ENTRIES), 0, 0
  for key, value in pairs(p.list) do
    check.that(key == -value, "%s: the value of %s is %s", ticket, key, value)
    sum, count = sum + key, count + 1
    if count == last then break end
  end
  check.that(count == math.min(last, store.ENTRIES), "%s: %d entries", ticket, count)
  check.that(count < store.ENTRIES or sum == count * (count + 1) // 2, "%s: the keys' sum is %d", ticket, sum)
  return p:use(ticket)
end

function operations.ipairs(p, ticket)
  local count = 0
  for i, value in p.list:ipairs_() do
    count = count + 1
    check.that(i == count and value == -i, "%s: entry %d is %s, %s", ticket, count, i, value)
  end
  check.that(count == #p.list, "%s: %d entries", ticket, count)
  return p:use(ticket)
end

-- ---- futures ----

function operations.async(p, ticket) return p:with_({ async = true }):use(ticket):get() end

function operations.future_argument(p, ticket)
  local async = p:with_ { async = true }
  local first = async:use(ticket)
  local second = async:same(first)
  local ok, value = pcall(second.get, second) -- ends, whatever has become of the first
  check.that(not ok or value == ticket, "%s is the result of %s", value, ticket)
  return first:get()
end

--- Many requests under way at once, each of which has its own answer.
function operations.burst(p, ticket, dice)
  local async, futures = p:with_ { async = true }, {}
  for i = 1, dice:roll(50) do
    futures[i] = async:same(i)
  end
  local last = async:use(ticket)
  local done, others = remoteobj.wait(futures, { timeout = check.LIMIT })
  check.that(#done == #futures and #others == 0, "%s: %d of %d futures are done", ticket, #done, #futures)
  for i, future in ipairs(futures) do
    local ok, value = pcall(future.get, future)
    check.that(not ok or value == i, "%s: %s is the answer to %s", ticket, value, i)
  end
  return last:get()
end

-- ---- references ----

--- Checks that a reference stands for the thing of the ticket.
local function look_at(reference, ticket)
  local seen = reference.ticket.__
  check.that(seen == ticket, "%s: the reference is that of %s", ticket, seen)
end

--- The same, where the listener may be gone meanwhile.
local function try_to_look_at(reference, ticket)
  local ok, problem = pcall(look_at, reference, ticket)
  check.that(ok or type(problem) == "table", "%s", problem)
end

function operations.reference(p, ticket)
  local thing <close> = p:with_({ ref = true }):thing(ticket)
  try_to_look_at(thing, ticket)
  return ticket
end

--- Is let go by the collector, some time.
function operations.dropped_reference(p, ticket)
  try_to_look_at(p:with_({ ref = true }):thing(ticket), ticket)
  return ticket
end

function operations.equal_references(p, ticket)
  local one <close> = p:with_({ ref = true }):thing(ticket)
  local ok, other = pcall(function() return p:same(one):ref_() end)
  check.that(not ok or other == one, "%s: %s is not %s", ticket, other, one)
  return ticket
end

--- A fork has a share of its own, also when its parent has let go.
function operations.forked_reference(p, ticket)
  local thing = p:with_({ ref = true }):thing(ticket)
  forks.run(function() try_to_look_at(thing, ticket) end)
  return ticket
end

-- ---- callbacks ----

function operations.callback(p, ticket)
  local calls = 0
  local answer = p:call(ticket, remoteobj.callback(function(t)
    calls = calls + 1
    return t
  end))
  check.that(calls == 1, "%s was called back %d times", ticket, calls)
  return answer
end

function operations.failing_callback(p, ticket)
  return p:call(ticket, remoteobj.callback(function(t) error { ticket = t } end))
end

local function call_back(_, callback, ...) return callback(...) end

--- They call each other some levels deep.
function operations.mutual_callbacks(p, ticket, dice)
  local deepest = dice:roll(8)
  local function back(t, level)
    if level == deepest then
      return t
    end
    local ok, value = pcall(p.passto, p, call_back, remoteobj.callback(back), t, level + 1)
    check.that(not ok or value == t, "%s: %s comes from level %d", ticket, value, level)
    return t -- whatever has become of the calls within
  end
  return p:call(ticket, remoteobj.callback(back), 1)
end

function operations.late_callback(p, ticket)
  local answer = p:keep(ticket, remoteobj.callback(print))
  local ok, called = pcall(p.call_kept, p, ticket)
  check.that(not ok or called == false, "%s: a callback was called when its call was over", ticket)
  return answer
end

-- ---- what became of it ----

--- The error says that there was no answer: was it run?
local function outcome_of_failure(problem, ticket)
  local kind = problem.kind
  check.that(kind == "NotListening" or kind == "Disconnected" or kind == "Timeout" or kind == "Unsendable", "%s: %s",
    ticket, problem)
  return (kind == "NotListening" or kind == "Unsendable" or problem.may_have_run == false) and "never" or "maybe"
end

local names = {}
for name in pairs(operations) do
  names[#names + 1] = name
end
table.sort(names) -- in an order that all runs have in common

--- What became of an operation, of which ok and value are what pcall gives: "once", "never", "maybe" or "told".
local function outcome_of(ok, value, ticket)
  if ok and (value == "default" or value == "told") then
    return value == "told" and "told" or "maybe"
  elseif ok then
    check.that(value == ticket, "%s is the answer to %s", value, ticket)
    return "once"
  end
  check.that(type(value) == "table", "%s: %s", ticket, value)
  if value.thrown then
    return "maybe"
  elseif value.ticket then
    check.that(value.ticket == ticket, "%s is the error of %s", value.ticket, ticket)
    return "once"
  end
  return outcome_of_failure(value, ticket)
end

return { by_name = operations, names = names, outcome_of = outcome_of }
