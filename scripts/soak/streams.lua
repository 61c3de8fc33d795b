-- Processes that yield: to the end, left early, killed, failing, joined first.
local check = require "scripts.soak.check"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local streams = {}

local KINDS = { "whole", "left", "killed", "dies", "fails", "joined", "iterator" }

function streams.plan(dice, name)
  local made = { name = name, list = {} }
  for i = 1, dice:roll(5) do
    local count = dice:roll(300)
    made.list[i] = {
      kind = dice:pick(KINDS),
      count = count,
      cut = dice:roll(count),
      size = dice:one_in(4) and dice:roll(100000) or dice:roll(100),
      seconds = dice:seconds(0.02),
    }
  end
  return made
end

-- ---- in the process ----

local function yield_all(plan, witness)
  witness:attend()
  for i = 1, plan.count do
    coroutine.yield(i, ("x"):rep(plan.size))
    if i == plan.cut and plan.kind == "dies" then
      signal.kill(unistd.getpid(), signal.SIGKILL)
    elseif i == plan.cut and plan.kind == "fails" then
      error { cut = plan.cut }
    end
  end
  return plan.count
end

local function give_iterator(plan, witness)
  witness:attend()
  local i = 0
  return function()
    i = i + 1
    if i <= plan.count then
      return i, ("x"):rep(plan.size)
    end
  end
end

-- ---- outside ----

--- Takes in a stream, which comes in order; gives how many values there were.
local function read(plan, process, last)
  local count = 0
  for i, text in process:iter() do
    count = count + 1
    check.that(i == count, "%s comes as yield %d of a process", i, count)
    check.that(#text == plan.size, "yield %d of a process has %d bytes instead of %d", i, #text, plan.size)
    if i == last then break end
  end
  return count
end

local function expect(count, wanted)
  check.that(count == wanted, "%d instead of %d yields of a process came", count, wanted)
end

local kinds = {}

function kinds.whole(plan, process)
  expect(read(plan, process), plan.count)
  check.ends(process, "a process that yields")
  check.that(process:results() == plan.count, "a process gives %s instead of %d", process:results(), plan.count)
end

function kinds.left(plan, process)
  expect(read(plan, process, plan.cut), plan.cut)
  check.ends(process, "a process whose loop was left")
end

function kinds.killed(plan, process)
  remoteobj.sleep(plan.seconds)
  local killed = process:kill()
  local count = read(plan, process)
  check.that(killed or count == plan.count, "%d of %d yields came, and it was not killed", count, plan.count)
  check.ends(process, "a process that was killed")
end

function kinds.dies(plan, process)
  expect(read(plan, process), plan.cut)
  check.ends(process, "a process that has died")
  local last = process.exc.last
  check.that(last and last.kind == "ProcessDied" and last.signal == "SIGKILL", "a death is told as %s", last)
end

function kinds.fails(plan, process)
  expect(read(plan, process), plan.cut)
  check.ends(process, "a process that has failed")
  local last = process.exc.last
  check.that(last and last.cut == plan.cut, "%s is the error of a process", last)
end

--- Read when it has ended.
function kinds.joined(plan, process)
  check.ends(process, "a process that nobody reads")
  expect(read(plan, process), plan.count)
end

function kinds.iterator(plan, process)
  expect(read(plan, process), plan.count)
  check.ends(process, "a process that has given an iterator")
end

--- One after the other, all begun at once: who yields waits for who reads.
function streams.play(plan, witness)
  local processes = {}
  for i, one in ipairs(plan.list) do
    local func = one.kind == "iterator" and give_iterator or yield_all
    processes[i] = remoteobj.process { func, one, witness, raises_ = false }:start()
  end
  for i, one in ipairs(plan.list) do
    kinds[one.kind](one, processes[i])
  end
end

return streams
