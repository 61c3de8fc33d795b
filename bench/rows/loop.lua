-- A busy Lua loop in a program that listens while nobody calls, against the same loop without a listener.
local remoteobj = require "remoteobj"

local function loop(n)
  local x = 0
  for i = 1, n do
    x = x + i % 7
  end
  return x
end

return function(group)
  group.title = "A busy Lua loop of the listener's program, 1000 turns"
  local remote = remoteobj.Proxy {}
  local run = group.by_processor_time(function(n)
    loop(n * 1000)
  end)

  group:forked("with", "with an idle listener", function()
    remote:listen_()
    return run
  end)
  group:forked("without", "without one", function()
    return run
  end)

  group:row { "with", per = "without", at_most = 1.01 }
end
