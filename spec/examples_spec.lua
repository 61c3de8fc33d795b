-- The examples run as `make demo` runs them, and do what they are there to show.
local markdown = require "spec.support.markdown"
local script = require "spec.support.script"
local stat = require "posix.sys.stat"
local terminal = require "spec.support.terminal"

local function run(name, args)
  local result = script.run(name, args)
  assert.equal("", result.stderr)
  assert.equal(0, result.code)
  return result.stdout
end

describe("examples/counter.lua", function()
  it("prints what its comments say", function()
    local file <close> = assert(io.open "examples/counter.lua")
    assert.equal(markdown.expected_output(file:read "a"), run "examples/counter.lua")
  end)
end)

describe("examples/sampler.lua", function()
  local output
  setup(function()
    output = run "examples/sampler.lua"
  end)

  it("shows figures of the machine while the sampler runs", function()
    local count, seen = 0, 0
    for samples, cpu, memory in output:gmatch "(%d+) samples, CPU +([%d.]+) %%, memory (%d+) MiB" do
      assert.is_true(tonumber(samples) >= count + 4)
      assert.is_true(tonumber(cpu) >= 0 and tonumber(cpu) <= 100)
      assert.is_true(tonumber(memory) > 0)
      count, seen = tonumber(samples), seen + 1
    end
    assert.equal(3, seen)
  end)

  it("changes the rate", function()
    assert.is_truthy(output:find("10 times a second", 1, true))
    assert.is_truthy(output:find("now 50 times a second", 1, true))
  end)

  it("has summaries computed there", function()
    for _, name in ipairs { "CPU", "memory" } do
      local least, mean, most = output:match(name .. ": least ([%d.]+) %S+, mean ([%d.]+) %S+, most ([%d.]+)")
      assert.is_true(tonumber(least) <= tonumber(mean) and tonumber(mean) <= tonumber(most))
    end
    local most = output:match "CPU: .*most ([%d.]+)"
    assert.is_true(tonumber(most) > 0)
  end)

  it("shows an error of the sampler with the traceback there", function()
    local shown = output:match "with its traceback there:\n(.-)\nstopped"
    assert.is_truthy(shown:find("no-such-sensor/cpu0", 1, true))
    assert.is_truthy(shown:find("stack traceback:", 1, true))
    assert.is_truthy(shown:find "sampler.lua:%d+: in .*'read_file'\n.*sampler.lua:%d+: in ")
  end)

  it("stops the sampler and draws its history", function()
    local count = tonumber(output:match "stopped after (%d+) samples, exit code 0")
    assert.is_true(count >= 12 + 30 + 10)
    local _, lines = output:gsub(" |[^\n]*", "")
    assert.equal(5 + 3, lines)
    local columns = utf8.len(output:match "\n +100 |([^\n]*)")
    assert.is_true(columns >= 52 and columns <= count)
  end)
end)

describe("examples/top.lua", function()
  -- A program that makes 20 calls of one object and 3, of which one fails, of another.
  local PROGRAM = [[
    local remoteobj = require "remoteobj"
    local function serve(object, calls)
      local remote = remoteobj.Proxy(object)
      local process = remoteobj.process(function()
        local _ <close> = remote:listen_()
        while not object.stop do
          remoteobj.sleep(0.001)
        end
      end):start()
      remote:wait_until_listening(process)
      for i = 2, calls do
        pcall(remote.act, i)
      end
      remote.stop = true
      process:join()
    end
    serve(setmetatable({ act = print }, { __name = "first" }), 20)
    serve(setmetatable({ act = function(i) assert(i < 3) end }, { __name = "second" }), 3)
    if arg[1] == "stay" then
      remoteobj.sleep(600)
    end
    assert(arg[1] ~= "fail", "as it was told")
  ]]

  local name
  before_each(function()
    name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write(PROGRAM)
  end)
  after_each(function()
    os.remove(name)
  end)

  -- The rows of a table: { name, role, operations, failed }, without escapes.
  local function rows(text)
    local list = {}
    local pattern = "%d+  (%l+) +(%l+): 0x%x+ +(%d+) +[%d.]* +(%d+) +[%d.]+ %ls +[%d.]+ %ls"
    for role, object, count, failed in text:gmatch(pattern) do
      list[#list + 1] = { object, role, tonumber(count), tonumber(failed) }
    end
    return list
  end

  local EXPECTED = {
    { "first", "serves", 20, 0 }, { "first", "calls", 20, 0 },
    { "second", "serves", 3, 1 }, { "second", "calls", 3, 0 },
  }

  it("prints one table at the end of a program, where there is no terminal", function()
    local result = script.run("examples/top.lua", { "-d", "60", name })
    assert.equal("", result.stderr)
    assert.equal(0, result.code)
    assert.same(EXPECTED, rows(result.stdout))
    assert.is_nil(result.stdout:find "\27")
  end)

  it("says why the program has failed, and what it takes", function()
    local result = script.run("examples/top.lua", { "-d", "60", name, "fail" })
    assert.equal(1, result.code)
    assert.same(EXPECTED, rows(result.stdout))
    assert.is_truthy(result.stderr:find("as it was told", 1, true))
    result = script.run("examples/top.lua", { "-d", "never" })
    assert.equal(1, result.code)
    assert.matches("^usage: ", result.stderr)
  end)

  it("ends a program that goes on", function()
    local result = script.run("examples/top.lua", { "-d", "0.2" })
    assert.equal("", result.stderr)
    assert.equal(0, result.code)
  end)

  for _, key in ipairs { "q", "\3" } do
    it(("shows a live table on a terminal until %q"):format(key), function()
      local lua = os.getenv "LUA" or "lua5.4"
      local session <close> = terminal.start { lua, "examples/top.lua", "-d", "0.05", name, "stay" }
      session:expect "\27%[2J"
      session:expect "second"
      session:expect "\27%[H"
      session:write(key)
      local how, code = session:finish()
      assert.same({ "exited", 0 }, { how, code })
      assert.is_truthy(session.text:find("\27[?25h", 1, true))
    end)
  end

  it("ends after a number of tables", function()
    local lua = os.getenv "LUA" or "lua5.4"
    local session <close> = terminal.start { lua, "examples/top.lua", "-d", "0.05", "-n", "3" }
    assert.same({ "exited", 0 }, { session:finish() })
    local _, tables = session.text:gsub("OPERATIONS", "")
    assert.equal(4, tables)
  end)
end)

describe("examples/supervised.lua", function()
  it("goes on with defaults while the driver is started again", function()
    local output = run "examples/supervised.lua"
    local expected = {}
    for life = 1, 3 do
      for reading = 1, 4 do
        expected[#expected + 1] = ("%.1f"):format(20 + reading / 10)
      end
      expected[#expected + 1] = life < 3 and "process 'driver' (which is started again) was killed by SIGSEGV" or nil
    end
    local readings, lost = output:match "^(.*)\n12 readings, (%d+) without an answer\n$"
    assert.equal(table.concat(expected, "\n"), readings)
    assert.is_true(tonumber(lost) >= 2)
  end)
end)

describe("examples/word_count.lua", function()
  it("counts the words of all files that are text", function()
    local folder = os.tmpname()
    os.remove(folder)
    stat.mkdir(folder)
    local function write(name, text)
      local file <close> = assert(io.open(folder .. "/" .. name, "w"))
      file:write(text)
    end
    for i = 1, 30 do
      write("file's " .. i, ("Apple, pear; apple!\n"):rep(i))
    end
    write("binary", "apple \0 apple")
    write("empty", "")
    local output = run("examples/word_count.lua", { folder })
    assert.equal("1395 words, 2 different ones, in 32 files\n     930 apple\n     465 pear\n", output)
    os.execute("rm -rf " .. folder)
  end)
end)

describe("examples/mandelbrot.lua", function()
  it("writes a picture", function()
    local name = os.tmpname()
    local output = run("examples/mandelbrot.lua", { name, "70", "40" })
    assert.matches("70 x 40 points, by %d+ processes", output)
    local file <close> = assert(io.open(name, "rb"))
    local bytes = file:read "a"
    os.remove(name)
    local parts, at = {}, 9
    while at <= #bytes do
      local content, after = (">s4"):unpack(bytes:sub(at, at + 3) .. bytes:sub(at + 8)) -- its kind is between the two
      parts[bytes:sub(at + 4, at + 7)] = content
      at = at + 4 + after - 1 + 4
    end
    assert.equal("\x89PNG\r\n\x1a\n", bytes:sub(1, 8))
    assert.equal((">I4I4BBBBB"):pack(70, 40, 8, 3, 0, 0, 0), parts.IHDR)
    assert.equal(3 * 256, #parts.PLTE)
    assert.equal("", parts.IEND)
    local middle = 2 + 19 * (5 + 71) + 5 + 1 -- what is before the points of the 20th line
    assert.equal(2 + 40 * (5 + 71) + 4, #parts.IDAT)
    assert.equal(255, parts.IDAT:byte(middle + 35)) -- inside the set,
    assert.is_true(parts.IDAT:byte(middle + 1) < 5) -- and far away
  end)
end)

describe("make demo", function()
  it("runs the examples, and has nothing to install where all is there", function()
    local result = script.run_command({ "make", "--no-print-directory", "demo" }, { timeout = 300 })
    assert.equal(0, result.code, result.stderr)
    assert.is_truthy(result.stdout:find("== examples/counter.lua", 1, true))
    assert.is_truthy(result.stdout:find("== examples/sampler.lua", 1, true))
    assert.is_nil(result.stdout:find("setup:", 1, true))
  end)
end)
