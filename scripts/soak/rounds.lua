-- A round: some acts that are played side by side, in threads of this process and in processes of their own, some of
-- which are killed with all that they have begun.
local check = require "scripts.soak.check"
local dices = require "scripts.soak.dice"
local remoteobj = require "remoteobj"
local witnesses = require "scripts.soak.witness"

local rounds = {}

-- An act plans what it does, by dice, as a table of plain values; and plays what was planned.
rounds.acts = {}
for _, name in ipairs { "house", "pools", "records", "streams", "threads", "throws" } do
  rounds.acts[name] = require("scripts.soak." .. name)
end

local ALL = { "house", "house", "house", "pools", "records", "streams", "threads", "throws" }

--- Seconds that an act may take: it has many things to wait for.
rounds.LIMIT = 5 * check.LIMIT

local ANYWHERE = { "thread", "thread", "process" }

local function plan_act(dice, name, which)
  local made = { act = which, place = dice:pick(ANYWHERE) }
  made.killed = made.place == "process" and dice:one_in(3) and dice:seconds(0.2) or nil
  made.plan = rounds.acts[which].plan(dices.new(dice:seed()), name, made.place)
  return made
end

--- What a round is to be: the same for the same seed and number.
-- @tparam integer seed
-- @tparam integer number
-- @tparam[opt] table names of the acts to choose from
function rounds.plan(seed, number, names)
  local dice = dices.new(seed * 1000003 + number)
  local list = {}
  for i = 1, dice:roll(4) do
    list[i] = plan_act(dice, ("%d.%d"):format(number, i), dice:pick(names or ALL))
  end
  return list
end

--- The round before the first one: all acts, none of which is killed.
function rounds.plan_all(seed, names)
  local list = {}
  for i, which in ipairs(names or ALL) do
    list[i] = plan_act(dices.new(seed + i), "0." .. i, which)
    list[i].killed = nil
  end
  return list
end

local function start(entry, witness)
  local play, plan = rounds.acts[entry.act].play, entry.plan
  local job = remoteobj.job {
    function()
      if entry.place == "process" then
        witness:attend()
      end
      play(plan, witness)
    end,
    threaded_ = entry.place == "thread", raises_ = false, name_ = plan.name,
  }
  return job:start()
end

--- Ends those that are to be killed.
local function kill_some(plan, jobs)
  for i, entry in ipairs(plan) do
    if entry.killed then
      remoteobj.sleep(entry.killed)
      jobs[i]:kill()
    end
  end
end

function rounds.play(plan)
  local witness <close> = witnesses.new()
  local jobs = {}
  for i, entry in ipairs(plan) do
    jobs[i] = start(entry, witness)
  end
  kill_some(plan, jobs)
  for i, job in ipairs(jobs) do
    check.that(job:join(rounds.LIMIT), "%s, which is %s, does not end", plan[i].plan.name, plan[i].act)
  end
  for _, job in ipairs(jobs) do
    job:raise_any()
  end
  witness:await_ends()
end

--- A plan as a text of a line for each act.
function rounds.describe(plan)
  local function text(value)
    if type(value) ~= "table" then
      return math.type(value) == "float" and ("%.4f"):format(value) or tostring(value)
    end
    local parts, keys = {}, {}
    for i, item in ipairs(value) do
      parts[i] = text(item)
    end
    for key in pairs(value) do
      if type(key) == "string" then
        keys[#keys + 1] = key
      end
    end
    table.sort(keys)
    for _, key in ipairs(keys) do
      parts[#parts + 1] = key .. "=" .. text(value[key])
    end
    return "{" .. table.concat(parts, " ") .. "}"
  end
  local lines = {}
  for i, entry in ipairs(plan) do
    lines[i] = "  " .. text(entry)
  end
  return table.concat(lines, "\n")
end

return rounds
