-- The examples run as `make demo` runs them, and do what they are there to show.
local markdown = require "spec.support.markdown"
local script = require "spec.support.script"

local function run(name)
  local result = script.run(name)
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

describe("make demo", function()
  it("runs the examples, and has nothing to install where all is there", function()
    local result = script.run_command({ "make", "--no-print-directory", "demo" }, { timeout = 300 })
    assert.equal(0, result.code, result.stderr)
    assert.is_truthy(result.stdout:find("== examples/counter.lua", 1, true))
    assert.is_truthy(result.stdout:find("== examples/sampler.lua", 1, true))
    assert.is_nil(result.stdout:find("setup:", 1, true))
  end)
end)
