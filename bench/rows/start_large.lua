-- The same as start.lua from a process that holds many tables, whose pages a fork shares.
local start = require "bench.rows.start"

local TABLES = 1000000

return function(group)
  group.title = "A process, from one with a million tables"
  group.rounds = 10
  group.ballast = {}
  for i = 1, group.quick and TABLES / 100 or TABLES do
    group.ballast[i] = { i }
  end
  start(group)
  group.chart = false
end
