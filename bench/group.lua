-- One group of measurements, in a process of its own, so that groups don't disturb each other's memory.
--
-- Usage: group.lua NAME SLICE [quick]      SLICE: seconds that each measurement lasts in a round
--
-- A group is a file of bench/rows, which returns a function that is given the object below and says with it what
-- is measured and what is compared:
--
--   group:time("call", "p:method()", function(n) ... end)      n operations; timed here, or it returns the seconds
--   group:figure("growth", "memory", "B", function() ... end)  anything else: returns the figure
--   group:program("pipes", "raw pipes", { "pipes", "try" })    another program: counts in, seconds out
--   group:row { "call", per = "pipes", at_most = 1.6 }         a ratio; `above` a difference; neither: the figure
--
-- It sets `group.title`, and may set `group.chart` (to have a panel in the chart), `group.rounds` (to take part in
-- so many only) and, for what it says after that, `group.warm_up` (operations before each slice that don't count).
-- The driver asks by lines: "describe", then "round" again and again.
local json = require "bench.json"
local peer = require "bench.peer"
local clock = require "posix.time"
local unistd = require "posix.unistd"

local Group = {}
Group.__index = Group

local function now()
  local t = clock.clock_gettime(clock.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

--- Seconds on the monotonic clock.
Group.now = now

-- ---- what a group says ----

local function add(self, name, what, unit, measure)
  local entry = { name = name, what = what, unit = unit }
  self.measurements[#self.measurements + 1] = entry
  self.measure[name] = measure
  return entry
end

--- A measurement that can't be made here, and why.
function Group:missing(name, what, reason)
  add(self, name, what, "s").missing = reason
end

local function timed(run, n)
  local begin = now()
  return run(n) or now() - begin
end

-- How many operations last about as long as a slice, when n took so long.
local function fitting(n, seconds, slice)
  return math.max(1, math.floor(n * slice / seconds))
end

-- The same by trying, which also warms up.
local function calibrate(run, slice)
  local n, seconds = 1, timed(run, 1)
  while seconds < slice / 4 do
    n = n * 2
    seconds = timed(run, n)
  end
  return fitting(n, seconds, slice)
end

--- The time of one operation: run(n) carries out n of them, and returns the seconds if it has a clock of its
-- own. With the unit "/s" the rate instead.
function Group:time(name, what, run, unit)
  local entry
  local warm_up = self.warm_up or 0
  entry = add(self, name, what, unit or "s", function(n)
    if warm_up > 0 then
      run(warm_up)
    end
    local seconds = timed(run, n)
    -- what slowed a round down, the first one too, is not to make the others short
    entry.count = math.min(2 * n, math.max(n // 2, fitting(n, seconds, self.slice)))
    return unit == "/s" and n / seconds or seconds / n
  end)
  entry.count = calibrate(run, self.slice)
end

--- A figure that is no time of an operation: get() returns it.
function Group:figure(name, what, unit, get)
  add(self, name, what, unit, get)
end

--- The time of one operation of another program, which reads counts and answers with seconds. One that fails at the
-- first is missing.
function Group:program(name, what, command)
  local program = self:start(peer.program(command))
  local runs, problem = pcall(program.ask, program, 1)
  if not runs then
    return self:missing(name, what, problem)
  end
  self:time(name, what, function(n)
    return tonumber(program:ask(n))
  end)
end

--- The time of one operation in a process of its own: prepare() runs there and returns `run` (see `time`).
function Group:forked(name, what, prepare)
  local process = self:start(peer.fork(name, function()
    local run = prepare()
    return function(n)
      return timed(run, math.tointeger(n))
    end
  end))
  self:time(name, what, function(n)
    return tonumber(process:ask(n))
  end)
end

--- The same of a Python script of bench/reference, where there is a python3.
function Group:python(name, what, file, argument)
  if self.has_command "python3" then
    self:program(name, what, { "python3", "bench/reference/" .. file, argument })
  else
    self:missing(name, what, "python3 is not here")
  end
end

--- The same of what one would write by hand: bench/reference/by_hand.lua, where it finds its modules.
function Group:by_hand(name, what, argument)
  for _, module in ipairs { "cqueues", "cmsgpack" } do
    if not self.module(module) then
      return self:missing(name, what, module .. " is not here")
    end
  end
  self:program(name, what, { os.getenv "LUA" or "lua5.4", "bench/reference/by_hand.lua", argument })
end

--- Compares a measurement with that named `per` (their ratio) or `above` (their difference), or with nothing. Optional:
-- the target, `at_most` or `at_least`.
function Group:row(row)
  self.rows[#self.rows + 1] = {
    name = row[1],
    reference = row.per or row.above,
    kind = row.per and "ratio" or row.above and "difference" or "figure",
    at_most = row.at_most,
    at_least = row.at_least,
  }
end

-- ---- help for groups ----

--- A program of bench/reference that was built.
function Group.built(name)
  return (os.getenv "BENCH_BUILD" or "build/bench") .. "/" .. name
end

--- Makes of work(n) a function for `time` and `forked` that goes by processor time, where that of others disturbs.
function Group.by_processor_time(work)
  return function(n)
    local begin = os.clock()
    work(n)
    return os.clock() - begin
  end
end

function Group.has_command(name)
  return os.execute("command -v " .. name .. " >/dev/null 2>&1") == true
end

--- A module that may not be here: the module, or nil.
function Group.module(name)
  local ok, module = pcall(require, name)
  return ok and module or nil
end

--- The processors that this process may run on: a list of their numbers.
function Group.processors()
  local file <close> = assert(io.open "/proc/self/status")
  local list = {}
  for first, last in file:read("a"):match("Cpus_allowed_list:%s*(%S+)"):gmatch "(%d+)%-?(%d*)" do
    for cpu = tonumber(first), tonumber(last) or tonumber(first) do
      list[#list + 1] = cpu
    end
  end
  return list
end

--- From now on this process and what it starts run on one processor.
function Group.pin()
  local cpu = Group.processors()[1]
  assert(os.execute(("taskset -pc %d %d >/dev/null"):format(cpu, unistd.getpid())))
end

--- Has a peer closed at the end. Returns it.
function Group:start(process)
  self.peers[#self.peers + 1] = process
  return process
end

-- ---- what the driver asks ----

local answers = {}

function answers.describe(self)
  return {
    title = self.title,
    chart = self.chart,
    rounds = self.rounds,
    measurements = self.measurements,
    rows = self.rows,
  }
end

--- One slice of each measurement, one after the other: figures and counts of operations by name.
function answers.round(self)
  local figures, counts = {}, {}
  for _, entry in ipairs(self.measurements) do
    if not entry.missing then
      collectgarbage()
      counts[entry.name] = entry.count
      figures[entry.name] = self.measure[entry.name](entry.count)
    end
  end
  return { figures = figures, counts = counts }
end

local function main(name, slice, mode)
  local self = setmetatable({ slice = slice, measurements = {}, measure = {}, rows = {}, peers = {} }, Group)
  self.quick = mode == "quick" -- then it is enough that everything is done once
  require("bench.rows." .. name)(self)
  io.stdout:setvbuf "line"
  for question in io.lines() do
    io.stdout:write(json.encode(answers[question](self)), "\n")
  end
  for i = #self.peers, 1, -1 do
    self.peers[i]:close()
  end
end

main(arg[1], tonumber(arg[2]), arg[3])
