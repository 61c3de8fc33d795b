-- From samples to results: medians and spread of every measurement, and of every row its ratio and verdict.
local statistics = require "bench.statistics"

local function summarize(entry, samples)
  for key, value in pairs(statistics.summary(samples)) do
    entry[key] = value
  end
end

-- Rounds are compared one by one: what slows the machine down for a while slows both sides of a row.
local COMPARE = {
  ratio = function(ours, theirs)
    return ours / theirs
  end,
  difference = function(ours, theirs)
    return ours - theirs
  end,
  figure = function(ours)
    return ours
  end,
}

local function compare(row, ours, theirs)
  local samples = {}
  for i, figure in ipairs(ours.samples) do
    samples[i] = COMPARE[row.kind](figure, theirs and theirs.samples[i])
  end
  summarize(row, samples)
  if row.at_most or row.at_least then
    row.verdict = statistics.verdict(row, row)
  end
end

local function complete(group)
  local named = {}
  for _, entry in ipairs(group.measurements) do
    named[entry.name] = entry
    if not entry.missing then
      summarize(entry, entry.samples)
    end
  end
  for _, row in ipairs(group.rows) do
    local ours, theirs = named[row.name], named[row.reference]
    row.unit = row.kind ~= "ratio" and ours.unit or nil
    row.missing = ours.missing or theirs and theirs.missing
    if not row.missing then
      compare(row, ours, theirs)
    end
  end
end

--- Completes a run: `groups` with their measurements and rows.
return function(run)
  for _, group in ipairs(run.groups) do
    complete(group)
  end
  return run
end
