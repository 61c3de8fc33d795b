-- Memory of both sides before and after many calls, views and yields.
--
-- BENCH_MEMORY_CALLS: how many of each, instead of a million.
local listeners = require "bench.listeners"
local remoteobj = require "remoteobj"

local CALLS = math.tointeger(os.getenv "BENCH_MEMORY_CALLS") or 1000000

-- Bytes that Lua holds in this process, and those that the process has in memory.
local function held()
  collectgarbage()
  collectgarbage()
  local file <close> = assert(io.open "/proc/self/status")
  return math.floor(collectgarbage "count" * 1024), 1024 * file:read("a"):match "VmRSS:%s*(%d+)"
end

-- Runs warm(), then work(); `other` is the other side's `held`. Returns by how much the side that grew more has
-- grown: in Lua, and in all.
local function growth(other, warm, work)
  warm()
  local lua, all = held()
  local other_lua, other_all = other()
  work()
  local lua_after, all_after = held()
  local other_lua_after, other_all_after = other()
  return math.max(lua_after - lua, other_lua_after - other_lua), math.max(all_after - all, other_all_after - other_all)
end

local function repeated(n, operation)
  return function()
    for _ = 1, n do
      operation()
    end
  end
end

-- Growth by n operations on a proxy.
local function growth_of(remote, n, operation)
  return growth(function()
    return remote:passto(held)
  end, repeated(n // 10, operation), repeated(n, operation))
end

-- Growth by n yields of a process.
local function growth_of_yields(n)
  local function yield(count)
    for i = 1, count do
      coroutine.yield(i)
    end
  end
  local process <close> = remoteobj.process(function()
    yield(n // 10)
    coroutine.yield(held())
    yield(n)
    coroutine.yield(held())
  end):start()
  local values = process:iter()
  return growth(values, repeated(n // 10, values), repeated(n, values))
end

return function(group)
  local n = group.quick and 1000 or CALLS
  group.title = ("Growth of memory, the side that grew more, after %d"):format(n)
  group.rounds = 1
  local remote = listeners.asleep { a = { b = 1 } }

  local function compare(name, grow)
    local all
    group:figure(name, name .. ", in Lua", "B", function()
      local lua
      lua, all = grow()
      return lua
    end)
    group:figure(name .. " all", name .. ", resident", "B", function()
      return all
    end)
    group:row { name, at_most = 2 ^ 20 }
    group:row { name .. " all", at_most = 2 ^ 20 }
  end

  compare("calls", function()
    return growth_of(remote, n, function()
      remote:add(1)
    end)
  end)
  compare("views", function()
    return growth_of(remote, n, function()
      local _ = remote.a.b.__
    end)
  end)
  compare("yields", function()
    return growth_of_yields(n)
  end)
end
