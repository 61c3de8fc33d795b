-- Watches for ever, and tells when the last sample has crossed a limit. The host ends it.
local remoteobj = require "remoteobj"

local LIMIT = 20
local above

print "alarm: watching"
while true do
  local value = instrument:latest(1)[1]
  if value and (value > LIMIT) ~= above then
    above = value > LIMIT
    print(("alarm: %.1f is %s %d"):format(value, above and "above" or "not above", LIMIT))
  end
  remoteobj.sleep(0.01)
end
