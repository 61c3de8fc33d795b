-- The same call with everything on one processor, where a wake-up costs little and waiting actively gains nothing.
local listeners = require "bench.listeners"

return function(group)
  group.title = "A call, everything on one CPU"
  group.pin()
  local remote = listeners.asleep()

  group:time("call", "p:method()", function(n)
    for _ = 1, n do
      remote:add(1)
    end
  end)
  group:program("block", "C, two pipes, waiting", { group.built "pipes", "block" })
  group:program("try", "C, two pipes, trying before it waits", { group.built "pipes", "try" })
  group:python("managers", "Python multiprocessing.managers", "managers.py", "call")

  group:row { "call", per = "block", at_most = 1.5 }
  group:row { "call", per = "try" }
  group:row { "call", per = "managers" }
end
