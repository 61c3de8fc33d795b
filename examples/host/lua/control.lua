-- The state of the scripts: what they see of the instrument, and the processes that they run in. The host's event loop
-- serves their requests, so that no method may wait: scripts wait in their own processes.
local instrument = require "instrument"
local remoteobj = require "remoteobj"

local Instrument = {}
Instrument.__index = Instrument

function Instrument:count()
  return instrument.count()
end

function Instrument:rate()
  return instrument.rate()
end

function Instrument:set_rate(rate)
  instrument.set_rate(rate)
  return self
end

function Instrument:latest(n)
  return instrument.latest(n)
end

proxy = remoteobj.Proxy(setmetatable({}, Instrument))
proxy:listen_ { bg = false }

local workers, failures = {}, 0

local function work(file)
  local env = setmetatable({ instrument = proxy }, { __index = _G })
  assert(loadfile(file, "t", env))()
end

-- Starts a script in a process of its own. The file's name must not be the way to a result, but to a report.
function start(file)
  local name = file:match "[^/]*$"
  local worker = remoteobj.process { work, file, name_ = name, raises_ = false, results_ = false }
  workers[#workers + 1] = worker:start()
  print(("host: %s is process %d"):format(name, worker.pid))
end

local function report(worker)
  local ok, problem = pcall(worker.raise_any, worker)
  if ok then
    print(("host: %s has ended"):format(worker.name))
  else
    failures = failures + 1
    print(("host: %s has failed: %s"):format(worker.name, tostring(problem):match "[^\n]*"))
  end
end

-- Called when a child has ended, whichever it was: how many scripts still run, and how many have failed.
function look_after()
  for i = #workers, 1, -1 do
    if workers[i]:join(0) then
      report(table.remove(workers, i))
    end
  end
  return #workers, failures
end

-- Ends what still runs.
function finish()
  for _, worker in ipairs(workers) do
    worker:terminate()
    if not worker:join(5) then
      worker:kill()
      worker:join()
    end
  end
  proxy:stop_listen_()
end
