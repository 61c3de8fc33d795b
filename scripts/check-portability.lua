-- Uses each part of the library that depends on the system, without any other module. A moment's work, for machines and
-- C libraries on which the specs don't run.
local remoteobj = require "remoteobj"

local object = { count = 0 }
function object:inc(n)
  self.count = self.count + n
  return self.count
end
function object.echo(_, ...)
  return ...
end

local proxy = remoteobj.Proxy(object)

local function serve(options)
  local _ <close> = proxy:listen_(options)
  while not object.stop do
    if options.bg then
      object.spins = (object.spins or 0) + 1 -- busy: requests interrupt it
    else
      proxy:poll(60)
    end
  end
  return object.count
end

-- Requests, in the background and by hand; large ones; the end of a listener, and another after it.
for _, background in ipairs { true, false } do
  local process = remoteobj.process(serve, { bg = background }):start()
  assert(proxy:wait_until_listening(process, { timeout = 60 }))
  for i = 1, 100 do
    assert(proxy:inc(1) == i)
  end
  local large = ("x"):rep(5000000)
  assert(proxy:echo(large) == large)
  proxy.stop = true
  assert(process:join(60) and process.result == 100)
end

-- A listener that is killed is missed at once.
do
  local process = remoteobj.process(serve, { bg = false }):start()
  assert(proxy:wait_until_listening(process, { timeout = 60 }))
  assert(process:kill())
  local ok, err = pcall(proxy.inc, 1)
  assert(not ok and (err.kind == "NotListening" or err.kind == "Disconnected"), tostring(err))
  assert(process:join(60) and process.exitcode == -9)
end

-- Results, yields and errors of processes; records that outlive their recorder.
do
  local process = remoteobj.process(function(from)
    for i = from, 1, -1 do
      coroutine.yield(i)
    end
    return ("y"):rep(3000000)
  end, 3):start()
  local sum = 0
  for i in process:iter() do
    sum = sum + i
  end
  assert(process:join(60) and sum == 6 and #process:results() == 3000000)
  local exc = remoteobj.Except()
  process = remoteobj.process(function()
    exc "work"(error, "worn out")
  end):start()
  assert(not pcall(process.join, process, 60))
  assert(#exc == 1 and tostring(exc:get "work"):match "worn out", #exc)
end

-- A daemon ends with its parent, also one that is busy.
do
  local parent = remoteobj.process(function()
    coroutine.yield(remoteobj.process(function()
      while true do
      end
    end):start().pid)
    remoteobj.sleep(60)
  end):start()
  local pid = parent:iter()()
  assert(pid > 0 and parent:kill())
  pcall(parent.join, parent, 60)
  local limit = os.time() + 30
  while os.execute(("kill -0 %d 2>/dev/null"):format(pid)) and os.time() < limit do
    local stat <close> = io.open(("/proc/%d/stat"):format(pid))
    if stat and stat:read "a":match "%) Z" then
      break -- ended, and nobody has waited for it
    end
    remoteobj.sleep(0.01)
  end
  assert(os.time() < limit, "the daemon outlives its parent")
end

print "all of it works"
