-- The benchmark runs as a user runs it, and its results have the form that they should have. Nothing here looks at
-- a time: what a run finds depends on the machine.
local dkjson = require "dkjson"
local json = require "bench.json"
local script = require "spec.support.script"
local statistics = require "bench.statistics"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local build = os.getenv "BUILD" or "build"

-- Rows that must be there, with their targets: group, measurement, reference, limit.
local TARGETS = {
  { "call", "call", "try", 1.6 },
  { "call", "call", "apart", 0.2 },
  { "call", "call", "managers", 1 / 8 },
  { "pinned", "call", "block", 1.5 },
  { "busy", "call", "block", 3 },
  { "paced", "calls", "pipes", 0.01 },
  { "view", "five", "one", 1.25 },
  { "loop", "with", "without", 1.01 },
  { "idle", "wakeups", nil, 0 },
  { "idle", "cpu", nil, 0 },
  { "pipelined", "async", "call", 10 },
  { "pipelined", "many", "one", 10 },
  { "bulk", "echo", "pipes", 1.2 },
  { "bulk", "echo", "managers", 1 },
  { "codec", "records", "records cmsgpack", 0.8 },
  { "codec", "integers", "integers cmsgpack", 0.8 },
  { "codec", "floats", "floats cmsgpack", 0.8 },
  { "codec", "strings", "strings cmsgpack", 0.8 },
  { "codec", "nested", "nested cmsgpack", 0.8 },
  { "clients", "eight", "one", 1 },
  { "clients", "slowest", "mean", 0.5 },
  { "start", "process", "fork", 1.3 },
  { "start_large", "process", "fork", 1.3 },
  { "thread", "thread", "process", 0.25 },
  { "pool", "map", "serial", 0.55 },
  { "pool", "task", "call", 2 },
  { "memory", "calls", nil, 2 ^ 20 },
  { "memory", "calls all", nil, 2 ^ 20 },
  { "memory", "views", nil, 2 ^ 20 },
  { "memory", "views all", nil, 2 ^ 20 },
  { "memory", "yields", nil, 2 ^ 20 },
  { "memory", "yields all", nil, 2 ^ 20 },
  { "alone", "plain", "plain without", 1 },
  { "alone", "coroutines", "coroutines without", 1 },
  { "pairs", "pairs", "whole", 2 },
  { "pairs", "frame", nil, 2 ^ 20 },
}

local VERDICTS = { met = true, ["not met"] = true, ["within noise"] = true }

local function read(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

local function new_folder()
  local name = os.tmpname()
  os.remove(name)
  return assert(stdlib.mkdtemp(name .. "XXXXXX"))
end

local function named(list, name)
  for _, entry in ipairs(list) do
    if entry.name == name then
      return entry
    end
  end
end

local function find_row(run, group_name, name, reference)
  for _, row in ipairs((named(run.groups, group_name) or { rows = {} }).rows) do
    if row.name == name and row.reference == reference then
      return row
    end
  end
end

local function assert_summary(entry)
  assert.is_number(entry.median)
  for _, pair in ipairs { { "least", "low" }, { "low", "median" }, { "median", "high" }, { "high", "most" } } do
    assert.is_true(entry[pair[1]] <= entry[pair[2]], table.concat(pair, " and "))
  end
end

-- Every element that is opened is closed, text has no stray markup, there is one root.
local function assert_well_formed(xml)
  local open, roots = {}, 0
  for text, slash, name, attributes, empty in xml:gmatch "([^<]*)<(/?)(%a+)([^<>]-)(/?)>" do
    assert.is_nil(text:gsub("&%a+;", ""):find "[&>]")
    assert.equal("", (attributes:gsub('%s+[%w:]+="[^"<&]*"', "")))
    if slash == "/" then
      assert.equal(name, table.remove(open))
    else
      roots = roots + (#open == 0 and 1 or 0)
      open[#open + 1] = empty == "" and name or nil
    end
  end
  assert.equal(0, #open)
  assert.equal(1, roots)
  assert.is_truthy(xml:find "</svg>%s*$")
end

describe("make bench", function()
  local result, run
  setup(function()
    result = script.run_command({ "make", "--no-print-directory", "bench", "QUICK=1" }, { timeout = 300 })
    run = dkjson.decode(read(build .. "/bench/results.json"))
  end)

  it("runs", function()
    assert.equal(0, result.code, result.stderr)
  end)

  it("says on what it ran", function()
    assert.is_string(run.machine.cpu)
    assert.is_string(run.machine.kernel)
    assert.is_true(run.machine.cpus >= 1)
    assert.is_truthy(run.versions.Lua:find "^5%.4")
    assert.is_string(run.versions.luaposix)
    assert.equal(2, run.rounds)
    assert.is_true(run.quick)
    assert.is_truthy(result.stdout:find(run.machine.cpu, 1, true))
  end)

  for _, target in ipairs(TARGETS) do
    local group, name, reference, limit = table.unpack(target, 1, 4)
    it(("has the row %s: %s, with its target"):format(group, name), function()
      local row = find_row(run, group, name, reference)
      assert.is_table(row)
      assert.equal(limit, row.at_most or row.at_least)
      if row.missing then
        assert.is_nil(row.verdict)
      else
        assert.is_true(VERDICTS[row.verdict])
      end
    end)
  end

  it("has samples with medians and spread of everything, or says what is missing", function()
    for _, group in ipairs(run.groups) do
      assert.is_string(group.title)
      for _, entry in ipairs(group.measurements) do
        if not entry.missing then
          assert.equal(group.rounds, #entry.samples)
          assert.is_true(entry.count == nil or entry.count >= 1)
          assert_summary(entry)
        end
      end
      for _, row in ipairs(group.rows) do
        if not row.missing then
          assert_summary(row)
        end
      end
    end
  end)

  it("prints a line for everything", function()
    for _, group in ipairs(run.groups) do
      assert.is_truthy(result.stdout:find(group.title, 1, true))
      for _, entry in ipairs(group.measurements) do
        assert.is_truthy(result.stdout:find("\n  " .. entry.what .. " ", 1, true), entry.what)
      end
    end
  end)

  it("draws a chart", function()
    local svg = read(build .. "/bench/results.svg")
    assert_well_formed(svg)
    assert.is_truthy(svg:find("p:method()", 1, true))
  end)

  it("runs the chosen groups only, and says in their rows what is not here", function()
    local folder = new_folder()
    for _, program in ipairs { "sh", "lua5.4", "getconf" } do
      local pipe <close> = assert(io.popen("command -v " .. program))
      assert.is_truthy(unistd.link(pipe:read "l", folder .. "/" .. program, true))
    end
    local env = { PATH = folder, ROWS = "call", QUICK = "1", LUA = "lua5.4", BENCH_BUILD = build .. "/bench" }
    local chosen = script.run_command({ folder .. "/lua5.4", "bench/run.lua", folder }, { env = env })
    assert.equal(0, chosen.code, chosen.stderr)
    local found = dkjson.decode(read(folder .. "/results.json"))
    assert.equal(1, #found.groups)
    assert.equal("python3 is not here", find_row(found, "call", "call", "managers").missing)
    assert.is_truthy(chosen.stdout:find "managers%s+– %(python3 is not here%)")
    assert.is_number(find_row(found, "call", "call", "try").median)
    script.run_command { "rm", "-r", folder }
  end)

  it("has a row missing whose program does not run here", function()
    local folder = new_folder()
    local fake <close> = assert(io.open(folder .. "/python3", "w"))
    fake:write "#!/bin/sh\nexit 1\n"
    fake:close()
    assert(stat.chmod(folder .. "/python3", 448))
    local env = { PATH = folder .. ":" .. os.getenv "PATH" }
    local command = { "make", "--no-print-directory", "bench", "ROWS=view,pinned", "QUICK=1" }
    local chosen = script.run_command(command, { env = env })
    assert.equal(0, chosen.code, chosen.stderr)
    local found = dkjson.decode(read(build .. "/bench/results.json"))
    assert.equal("view", found.groups[1].name)
    assert.equal("pinned", found.groups[2].name)
    assert.equal(2, #found.groups)
    assert.equal("python3 has ended without an answer", find_row(found, "pinned", "call", "managers").missing)
    script.run_command { "rm", "-r", folder }
  end)

  it("refuses groups that there are not", function()
    local refused = script.run_command { "make", "--no-print-directory", "bench", "ROWS=nonsense" }
    assert.not_equal(0, refused.code)
    assert.is_truthy(refused.stderr:find("no rows 'nonsense'; there are call, ", 1, true))
  end)
end)

describe("the results in the repository", function()
  it("are those of a whole run, and their chart is well-formed", function()
    local run = dkjson.decode(read "bench/results.json")
    assert.is_false(run.quick)
    for _, target in ipairs(TARGETS) do
      assert.is_table(find_row(run, target[1], target[2], target[3]), table.concat(target, " ", 1, 2))
    end
    assert_well_formed(read "bench/results.svg")
  end)

  it("stand in docs/performance.md", function()
    local command = { os.getenv "LUA" or "lua5.4", "bench/document.lua", "bench/results.json", "docs/performance.md" }
    command[5] = "check"
    assert.equal(0, script.run_command(command).code)
  end)
end)

describe("its statistics", function()
  it("are medians, quartiles and the interval of the median by rank", function()
    local samples = {}
    for i = 1, 25 do
      samples[i] = (i * 7) % 25 + 1 -- 1 to 25 in disorder
    end
    local summary = statistics.summary(samples)
    assert.same({ median = 13, low = 7, high = 19, least = 8, most = 18 }, summary)
    assert.equal(2.5, statistics.summary({ 4, 1, 3, 2 }).median)
  end)

  it("of one sample are that sample", function()
    assert.same({ median = 5, low = 5, high = 5, least = 5, most = 5 }, statistics.summary { 5 })
  end)

  it("tell what is certain from noise", function()
    local summary = { median = 1.0, least = 0.9, most = 1.1 }
    assert.equal("met", statistics.verdict(summary, { at_most = 1.1 }))
    assert.equal("within noise", statistics.verdict(summary, { at_most = 1.05 }))
    assert.equal("within noise", statistics.verdict(summary, { at_most = 0.95 }))
    assert.equal("not met", statistics.verdict(summary, { at_most = 0.89 }))
    assert.equal("met", statistics.verdict(summary, { at_least = 0.9 }))
    assert.equal("within noise", statistics.verdict(summary, { at_least = 1.0 }))
    assert.equal("not met", statistics.verdict(summary, { at_least = 1.2 }))
  end)
end)

describe("its JSON", function()
  local VALUE = { text = 'a "b"\\\n\t\1é', list = { 1, 2.5, true, { x = false } }, none = {}, big = 1 << 53 }

  it("is read by others, and others' by it", function()
    assert.same(VALUE, dkjson.decode(json.encode(VALUE)))
    assert.same(VALUE, dkjson.decode(json.pretty(VALUE)))
    assert.same(VALUE, json.decode(dkjson.encode(VALUE, { indent = true })))
  end)

  it("comes back as it was", function()
    assert.same(VALUE, json.decode(json.encode(VALUE)))
    assert.same(VALUE, json.decode(json.pretty(VALUE)))
  end)

  it("has no numbers that JSON lacks", function()
    assert.equal("[null,null]", json.encode { 0 / 0, 1 / 0 })
  end)
end)
