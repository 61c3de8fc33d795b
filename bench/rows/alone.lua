-- A Lua program that uses no threads and no listeners, with the library loaded and without it.
local function plain(n)
  local words = {}
  for i = 1, n * 100 do
    words[i % 100 + 1] = ("%d"):format(i):rep(2)
  end
  assert(#words == 100)
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
    local name, what, work = table.unpack(entry)
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
