-- An Except into which several processes record errors, some of which are killed.
--
-- Words of the witness: "raised" ERROR before it is recorded, "recorded" ERROR after that.
local check = require "scripts.soak.check"
local remoteobj = require "remoteobj"
local witnesses = require "scripts.soak.witness"

local records = {}

function records.plan(dice, name)
  local made = { name = name, recorders = {} }
  for i = 1, dice:roll(4) do
    made.recorders[i] = {
      name = name .. "." .. i,
      count = dice:roll(100),
      size = dice:one_in(4) and dice:roll(50000) or 0,
      killed = dice:one_in(2) and dice:seconds(0.03) or nil,
    }
  end
  return made
end

local function record_all(plan, book, witness)
  witness:attend()
  for i = 1, plan.count do
    local name = plan.name .. "." .. i
    witness:write("raised", name)
    book { raises = false } (function()
      book(plan.name)(error, { name = name, text = ("x"):rep(plan.size) })
    end)
    witness:write("recorded", name)
  end
end

--- The names of the errors, each of which must be there once.
local function names_of(errors)
  local all = {}
  for _, err in ipairs(errors) do
    check.that(not all[err.name], "%s is recorded twice", err.name)
    all[err.name] = true
  end
  return all
end

--- Those of one recorder come whole and in order.
local function check_group(plan, book)
  for i, err in ipairs(book:group(plan.name)) do
    check.that(err.name == plan.name .. "." .. i, "%s is error %d of its group", err.name, i)
    check.that(#err.text == plan.size, "%s has %d bytes", err.name, #err.text)
  end
end

local function check_book(plan, book, witness)
  local names, seen = names_of(book:all()), witness:all()
  local raised = witnesses.count(seen.raised)
  for name in pairs(names) do
    check.that(raised[name], "%s is recorded, and nobody has raised it", name)
  end
  for _, name in ipairs(seen.recorded) do
    local ours = name:sub(1, #plan.name + 1) == plan.name .. "."
    check.that(not ours or names[name], "%s was recorded, and is lost", name)
  end
  for _, recorder in ipairs(plan.recorders) do
    check_group(recorder, book)
  end
end

--- Ends those that are to be killed.
local function kill_all(plan, processes)
  for i, recorder in ipairs(plan.recorders) do
    if recorder.killed then
      remoteobj.sleep(recorder.killed)
      processes[i]:kill()
    end
  end
end

function records.play(plan, witness)
  local book, processes = remoteobj.Except(), {}
  for i, recorder in ipairs(plan.recorders) do
    processes[i] = remoteobj.process { record_all, recorder, book, witness, raises_ = false }:start()
  end
  kill_all(plan, processes)
  for i, process in ipairs(processes) do
    check.ends(process, "recorder " .. i)
    process:raise_any()
  end
  check_book(plan, book, witness)
end

return records
