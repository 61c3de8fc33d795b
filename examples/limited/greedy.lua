-- For a limit of 1024 KiB. Asks an object in another process for more than there is room for: here, then there.
local remoteobj = require "remoteobj"

local store = { text = "x" }

function store:grow(times)
  return self.text:rep(times)
end

local remote = remoteobj.Proxy(store)

local process = remoteobj.process(function()
  remote:listen_ { bg = false }
  while not store.stop do
    remote:poll(60)
  end
end):start()
remote:wait_until_listening(process)

-- The answer has room there, but not beside what is kept here.
do
  local kept = {}
  for i = 1, 10 do
    kept[i] = store.text:rep(50 * 1024)
  end
  local ok, err = pcall(remote.grow, remote, 300 * 1024)
  print("here", ok, #kept, ok and "it had room" or err)
end
collectgarbage()

-- What is asked for has no room even there: that error is the process's.
local ok, err = pcall(remote.grow, remote, 4 * 1024 * 1024)
print("there", ok, tostring(err):match "[^\n]*")

-- Both are in order.
print("small", #remote:grow(1000))
remote.stop = true
process:join()

-- And now without a pcall.
store:grow(4 * 1024 * 1024)
