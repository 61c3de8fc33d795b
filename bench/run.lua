-- The driver: starts the groups of measurements, has each take a slice, round after round, and reports.
--
-- Usage: run.lua FOLDER            where results.json and results.svg go; the table is printed
-- Environment: ROWS                groups to run, separated by commas; all of them otherwise
--              QUICK=1             a few short rounds, to see that everything runs
--              BENCH_ROUNDS, BENCH_SLICE (seconds)
local json = require "bench.json"
local machine = require "bench.machine"
local peer = require "bench.peer"
local report = require "bench.report"
local results = require "bench.results"
local clock = require "posix.time"

-- In the order of the report.
local GROUPS = {
  "call", "pinned", "busy", "view", "pipelined", "clients", "bulk", "pairs", "objects", "codec", "start", "start_large",
  "thread", "pool", "paced", "idle", "loop", "alone", "memory",
}

local function setting(name, default)
  local value = os.getenv(name)
  return value and value ~= "" and value or default
end

local quick = setting("QUICK", "0") ~= "0"
local rounds = tonumber(setting("BENCH_ROUNDS", quick and 2 or 25))
local slice = tonumber(setting("BENCH_SLICE", quick and 0.002 or 0.05))

local function chosen()
  local wanted = setting "ROWS"
  if not wanted then
    return GROUPS
  end
  local known, list = {}, {}
  for _, name in ipairs(GROUPS) do
    known[name] = true
  end
  for name in wanted:gmatch "[^,%s]+" do
    list[#list + 1] = known[name] and name
      or error(("no rows '%s'; there are %s"):format(name, table.concat(GROUPS, ", ")), 0)
  end
  return list
end

local function start(name)
  io.stderr:write("preparing ", name, "\n")
  local mode = quick and "quick" or "whole"
  local process = peer.program { setting("LUA", "lua5.4"), "bench/group.lua", name, tostring(slice), mode }
  local group = json.decode(process:ask "describe")
  group.name, group.process = name, process
  group.rounds = math.min(group.rounds or rounds, rounds)
  for _, entry in ipairs(group.measurements) do
    entry.samples, entry.count = {}, entry.count and 0
  end
  return group
end

local function measure(group)
  local round = json.decode(group.process:ask "round")
  for _, entry in ipairs(group.measurements) do
    entry.samples[#entry.samples + 1] = round.figures[entry.name]
    entry.count = entry.count and entry.count + round.counts[entry.name]
  end
end

local function main(folder)
  local begin = clock.time()
  local groups = {}
  for i, name in ipairs(chosen()) do
    groups[i] = start(name)
  end
  for round = 1, rounds do
    io.stderr:write(("round %d of %d\n"):format(round, rounds))
    for _, group in ipairs(groups) do
      if round <= group.rounds then
        measure(group)
      end
    end
  end
  for _, group in ipairs(groups) do
    group.process:close()
    group.process = nil
  end
  report(folder, results {
    machine = machine.describe(),
    versions = machine.versions(),
    rounds = rounds,
    slice = slice,
    quick = quick,
    seconds = clock.time() - begin,
    groups = groups,
  })
end

local ok, problem = xpcall(main, debug.traceback, arg[1])
if not ok then
  io.stderr:write("bench: ", tostring(problem), "\n")
  os.exit(1)
end
