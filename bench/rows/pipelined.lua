-- Many requests in flight against one at a time: by futures, without an answer, and by a client in C that speaks the
-- library's frames, which shows what the listener alone takes.
local listeners = require "bench.listeners"
local remoteobj = require "remoteobj"

-- The payload of a call of add(1), as docs/wire-format.md describes it: one operation, "method".
local REQUEST = remoteobj.pack(1, 3, { "add", 1 })
local IN_FLIGHT = 1000

-- Keeps up to IN_FLIGHT futures, and takes the result of each before its place is needed again.
local function in_flight(async, n)
  local futures = {}
  for i = 1, n do
    local place = (i - 1) % IN_FLIGHT + 1
    local future = futures[place]
    if future then
      future:get()
    end
    futures[place] = async:add(1)
  end
  remoteobj.wait(futures)
end

return function(group)
  group.title = "Requests in flight"
  local frames = assert(package.loadlib(group.built "frames.so", "luaopen_frames"))()
  local remote = listeners.asleep()
  local async, oneway = remote:with_ { async = true }, remote:with_ { oneway = true }
  local connection = frames.connect(remote)

  group:time("call", "p:method()", function(n)
    for _ = 1, n do
      remote:add(1)
    end
  end, "/s")
  group:time("async", "with async, a thousand in flight", function(n)
    in_flight(async, n)
  end, "/s")
  group:time("oneway", "with oneway", function(n)
    for _ = 1, n do
      oneway:add(1)
    end
    remote:add(1)
  end, "/s")
  group:time("one", "C, frames, one at a time", function(n)
    connection:run(REQUEST, n, 1)
  end, "/s")
  group:time("many", "C, frames, a thousand in flight", function(n)
    connection:run(REQUEST, n, IN_FLIGHT)
  end, "/s")

  group:row { "async", per = "call", at_least = 10 }
  group:row { "oneway", per = "call" }
  group:row { "many", per = "one", at_least = 10 }
end
