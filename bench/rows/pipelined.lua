-- Many requests in flight against one at a time, by a client in C that speaks the library's frames.
local listeners = require "bench.listeners"
local remoteobj = require "remoteobj"

-- The payload of a call of add(1), as docs/wire-format.md describes it: one operation, "method".
local REQUEST = remoteobj.pack(1, 3, { "add", 1 })
local IN_FLIGHT = 1000

return function(group)
  group.title = "Requests in flight"
  local frames = assert(package.loadlib(group.built "frames.so", "luaopen_frames"))()
  local remote = listeners.asleep()
  local connection = frames.connect(remote)

  group:time("one", "one at a time", function(n)
    connection:run(REQUEST, n, 1)
  end, "/s")
  group:time("many", "a thousand in flight", function(n)
    connection:run(REQUEST, n, IN_FLIGHT)
  end, "/s")

  group:row { "many", per = "one", at_least = 10 }
end
