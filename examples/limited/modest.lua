-- Comes after one that wanted too much, and finds everything in order.
local remoteobj = require "remoteobj"

local process = remoteobj.process(function(a, b)
  return a + b
end, 40, 2):start()
process:join()
print("modest", process.result)
