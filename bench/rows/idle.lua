-- What a listener costs that nobody calls.
local listeners = require "bench.listeners"
local dirent = require "posix.dirent"
local posix_time = require "posix.time"

-- How often the threads of a process have left the processor.
local function switches(pid)
  local sum = 0
  for thread in dirent.files(("/proc/%d/task"):format(pid)) do
    local file <close> = io.open(("/proc/%d/task/%s/status"):format(pid, thread))
    for count in (file and file:read "a" or ""):gmatch "voluntary_ctxt_switches:%s*(%d+)" do
      sum = sum + count
    end
  end
  return sum
end

-- Seconds that a process has used of a processor: Linux makes the number of such a clock of the process's id.
local function processor_time(pid)
  local t = assert(posix_time.clock_gettime(~pid << 3 | 2))
  return t.tv_sec + t.tv_nsec / 1e9
end

local function activity(pid)
  return switches(pid), processor_time(pid)
end

-- Once it is asleep, two looks see the same.
local function settled(pid)
  local count, seconds = activity(pid)
  while true do
    local more, longer = activity(pid)
    if more == count and longer == seconds then
      return count, seconds
    end
    count, seconds = more, longer
  end
end

return function(group)
  local duration = group.quick and 0.2 or 10
  group.title = ("An idle listener, %g s"):format(duration)
  group.rounds = 1
  local remote, process = listeners.asleep()
  remote:add(1)

  local used
  group:figure("wakeups", "wake-ups", "", function()
    local count, seconds = settled(process.pid)
    posix_time.nanosleep { tv_sec = duration // 1 | 0, tv_nsec = duration % 1 * 1e9 // 1 | 0 }
    local more, longer = activity(process.pid)
    used = longer - seconds
    return more - count
  end)
  group:figure("cpu", "processor time", "s", function()
    return used
  end)

  group:row { "wakeups", at_most = 0 }
  group:row { "cpu", at_most = 0 }
end
