-- Bytes from elsewhere: what fuzzing has kept, replayed; depth and size bombs; truncations and changes of everything
-- that the documents show; what MessagePack's specification says of each form.
local installation = require "spec.support.installation"
local markdown = require "spec.support.markdown"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"

local build = os.getenv "BUILD" or "build"

describe("the corpus of", function()
  setup(function()
    local made = script.run_command({ "make", "--no-print-directory", "-s", "fuzz-replay" }, { timeout = 300 })
    assert.equal(0, made.code, made.stdout .. made.stderr)
  end)

  for _, target in ipairs { "unpack", "frames", "requests", "answers", "bodies" } do
    it(target .. " does no harm", function()
      local files = installation.files("spec/corpus/" .. target, "*")
      assert.is_true(#files > 5)
      local result = script.run_command { build .. "/fuzz/" .. target, table.unpack(files) }
      assert.equal("", result.stderr)
      assert.equal(0, result.code, result.stdout)
      local _, replayed = result.stdout:gsub("\n", "")
      assert.equal(#files, replayed)
    end)
  end
end)

local pack, unpack = remoteobj.pack, remoteobj.unpack

local function bytes_of(hex)
  return (hex:gsub("%s", ""):gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

local function refused(bytes)
  local ok, err = pcall(unpack, bytes)
  assert.is_false(ok)
  assert.equal("Protocol", err.kind)
end

describe("unpack", function()
  -- Every form of the specification, at the ends of its range: bytes, and the value.
  local vectors = {
    { "c0", nil }, { "c2", false }, { "c3", true },
    { "00", 0 }, { "7f", 127 }, { "ff", -1 }, { "e0", -32 },
    { "cc 00", 0 }, { "cc ff", 255 }, { "cd 00 00", 0 }, { "cd ff ff", 65535 },
    { "ce ff ff ff ff", 4294967295 }, { "cf 7f ff ff ff ff ff ff ff", math.maxinteger },
    { "cf ff ff ff ff ff ff ff ff", 2.0 ^ 64 },
    { "d0 80", -128 }, { "d0 7f", 127 }, { "d1 80 00", -32768 }, { "d1 ff ff", -1 },
    { "d2 80 00 00 00", -2147483648 }, { "d3 80 00 00 00 00 00 00 00", math.mininteger },
    { "d3 7f ff ff ff ff ff ff ff", math.maxinteger },
    { "ca 00 00 00 00", 0.0 }, { "ca c0 20 00 00", -2.5 }, { "ca 7f 80 00 00", math.huge },
    { "cb bf f0 00 00 00 00 00 00", -1.0 }, { "cb ff f0 00 00 00 00 00 00", -math.huge },
    { "cb 00 00 00 00 00 00 00 01", 5e-324 },
    { "a0", "" }, { "a1 61", "a" }, { "d9 00", "" }, { "d9 01 61", "a" }, { "da 00 01 61", "a" },
    { "db 00 00 00 01 61", "a" }, { "c4 00", "" }, { "c4 01 ff", "\xff" }, { "c5 00 01 00", "\0" },
    { "c6 00 00 00 01 80", "\x80" },
    { "90", {} }, { "91 01", { 1 } }, { "dc 00 00", {} }, { "dc 00 02 01 02", { 1, 2 } },
    { "dd 00 00 00 00", {} }, { "dd 00 00 00 01 c3", { true } },
    { "80", {} }, { "81 a1 61 01", { a = 1 } }, { "de 00 00", {} }, { "de 00 01 01 02", { 2 } },
    { "df 00 00 00 00", {} }, { "df 00 00 00 01 c3 c2", { [true] = false } },
    { "d6 ff 00 00 00 00", 0 }, { "d6 ff ff ff ff ff", 4294967295 },
    { "d7 ff 00 00 00 03 ff ff ff ff", 17179869183 },
    { "c7 0c ff 00 00 00 00 ff ff ff ff ff ff ff ff", -1 },
  }

  for _, vector in ipairs(vectors) do
    it("reads " .. vector[1], function()
      local bytes = bytes_of(vector[1])
      local value = unpack(bytes)
      assert.same(vector[2], value)
      assert.equal(math.type(vector[2]), math.type(value))
      assert.same(value, (unpack(pack(value))))
      assert.is_true(#pack(value) <= math.max(#bytes, 9))
      for length = 1, #bytes - 1 do
        refused(bytes:sub(1, length))
      end
    end)
  end

  it("refuses the byte that is never used", function()
    refused "\xc1"
    refused "\x91\xc1"
    refused "\x81\xc1\x01"
  end)

  it("refuses sizes that the bytes can't hold before it takes memory for them", function()
    collectgarbage()
    local before = collectgarbage "count"
    for _, head in ipairs { "db", "c6", "dd", "df" } do
      refused(bytes_of(head .. "ff ff ff ff"))
      refused(bytes_of(head .. "7f ff ff ff 00"))
      refused(bytes_of("91" .. head .. "ff ff ff ff 00"))
    end
    refused(bytes_of "c9 ff ff ff ff 03")
    refused(bytes_of("d6 01 ff ff ff ff 90"))
    refused(bytes_of("dd ff ff ff ff"):rep(10000))
    assert.is_true(collectgarbage "count" - before < 16 * 1024)
  end)

  it("reads a million levels, and refuses as many without an end", function()
    local depth = 1000000
    local value = unpack(("\x91"):rep(depth) .. "\x07")
    for _ = 1, depth do
      value = value[1]
    end
    assert.equal(7, value)
    refused(("\x91"):rep(depth))
    refused(("\x81\x01"):rep(depth))
    refused(("\xc7\x02\x03"):rep(depth))
  end)

  it("makes of every change of a byte values or an error of kind Protocol", function()
    local seeds = {}
    for _, block in ipairs(markdown.blocks("docs/wire-format.md", "lua")) do
      for hex in block.text:gmatch "%-%->%s+([%x ]+)\n" do
        seeds[#seeds + 1] = bytes_of(hex)
      end
    end
    assert.is_true(#seeds > 20)
    for _, seed in ipairs(seeds) do
      for at = 1, #seed do
        for _, byte in ipairs { 0, 1, 0x7f, 0x80, 0x91, 0xc0, 0xc7, 0xc9, 0xd4, 0xd6, 0xdd, 0xdf, 0xff } do
          local ok, err = pcall(unpack, seed:sub(1, at - 1) .. string.char(byte) .. seed:sub(at + 1))
          assert.is_true(ok or err.kind == "Protocol", tostring(err))
        end
      end
    end
  end)
end)
