-- What specs of proxies set up before each test and take down after it.
--
--   local object, proxy
--   before_each(function() object, proxy = fixture.open(fixture.counter()) end)
--   after_each(fixture.close)
local assert = require "luassert"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local fixture = {}

local proxy, server -- of the test that is open

--- Opens a test: guards it against hanging, and makes a proxy. Returns the object and the proxy.
function fixture.open(object, options)
  wait.guard()
  proxy = remoteobj.Proxy(object, options)
  return object, proxy
end

--- Starts a process that listens for the proxy until the test is closed; returns it. Parameters as of processes.serve.
function fixture.serve(func, listen_options, prepare)
  server = processes.serve(proxy, func, listen_options, prepare)
  return server
end

local function stop()
  if server then
    server:stop()
  end
  if proxy then
    proxy:stop_listen_()
  end
end

--- Closes the test, whatever has become of it; raises the error of its server, if there is one.
function fixture.close()
  local ok, problem = pcall(stop)
  proxy, server = nil, nil
  processes.cleanup()
  wait.unguard()
  assert(ok, problem)
end

--- An object that counts, and does what else clients ask for most.
function fixture.counter()
  local object = { count = 0 }
  function object.add(self, by)
    self.count = self.count + (by or 1)
    return self.count
  end
  function object.echo(_, ...) return ... end
  function object.pid() return unistd.getpid() end
  function object.sleep(_, seconds)
    remoteobj.sleep(seconds)
    return "slept"
  end
  return object
end

--- Counts through the proxy of a counter from 1 to `last`: every request is answered, once and in order.
function fixture.count_to(last, counter)
  for i = 1, last do
    assert.equal(i, counter:add())
  end
end

return fixture
