-- What references and callbacks cost beside plain calls.
local listeners = require "bench.listeners"
local remoteobj = require "remoteobj"

return function(group)
  group.title = "References and callbacks, the listener's program asleep in the library"
  local remote = listeners.asleep()
  remote:passto(function(object)
    object.account = { add = object.add, count = 0 }
    function object.make() return {} end
    function object.call(_, func) return func(1) end
  end)
  local account = remote.account:ref_()
  local making = remote:with_ { ref = true }
  local callback = remoteobj.callback(function(n) return n end)

  group:time("call", "p:method()", function(n)
    for _ = 1, n do
      remote:add(1)
    end
  end)
  group:time("reference", "reference:method()", function(n)
    for _ = 1, n do
      account:add(1)
    end
  end)
  group:time("made", "p:with_{ref = true}:method(), dropped again", function(n)
    for _ = 1, n do
      making:make()
    end
  end)
  group:time("callback", "p:method(callback), called once", function(n)
    for _ = 1, n do
      remote:call(callback)
    end
  end)
  group:time("two", "two calls", function(n)
    for _ = 1, n do
      remote:add(1)
      remote:add(1)
    end
  end)

  group:row { "reference", per = "call" }
  group:row { "made", per = "call" }
  group:row { "callback", per = "two" }
end
