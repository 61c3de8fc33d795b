-- Views of one step and of five: whatever the length of the chain, it is one request.
local listeners = require "bench.listeners"

return function(group)
  group.title = "Views"
  local remote = listeners.asleep { a = { b = { c = { d = { e = 1 } } } }, x = 1 }

  group:time("one", "p.x.__, a view of one step", function(n)
    for _ = 1, n do
      local _ = remote.x.__
    end
  end)
  group:time("five", "p.a.b.c.d.e.__, a view of five steps", function(n)
    for _ = 1, n do
      local _ = remote.a.b.c.d.e.__
    end
  end)
  local kept = remote.a.b.c.d.e
  group:time("kept", "view.__, the same, kept", function(n)
    for _ = 1, n do
      local _ = kept.__
    end
  end)

  group:row { "five", per = "one", at_most = 1.25 }
  group:row { "kept", per = "one", at_most = 1.25 }
end
