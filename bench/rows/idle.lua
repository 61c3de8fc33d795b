-- What a listener costs that nobody calls.
local listeners = require "bench.listeners"
local dirent = require "posix.dirent"
local posix_time = require "posix.time"

local function read(name)
  local file <close> = io.open(name)
  return file and file:read "a"
end

-- How often the threads of a process have left the processor, and the seconds that they have been on it.
local function activity(pid)
  local switches, seconds = 0, 0
  for thread in dirent.files(("/proc/%d/task"):format(pid)) do
    local folder = ("/proc/%d/task/%s/"):format(pid, thread)
    for count in (read(folder .. "status") or ""):gmatch "voluntary_ctxt_switches:%s*(%d+)" do
      switches = switches + count
    end
    seconds = seconds + (tonumber((read(folder .. "schedstat") or ""):match "^%d+") or 0) / 1e9
  end
  return switches, seconds
end

-- Once it is asleep, two looks see the same.
local function settled(pid)
  local switches, seconds = activity(pid)
  while true do
    local more, longer = activity(pid)
    if more == switches and longer == seconds then
      return switches, seconds
    end
    switches, seconds = more, longer
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
    local switches, seconds = settled(process.pid)
    posix_time.nanosleep { tv_sec = duration // 1 | 0, tv_nsec = duration % 1 * 1e9 // 1 | 0 }
    local more, longer = activity(process.pid)
    used = longer - seconds
    return more - switches
  end)
  group:figure("cpu", "processor time", "s", function()
    return used
  end)

  group:row { "wakeups", at_most = 0 }
  group:row { "cpu", at_most = 0 }
end
