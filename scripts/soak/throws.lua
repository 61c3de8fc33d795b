-- Errors that are thrown into processes and threads, one by one and several at once, wherever these are.
local check = require "scripts.soak.check"
local remoteobj = require "remoteobj"

local throws = {}

local PLACES = { "computes", "sleeps", "switches", "polls", "waits" }

function throws.plan(dice, name)
  local made = { name = name, list = {} }
  for i = 1, dice:roll(4) do
    made.list[i] = {
      threaded = dice:one_in(2),
      burst = dice:one_in(2),
      place = dice:pick(PLACES),
      count = dice:roll(30),
      size = dice:one_in(4) and dice:roll(100000) or 0,
    }
  end
  return made
end

-- ---- where they hit ----

local places = {}

function places.computes() while true do end end

function places.sleeps() remoteobj.sleep(1e6) end

function places.switches()
  while true do
    coroutine.wrap(function() return 1 end)()
  end
end

function places.polls() remoteobj.poll({}) end

function places.waits(nobody) nobody:wait_until_listening() end

--- Tells that it is ready whenever an error has been caught; gives what it has caught.
local function catch_each(plan, nobody)
  local function stay()
    coroutine.yield "ready"
    places[plan.place](nobody)
  end
  local caught = {}
  for i = 1, plan.count do
    local _, err = pcall(stay)
    caught[i] = err
  end
  return caught
end

--- Each error ends one of so many calls; the last one ends the function.
local function catch_all(plan, nobody, depth)
  depth = depth or plan.count
  if depth > 1 then
    pcall(catch_all, plan, nobody, depth - 1)
  else
    coroutine.yield "ready"
  end
  places[plan.place](nobody)
end

-- ---- the other side ----

local function throw(plan, target, number)
  local thrown = target:throw { number = number, text = ("x"):rep(plan.size) }
  check.that(thrown, "throw %d says that its target has ended", number)
end

local function check_error(plan, err, number)
  local caught = type(err) == "table" and err.number or err
  check.that(caught == number, "%s was caught instead of throw %d", caught, number)
  check.that(#err.text == plan.size, "throw %d has %d bytes instead of %d", number, #err.text, plan.size)
end

local function throw_each(plan, target)
  local ready = target:iter()
  for i = 1, plan.count do
    check.that(ready() == "ready", "%d of %d throws were caught", i - 1, plan.count)
    throw(plan, target, i)
  end
  check.ends(target, "who was thrown into")
  target:raise_any()
  local caught = target:results()
  check.that(#caught == plan.count, "%d of %d throws were caught", #caught, plan.count)
  for i, err in ipairs(caught) do
    check_error(plan, err, i)
  end
end

local function throw_all(plan, target)
  target:iter()()
  for i = 1, plan.count do
    throw(plan, target, i)
  end
  check.ends(target, "who was thrown into")
  check_error(plan, target.exc.last, plan.count)
end

local function play_one(plan, nobody)
  local target = remoteobj.job {
    plan.burst and catch_all or catch_each, plan, nobody, threaded_ = plan.threaded, raises_ = false,
  }
  target:start()
  if plan.burst then
    throw_all(plan, target)
  else
    throw_each(plan, target)
  end
end

function throws.play(plan)
  local nobody = remoteobj.Proxy {} -- for which nobody listens
  for _, one in ipairs(plan.list) do
    play_one(one, nobody)
  end
end

return throws
