--- Channels: a journal together with those who want what is in it.

local core = require "remoteobj.core"

local native = core._process
local weak_values = { __mode = "v" }

-- Kinds of records in a journal.
local ERROR, RESULT, RETURNED, FAILED = 1, 2, 3, 4

-- Counts records, contexts and raises: what came earlier has the smaller number.
local count = 0

local function tick()
  count = count + 1
  return count
end

local Channel = {}
Channel.__index = Channel

--- A channel from all processes forked later to this one.
local function new_channel(exc)
  return setmetatable({
    journal = native.journal(),
    owner = native.getpid(),
    exc = exc,
    processes = setmetatable({}, weak_values), -- token -> who waits for the outcome of a process
  }, Channel)
end

--- Does this process read the channel? All others write into it.
function Channel:mine()
  return native.getpid() == self.owner
end

--- A number that tells the outcome of `process` from others.
function Channel:register(process)
  local token = tick()
  self.processes[token] = process
  return token
end

--- Hands out what has come since the last time.
function Channel:pull()
  if not self:mine() then
    return
  end
  for body, kind, token, time, pid, number, group in self.journal.next, self.journal do
    local id = pid .. ":" .. number
    if kind == RETURNED or kind == FAILED then
      local process = self.processes[token]
      if process then
        process:_arrived(kind == FAILED, body, time, id)
      end
    elseif self.exc then
      self.exc:_arrived(kind, body, time, id, group)
    end
  end
end

return {
  ERROR = ERROR,
  RESULT = RESULT,
  RETURNED = RETURNED,
  FAILED = FAILED,
  new = new_channel,
  tick = tick,
}
