-- Values to bytes and back: remoteobj.pack, unpack and register.

local remoteobj = require "remoteobj"
local values = require "spec.support.codec_values"
local classes = require "spec.support.codec_classes"
local script = require "spec.support.script"

local pack, unpack = remoteobj.pack, remoteobj.unpack
local hex, bytes = values.hex, values.bytes

local function copy(value, options)
  return (unpack(pack(value), options))
end

local code = { code = true }

-- The error of kind `kind` that func(...) raises; its message matches `pattern`.
local function fails(kind, pattern, func, ...)
  local ok, err = pcall(func, ...)
  assert(not ok, "no error was raised")
  assert(getmetatable(err) == remoteobj.Error, "another error: " .. tostring(err))
  assert.equal(kind, err.kind)
  assert(err.message:find(pattern), ("%q does not match %q"):format(err.message, pattern))
  assert.equal(err.message, tostring(err))
  return err
end

local function unsendable(pattern, ...)
  return fails("Unsendable", pattern, pack, ...)
end

local function misused(pattern, func, ...)
  local ok, err = pcall(func, ...)
  assert(not ok, "no error was raised")
  assert.equal("string", type(err))
  assert(err:find(pattern), ("%q does not match %q"):format(err, pattern))
end

-- A value within `depth` arrays; a list of `length` nodes.
local function nest(depth, value)
  for _ = 1, depth do value = { value } end
  return value
end

local function list(length)
  local node
  for i = length, 1, -1 do node = { value = i, next = node } end
  return node
end

describe("plain values", function()
  local vectors = {
    { nil, "c0" }, { false, "c2" }, { true, "c3" },
    { 0, "00" }, { 127, "7f" }, { 128, "cc 80" }, { 255, "cc ff" }, { 256, "cd 01 00" }, { 65535, "cd ff ff" },
    { 65536, "ce 00 01 00 00" }, { 4294967295, "ce ff ff ff ff" }, { 4294967296, "cf 00 00 00 01 00 00 00 00" },
    { math.maxinteger, "cf 7f ff ff ff ff ff ff ff" },
    { -1, "ff" }, { -32, "e0" }, { -33, "d0 df" }, { -128, "d0 80" }, { -129, "d1 ff 7f" }, { -32768, "d1 80 00" },
    { -32769, "d2 ff ff 7f ff" }, { -2147483648, "d2 80 00 00 00" },
    { -2147483649, "d3 ff ff ff ff 7f ff ff ff" }, { math.mininteger, "d3 80 00 00 00 00 00 00 00" },
    { 0.0, "cb 00 00 00 00 00 00 00 00" }, { -0.0, "cb 80 00 00 00 00 00 00 00" },
    { 1.0, "cb 3f f0 00 00 00 00 00 00" }, { -1.5, "cb bf f8 00 00 00 00 00 00" },
    { math.huge, "cb 7f f0 00 00 00 00 00 00" }, { -math.huge, "cb ff f0 00 00 00 00 00 00" },
    { "", "a0" }, { "abc", "a3 61 62 63" }, { "\u{20ac}", "a3 e2 82 ac" }, { "\xff", "c4 01 ff" },
    { {}, "90" }, { { 1, 2, 3 }, "93 01 02 03" }, { { a = 1 }, "81 a1 61 01" }, { { [2] = true }, "81 02 c3" },
    { { { {} } }, "91 91 90" }, { { [1.5] = "x" }, "81 cb 3f f8 00 00 00 00 00 00 a1 78" },
    { { [true] = false }, "81 c3 c2" },
  }

  it("have the encodings of MessagePack, integers in the smallest form", function()
    for i = 1, #vectors do
      assert.equal(vectors[i][2], hex(pack(vectors[i][1])))
      assert(values.same(vectors[i][1], (unpack(bytes(vectors[i][2])))))
    end
  end)

  it("keep integers and floats apart, and every bit of them", function()
    for _, v in ipairs { 0, 1, -1, 1.0, 0.1, 2 ^ 53, math.maxinteger, math.mininteger, 3.0e300, 5e-324 } do
      assert.equal(math.type(v), math.type(copy(v)))
      assert.equal(v, copy(v))
    end
    assert.equal(-math.huge, 1 / copy(-0.0))
    local nan = copy(0 / 0)
    assert(nan ~= nan)
  end)

  it("keep strings of any length and content", function()
    for _, size in ipairs { 0, 1, 31, 32, 255, 256, 65535, 65536, 1048576 } do
      for _, filler in ipairs { "a", "\0", "\xff", "\u{e9}" } do
        local s = filler:rep(size)
        assert(copy(s) == s)
      end
    end
  end)

  it("are text where they are valid UTF-8, else bytes", function()
    local text = { "", "plain", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}", ("a"):rep(40) .. "\u{e9}" }
    local binary = { "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3", ("a"):rep(40) .. "\xc3", "\xe2\x82a", "\xff",
      ("a"):rep(300) .. "\xfe" }
    for _, s in ipairs(text) do
      assert(not pack(s):find("^[\xc4-\xc6]"), s)
      assert.equal(s, copy(s))
    end
    for _, s in ipairs(binary) do
      assert(pack(s):find("^[\xc4-\xc6]"), s)
      assert.equal(s, copy(s))
    end
  end)

  it("can be several, whose encodings are concatenated", function()
    assert.equal("", pack())
    assert.equal(0, select("#", unpack("")))
    assert.equal(pack(1) .. pack("a") .. pack(nil), pack(1, "a", nil))
    local t = table.pack(unpack(pack(nil, 1, { 2 }, nil)))
    assert.equal(4, t.n)
    assert.same({ nil, 1, { 2 } }, { t[1], t[2], t[3] })
    local many = {}
    for i = 1, 5000 do many[i] = i end
    assert.same(many, { unpack(pack(table.unpack(many))) })
  end)
end)

describe("encodings of other libraries", function()
  it("are read in every form", function()
    local vectors = {
      { "cc 05", 5 }, { "cd 00 05", 5 }, { "ce 00 00 00 05", 5 }, { "cf 00 00 00 00 00 00 00 05", 5 },
      { "d0 05", 5 }, { "d1 00 05", 5 }, { "d2 00 00 00 05", 5 }, { "d3 ff ff ff ff ff ff ff fb", -5 },
      { "ca 3f c0 00 00", 1.5 }, { "ca ff 80 00 00", -math.huge }, { "d9 01 61", "a" }, { "da 00 01 61", "a" },
      { "db 00 00 00 01 61", "a" }, { "c4 01 61", "a" }, { "c5 00 01 61", "a" }, { "c6 00 00 00 01 61", "a" },
      { "dc 00 01 05", { 5 } }, { "dd 00 00 00 01 05", { 5 } }, { "de 00 01 a1 61 05", { a = 5 } },
      { "df 00 00 00 01 a1 61 05", { a = 5 } }, { "80", {} }, { "cf 7f ff ff ff ff ff ff ff", math.maxinteger },
    }
    for _, vector in ipairs(vectors) do
      assert(values.same(vector[2], (unpack(bytes(vector[1])))), vector[1])
    end
  end)

  -- Heads of the forms that hold a length, from the shortest on: the most that each holds, and its bytes for n.
  local function form(most, tag, width)
    return { most = most, head = function(n) return width and (">B" .. width):pack(tag, n) or string.char(tag + n) end }
  end
  local forms = {
    text = { form(31, 0xa0), form(255, 0xd9, "I1"), form(65535, 0xda, "I2"), form(1 << 32, 0xdb, "I4") },
    binary = { form(255, 0xc4, "I1"), form(65535, 0xc5, "I2"), form(1 << 32, 0xc6, "I4") },
    array = { form(15, 0x90), form(65535, 0xdc, "I2"), form(1 << 32, 0xdd, "I4") },
    map = { form(15, 0x80), form(65535, 0xde, "I2"), form(1 << 32, 0xdf, "I4") },
  }
  -- A value of each family with n parts, and the bytes of the parts.
  local makers = {
    text = function(n) return ("a"):rep(n), ("a"):rep(n) end,
    binary = function(n) return ("\xff"):rep(n), ("\xff"):rep(n) end,
    array = function(n)
      local array = {}
      for i = 1, n do array[i] = 5 end
      return array, ("\5"):rep(n)
    end,
    map = function(n)
      local map, parts = {}, {}
      for i = 1, n do
        map[-i] = true
        parts[i] = pack(-i) .. "\xc3"
      end
      return map, table.concat(parts)
    end,
  }

  for family, its_forms in pairs(forms) do
    it("are read in every form that has room, and written in the shortest, " .. family, function()
      for _, n in ipairs { 0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536 } do
        local value, parts = makers[family](n)
        local shortest
        for _, f in ipairs(its_forms) do
          if n <= f.most then
            shortest = shortest or f
            local read = unpack(f.head(n) .. parts)
            assert(values.same(value, read), ("%s of %d"):format(family, n))
          end
        end
        local written = family == "map" and n > 15 and its_forms[3] or shortest -- see docs/wire-format.md
        if n > 0 or family == "text" or family == "array" then -- else it is an empty text or array
          assert(pack(value):sub(1, #written.head(n)) == written.head(n), ("%s of %d"):format(family, n))
        end
      end
    end)
  end

  it("with extensions of types that are not known are refused by their types, in every form", function()
    for _, kind in ipairs { 0, 8, 15, 22, 127, -2, -128 } do
      local byte = string.char(kind & 0xff)
      local encodings = { "\xc7\3" .. byte .. "abc", "\xc8\0\3" .. byte .. "abc", "\xc9\0\0\0\3" .. byte .. "abc" }
      for i, size in ipairs { 1, 2, 4, 8, 16 } do
        encodings[#encodings + 1] = string.char(0xd3 + i) .. byte .. ("x"):rep(size)
      end
      for _, encoding in ipairs(encodings) do
        local message = ("extension type %d is not known here"):format(kind):gsub("%-", "%%-")
        fails("Protocol", message, unpack, encoding)
        fails("Protocol", message, unpack, "\x82\1" .. encoding)
      end
    end
  end)

  it("with extensions that are known are read in every form of the right length", function()
    for _, head in ipairs { "d6", "c7 04", "c8 00 04", "c9 00 00 00 04" } do
      assert.equal(7, (unpack(bytes(head .. "ff 00 00 00 07"))))
    end
    local references = { "d4 02 01", "c7 01 02 01", "d5 02 00 01", "c8 00 02 02 00 01", "d6 02 00 00 00 01",
      "c9 00 00 00 04 02 00 00 00 01" }
    for _, reference in ipairs(references) do
      local table_in_itself = unpack(bytes("d6 01 00 00 00 01 91" .. reference))
      assert.equal(table_in_itself, table_in_itself[1])
    end
  end)

  it("with unsigned integers beyond 64 signed bits become floats", function()
    local v = unpack(bytes "cf 80 00 00 00 00 00 00 00")
    assert.equal("float", math.type(v))
    assert.equal(2.0 ^ 63, v)
    assert.equal(2.0 ^ 64, (unpack(bytes "cf ff ff ff ff ff ff ff ff")))
  end)

  it("with timestamps become seconds, whole ones integers", function()
    assert(values.same(1, (unpack(bytes "d6 ff 00 00 00 01"))))
    assert(values.same(4294967295, (unpack(bytes "d6 ff ff ff ff ff"))))
    assert(values.same(1.5, (unpack(bytes "d7 ff 77 35 94 00 00 00 00 01"))))
    assert(values.same(17179869183, (unpack(bytes "d7 ff 00 00 00 03 ff ff ff ff"))))
    assert(values.same(-1, (unpack(bytes "c7 0c ff 00 00 00 00 ff ff ff ff ff ff ff ff"))))
    assert(values.same(-0.5, (unpack(bytes "c7 0c ff 1d cd 65 00 ff ff ff ff ff ff ff ff"))))
    fails("Protocol", "offset", unpack, bytes "d5 ff 00 00")
    fails("Protocol", "offset", unpack, bytes "c7 0c ff 3b 9a ca 00 00 00 00 00 00 00 00 00")
  end)

  it("with nil in them: no entry, and no such key", function()
    assert(values.same({ b = 1 }, (unpack(bytes "82 a1 61 c0 a1 62 01"))))
    assert(values.same({ [2] = 1 }, (unpack(bytes "92 c0 01"))))
    fails("Protocol", "offset 1: expected a key, found nil", unpack, bytes "81 c0 01")
    fails("Protocol", "offset 1: expected a key, found NaN", unpack, bytes "81 cb 7f f8 00 00 00 00 00 00 01")
  end)

  local has_cmsgpack, cmsgpack = pcall(require, "cmsgpack")
  it("agree with cmsgpack, both ways", function()
    if not has_cmsgpack then
      pending "cmsgpack is not installed"
      return
    end
    local data = { 1, -1, 1.5, "text", true, false, { a = { b = { 1, 2, 3 } } }, { x = 0.1, list = { "a", "b" } } }
    for i = 1, 40 do data[#data + 1] = { id = i, name = "record " .. i, value = i / 7 } end
    data[#data + 1] = nest(10, "deep")
    assert.same(data, (cmsgpack.unpack(pack(data))))
    assert.same(data, (unpack(cmsgpack.pack(data))))
    assert.same({ 1, "two", { 3 } }, { unpack(cmsgpack.pack(1, "two", { 3 })) })
  end)
end)

describe("tables", function()
  it("are arrays when their keys are 1 to n, else maps", function()
    local function built(...)
      local t = {}
      for _, key in ipairs { ... } do t[key] = key end
      return t
    end
    assert.equal("94 01 02 03 04", hex(pack(built(4, 3, 2, 1))))
    assert.equal("93 02 01 03", hex(pack { 2, 1, 3 }))
    for _, t in ipairs { { 1, nil, 3 }, { 1, 2, x = 3 }, { x = 1, [1] = 2 }, { [0] = 0, 1, 2 },
      { [1.5] = 1, 1 }, { 1, 2, [4] = 4 }, { nil, nil, 3 }, built("x", 1), built(1, "x"), { [-1] = 1 },
      { 1, ["2"] = 2 } } do
      local first = pack(t):byte()
      assert(first & 0xf0 == 0x80, hex(pack(t)))
      assert(values.same(t, copy(t)))
    end
  end)

  it("of all lengths and shapes come back", function()
    for _, n in ipairs { 0, 1, 14, 15, 16, 17, 255, 256, 65535, 65536, 70000 } do
      local array, map, records, mixed = {}, {}, {}, { x = {} }
      for i = 1, n do
        array[i] = i * 3
        map["key " .. i] = i
        if i < 300 then records[i] = { i } end
        if i < 300 then mixed[i] = { i } end
      end
      for _, t in ipairs { array, map, records, mixed } do assert(values.same(t, copy(t)), n) end
    end
  end)

  it("keep keys of every kind", function()
    local t = { [true] = 1, [false] = 2, [1.5] = 3, [-7] = 4, [math.huge] = 5, [""] = 6, ["\xff"] = 7, [2 ^ 60] = 8 }
    for i = 1, 40 do t[i * 100] = { i } end
    assert(values.same(t, copy(t)))
    local u = copy { [{ 1 }] = { 2 }, [{ { 3 } }] = 4 }
    local seen = {}
    for key, value in pairs(u) do
      if type(value) == "table" then
        assert.same({ { 1 }, { 2 } }, { key, value })
      else
        assert.same({ { { 3 } }, 4 }, { key, value })
      end
      seen[#seen + 1] = true
    end
    assert.equal(2, #seen)
    local many = {}
    for i = 1, 30 do many[{ i }] = { i } end
    local count = 0
    for key, value in pairs(copy(many)) do
      assert.equal(key[1], value[1])
      count = count + 1
    end
    assert.equal(30, count)
  end)

  it("are read raw", function()
    local t = setmetatable({ 1, 2 }, { __index = error, __len = error, __pairs = error, __name = "raw_mt" })
    remoteobj.register(getmetatable(t), "spec.raw")
    local u = copy(t)
    assert(getmetatable(u) == getmetatable(t))
    assert.equal(2, rawlen(u))
  end)

  it("of any depth come back, and leave no trace on the stacks", function()
    for _, depth in ipairs { 1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 1000, 200000 } do
      assert(values.same(nest(depth, "core"), copy(nest(depth, "core"))), depth)
    end
    for _, length in ipairs { 10, 64, 128, 129, 500 } do
      assert(values.same(list(length), copy(list(length))), length)
    end
    local zigzag = {} -- down over the edge of a segment and up again, many times
    for i = 1, 300 do zigzag[i] = nest(i, { i }) end
    assert(values.same(nest(100, zigzag), copy(nest(100, zigzag))))
  end)

  it("that are a list of a million nodes travel", function()
    local node, count = copy(list(1000000)), 0
    while node do
      count = count + 1
      if node.value ~= count then error("node " .. count .. " is wrong") end
      node = node.next
    end
    assert.equal(1000000, count)
  end)

  it("that are a million arrays from elsewhere are read", function()
    local value, depth = unpack(("\x91"):rep(1000000) .. "\x90"), 0
    while value[1] do
      value = value[1]
      depth = depth + 1
    end
    assert.equal(1000000, depth)
  end)

  it("with keys of any depth come back", function()
    local t = "end"
    for _ = 1, 400 do t = { [{ t }] = true } end
    local u, depth = copy(t), 0
    while type(u) == "table" do
      u = next(u)[1]
      depth = depth + 1
    end
    assert.equal(400, depth)
  end)

  it("take time in proportion to their size, however they are nested", function()
    local function steps(depth)
      local t = {}
      for _ = 1, depth do
        local outer = { deep = t }
        for i = 1, 20 do outer["k" .. i] = i end
        t = outer
      end
      local best = math.huge
      for _ = 1, 3 do
        local start = os.clock()
        assert(#pack(t) > depth)
        best = math.min(best, os.clock() - start)
      end
      return best
    end
    local small, large = steps(1000), steps(16000)
    assert(large < 100 * (small + 0.001), ("%g s became %g s"):format(small, large))
  end)
end)

describe("references", function()
  it("keep cycles and shared tables", function()
    local t = {}
    t.self = t
    local u = copy(t)
    assert(u.self == u and u ~= t)
    local shared = { 1 }
    local v = copy { shared, shared, inner = { shared }, shared }
    assert(v[1] == v[2] and v[1] == v[3] and v[1] == v.inner[1])
    local a, b = {}, {}
    a.b, b.a, a[b], b[a] = b, a, true, true
    local c = copy(a)
    assert(c.b.a == c and c[c.b] and c.b[c])
  end)

  it("leave plain trees plain", function()
    assert.equal("92 91 01 91 01", hex(pack { { 1 }, { 1 } }))
    local t = { 1 }
    assert.equal("d6 01 00 00 00 02 92 91 01 d4 02 02", hex(pack { t, t }))
  end)

  it("hold within one value of several", function()
    local t = {}
    t[1] = t
    local a, b, c = unpack(pack(t, { 5 }, t))
    assert(a[1] == a and c[1] == c and a ~= c)
    assert.same({ 5 }, b)
  end)

  it("by the thousand, with numbers of every size", function()
    local t = {}
    for i = 1, 70000 do t[i] = { i } end
    for i = 1, 70000 do t[70000 + i] = t[i] end
    local u = copy(t)
    for i = 1, 70000, 7 do assert(u[i] == u[70000 + i] and u[i][1] == i) end
  end)

  it("to nothing are damage", function()
    for _, data in ipairs { "d4 02 01", "d6 01 00 00 00 01 91 d4 02 02", "d6 01 00 00 00 01 91 d4 02 00",
      "91 d4 02 01", "91 d6 01 00 00 00 01", "d6 01 ff ff ff ff 90", "d6 01 00 00 00 01",
      "d6 01 00 00 00 01 91 c7 03 02 00 00 01" } do
      fails("Protocol", "offset", unpack, bytes(data))
    end
  end)
end)

describe("random values", function()
  it("come back", function()
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 400 do
      local value = values.random(math.random)
      local ok, why = values.same(value, copy(value))
      assert(ok, ("seed %d: %s"):format(seed, why))
    end
  end)
end)

describe("functions", function()
  it("of loaded modules and the globals travel by name", function()
    for _, f in ipairs { print, string.format, pcall, classes.Point.new, classes.Point.sum, classes.count } do
      assert(rawequal(f, copy(f, code)))
      assert(#pack(f) < 80)
    end
    local module = require "spec.support.codec_values"
    assert(rawequal(module.same, copy({ module.same }, code)[1]))
  end)

  it("that are reachable no longer travel by value", function()
    local f = function() return 5 end
    classes.passing = f
    assert(rawequal(f, copy(f, code)))
    classes.passing = nil
    local g = copy(f, code)
    assert(not rawequal(f, g))
    assert.equal(5, g())
  end)

  it("that were sent before they were reachable go on to travel by value", function()
    local f = function() return 5 end
    assert(not rawequal(f, copy(f, code)))
    classes.passing = f
    local g, h = table.unpack(copy({ f, classes.Point.sum }, code))
    classes.passing = nil
    assert(not rawequal(f, g))
    assert.equal(5, g())
    assert(rawequal(classes.Point.sum, h))
  end)

  it("travel with code and upvalues", function()
    local a, b, t = 1, "two", { 3 }
    local f = copy(function(x) return a, b, t[1], x end, code)
    assert.same({ 1, "two", 3, 4 }, { f(4) })
    local g = copy(function(...) return select("#", ...) end, code)
    assert.equal(3, g(nil, nil, nil))
  end)

  it("may be recursive, mutually too", function()
    local function factorial(n) return n <= 1 and 1 or n * factorial(n - 1) end
    assert.equal(3628800, copy(factorial, code)(10))
    local odd
    local function even(n) if n == 0 then return true end return odd(n - 1) end
    function odd(n) if n == 0 then return false end return even(n - 1) end
    assert.equal(true, copy(even, code)(100))
  end)

  it("share the upvalues that they shared, and no others", function()
    local count, other = 0, 10
    local function increment() count = count + 1 end
    local function get() return count, other end
    local u = copy({ increment, get, { increment } }, code)
    u[1]()
    u[1]()
    assert.same({ 2, 10 }, { u[2]() })
    assert(rawequal(u[1], u[3][1]))
    assert.same({ 0, 10 }, { get() })
    local f, g = unpack(pack(increment, get), code) -- two sessions
    f()
    assert.same({ 0, 10 }, { g() })
  end)

  it("share them in each of several values", function()
    local function pair()
      local n = 0
      return { function() n = n + 1 return n end, function() return n end }
    end
    local a, b = unpack(pack(pair(), pair()), code)
    a[1]()
    assert.same({ 1, 0 }, { a[2](), b[2]() })
    b[1]()
    b[1]()
    assert.same({ 1, 2 }, { a[2](), b[2]() })
  end)

  it("find the receiver's globals", function()
    local f = copy(function() return _G, print end, code)
    local g, p = f()
    assert(rawequal(_G, g) and rawequal(print, p))
    assert(rawequal(_G, copy({ _G }, code)[1]))
    local in_box = load("return function() return math, x end", "=box", "t", { x = 1 })()
    assert.same({ math, nil }, { copy(in_box, code)() })
  end)

  it("find loaded modules that are their upvalues", function()
    local module, text = classes, string
    local f = copy(function() return module, text end, code)
    local m, s = f()
    assert(rawequal(module, m) and rawequal(text, s))
    local data = copy({ spec = { Point = 1 } }, code)
    assert.same({ spec = { Point = 1 } }, data)
  end)

  it("in chains of a hundred thousand upvalues come back", function()
    local function link(inner) return function() return inner end end
    local f = link("end")
    for _ = 1, 100000 do f = link(f) end
    local g, depth = copy(f, code), 0
    while type(g) == "function" do
      g = g()
      depth = depth + 1
    end
    assert.equal("end", g)
    assert.equal(100001, depth)
  end)

  it("of C that nobody can name can't be sent", function()
    unsendable("^cannot send value: C function", coroutine.wrap(print))
    unsendable("^cannot send value%.f: C function", { f = string.gmatch("a", "a") })
  end)

  it("are handed out only on request", function()
    for _, f in ipairs { print, function() end, { { print } } } do
      fails("Protocol", "code = true", unpack, pack(f))
      fails("Protocol", "code = true", unpack, pack(f), { code = false })
    end
    fails("Protocol", "code = true", unpack, pack(_G))
    fails("Protocol", "offset", unpack, pack(function() return classes end):sub(1, -2), code)
    fails("Protocol", "code of a function", unpack, bytes "c9 00 00 00 04 06 c4 01 61 90", code)
  end)

  it("that are not known here are named in the error", function()
    classes.passing = function() end
    local s = pack(classes.passing)
    classes.passing = nil
    fails("Protocol", "function spec%.support%.codec_classes%.passing is not known here", unpack, s, code)
  end)
end)

describe("classes", function()
  it("that are fields of loaded modules are restored", function()
    local p = copy(classes.Point.new(1, 2))
    assert(getmetatable(p) == classes.Point)
    assert.equal(3, p:sum())
    local many = {}
    for i = 1, 100 do many[i] = classes.Point.new(i, many[i - 1]) end
    assert(values.same(many, copy(many)))
  end)

  it("that are globals are restored", function()
    _G.SpecGlobal = { __name = "SpecGlobal" }
    local o = copy(setmetatable({ 1 }, _G.SpecGlobal))
    assert(getmetatable(o) == _G.SpecGlobal)
    _G.SpecGlobal = nil
  end)

  it("that are registered are restored, under __name or another name", function()
    local A, B = { __name = "spec.A" }, {}
    A.__index = A
    assert(remoteobj.register(A) == A)
    remoteobj.register(A)
    remoteobj.register(B, "spec.B")
    assert(getmetatable(copy(setmetatable({}, A))) == A)
    assert(getmetatable(copy(setmetatable({}, B))) == B)
    assert(copy { class = A }.class == A, "a known class travels by name")
    assert(rawequal(copy(setmetatable({ class = A }, A)).class, A))
  end)

  it("are registered under one name each", function()
    remoteobj.register({}, "spec.taken")
    misused("another class is registered as \"spec.taken\"", remoteobj.register, {}, "spec.taken")
    misused("bad argument #1 to 'register' %(the class has no __name", remoteobj.register, {})
    misused("bad argument #1 to 'register' %(class %(a table%) expected, got string", remoteobj.register, "x")
    misused("bad argument #2 to 'register'", remoteobj.register, {}, 5)
    misused("bad argument #2 to 'register'", remoteobj.register, {}, "")
    misused("bad argument #2 to 'register'", remoteobj.register, {}, "@1")
  end)

  it("that are unknown are an error, not a loss", function()
    local foo = setmetatable({}, { __name = "Foo" })
    unsendable("^cannot send value%.x: table: unknown metatable Foo .*register", { x = foo })
    unsendable("^cannot send value: table: unknown metatable %(", setmetatable({}, { __index = function() end }))
    local gone = { __name = "spec.gone" }
    _G.SpecGone = gone
    local s = pack(setmetatable({}, gone))
    _G.SpecGone = nil
    fails("Protocol", "class _G%.SpecGone is not known here.*register", unpack, s)
    unsendable("unknown metatable spec%.gone", setmetatable({}, gone))
  end)

  it("hide behind no __metatable field", function()
    local Locked = { __name = "spec.Locked", __metatable = "locked" }
    remoteobj.register(Locked)
    assert.equal("locked", getmetatable(copy(setmetatable({}, Locked))))
  end)

  it("run none of their metamethods meanwhile", function()
    local Noisy = { __name = "spec.Noisy", __newindex = error, __index = error, __len = error, __eq = error }
    remoteobj.register(Noisy)
    local o = copy(setmetatable({ a = 1, b = { 2 } }, Noisy))
    assert.equal(1, rawget(o, "a"))
  end)

  it("with a finalizer see no half-made objects, and need code", function()
    local seen = {}
    local Final = { __name = "spec.Final", __gc = function(o) seen[#seen + 1] = rawget(o, "last") or "half" end }
    remoteobj.register(Final)
    local s = pack(setmetatable({ 1, last = "whole" }, Final))
    fails("Protocol", "__gc.*code = true", unpack, s)
    assert.equal("whole", unpack(s, code).last)
    for size = 1, #s - 1 do pcall(unpack, s:sub(1, size), code) end
    collectgarbage()
    collectgarbage()
    for _, what in ipairs(seen) do assert.equal("whole", what) end
  end)

  it("reached only by __index of another metatable are restored too", function()
    local o = copy(classes.Loose.new(21))
    assert.equal(42, o:double())
    assert(getmetatable(o).__index == classes.Loose)
    assert(getmetatable(copy(o)).__index == classes.Loose)
    unsendable("unknown metatable", setmetatable({}, { __index = classes.Loose, __tostring = function() end }))
  end)

  it("of middleclass work", function()
    local class = require "spec.support.class_middleclass"
    local Base = class "spec.MiddleBase"
    local Derived = class("spec.MiddleDerived", Base)
    function Base:initialize(x) self.x = x end
    function Base:get() return self.x end
    remoteobj.register(Base)
    remoteobj.register(Derived, "derived")
    local o = copy(Derived:new(7))
    assert.equal(7, o:get())
    assert(o.class == Derived and getmetatable(o) == Derived.__instanceDict)
    assert(copy { Base }[1] == Base)
    classes.Middle = class "Middle"
    local m = copy(classes.Middle:new())
    assert(m.class == classes.Middle and getmetatable(m) == classes.Middle.__instanceDict)
    assert(copy { classes.Middle }[1] == classes.Middle)
    classes.Middle = nil
  end)

  it("of classic and 30log work, with parents that only the child knows", function()
    local libraries = { classic = require "spec.support.class_classic", log = require "spec.support.class_30log" }
    for name, library in pairs(libraries) do
      local Base, Derived
      if name == "classic" then
        Base = library:extend()
        Derived = Base:extend()
      else
        Base = library("Base")
        Derived = Base:extend("Derived")
      end
      function Base:get() return self.x end
      function Derived:twice() return 2 * self.x end
      remoteobj.register(Derived, "spec.derived." .. name)
      local o = Derived()
      o.x = 4
      local p = copy(o)
      assert(getmetatable(p) == Derived and p:twice() == 8)
      assert(rawequal(p.super, o.super) and rawequal(p.class, o.class))
      local parent = copy(Base())
      assert(getmetatable(parent) == Base)
    end
  end)

  it("of Penlight work", function()
    local has, class = pcall(require, "pl.class")
    if not has then
      pending "Penlight is not installed"
      return
    end
    local Animal = class()
    function Animal:_init(name) self.name = name end
    function Animal:say() return self.name end
    local Dog = class(Animal)
    Dog._name = "spec.Dog"
    remoteobj.register(Dog)
    local o = copy(Dog "Rex")
    assert.equal("Rex", o:say())
    assert(Dog:class_of(o) and o:is_a(Animal))
    local List = require "pl.List"
    local l = copy(List { 1, 2, 3 })
    assert(getmetatable(l) == List)
    assert.equal("{1,2,3}", tostring(l))
  end)
end)

describe("__pack and __unpack", function()
  local Temperature = { __name = "spec.Temperature" }
  Temperature.__index = Temperature
  function Temperature.new(celsius)
    return setmetatable({ cache = coroutine.create(print), celsius = celsius }, Temperature)
  end
  function Temperature:__pack() return self.celsius, nil, { "unit", "C" }, nil end
  function Temperature.__unpack(...)
    assert(select("#", ...) == 4)
    local celsius, _, unit = ...
    assert(unit[2] == "C")
    return Temperature.new(celsius)
  end
  remoteobj.register(Temperature)

  it("replace the plain copy", function()
    local t = copy(Temperature.new(21.5), code)
    assert(getmetatable(t) == Temperature and t.celsius == 21.5 and type(t.cache) == "thread")
  end)

  it("keep references to what they made", function()
    local t = Temperature.new(1)
    local u = copy({ t, { t }, Temperature.new(2), t }, code)
    assert(u[1] == u[2][1] and u[1] == u[4] and u[3].celsius == 2)
  end)

  it("give any number of values, also of tables made on the way", function()
    local Any = { __name = "spec.Any" }
    function Any:__pack() return table.unpack(self, 1, self.n) end
    function Any.__unpack(...) return setmetatable(table.pack(...), Any) end
    remoteobj.register(Any)
    for _, n in ipairs { 0, 1, 2, 20, 5000 } do
      local o = setmetatable({ n = n }, Any)
      for i = 1, n do o[i] = { i } end
      assert(values.same(o, copy(o, code)))
    end
    local Fresh = { __name = "spec.Fresh" }
    function Fresh:__pack()
      local parts = {}
      for i = 1, 20 do parts[i] = { self.id, i } end
      return parts
    end
    function Fresh.__unpack(parts) return setmetatable({ id = parts[1][1], parts = parts }, Fresh) end
    remoteobj.register(Fresh)
    local all = {}
    for i = 1, 300 do all[i] = setmetatable({ id = i }, Fresh) end
    for i, o in ipairs(copy(all, code)) do
      assert(o.id == i)
      for k = 1, 20 do assert(o.parts[k][1] == i and o.parts[k][2] == k) end
    end
  end)

  it("are not run by unpack unless asked", function()
    local ran = false
    local Watch = { __name = "spec.Watch", __pack = function() return 1 end }
    function Watch.__unpack() ran = true end
    remoteobj.register(Watch)
    fails("Protocol", "__unpack.*code = true", unpack, pack(setmetatable({}, Watch)))
    assert.equal(false, ran)
    assert.equal(nil, copy(setmetatable({}, Watch), code))
    assert.equal(true, ran)
  end)

  it("belong together", function()
    local Half = { __name = "spec.Half", __pack = function() return 1 end }
    remoteobj.register(Half)
    unsendable("spec%.Half, which has __pack but no __unpack", setmetatable({}, Half))
    Half.__unpack = function() return {} end
    local s = pack(setmetatable({}, Half))
    Half.__unpack = nil
    fails("Protocol", "class spec%.Half has no __unpack here", unpack, s, code)
  end)

  it("may not contain the object itself", function()
    local Loop = { __name = "spec.Loop" }
    function Loop:__pack() return { inner = self } end
    function Loop.__unpack() return {} end
    remoteobj.register(Loop)
    unsendable("^cannot send value%.a%.__pack%(%)%[1%]%.inner: contains itself", { a = setmetatable({}, Loop) })
  end)

  it("may use pack and unpack themselves, to any depth of nesting in data", function()
    local Boxed = { __name = "spec.Boxed" }
    function Boxed:__pack() return pack(self.value) end
    function Boxed.__unpack(s) return setmetatable({ value = unpack(s, code) }, Boxed) end
    remoteobj.register(Boxed)
    local o = setmetatable({ value = 0 }, Boxed)
    for _ = 1, 20 do o = setmetatable({ value = o }, Boxed) end
    assert(values.same({ o, o }, copy({ o, o }, code)))
    local Chain = { __name = "spec.Chain" }
    function Chain:__pack() return self.next end
    function Chain.__unpack(inner) return setmetatable({ next = inner }, Chain) end
    remoteobj.register(Chain)
    local c = setmetatable({}, Chain)
    for _ = 1, 20000 do c = setmetatable({ next = c }, Chain) end
    assert(values.same(c, copy(c, code)))
  end)

  it("let errors through, and go on working", function()
    local Bad = { __name = "spec.Bad" }
    Bad.__pack = function(o) return o[1] end
    Bad.__unpack = function() error("no unpack", 0) end
    remoteobj.register(Bad)
    local ok, err = pcall(copy, { setmetatable({ 1 }, Bad) }, code)
    assert.same({ false, "no unpack" }, { ok, err })
    Bad.__pack = function() error("no pack", 0) end
    ok, err = pcall(pack, { { setmetatable({ 1 }, Bad) } })
    assert.same({ false, "no pack" }, { ok, err })
    assert.same({ { 1 } }, copy { { 1 } })
  end)

  it("work for userdata whose metatable is registered", function()
    local meta = getmetatable(io.stdout)
    meta.__pack = function() return "stdout" end
    meta.__unpack = function(name) return io[name] end
    remoteobj.register(meta, "spec.file")
    local u = copy({ io.stdout, io.stdout }, code)
    meta.__pack, meta.__unpack = nil, nil
    assert(u[1] == io.stdout and u[2] == io.stdout)
  end)
end)

describe("what can't be sent", function()
  it("is named with its path", function()
    local file, thread = io.stdout, coroutine.create(print)
    unsendable("^cannot send value: userdata FILE%*$", file)
    unsendable("^cannot send value: thread$", thread)
    unsendable("^cannot send value 2: userdata FILE%*$", 1, file)
    unsendable("^cannot send value%.items%[3%]%.file: userdata FILE%*$", { items = { 1, 2, { file = file } } })
    unsendable('^cannot send value%["a b"%]%[true%]%[1%.5%]: thread$', { ["a b"] = { [true] = { [1.5] = thread } } })
    unsendable('^cannot send value%["end"%]%["x\\"\\010\\\\"%]%["1x"%]: thread$',
      { ["end"] = { ['x"\n\\'] = { ["1x"] = thread } } })
    unsendable("^cannot send value%[%-3%]: thread$", { [-3] = thread })
    unsendable("^cannot send value%[table%]%.x: thread$", { [{}] = { x = thread } })
    unsendable("^cannot send value%[key%]: thread$", { [thread] = 1 })
    unsendable("^cannot send value%[key%]%.x: thread$", { [{ x = thread }] = 1 })
    unsendable("^cannot send value%.f%.upvalue%(file%): userdata FILE%*$", { f = function() return file end })
    unsendable("^cannot send value%[2%]%.upvalue%(t%)%.a%[1%]: thread$", (function()
      local t = { a = { thread } }
      return { 1, function() return t end }
    end)())
  end)

  it("is named however deep it is", function()
    local err = unsendable("thread$", nest(100000, coroutine.create(print)))
    assert(#err.message < 400)
    err = unsendable("userdata FILE%*$", nest(150, { x = nest(150, io.stdout) }))
    assert(#err.message < 400)
    local deep = io.stdout
    for i = 1, 300 do deep = { ["k" .. i] = deep } end
    err = unsendable("userdata FILE%*$", deep)
    assert(err.message:find("value.k300.k299.k298", 1, true), err.message)
    assert(err.message:find(".k3.k2.k1: ", 1, true), err.message)
  end)

  it("leaves nothing behind", function()
    for _ = 1, 100 do
      pcall(pack, nest(200, { x = io.stdout }))
      assert.same({ 1, { 2 } }, copy { 1, { 2 } })
    end
  end)
end)

describe("unpack", function()
  it("takes a string and known options", function()
    misused("bad argument #1 to '.*unpack' %(string expected, got number", unpack, 5)
    misused("bad argument #1 to '.*unpack'", unpack)
    misused("bad argument #2 to '.*unpack' %(table expected", unpack, "", true)
    misused("unknown option 'codes'", unpack, "", { codes = true })
    misused("option 'code' must be a boolean, not number", unpack, "", { code = 1 })
    assert.equal(1, (unpack("\1", {})))
    assert.equal(1, (unpack("\1", nil)))
  end)

  it("tells where the bytes are no encoding", function()
    fails("Protocol", "offset 0: expected a value, found the byte 0xc1", unpack, "\xc1")
    fails("Protocol", "offset 2: expected a value, found the byte 0xc1", unpack, "\x91\1\xc1")
    fails("Protocol", "offset 1: expected a string of 5 bytes, found 2", unpack, "\xa5ab")
    fails("Protocol", "offset 2: .*items", unpack, "\x93\x91\x92\1")
    fails("Protocol", "extension type 99 is not known", unpack, "\xd4\x63\0")
    fails("Protocol", "extension type 16 is not known", unpack, "\xc7\0\x10")
    fails("Protocol", "extension type %-2 is not known", unpack, "\xd4\xfe\0")
  end)

  local samples = {}
  local function sample(value) samples[#samples + 1] = pack(value) end
  local shared = { "shared" }
  sample { 1, 300, -5, 1.5, "text", ("long "):rep(20), true, { a = { b = shared }, [shared] = 2 }, shared }
  sample { classes.Point.new(1, { 2 }), classes.Loose.new(3), classes.Point.new(shared, shared), "\xff\xfe" }
  local records = {}
  for i = 1, 20 do records["k" .. i] = { id = i, 70000 + i, -i * 1000 } end
  sample(records)
  samples[4] = bytes "d7 ff 77 35 94 00 00 00 00 01 ca 3f c0 00 00 de 00 01 a1 61 dc 00 01 c5 00 01 61"

  it("refuses every beginning of an encoding", function()
    for k = 1, 3 do
      for size = 1, #samples[k] - 1 do
        -- the graph prefix alone ends before the value; everything else ends within it
        fails("Protocol", "offset %d+", unpack, samples[k]:sub(1, size))
      end
    end
  end)

  it("gives a value or a Protocol error for every damaged byte", function()
    local seed = os.time()
    math.randomseed(seed)
    local function try(s)
      local ok, err = pcall(unpack, s)
      assert(ok or getmetatable(err) == remoteobj.Error and err.kind == "Protocol", tostring(err))
    end
    for _, s in ipairs(samples) do
      for i = 1, #s do
        for bit = 0, 7 do try(s:sub(1, i - 1) .. string.char(s:byte(i) ~ (1 << bit)) .. s:sub(i + 1)) end
        try(s:sub(1, i - 1) .. string.char(math.random(0, 255)) .. s:sub(i + 1))
        try(s:sub(1, i - 1) .. s:sub(i + 1))
      end
    end
    for _ = 1, 20000 do
      local t = {}
      for i = 1, math.random(30) do t[i] = math.random(3) == 1 and math.random(0xc0, 0xdf) or math.random(0, 255) end
      try(string.char(table.unpack(t)))
    end
  end)

  it("takes no memory for what is only promised", function()
    local bombs = { "dd ff ff ff ff", "df ff ff ff ff", "dc ff ff", "de ff ff", "db ff ff ff ff", "c6 ff ff ff ff",
      "c9 ff ff ff ff 05", "dd 7f ff ff ff 01 02", "d6 01 ff ff ff ff 01" }
    collectgarbage()
    local before = collectgarbage "count"
    collectgarbage "stop"
    for _, bomb in ipairs(bombs) do fails("Protocol", "offset", unpack, bytes(bomb)) end
    -- each array promises all the bytes that are left; together they can't hold
    local body = ("\xdd\x00\x01\x00\x00"):rep(20000)
    fails("Protocol", "items", unpack, body)
    local taken = collectgarbage "count" - before
    collectgarbage "restart"
    assert(taken < 10000, taken .. " KiB")
  end)
end)

describe("memory", function()
  it("is given back", function()
    local function round()
      local t = {}
      for i = 1, 2000 do t[i] = { i, classes.Point.new(i, t[i - 1]) } end
      copy(t)
      pcall(pack, { t, io.stdout })
      pcall(unpack, pack(t):sub(1, -2))
      copy({ function() return t end }, code)
    end
    round()
    collectgarbage()
    collectgarbage()
    local before = collectgarbage "count"
    for _ = 1, 10 do round() end
    collectgarbage()
    collectgarbage()
    assert(collectgarbage "count" - before < 100)
  end)

  it("holds no class or function that the program has let go", function()
    local gone = setmetatable({}, { __mode = "k" })
    do
      local value = {}
      local f = function() return value end
      classes.Passing = { __name = "x" }
      gone[f], gone[classes.Passing] = true, true
      copy(setmetatable({ f }, classes.Passing), code)
      classes.Passing = nil
    end
    collectgarbage()
    collectgarbage()
    assert.equal(nil, next(gone))
  end)
end)

describe("a program", function()
  it("reads what another process wrote", function()
    local writer = [[
      local remoteobj = require "remoteobj"
      local t = { 1, 2.0, "three", { four = { 5 } } }
      t.self = t
      io.write((remoteobj.pack(t):gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
    ]]
    local result = script.run(writer)
    local t = unpack(bytes(result.stdout))
    assert(t.self == t and math.type(t[2]) == "float" and t[4].four[1] == 5)
  end)
end)

describe("docs/wire-format.md", function()
  it("shows encodings as they are", function()
    local file = assert(io.open("docs/wire-format.md"))
    local text = file:read "a"
    file:close()
    local section = assert(text:match("\n## Values.-\n## ") or text:match("\n## Values.*"))
    local checked = 0
    for block in section:gmatch("```lua\n(.-)```") do
      local env = setmetatable({ pack = pack, classes = classes, register = remoteobj.register }, { __index = _G })
      for source, expected in block:gmatch("%f[%a]pack(%b())%s*%-%-> ([%x ]*)") do
        local chunk = assert(load("return pack" .. source, "=wire-format", "t", env))
        assert.equal(expected:gsub(" +$", ""), (hex(chunk())))
        assert(pcall(unpack, bytes(expected), code))
        checked = checked + 1
      end
      for source, expected in block:gmatch("unpack(%b())%s*%-%-> ([^\n]+)") do
        env.hex = bytes
        local got = assert(load("return unpack(hex" .. source .. ")", "=wire-format", "t",
          setmetatable({ unpack = unpack }, { __index = env })))()
        assert(values.same(assert(load("return " .. expected))(), got), source)
        checked = checked + 1
      end
    end
    assert(checked >= 30, checked .. " examples")
  end)
end)
