-- A call of an object whose program is in a busy Lua loop, which must be interrupted for it.
local listeners = require "bench.listeners"

return function(group)
  group.title = "A call, the listener's program in a busy Lua loop"
  local remote, start, stop = listeners.busy()
  local cpu = tostring(group.processors()[1])

  group:time("call", "p:method()", function(n)
    start()
    local begin = group.now()
    for _ = 1, n do
      remote:add(1)
    end
    local seconds = group.now() - begin
    stop()
    return seconds
  end)
  group:program("block", "C, two pipes, waiting, on one CPU", { group.built "pipes", "block", cpu, cpu })

  group:row { "call", per = "block", at_most = 3 }
end
