-- JSON, as far as the benchmark needs it: results are written with it, and the processes of the benchmark speak it.
local json = {}

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local function number(value)
  if value ~= value or value == math.huge or value == -math.huge then
    return "null"
  end
  return math.type(value) == "integer" and tostring(value) or ("%.9g"):format(value)
end

local function sorted_keys(object)
  local keys = {}
  for key in pairs(object) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local encode

-- Nested values stand on lines of their own where `indent` is given; a list of scalars on one.
local function join(open, parts, close, indent)
  if not indent or #parts == 0 then
    return open .. table.concat(parts, ",") .. close
  end
  return ("%s\n%s  %s\n%s%s"):format(open, indent, table.concat(parts, ",\n  " .. indent), indent, close)
end

local function array(list, indent)
  local parts, flat = {}, true
  for i, value in ipairs(list) do
    parts[i] = encode(value, indent and indent .. "  ")
    flat = flat and type(value) ~= "table"
  end
  return join("[", parts, "]", not flat and indent or nil)
end

local function object(map, indent)
  local parts = {}
  for i, key in ipairs(sorted_keys(map)) do
    parts[i] = quote(key) .. ":" .. (indent and " " or "") .. encode(map[key], indent and indent .. "  ")
  end
  return join("{", parts, "}", indent)
end

function encode(value, indent)
  if type(value) == "table" then
    return (value[1] ~= nil or next(value) == nil) and array(value, indent) or object(value, indent)
  elseif type(value) == "string" then
    return quote(value)
  elseif type(value) == "number" then
    return number(value)
  end
  return value == nil and "null" or tostring(value)
end

--- JSON of a tree of plain values, in one line. An empty table is an empty list.
function json.encode(value)
  return encode(value)
end

--- The same for readers: indented, keys in order.
function json.pretty(value)
  return encode(value, "") .. "\n"
end

local UNESCAPED = { n = "\n", r = "\r", t = "\t", b = "\b", f = "\f" }
local decode

local function skip(text, at)
  return text:find("[^ \t\r\n]", at) or error("JSON ends too soon", 0)
end

local function decode_string(text, at)
  local stop = at
  repeat
    stop = assert(text:find('["\\]', stop + 1), "JSON: a string has no end")
    local escape = text:sub(stop, stop) == "\\"
    stop = escape and stop + 1 or stop
  until not escape
  local value = text:sub(at + 1, stop - 1)
  value = value:gsub("\\u(%x%x%x%x)", function(hex)
    return utf8.char(tonumber(hex, 16))
  end)
  return value:gsub("\\(.)", function(char)
    return UNESCAPED[char] or char
  end), stop + 1
end

-- Reads items until `close`; `read` reads one at a place and returns the place behind it.
local function items(text, at, close, read)
  at = skip(text, at + 1)
  while text:sub(at, at) ~= close do
    at = skip(text, read(at))
    if text:sub(at, at) == "," then
      at = skip(text, at + 1)
    end
  end
  return at + 1
end

local function decode_array(text, at)
  local list, n = {}, 0
  return list, items(text, at, "]", function(place)
    n = n + 1
    list[n], place = decode(text, place)
    return place
  end)
end

local function decode_object(text, at)
  local map = {}
  return map, items(text, at, "}", function(place)
    local key
    key, place = decode_string(text, place)
    map[key], place = decode(text, skip(text, skip(text, place) + 1))
    return place
  end)
end

local WORDS = { ["true"] = true, ["false"] = false }

function decode(text, at)
  local first = text:sub(at, at)
  if first == "{" then
    return decode_object(text, at)
  elseif first == "[" then
    return decode_array(text, at)
  elseif first == '"' then
    return decode_string(text, at)
  end
  local word = text:match("^[%w+.-]+", at) or error("JSON: what is at " .. at .. "?", 0)
  local value = WORDS[word]
  if value == nil then
    value = math.tointeger(word) or tonumber(word)
  end
  return value, at + #word
end

--- The value that JSON stands for; null is nil.
function json.decode(text)
  return (decode(text, skip(text, 1)))
end

return json
