-- pack and unpack against the MessagePack and JSON of others.
local remoteobj = require "remoteobj"

local function list(n, item)
  local items = {}
  for i = 1, n do
    items[i] = item(i)
  end
  return items
end

local function record(i)
  return { id = i, name = "record " .. i, price = i * 0.25 + 0.1, sold = i % 2 == 0, tags = { "new", "small" } }
end

local function tree(depth)
  return { depth = depth, name = "node", children = depth > 0 and { tree(depth - 1), tree(depth - 1) } or {} }
end

-- cmsgpack gives up tables that are nested more than 16 deep: these are 15.
local function nested()
  return tree(7)
end

local function data_sets(group)
  local part = group.quick and 0.01 or 1
  local random = math.random
  math.randomseed(1)
  return {
    { "records", "20,000 records", list(20000 * part, record) },
    { "integers", "a million integers", list(1000000 * part, function() return random(-2 ^ 31 | 0, 2 ^ 31 | 0) end) },
    { "floats", "a million floats", list(1000000 * part, function() return random() end) },
    { "strings", "1,000 strings of 10 kB", list(1000 * part, function(i) return ("%05d"):format(i):rep(2000) end) },
    { "nested", "100 nested tables", list(100 * part, nested) },
  }
end

local function by_ours(data)
  return remoteobj.unpack(remoteobj.pack(data))
end

return function(group)
  group.title = "pack and unpack"
  group.chart = true
  local cmsgpack, cjson = group.module "cmsgpack", group.module "cjson"
  local others = {
    { "cmsgpack", cmsgpack and function(data) return cmsgpack.unpack(cmsgpack.pack(data)) end, at_most = 0.8 },
    { "cjson", cjson and function(data) return cjson.decode(cjson.encode(data)) end },
  }

  local function measure(name, what, travel, data)
    group:time(name, what, function(n)
      for _ = 1, n do
        travel(data)
      end
    end)
  end

  for _, set in ipairs(data_sets(group)) do
    local name, what, data = table.unpack(set)
    measure(name, what, by_ours, data)
    for _, other in ipairs(others) do
      local full = name .. " " .. other[1]
      if other[2] then
        measure(full, other[1], other[2], data)
      else
        group:missing(full, other[1], other[1] .. " is not here")
      end
      group:row { name, per = full, at_most = other.at_most }
    end
  end
end
