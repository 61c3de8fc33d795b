-- The state of the analysis: is fed with every sample, and answers questions about all of them in the background.
local remoteobj = require "remoteobj"

local Summary = {}
Summary.__index = Summary

local summary = setmetatable({ count = 0, sum = 0, least = math.huge, most = -math.huge }, Summary)

function Summary:text()
  return ("%d samples from %.1f to %.1f, mean %.1f"):format(self.count, self.least, self.most, self.sum / self.count)
end

function feed(samples)
  for _, value in ipairs(samples) do
    summary.count = summary.count + 1
    summary.sum = summary.sum + value
    summary.least = math.min(summary.least, value)
    summary.most = math.max(summary.most, value)
  end
end

local EVERY = 50 -- samples

local proxy = remoteobj.Proxy(summary, { default = false })

-- A process that watches from outside. When the host ends, the proxy gives its default.
local function monitor()
  local shown = 0
  while true do
    local count = proxy.count.__
    if not count then
      return
    elseif count >= shown + EVERY then
      shown = count
      print("monitor: " .. proxy:text())
    end
    remoteobj.sleep(0.02)
  end
end

proxy:listen_()
remoteobj.process(monitor):start()
