-- A store, who listens for it, and its clients.
local check = require "scripts.soak.check"
local clients = require "scripts.soak.clients"
local model = require "scripts.soak.model"
local remoteobj = require "remoteobj"
local servers = require "scripts.soak.servers"
local stores = require "scripts.soak.store"

local house = {}

function house.plan(dice, name)
  local made = { name = name, servers = servers.plan(dice), clients = {} }
  for i = 1, dice:roll(4) do
    made.clients[i] = clients.plan(dice, name .. "." .. i, made.servers.kind ~= "here")
  end
  return made
end

--- What is kept for clients; nil when nobody listens right now.
local function census_of(remote)
  local ok, census = pcall(remote.census, remote)
  check.that(ok or census.kind == "NotListening" or census.kind == "Disconnected", "%s", census)
  return ok and census or nil
end

local function describe_census(census)
  return ("%d references, %d things, %d clients, %d descriptors, %d threads"):format(census.references, census.things,
    census.clients, census.descriptors, census.threads)
end

-- Threads on which requests have waited are kept for others. Each gets something to be woken by when it first waits.
local DESCRIPTORS_OF_THREAD = 2

--- Has the process no more open than before, but for its threads?
local function is_as_before(census, before)
  return not before or census.descriptors <= before.descriptors + DESCRIPTORS_OF_THREAD * census.threads
end

--- When all clients have gone, the listener keeps nothing for them.
local function check_census(remote, before)
  check.eventually(function()
    collectgarbage() -- clients in this process have let go of what is garbage
    local census = census_of(remote)
    return census and census.references == 0 and census.things == 0 and census.clients <= 1
      and is_as_before(census, before), census and describe_census(census)
  end, "the listener to let go of what its clients had" .. (before and "; before: " .. describe_census(before) or ""))
end

--- Waits for all threads, then raises the first error of them.
local function join_all(threads)
  for _, thread in ipairs(threads) do
    check.ends(thread, "a client's thread")
  end
  for _, thread in ipairs(threads) do
    thread:raise_any()
  end
end

local function follow_all(plan, listening, witness)
  local threads = { remoteobj.thread { listening.trouble, listening, raises_ = false }:start() }
  for i, client in ipairs(plan.clients) do
    threads[i + 1] = remoteobj.thread { clients.follow, client, listening.remote, witness, raises_ = false }:start()
  end
  join_all(threads)
end

--- What a process had that alone listens, which it should have in the end. Of others it can't be said; that of
-- util.listener may have begun with one of its two listeners only.
local function census_before(plan, remote)
  return plan.servers.kind == "process" and census_of(remote) or nil
end

function house.play(plan, witness)
  local object = stores.new(witness)
  object.remote = remoteobj.Proxy(object, { fulfill_final = plan.servers.fulfill_final })
  local listening <close> = servers.open(plan.servers, object, witness)
  local before = census_before(plan, object.remote)
  follow_all(plan, listening, witness)
  if not plan.servers.death then
    check_census(object.remote, before)
  end
  listening:stop()
  model.compare(witness, plan.name, servers.is_steady(plan.servers))
end

return house
