-- A thread from start to join, against a process.
local remoteobj = require "remoteobj"

local function nothing()
end

--- Makes a function for `time` of one of the library's constructors.
local function start_and_join(make)
  return function(n)
    for _ = 1, n do
      assert(make(nothing):start():join())
    end
  end
end

return function(group)
  group.title = "A thread"
  group:time("thread", "remoteobj.thread(f):start():join()", start_and_join(remoteobj.thread))
  group:time("process", "remoteobj.process(f):start():join()", start_and_join(remoteobj.process))
  group:row { "thread", per = "process", at_most = 0.25 }
end
