-- Processor time of client and listener at a hundred calls a second: what waiting actively costs.
local listeners = require "bench.listeners"
local peer = require "bench.peer"
local posix_time = require "posix.time"

local PACE = 0.01 -- seconds from one call to the next

return function(group)
  group.title = "A hundred calls a second: processor time of both sides, as a part of one CPU"
  group.rounds = 12
  local calls = group.quick and 5 or 50
  local remote = listeners.asleep()

  local function sleep_until(time)
    local left = time - group.now()
    if left > 0 then
      posix_time.nanosleep { tv_sec = 0, tv_nsec = left * 1e9 // 1 | 0 }
    end
  end

  local function used()
    return os.clock() + remote:passto(os.clock)
  end

  group:figure("calls", "p:method()", "%", function()
    local before, begin = used(), group.now()
    for i = 1, calls do
      sleep_until(begin + i * PACE)
      remote:add(1)
    end
    return (used() - before) / (calls * PACE)
  end)
  local pipes = group:start(peer.program { group.built "pipes", "paced" })
  group:figure("pipes", "C, two pipes, waiting", "%", function()
    return tonumber(pipes:ask(calls)) / (calls * PACE)
  end)

  group:row { "calls", above = "pipes", at_most = 0.01 }
end
