-- A process from start to join, against fork and wait alone in the same process.
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local function nothing()
end

return function(group)
  group.title = group.title or "A process"
  group.chart = true

  group:time("process", "remoteobj.process(f):start():join()", function(n)
    for _ = 1, n do
      assert(remoteobj.process(nothing):start():join())
    end
  end)
  group:time("fork", "luaposix: fork, _exit, wait", function(n)
    for _ = 1, n do
      local pid = unistd.fork()
      if pid == 0 then
        unistd._exit(0)
      end
      assert(wait.wait(pid) == pid)
    end
  end)

  group:row { "process", per = "fork", at_most = 1.3 }
end
