-- A string of 64 MiB there and back.
local listeners = require "bench.listeners"

return function(group)
  group.title = "64 MiB there and back"
  group.chart = true
  group.rounds = 7
  local remote = listeners.asleep()
  local text = ("x"):rep(64 * 1024 * 1024)

  local function echo(n)
    for _ = 1, n do
      assert(#remote:echo(text) == #text)
    end
  end

  -- The memory of a transfer costs more than the transfer where it has to be got back from the host of a virtual
  -- machine first, as it has to be in the first ones of a series. (The C programs keep theirs.)
  group:time("cold", "p:echo(string), the first one after seconds", echo)
  group.warm_up = group.quick and 0 or 6
  group:time("echo", "p:echo(string)", echo)
  group:program("pipes", "C, two pipes", { group.built "pipes", "bulk" })
  group:program("wide", "C, two pipes of 1 MiB", { group.built "pipes", "wide" })
  group:python("managers", "Python multiprocessing.managers", "managers.py", "echo")
  group.warm_up = group.quick and 0 or 1
  group:by_hand("hand", "cqueues sockets and cmsgpack", "echo")

  group:row { "echo", per = "pipes", at_most = 1.2 }
  group:row { "echo", per = "managers", at_most = 1 }
  group:row { "echo", per = "wide" }
  group:row { "echo", per = "hand" }
  group:row { "cold", per = "pipes" }
end
