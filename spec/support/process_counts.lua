-- What a process holds, for specs that compare before and after: descriptors, children, zombies.
local dirent = require "posix.dirent"
local unistd = require "posix.unistd"

local counts = {}

--- How many descriptors this process has open (that of the listing itself is always among them).
function counts.descriptors()
  collectgarbage()
  collectgarbage()
  local n = 0
  for _ in dirent.files "/proc/self/fd" do
    n = n + 1
  end
  return n
end

--- How many native threads this process has.
function counts.threads()
  local n = 0
  for name in dirent.files "/proc/self/task" do
    n = n + (tonumber(name) and 1 or 0)
  end
  return n
end

--- State and parent of a process: "R", 17; nil when there is none.
function counts.status(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then
    return nil
  end
  local text = file:read "a"
  file:close()
  if not text then -- it went away meanwhile
    return nil
  end
  local state, parent = text:match "^.*%) (%a) (%d+)"
  return state, tonumber(parent)
end

--- The ids of this process's children, zombies included.
function counts.children()
  local list, me = {}, unistd.getpid()
  for name in dirent.files "/proc" do
    local pid = tonumber(name)
    local _, parent = counts.status(pid or 0)
    if parent == me then
      list[#list + 1] = pid
    end
  end
  return list
end

return counts
