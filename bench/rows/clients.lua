-- Eight client processes on one listener, against one.
local listeners = require "bench.listeners"
local peer = require "bench.peer"

local CLIENTS = 8

return function(group)
  group.title = "Several clients of one listener"
  local remote = listeners.asleep()

  -- A process that calls until the time that it is told, and answers how many calls that were.
  local function client()
    return group:start(peer.fork("a client", function()
      return function(deadline)
        local n, stop = 0, tonumber(deadline)
        repeat
          for _ = 1, 10 do
            remote:add(1)
          end
          n = n + 10
        until group.now() >= stop
        return n
      end
    end))
  end

  -- Lets some clients call for a while. Returns the calls a second of each.
  local function run(clients)
    local begin, seconds, rates = group.now(), 4 * group.slice, {}
    for _, process in ipairs(clients) do
      process:tell(("%.9f"):format(begin + seconds))
    end
    for i, process in ipairs(clients) do
      rates[i] = tonumber(process:hear()) / seconds
    end
    return rates
  end

  local one, eight = { client() }, {}
  for i = 1, CLIENTS do
    eight[i] = client()
  end
  group:figure("one", "one client", "/s", function()
    return run(one)[1]
  end)
  local mean, slowest
  group:figure("eight", "eight clients, all together", "/s", function()
    local rates = run(eight)
    local total = 0
    for _, rate in ipairs(rates) do
      total = total + rate
    end
    mean, slowest = total / CLIENTS, math.min(table.unpack(rates))
    return total
  end)
  group:figure("slowest", "the slowest of the eight", "/s", function()
    return slowest
  end)
  group:figure("mean", "the mean of the eight", "/s", function()
    return mean
  end)

  group:row { "eight", per = "one", at_least = 1 }
  group:row { "slowest", per = "mean", at_least = 0.5 }
end
