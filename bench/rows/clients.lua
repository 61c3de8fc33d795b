-- Eight client processes on one listener, against one.
local listeners = require "bench.listeners"
local peer = require "bench.peer"

local CLIENTS = 8

-- A process that calls until the time that it is told, and answers how many calls that were.
local function start_client(group, remote)
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

-- Lets some clients call for so many seconds. Returns the calls a second of each.
local function rates_of(clients, begin, seconds)
  local rates = {}
  for _, client in ipairs(clients) do
    client:tell(("%.9f"):format(begin + seconds))
  end
  for i, client in ipairs(clients) do
    rates[i] = tonumber(client:hear()) / seconds
  end
  return rates
end

local function sum(list)
  local total = 0
  for _, number in ipairs(list) do
    total = total + number
  end
  return total
end

return function(group)
  group.title = "Several clients of one listener"
  local remote = listeners.asleep()
  local one, eight = { start_client(group, remote) }, {}
  for i = 1, CLIENTS do
    eight[i] = start_client(group, remote)
  end
  local function run(clients)
    return rates_of(clients, group.now(), 4 * group.slice)
  end

  group:figure("one", "one client", "/s", function()
    return run(one)[1]
  end)
  local rates
  group:figure("eight", "eight clients, all together", "/s", function()
    rates = run(eight)
    return sum(rates)
  end)
  group:figure("slowest", "the slowest of the eight", "/s", function()
    return math.min(table.unpack(rates))
  end)
  group:figure("mean", "the mean of the eight", "/s", function()
    return sum(rates) / CLIENTS
  end)

  group:row { "eight", per = "one", at_least = 1 }
  group:row { "slowest", per = "mean", at_least = 0.5 }
end
