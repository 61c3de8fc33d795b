-- A loop over a remote table against sending the table whole.
local listeners = require "bench.listeners"

local ENTRIES = 100000

return function(group)
  group.title = "A remote table of 100,000 entries"
  local big = {}
  for i = 1, ENTRIES do
    big["key " .. i] = i
  end
  local remote = listeners.asleep { big = big }

  group:time("pairs", "for key, value in pairs(p.big)", function(n)
    for _ = 1, n do
      local count = 0
      for _ in pairs(remote.big) do
        count = count + 1
      end
      assert(count == ENTRIES)
    end
  end)
  group:time("whole", "p.big.__", function(n)
    for _ = 1, n do
      assert(remote.big.__["key 1"] == 1)
    end
  end)
  group:figure("frame", "bytes of an answer in such a loop", "B", function()
    local before = remote:stats_()
    for _ in pairs(remote.big) do -- luacheck: ignore 542
    end
    local after = remote:stats_()
    return (after.bytes_received - before.bytes_received) / (after.replies - before.replies)
  end)

  group:row { "pairs", per = "whole", at_most = 2 }
  group:row { "frame", at_most = 2 ^ 20 }
end
