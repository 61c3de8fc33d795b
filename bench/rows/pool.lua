-- Tasks of a pool: how much of the work two processors do at the same time, and what a task costs besides the work.
local listeners = require "bench.listeners"
local remoteobj = require "remoteobj"

local TASKS = 1000

-- Work of a third of a millisecond or so.
local function compute(seed)
  local x = seed
  for _ = 1, 50000 do
    x = (x * 1103515245 + 12345) % 2147483648
  end
  return x
end

local function nothing(x)
  return x
end

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

return function(group)
  group.title = "A pool of two workers"
  group.rounds = 9 -- a map lasts longer than a slice
  local pool = remoteobj.pool(2)
  local remote = listeners.asleep()
  local list = numbers(group.quick and 10 or TASKS)

  group:time("map", ("pool:map of %d tasks that compute"):format(#list), function(n)
    for _ = 1, n do
      pool:map(compute, list)
    end
  end)
  group:time("serial", "the same one after the other", function(n)
    for _ = 1, n do
      for _, seed in ipairs(list) do
        compute(seed)
      end
    end
  end)
  group:time("task", "a task that does nothing, by pool:map", function(n)
    pool:map(nothing, numbers(n))
  end)
  group:time("submitted", "the same, by pool:submit", function(n)
    local futures = {}
    for i = 1, n do
      futures[i] = pool:submit(nothing, i)
    end
    remoteobj.wait(futures)
  end)
  group:time("call", "p:method()", function(n)
    for _ = 1, n do
      remote:add(1)
    end
  end)

  group:row { "map", per = "serial", at_most = 0.55 }
  group:row { "task", per = "call", at_most = 2 }
  group:row { "submitted", per = "call" }
end
