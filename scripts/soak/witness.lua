-- A file to which all processes of a round append lines, so that what they have done is known whatever becomes of them.
-- The kernel alone is trusted with it, nothing of the library.
local check = require "scripts.soak.check"
local fcntl = require "posix.fcntl"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local Witness = {}
Witness.__index = Witness

local function new()
  local name = os.tmpname()
  local fd = assert(fcntl.open(name, fcntl.O_RDWR | fcntl.O_APPEND | fcntl.O_CLOEXEC))
  os.remove(name)
  return setmetatable({ fd = fd }, Witness)
end

--- Adds a line, whole, also when the process is killed right after.
function Witness:write(word, subject)
  local line = word .. " " .. subject .. "\n"
  check.that(unistd.write(self.fd, line) == #line, "a line of %d bytes is not written", #line)
end

--- What is there at this moment: the list of subjects of each word, in order. A word that has none has an empty list.
function Witness:all()
  local file = assert(io.open("/proc/self/fd/" .. self.fd)) -- which has a position of its own
  local text = file:read "a"
  file:close()
  local lists = setmetatable({}, { __index = function() return {} end })
  for word, subject in text:gmatch "(%S+) (%S+)\n" do
    local list = rawget(lists, word) or {}
    list[#list + 1] = subject
    lists[word] = list
  end
  return lists
end

--- The subjects of one word.
function Witness:list(word)
  return self:all()[word]
end

--- How often each subject is in a list.
local function count(list)
  local times = {}
  for _, subject in ipairs(list) do
    times[subject] = (times[subject] or 0) + 1
  end
  return times
end

-- The state of a process and when it was born, which another with the same id was not.
local function state_of(pid)
  local file = io.open(("/proc/%s/stat"):format(pid))
  local text = file and file:read "a" -- nil when it goes away meanwhile
  if file then
    file:close()
  end
  return (text or ""):match("^.*%) (%a)" .. (" %-?%d+"):rep(18) .. " (%d+)")
end

--- Says that this process is there.
function Witness:attend()
  local pid = unistd.getpid()
  local _, birth = state_of(pid)
  self:write("present", pid .. ":" .. birth)
end

--- Waits until all processes that were there have ended, but for this one. One that is stopped may have to go on for
-- that (docs/guarantees.md).
function Witness:await_ends()
  for _, who in ipairs(self:list "present") do
    local pid, birth = who:match "(%d+):(%d+)"
    check.eventually(function()
      local state, born = state_of(pid)
      if born == birth and state == "T" then
        signal.kill(tonumber(pid), signal.SIGCONT)
      end
      return born ~= birth or state == "Z" or tonumber(pid) == unistd.getpid(), "its state is " .. tostring(state)
    end, "the end of process " .. pid)
  end
end

function Witness:__close()
  unistd.close(self.fd)
end

return { new = new, count = count }
