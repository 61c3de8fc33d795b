-- Medians and how far they may be trusted. Nothing here supposes a distribution: what disturbs a measurement only
-- ever makes it longer.
local statistics = {}

-- The value at rank `at` of a sorted list; between two it is their mixture.
local function ranked(sorted, at)
  at = math.max(1, math.min(#sorted, at))
  local below = math.floor(at)
  local rest = at - below
  return rest == 0 and sorted[below] or sorted[below] * (1 - rest) + sorted[below + 1] * rest
end

-- Ranks of the interval that holds the true median with 95 % certainty: so many below and above follow a
-- binomial distribution.
local function certain_ranks(n)
  local reach = 0.98 * n ^ 0.5
  return math.floor((n + 1) / 2 - reach), math.ceil((n + 1) / 2 + reach)
end

--- Of a list of numbers: `median`, the quartiles `low` and `high`, and `least` and `most`, between which the
-- true median lies with 95 % certainty.
function statistics.summary(samples)
  local sorted = table.move(samples, 1, #samples, 1, {})
  table.sort(sorted)
  local n = #sorted
  local first, last = certain_ranks(n)
  return {
    median = ranked(sorted, (n + 1) / 2),
    low = ranked(sorted, (n + 3) / 4),
    high = ranked(sorted, (3 * n + 1) / 4),
    least = ranked(sorted, first),
    most = ranked(sorted, last),
  }
end

--- Is a target reached? "met", "not met", or "within noise" when `at_most` or `at_least` of the target lies where the
-- true median may be.
function statistics.verdict(summary, target)
  local best, worst, limit = summary.least, summary.most, target.at_most
  if not limit then
    best, worst, limit = -summary.most, -summary.least, -target.at_least
  end
  if worst <= limit then
    return "met"
  end
  return best > limit and "not met" or "within noise"
end

return statistics
