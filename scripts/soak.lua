-- Everything at random, with random kills, until the time is over (docs/testing.md). Prints its seed first; a run with
-- the same seed makes the same choices (the machine decides what comes in between). When something does not hold, it
-- tells what, and the plan of the round.
--
-- Usage: lua5.4 scripts/soak.lua [NAME=VALUE...]
--   seconds=60   how long
--   seed=...     a run again
--   rounds=...   so many rounds instead
--   round=...    this round, again and again
--   acts=...     these alone, of house,pools,records,streams,threads,throws
--   show=1       print the plan of each round
local check = require "scripts.soak.check"
local counts = require "spec.support.process_counts"
local model = require "scripts.soak.model"
local remoteobj = require "remoteobj"
local rounds = require "scripts.soak.rounds"
local unistd = require "posix.unistd"

-- Bytes that the state may have more in the end than after the first rounds, all garbage collected.
local GROWTH = 1 << 20

-- Rounds between two looks at what is left.
local PERIOD = 25

-- ---- options ----

local KNOWN = { seconds = true, seed = true, rounds = true, round = true, acts = true, show = true }

local function read_options(list)
  local options = { seconds = 60, seed = os.time(), rounds = math.huge }
  for _, text in ipairs(list) do
    local name, value = text:match "^(%l+)=(.*)$"
    if not KNOWN[name] then
      error(("bad argument '%s' (expected NAME=VALUE: acts, round, rounds, seconds, seed, show)"):format(text), 0)
    end
    options[name] = name == "acts" and value or math.tointeger(value)
      or error(("bad argument '%s' (an integer expected)"):format(text), 0)
  end
  return options
end

--- The acts that are meant, or nil for all.
local function acts_in(text)
  local names = text and {}
  for name in (text or ""):gmatch "[^,]+" do
    if not rounds.acts[name] then
      error(("bad argument 'acts=%s' (expected some of house,pools,records,streams,threads,throws)"):format(text), 0)
    end
    names[#names + 1] = name
  end
  return names
end

-- ---- what must be as it was ----

local function heap()
  for _ = 1, 4 do
    collectgarbage()
  end
  return collectgarbage "count" * 1024
end

--- What this process has now. What threads hold that have ended is given back when the next one starts.
local function count_all()
  remoteobj.thread(function() end):start():join()
  return {
    descriptors = counts.descriptors(), children = #counts.children(), threads = counts.threads(), bytes = heap(),
  }
end

local function describe(now)
  return ("%d descriptors, %d children, %d threads, %d bytes"):format(now.descriptors, now.children, now.threads,
    now.bytes // 1)
end

local function check_left(before)
  check.eventually(function()
    local now = count_all()
    return now.descriptors <= before.descriptors and now.children == 0 and now.threads <= before.threads
      and now.bytes <= before.bytes + GROWTH, describe(now)
  end, "what there was before, " .. describe(before))
end

-- ---- the run ----

local function say(text, ...)
  print("soak: " .. text:format(...))
  io.stdout:flush()
end

--- Does something of a round; what does not hold there is told with the seed and the round.
local function attempt(options, number, func, ...)
  local ok, problem = pcall(func, ...)
  if not ok then
    error(("SEED=%d ROUND=%d: %s"):format(options.seed, number, problem), 0)
  end
end

local function play(options, number, plan)
  if options.show then
    say("round %d\n%s", number, rounds.describe(plan))
  end
  unistd.alarm(math.ceil(2 * rounds.LIMIT)) -- should even the waits with a limit hang
  attempt(options, number, function()
    local ok, problem = pcall(rounds.play, plan)
    if not ok then
      say("round %d, which fails\n%s", number, rounds.describe(plan))
      error(problem, 0)
    end
  end)
end

--- All rounds, and every so many of them a look at what they have left. Gives how many there were.
local function play_all(options, acts, before)
  local deadline, number = os.time() + options.seconds, 0
  while number < options.rounds and os.time() < deadline do
    number = number + 1
    local which = options.round or number
    play(options, which, rounds.plan(options.seed, which, acts))
    if number % PERIOD == 0 then
      attempt(options, which, check_left, before)
    end
  end
  attempt(options, number, check_left, before)
  return number
end

local function run(options)
  local acts = acts_in(options.acts)
  say("SEED=%d", options.seed)
  play(options, 0, rounds.plan_all(options.seed, acts))
  local count, totals = play_all(options, acts, count_all()), model.totals
  say("%d rounds; of the operations that houses in threads saw %d were answered, %d certainly not run, %d perhaps, "
    .. "%d told, %d cut off", count, totals.once, totals.never, totals.maybe, totals.told, totals.cut)
end

local ok, problem = pcall(run, read_options(arg))
if not ok then
  io.stderr:write("soak: ", tostring(problem), "\n")
  os.exit(1)
end
