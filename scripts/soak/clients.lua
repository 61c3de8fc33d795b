-- Clients of a store: processes, threads of processes, threads beside the program, forks by luaposix.
local check = require "scripts.soak.check"
local dices = require "scripts.soak.dice"
local forks = require "scripts.soak.forks"
local model = require "scripts.soak.model"
local operations = require "scripts.soak.operations"
local remoteobj = require "remoteobj"

-- ---- the plan ----

local MOST_ACTIONS = 40

local function plan_actions(dice, name)
  local list = {}
  for i = 1, dice:roll(MOST_ACTIONS) do
    list[i] = { ticket = name .. "." .. i, operation = dice:pick(operations.names), seed = dice:seed() }
  end
  return list
end

local function plan_throws(dice)
  local list = {}
  for i = 1, dice:roll(4) do
    list[i] = dice:seconds(0.02)
  end
  return list
end

--- @param dice
-- @param name of the client, which its tickets begin with
-- @param here may clients be in the same process
local function plan(dice, name, here)
  local kind = dice:pick { "process", "process", "threads", "fork", here and "here" or "process" }
  local made = { name = name, kind = kind, threads = {} }
  for i = 1, made.kind == "threads" and dice:roll(3) + 1 or 1 do
    made.threads[i] = plan_actions(dice, name .. "." .. i)
  end
  if made.kind == "process" or made.kind == "threads" then
    made.killed = dice:one_in(5) and dice:seconds(0.03) or nil
    made.thrown = dice:one_in(5) and plan_throws(dice) or nil
  end
  return made
end

-- ---- acting ----

--- Does one thing; writes down what has become of it.
local function act(action, remote, witness)
  local ticket = action.ticket
  witness:write("begun", ticket)
  local operation = operations.by_name[action.operation]
  local ok, value = pcall(operation, remote, ticket, dices.new(action.seed))
  local outcome = operations.outcome_of(ok, value, ticket)
  if not ok then
    witness:write("reason", ("%s=%s"):format(ticket, value.kind or "error"))
  end
  witness:write(outcome, ticket)
  return outcome
end

local function act_all(actions, remote, witness, tell)
  for _, action in ipairs(actions) do
    local outcome = act(action, remote, witness)
    if tell then
      tell(action.ticket, outcome)
    end
    if outcome == "never" then
      remoteobj.sleep(0.002) -- nobody listens: give it time
    end
  end
end

--- A process that yields what becomes of each action; or whose threads act side by side.
local function run_process(self, remote, witness)
  witness:attend()
  if self.kind == "process" then
    return act_all(self.threads[1], remote, witness, coroutine.yield)
  end
  local threads = {}
  for i, actions in ipairs(self.threads) do
    threads[i] = remoteobj.thread(act_all, actions, remote, witness):start()
  end
  for _, thread in ipairs(threads) do
    thread:join()
  end
end

-- ---- the other side ----

--- Throws errors into a process at the planned moments.
local function throw_all(moments, process)
  for i, seconds in ipairs(moments) do
    remoteobj.sleep(seconds)
    process:throw { thrown = i }
  end
end

--- What was yielded is what the witness knows, in order; the end may be missing where the process was killed.
local function check_stream(self, told, witness)
  local known, all = model.outcomes(witness:all()), self.threads[1]
  for i, outcome in ipairs(told) do
    local ticket = all[i].ticket
    check.that(outcome == known[ticket], "%s was %s, and %s is yielded", ticket, known[ticket], outcome)
  end
  check.that(self.killed or self.thrown or #told == #all, "%d of %d yields came", #told, #all)
end

local function read_stream(self, process)
  local told = {}
  for ticket, outcome in process:iter() do
    told[#told + 1] = outcome
    local expected = self.threads[1][#told].ticket
    check.that(ticket == expected, "%s is yielded instead of %s", ticket, expected)
  end
  return told
end

--- An error of a client is one that was thrown into it between two actions, or a violation.
local function check_end(self, process)
  local problem = process.exc.last
  if self.killed and process.exitcode and process.exitcode < 0 then
    return
  elseif problem ~= nil and not (self.thrown and type(problem) == "table" and problem.thrown) then
    error(problem, 0)
  end
end

local function follow_process(self, remote, witness)
  local process = remoteobj.process { run_process, self, remote, witness, raises_ = false }:start()
  local _ <close> = self.thrown and remoteobj.thread(throw_all, self.thrown, process):start() or nil
  local _ <close> = self.killed and remoteobj.thread(function()
    remoteobj.sleep(self.killed)
    process:kill()
  end):start() or nil
  local told = self.kind == "process" and read_stream(self, process)
  check.ends(process, "client " .. self.name)
  check_end(self, process)
  if told then
    check_stream(self, told, witness)
  end
end

--- Starts the client, and follows it to its end.
local function follow(self, remote, witness)
  if self.kind == "fork" then
    forks.run(function() act_all(self.threads[1], remote, witness) end)
  elseif self.kind == "here" then
    act_all(self.threads[1], remote, witness)
  else
    follow_process(self, remote, witness)
  end
end

return { plan = plan, follow = follow }
