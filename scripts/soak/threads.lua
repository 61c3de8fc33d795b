-- Threads that return, yield, fail, are thrown into, compute, and such that nobody joins.
local check = require "scripts.soak.check"
local remoteobj = require "remoteobj"

local threads = {}

local KINDS = {
  "returns", "yields", "is_left", "fails", "is_thrown_into", "computes", "is_left_alone", "is_the_parent",
}

function threads.plan(dice, name)
  local made = { name = name, list = {} }
  for i = 1, dice:roll(8) do
    made.list[i] = { kind = dice:pick(KINDS), count = dice:roll(200), seconds = dice:seconds(0.005) }
  end
  return made
end

local kinds = {}

function kinds.returns(plan)
  local value = {}
  local thread = remoteobj.thread(function()
    remoteobj.sleep(plan.seconds)
    return value, nil, plan
  end):start()
  check.ends(thread, "a thread that returns")
  local first, second, third = thread:results()
  check.that(rawequal(first, value) and second == nil and rawequal(third, plan), "a thread has given other results")
end

--- A thread that yields values, which are given too.
local function yielding(count)
  local values = {}
  for i = 1, count do
    values[i] = { i }
  end
  return values, remoteobj.thread(function()
    for i = 1, count do
      coroutine.yield(values[i])
    end
    return "end"
  end):start()
end

--- Looks at the yields; leaves the loop after `last`, if that is given.
local function check_yields(values, thread, last)
  local i = 0
  for value in thread:iter() do
    i = i + 1
    check.that(rawequal(value, values[i]), "yield %d of a thread is another value", i)
    if i == last then break end
  end
  check.that(i == (last or #values), "%d of %d yields of a thread came", i, #values)
end

function kinds.yields(plan)
  local values, thread = yielding(plan.count)
  check_yields(values, thread)
  check.ends(thread, "a thread that has yielded")
  check.that(thread:results() == "end", "a thread that has yielded gives another result")
end

function kinds.is_left(plan)
  local values, thread = yielding(plan.count)
  check_yields(values, thread, (plan.count + 1) // 2)
  check.ends(thread, "a thread whose loop was left")
end

function kinds.fails(plan)
  local value = {}
  local thread = remoteobj.thread { function()
    remoteobj.sleep(plan.seconds)
    error(value)
  end, raises_ = false }
  thread:start()
  check.ends(thread, "a thread that fails")
  check.that(rawequal(thread.exc.last, value), "a thread has failed with %s", thread.exc.last)
end

function kinds.is_thrown_into(plan)
  local value = {}
  local thread = remoteobj.thread { remoteobj.sleep, check.LIMIT, raises_ = false }
  thread:start()
  remoteobj.sleep(plan.seconds)
  check.that(thread:throw(value), "a thread that sleeps can't be thrown into")
  check.ends(thread, "a thread that was thrown into")
  check.that(rawequal(thread.exc.last, value), "%s was raised in a thread", thread.exc.last)
end

function kinds.computes(plan)
  local thread = remoteobj.thread(function()
    local sum = 0
    for i = 1, plan.count * 1000 do
      sum = sum + i
    end
    return sum
  end):start()
  check.ends(thread, "a thread that computes")
  local n = plan.count * 1000
  check.that(thread.result == n * (n + 1) // 2, "a thread has computed %s", thread.result)
end

--- Nobody joins it, or has its handle.
function kinds.is_left_alone(plan)
  local done = false
  remoteobj.thread(function()
    remoteobj.sleep(plan.seconds)
    coroutine.yield "into the void"
    done = true
  end):start()
  collectgarbage()
  check.eventually(function() return done end, "a thread that nobody joins")
end

--- It starts a process, whose end it waits for.
function kinds.is_the_parent(plan)
  local thread = remoteobj.thread(function()
    local process = remoteobj.process(function(count) return count end, plan.count):start()
    check.ends(process, "the child of a thread")
    return process.result
  end):start()
  check.ends(thread, "a thread with a child")
  check.that(thread.result == plan.count, "the child of a thread has given %s", thread.result)
end

--- Side by side.
function threads.play(plan)
  local all = {}
  for i, one in ipairs(plan.list) do
    all[i] = remoteobj.thread { kinds[one.kind], one, raises_ = false }:start()
  end
  for i, thread in ipairs(all) do
    check.ends(thread, "who looks at a thread that " .. plan.list[i].kind)
    thread:raise_any()
  end
end

return threads
