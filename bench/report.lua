-- Where the results go.
local chart = require "bench.chart"
local json = require "bench.json"
local listing = require "bench.listing"

local function write(name, text)
  local file <close> = assert(io.open(name, "w"))
  assert(file:write(text))
end

--- Prints the table, and writes results.json and results.svg into the folder.
return function(folder, run)
  io.stdout:write(listing(run))
  write(folder .. "/results.json", json.pretty(run))
  write(folder .. "/results.svg", chart(run))
end
