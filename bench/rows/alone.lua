-- A Lua program that uses no threads and no listeners, with the library loaded and without it. The plain one makes no
-- garbage, so that its time does not depend on how the collector's cycles happen to fall.
local function step(list, i)
  list[i] = (list[i] + i) % 1000
  return math.max(list[i], i)
end

local function plain(n)
  local list, sum = {}, 0
  for i = 1, 100 do
    list[i] = i
  end
  for _ = 1, n do
    for i = 1, 100 do
      sum = (sum + step(list, i)) % 1000
    end
  end
end

local function generator()
  for i = 1, 100 do
    coroutine.yield(i)
  end
end

local function coroutines(n)
  for _ = 1, n do
    local next_value = coroutine.wrap(generator)
    while next_value() do -- luacheck: ignore 542
    end
  end
end

return function(group)
  group.title = "A local program, no threads, no listener: does the library cost anything"
  local works = {
    { "plain", "100 turns of a plain loop", plain },
    { "coroutines", "100 switches between coroutines", coroutines },
  }
  for _, entry in ipairs(works) do
    local name, what, work = entry[1], entry[2], group.by_processor_time(entry[3])
    group:forked(name, what .. ", library loaded", function()
      require "remoteobj"
      return work
    end)
    group:forked(name .. " without", what, function()
      return work
    end)
    group:row { name, per = name .. " without", at_most = 1 }
  end
end
