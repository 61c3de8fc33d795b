-- A driver of a device that crashes now and then, and a supervisor that starts it again. The client here goes on as if
-- nothing had happened: where there is no reading, it gets the default.
local remoteobj = require "remoteobj"

local Driver = {}
Driver.__index = Driver

-- A reading of the device, which the driver stands only so often.
function Driver:read()
  self.readings = self.readings + 1
  if self.readings > 4 then
    remoteobj.util.segfault()
  end
  return 20 + self.readings / 10
end

local driver = setmetatable({ readings = 0 }, Driver)
local remote = remoteobj.Proxy(driver, { default = "no reading" })

local function run()
  local _ <close> = remote:listen_ { bg = false }
  while true do
    remote:poll(60)
  end
end

-- Runs in a process of its own: has the driver in another one, for ever.
local function supervise()
  while true do
    local process = remoteobj.process { run, name_ = "driver" }
    local _, err = pcall(process.join, process:start())
    print((err.message:gsub("%(pid %d+%)", "(which is started again)")))
  end
end

local supervisor = remoteobj.process(supervise):start()
remote:wait_until_listening(supervisor)

local good, lost = 0, 0
while good < 12 do
  local reading = remote:read()
  if reading == "no reading" then
    lost = lost + 1
    remote:wait_until_listening(supervisor) -- or look after something else meanwhile
  else
    good = good + 1
    print(reading)
  end
end
print(("%d readings, %d without an answer"):format(good, lost))
supervisor:terminate()
