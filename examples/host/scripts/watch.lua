-- Measures faster for a while, and shows what came of it. `instrument` is in the host.
local remoteobj = require "remoteobj"

local before = instrument:rate()
instrument:set_rate(500)

local goal = instrument:count() + 50
while instrument:count() < goal do
  remoteobj.sleep(0.01)
end

local sum = 0
for _, value in ipairs(instrument:latest(50)) do
  sum = sum + value
end
instrument:set_rate(before)
print(("watch: 50 samples, mean %.1f"):format(sum / 50))
