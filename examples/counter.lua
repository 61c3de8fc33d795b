-- A counter that runs in a process of its own, and is watched and steered from here while it runs.
local remoteobj = require "remoteobj"

local Counter = {}
Counter.__index = Counter

function Counter.new()
  local self = setmetatable({ count = 0, on = false, log = {} }, Counter)
  self.remote = remoteobj.Proxy(self)
  return self
end

function Counter:toggle(on)
  self.on = on
  self.log[#self.log + 1] = on and "on" or "off"
  return self
end

-- Waits until it has counted `n` further. Other requests and the counting go on meanwhile.
function Counter:wait_for(n)
  local goal = self.count + n
  while self.count < goal do
    remoteobj.sleep(0.01)
  end
  return self.count
end

-- What the process does: it counts, and answers requests in the background.
function Counter:run()
  local _ <close> = self.remote:listen_()
  while not self.stop do
    if self.on then
      self.count = self.count + 1
    end
    remoteobj.sleep(0.01)
  end
  return self.count
end

local counter = Counter.new()
local remote = counter.remote

local process = remoteobj.process { counter.run, counter, name_ = "counter" }
process:start()
remote:wait_until_listening(process) -- raises if the process dies before

-- Off: nothing is counted.
print("count", remote.count.__) --> count	0

-- On: it counts.
remote:toggle(true)
print("counting", remote:wait_for(10) >= 10) --> counting	true

-- Off again: the count stays what it is. A method that returns its object gives the proxy, to chain on.
local count = remote:toggle(false).count.__
remoteobj.sleep(0.1)
print("unchanged", remote.count.__ == count) --> unchanged	true

-- The object here is the one of before the fork: it knows nothing of all that.
print("here", counter.count, #counter.log) --> here	0	0
print("there", #remote.log, remote.log[1].__, remote.log[2].__) --> there	2	on	off

-- Assigning works as well; the process sees it, returns, and is joined.
remote.stop = true
process:join()
print("result", process.result == count) --> result	true
