-- Processes that listen, for groups to call: what their programs do meanwhile.
local remoteobj = require "remoteobj"
local posix_unistd = require "posix.unistd"

local listeners = {}

local Counter = {}
Counter.__index = Counter

function Counter:add(n)
  self.count = self.count + n
  return self.count
end

function Counter.echo(_, value)
  return value
end

local function counter(fields)
  fields.count = 0
  return setmetatable(fields, Counter)
end

--- A process whose program sleeps in the library. Returns the proxy and the handle of the process. `fields`: what
-- the object has besides `count`, `add` and `echo`.
function listeners.asleep(fields)
  local remote = remoteobj.Proxy(counter(fields or {}))
  local process = remoteobj.process(function()
    local _ <close> = remote:listen_()
    while true do
      remoteobj.sleep(3600)
    end
  end):start()
  remote:wait_until_listening(process)
  return remote, process
end

--- A process whose program is in a busy loop between start() and stop(). Returns the proxy and the two.
function listeners.busy()
  local object = counter { busy = false, turns = 0 }
  local remote = remoteobj.Proxy(object)
  local wakes, wake = assert(posix_unistd.pipe())
  local process = remoteobj.process(function()
    local _ <close> = remote:listen_()
    while true do
      remoteobj.poll { [wakes] = { events = { IN = true } } }
      posix_unistd.read(wakes, 1)
      while object.busy do
        object.turns = object.turns + 1
      end
    end
  end):start()
  remote:wait_until_listening(process)
  return remote, function()
    local turns = remote.turns.__
    remote.busy = true
    posix_unistd.write(wake, "x")
    while remote.turns.__ == turns do -- luacheck: ignore 542
    end
  end, function()
    remote.busy = false
  end
end

return listeners
