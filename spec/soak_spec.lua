-- The soak itself (scripts/soak.lua): that it finds nothing in some rounds, and what is wrong where something is; that
-- a run with the same seed makes the same choices.
local scale = require "spec.support.scale"
local script = require "spec.support.script"
local wait = require "spec.support.wait"

local ROUNDS = scale(8, 500)

--- Runs the soak, perhaps after something has been made wrong there.
local function soak(arguments, lie)
  return script.run(([[
    local lie = %q
    if lie ~= "" then
      require("spec.support.soak_lies")[lie]()
    end
    dofile "scripts/soak.lua"
  ]]):format(lie or ""), arguments, { timeout = scale(10, 100) * wait.LIMIT })
end

--- The plans that it has shown.
local function plans(...)
  local result = soak { "show=1", ... }
  assert.equal(0, result.code, result.stderr)
  return (result.stdout:gsub("soak: %d+ rounds; [^\n]*\n$", ""))
end

describe("the soak", function()
  it("finds nothing in some rounds", function()
    local result = soak { "seed=20", "rounds=" .. ROUNDS, "seconds=100000" }
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.is_nil(result.stderr:find "VIOLATION")
    assert.matches(("^soak: SEED=20\nsoak: %d rounds; "):format(ROUNDS), result.stdout)
  end)

  it("makes the same choices with the same seed, others with another", function()
    local first = plans("seed=5", "rounds=2")
    assert.equal(first, plans("seed=5", "rounds=2"))
    assert.are_not.equal(first:match "round 1\n.*", plans("seed=6", "rounds=2"):match "round 1\n.*")
  end)

  it("does one round again", function()
    local plan = plans("seed=5", "rounds=2"):match "soak: round 2\n.*"
    local again = plans("seed=5", "rounds=2", "round=2")
    assert.equal(plan .. plan, again:match "soak: round 2\n.*")
  end)

  it("refuses unknown arguments", function()
    for text, message in pairs {
      ["sead=1"] = "bad argument 'sead=1' %(expected NAME=VALUE: acts, round, rounds, seconds, seed, show%)",
      ["seed=x"] = "bad argument 'seed=x' %(an integer expected%)",
      ["acts=house,horse"] = "bad argument 'acts=house,horse' %(expected some of house,pools,records,"
        .. "streams,threads,throws%)",
    } do
      local result = soak { text }
      assert.equal(1, result.code)
      assert.matches(message, result.stderr)
    end
  end)
end)

describe("the soak finds out", function()
  for lie, expected in pairs {
    runs_twice = { "house", "was run 2 times" },
    runs_nothing = { "house", "was answered, and not run" },
    runs_what_nobody_asked = { "house", "was run, and never asked for" },
    answers_another = { "house", "another is the answer to 0%." },
    says_never = { "house", "was run, and said not to be" },
    forgets_oneway = { "house", "was told, and not run" },
    keeps_references = { "house", "the listener to let go of what its clients had.*: [1-9]%d* references" },
    swaps_results = { "pools", "is the result of" },
    runs_tasks_again = { "pools", "was run %d times, with %d retries" },
    cancels_nothing = { "pools", "was taken back" },
    loses_yields = { "streams", "2 comes as yield 1" },
    copies_yields = { "threads", "yield 1 of a thread is another value" },
    loses_records = { "records", "was recorded, and is lost" },
    doubles_records = { "records", "is recorded twice" },
    throws_another = { "throws", "0 was caught instead of throw 1" },
    leaves_descriptors = { "threads", "what there was before", 3 },
    leaves_children = { "threads", "what there was before.*: %d+ descriptors, [1-9]%d* children", 3 },
    leaves_threads = { "threads", "what there was before", 3 },
    leaves_garbage = { "threads", "what there was before", 3 },
    never_ends = { "threads", "0%.1, which is threads, does not end" },
    outlives_its_parent = { "streams", "the end of process %d+" },
  } do
    it("what " .. lie:gsub("_", " "), function()
      local result = soak({ "seed=1", "rounds=" .. (expected[3] or 20), "acts=" .. expected[1] }, lie)
      assert.are_not.equal(0, result.code, result.stdout) -- sanitizers may have their own
      assert.matches(expected[2], result.stderr)
      assert.matches("soak: SEED=1 ROUND=%d+: VIOLATION: ", result.stderr)
    end)
  end
end)
