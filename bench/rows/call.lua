-- A method call of an object whose program sleeps, the processes wherever the system puts them.
local listeners = require "bench.listeners"

return function(group)
  group.title = "A call, the listener's program asleep in the library"
  group.chart = true
  local remote = listeners.asleep()
  local processors = group.processors()

  group:time("call", "p:method()", function(n)
    for _ = 1, n do
      remote:add(1)
    end
  end)
  group:program("try", "C, two pipes, trying before it waits", { group.built "pipes", "try" })
  group:program("block", "C, two pipes, waiting", { group.built "pipes", "block" })
  if processors[2] then
    local apart = { group.built "pipes", "block", tostring(processors[1]), tostring(processors[2]) }
    group:program("apart", "C, two pipes, waiting, on two CPUs", apart)
  else
    group:missing("apart", "C, two pipes, waiting, on two CPUs", "there is one CPU here")
  end
  group:python("managers", "Python multiprocessing.managers", "managers.py", "call")
  group:python("executor", "Python ProcessPoolExecutor", "executor.py")
  group:by_hand("hand", "cqueues sockets and cmsgpack", "call")

  group:row { "call", per = "try", at_most = 1.6 }
  group:row { "call", per = "apart", at_most = 0.2 }
  group:row { "call", per = "managers", at_most = 1 / 8 }
  group:row { "call", per = "block" }
  group:row { "call", per = "executor" }
  group:row { "call", per = "hand" }
end
