-- For the specs of values: comparing what went in with what came out, and random values.

local values = {}

function values.hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x "):format(c:byte()) end):gsub(" $", ""))
end

function values.bytes(hex)
  return (hex:gsub("%s+", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function same_plain(a, b)
  if math.type(a) ~= math.type(b) then return false end
  if a ~= a then return b ~= b end
  if a == 0 and math.type(a) == "float" then return b == 0 and 1 / a == 1 / b end
  return a == b
end

-- Are two values alike: types of numbers, metatables, and which tables are the same table
-- included. Iterative, so that depth does not matter. Keys are plain.
function values.same(a, b)
  local pending, twin, back = { { a, b } }, {}, {}
  while #pending > 0 do
    local pair = table.remove(pending)
    a, b = pair[1], pair[2]
    if type(a) ~= "table" or type(b) ~= "table" then
      if not same_plain(a, b) then return false, ("%s became %s"):format(a, b) end
    elseif twin[a] or back[b] then
      if twin[a] ~= b or back[b] ~= a then return false, "tables are shared in another way" end
    else
      if getmetatable(a) ~= getmetatable(b) then return false, "another metatable" end
      twin[a], back[b] = b, a
      for key in next, b do
        if rawget(a, key) == nil then return false, ("key %s was added"):format(key) end
      end
      for key, value in next, a do
        pending[#pending + 1] = { value, rawget(b, key) }
      end
    end
  end
  return true
end

local function random_string(random)
  local length = random(8) == 1 and random(0, 70000) or random(0, 40)
  if random(2) == 1 then return ("x"):rep(length) end
  local bytes = {}
  for i = 1, math.min(length, 300) do bytes[i] = string.char(random(0, 255)) end
  return table.concat(bytes)
end

local integers = { 0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2 ^ 32 | 0, (2 ^ 32 | 0) - 1, math.maxinteger,
  math.mininteger, -32, -33, -128, -129, -32768, -32769, -(2 ^ 31 | 0), -(2 ^ 31 | 0) - 1 }
local floats = { 0.0, -0.0, 1.0, -1.5, 0.1, 1e308, 5e-324, math.huge, -math.huge, 0 / 0, 2.0 ^ 53, 2.0 ^ 63 }

local function random_plain(random)
  local kind = random(6)
  if kind == 1 then return random(2) == 1 end
  if kind == 2 then return integers[random(#integers)] end
  if kind == 3 then return random(math.mininteger, math.maxinteger) >> random(0, 63) end
  if kind == 4 then return floats[random(#floats)] end
  if kind == 5 then return (random(0, 1000000) - 500000) / 7 end
  return random_string(random)
end

-- A random value of tables with random sharing; `random` is math.random or of its kind.
function values.random(random)
  local tables, budget = {}, random(200)
  local function value(depth)
    budget = budget - 1
    if depth > 30 or budget < 0 or random(3) == 1 then return random_plain(random) end
    if #tables > 0 and random(10) == 1 then return tables[random(#tables)] end
    local t = {}
    tables[#tables + 1] = t
    local shape = random(4)
    if shape <= 2 then
      for i = 1, random(0, 20) do t[i] = value(depth + 1) end
    end
    if shape >= 2 then
      for _ = 1, random(0, 20) do
        local key = random_plain(random)
        if key == key then t[key] = value(depth + 1) end
      end
    end
    return t
  end
  return value(0)
end

return values
