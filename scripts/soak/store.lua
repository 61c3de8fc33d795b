-- The object that is served. It writes down each use of a ticket before it answers.
local check = require "scripts.soak.check"
local counts = require "spec.support.process_counts"
local forks = require "scripts.soak.forks"
local remoteobj = require "remoteobj"

local Store = {}
Store.__index = Store

local ENTRIES = 100

local function new(witness)
  local self = setmetatable({
    witness = witness,
    remote = nil, -- its proxy
    things = setmetatable({}, { __mode = "k" }), -- that clients have references to
    kept = {}, -- callbacks whose calls are over
    list = {},
  }, Store)
  for i = 1, ENTRIES do
    self.list[i] = -i
  end
  self.flags = setmetatable({}, { __newindex = function(_, ticket) self:use(ticket) end })
  return self
end

function Store:use(ticket)
  self.witness:write("run", ticket)
  return ticket
end

function Store:slow(ticket, seconds)
  remoteobj.sleep(seconds)
  return self:use(ticket)
end

function Store:large(ticket, size)
  return self:use(ticket), ("x"):rep(size)
end

function Store:take(ticket, text)
  return self:use(ticket), #text
end

function Store:thing(ticket)
  local thing = { ticket = self:use(ticket) }
  self.things[thing] = true
  return thing
end

function Store.same(_, ...)
  return ...
end

function Store:fail(ticket)
  error { ticket = self:use(ticket) }
end

function Store:call(ticket, callback, ...)
  return callback(self:use(ticket), ...)
end

function Store:keep(ticket, callback)
  self.kept[ticket] = callback
  return self:use(ticket)
end

--- Can a callback be called whose call is over?
function Store:call_kept(ticket)
  local callback = self.kept[ticket]
  self.kept[ticket] = nil
  return callback ~= nil and (pcall(callback))
end

--- Forks inside a request; the child is a client like others.
function Store:fork(ticket)
  forks.run(function()
    local answer = self.remote:with_({ default = 7, timeout = 0.01 }):same(7)
    check.that(answer == 7, "%s is the answer to 7", answer)
  end)
  return self:use(ticket)
end

--- What is kept for clients, and what the process has open.
function Store:census()
  local stats, things = self.remote:stats_(), 0
  collectgarbage()
  for _ in pairs(self.things) do
    things = things + 1
  end
  return {
    references = stats.references, clients = stats.clients, things = things,
    descriptors = counts.descriptors(), threads = counts.threads(),
  }
end

--- Ends the process, from inside of a request.
function Store.leave(_, code)
  os.exit(code)
end

return { new = new, ENTRIES = ENTRIES }
