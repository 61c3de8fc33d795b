--- Channels: a journal together with what is known of its records, in the process that made it.

local core = require "remoteobj.core"

local native = core._process

-- Kinds of records in a journal.
local ERROR, RESULT, RETURNED, FAILED, THROWN, LENT = 1, 2, 3, 4, 5, 6

-- Counts records, contexts and raises: what came earlier has the smaller number.
local count = 0

local function tick()
  count = count + 1
  return count
end

-- Set by who knows books: make_book(channel) makes the Except of a channel.
local channels = {
  ERROR = ERROR, RESULT = RESULT, RETURNED = RETURNED, FAILED = FAILED, THROWN = THROWN, make_book = nil,
}

local Channel = {}
Channel.__index = Channel

--- A channel from all processes forked later to this one.
local function new_channel()
  return setmetatable({
    journal = native.journal(), -- nil when it was closed
    owner = native.getpid(),
    exc = nil, -- the Except whose errors and results it carries
    lent = false, -- does the program have that, here or elsewhere
    outcome = nil, -- RETURNED or FAILED, once the process has told for which the channel was made; then also
    body = nil, -- what it told,
    time = nil, -- when,
    number = nil, -- and which record of the Except it was,
    pid = nil, -- of that process
  }, Channel)
end

--- Does this process read the channel? All others write into it.
function Channel:mine()
  return native.getpid() == self.owner
end

--- An Except keeps what the function of its process has returned.
local function keep_result(self)
  if self.exc and self.outcome == RETURNED then
    self.exc:_keep_result(self.time, self.body)
  end
end

--- The Except of the channel, made when it is needed.
function Channel:book()
  if not self.exc then
    self.exc = channels.make_book(self)
    keep_result(self)
  end
  return self.exc
end

local function arrived(self, body, kind, time, pid, number, group)
  if kind == RETURNED or kind == FAILED then
    self.outcome, self.body, self.time, self.pid, self.number = kind, body, time, pid, number
    keep_result(self)
  elseif kind == LENT then
    self.lent = true
  elseif kind ~= THROWN then
    self:book():_arrived(kind, body, time, pid .. ":" .. number, group)
  end
end

--- Takes in what has come since the last time.
function Channel:pull()
  local journal = self.journal
  if not journal or not self:mine() then
    return
  end
  for body, kind, time, pid, number, group in journal.next, journal do
    arrived(self, body, kind, time, pid, number, group)
    journal:taken()
  end
end

--- The program gets the Except: any process that has it may write into it from now on, also when the one that the
-- channel was made for has ended.
function Channel:lend()
  if self.lent then
    return
  end
  self.lent = true
  if self:mine() then
    self.journal = self.journal or native.journal()
  elseif self.journal then
    self.journal:append_values(LENT, native.now(), 0, nil)
  end
end

--- All is known of the process that the channel was made for: gives the descriptor back if nobody else can write.
function Channel:close()
  local journal = self.journal
  if journal and not self.lent then
    self.journal = nil
    journal:close()
  end
end

local function take(journal, value)
  journal:taken()
  return value
end

--- In the process that the channel was made for: takes the next error that others have thrown into it.
-- @return whether there is one, and the error
function Channel:next_thrown()
  local journal = self.journal
  for body, kind in journal.next, journal do
    if kind == THROWN then
      return true, take(journal, body:values())
    end
    journal:taken()
  end
  return false
end

channels.new = new_channel
channels.tick = tick

return channels
