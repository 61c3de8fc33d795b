-- A string of 64 MiB there and back.
local listeners = require "bench.listeners"

return function(group)
  group.title = "64 MiB there and back"
  group.chart = true
  local remote = listeners.asleep()
  local text = ("x"):rep(64 * 1024 * 1024)

  group:time("echo", "p:echo(string)", function(n)
    for _ = 1, n do
      assert(#remote:echo(text) == #text)
    end
  end)
  group:program("pipes", "C, two pipes", { group.built "pipes", "bulk" })
  group:program("wide", "C, two pipes of 1 MiB", { group.built "pipes", "wide" })
  group:python("managers", "Python multiprocessing.managers", "managers.py", "echo")
  group:by_hand("hand", "cqueues sockets and cmsgpack", "echo")

  group:row { "echo", per = "pipes", at_most = 1.2 }
  group:row { "echo", per = "managers", at_most = 1 }
  group:row { "echo", per = "wide" }
  group:row { "echo", per = "hand" }
end
