-- JSON: results are written with it, and the processes of the benchmark speak it.
local dkjson = require "dkjson"

local json = {}

local function collect_keys(value, keys)
  for key, part in pairs(value) do
    keys[key] = true
    if type(part) == "table" then
      collect_keys(part, keys)
    end
  end
  return keys
end

local function names_of(tree)
  local names = {}
  for key in pairs(collect_keys(tree, {})) do
    if type(key) == "string" then
      names[#names + 1] = key
    end
  end
  table.sort(names)
  return names
end

--- JSON of a tree of plain values, in one line. An empty table is an empty list.
function json.encode(tree)
  return dkjson.encode(tree)
end

--- The same for readers: indented, keys in order.
function json.pretty(tree)
  return dkjson.encode(tree, { indent = true, keyorder = names_of(tree) }) .. "\n"
end

--- The tree that JSON stands for; null is nil.
function json.decode(text)
  local tree, _, problem = dkjson.decode(text, 1, nil, nil, nil)
  return problem and error(problem, 0) or tree
end

return json
