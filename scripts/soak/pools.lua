-- A pool, of which tasks fail, workers die, loops are left, futures are taken back; and its end.
--
-- Words of the witness: "ran" TASK for each time that a task is run.
local check = require "scripts.soak.check"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local witnesses = require "scripts.soak.witness"

local pools = {}

-- ---- the plan ----

local function plan_tasks(dice, name)
  local calm = dice:one_in(2)
  local list = {}
  for i = 1, dice:roll(60) do
    local bad = not calm and dice:one_in(20)
    local fate = dice:pick(bad and { "fails", "dies" } or { "quick", "quick", "slow" })
    list[i] = { name = name .. "." .. i, fate = fate, seconds = dice:seconds(0.003), size = dice:roll(20000) }
  end
  return list
end

local function plan_step(dice, name)
  local tasks = plan_tasks(dice, name)
  return {
    name = name,
    kind = dice:pick { "map", "imap", "submit" },
    chunk = dice:one_in(2) and dice:roll(8) or nil,
    window = dice:roll(30),
    left = dice:one_in(3) and dice:roll(#tasks) or nil, -- after so many results the loop is left,
    cancelled = dice:one_in(3) and dice:roll(#tasks) or nil, -- or a future taken back
    tasks = tasks,
  }
end

-- A pool that is dropped has its workers until it is collected: for processes of their own.
local ENDS = { process = { "close", "close", "kill", "drop" }, thread = { "close", "close", "kill" } }

function pools.plan(dice, name, place)
  local made = {
    name = name,
    workers = dice:roll(3),
    retries = dice:roll(3) - 1,
    killed = dice:one_in(4) and dice:seconds(0.05) or nil, -- one of the workers, by somebody else
    finish = dice:pick(ENDS[place]),
    steps = {},
  }
  for i = 1, dice:roll(3) do
    made.steps[i] = plan_step(dice, name .. "." .. i)
  end
  return made
end

-- ---- in a worker ----

local fates = {
  fails = function(task) error { task = task.name } end,
  dies = function() require "posix.signal".kill(require "posix.unistd".getpid(), 9) end,
  slow = function(task) require "remoteobj".sleep(task.seconds) end,
  quick = function() end,
}

local function begin(witness, pool)
  witness:attend()
  witness:write("worker-of-" .. pool, tostring(unistd.getpid()))
  return { witness = witness, fates = fates }
end

local function run(desk, task)
  desk.witness:write("ran", task.name)
  desk.fates[task.fate](task)
  return task.name, ("x"):rep(task.size)
end

-- ---- what must come of tasks ----

local function some_die(tasks)
  for _, task in ipairs(tasks) do
    if task.fate == "dies" then
      return true
    end
  end
end

--- Does a worker die while it has such tasks? Results that it has not got rid of are lost with it then, so that other
-- tasks are told to have died too.
local function may_die(plan, tasks)
  return plan.killed or some_die(tasks)
end

--- Is this what a task that does not end well may raise?
local function check_problem(plan, tasks, task, problem)
  check.that(type(problem) == "table", "%s: %s", task.name, problem)
  if problem.kind == "ProcessDied" then
    check.that(may_die(plan, tasks), "%s is told to have died: %s", task.name, problem)
  else
    check.that(problem.task == task.name and task.fate == "fails", "%s: %s", task.name, problem.task or problem)
  end
end

local function check_result(task, name, size)
  check.that(name == task.name, "%s is the result of %s", name, task.name)
  check.that(size == nil or size == task.size, "%s has %s bytes instead of %d", name, size, task.size)
  check.that(task.fate == "quick" or task.fate == "slow", "%s %s, and has a result", name, task.fate)
end

--- The first task that must have raised, and so is what all of the list raises.
local function first_bad(tasks)
  for _, task in ipairs(tasks) do
    if task.fate == "fails" or task.fate == "dies" then
      return task
    end
  end
end

--- Is the error that of the first bad task? Where workers die it may be that of one before.
local function check_first_problem(plan, tasks, problem)
  check.that(type(problem) == "table", "%s", problem)
  if not (may_die(plan, tasks) and problem.kind == "ProcessDied") then
    local bad = check.that(first_bad(tasks), "no task fails, and yet: %s", problem)
    check_problem(plan, tasks, bad, problem)
  end
end

local steps = {}

function steps.map(plan, step, pool)
  local ok, results, count = pcall(pool.map, pool, run, step.tasks, { chunk = step.chunk })
  if not ok then
    return check_first_problem(plan, step.tasks, results)
  end
  check.that(count == #step.tasks, "%d results of %d tasks", count, #step.tasks)
  for i, task in ipairs(step.tasks) do
    check_result(task, results[i])
  end
end

function steps.imap(plan, step, pool)
  local i = 0
  local ok, problem = pcall(function()
    for name, text in pool:imap(run, step.tasks, { chunk = step.chunk, window = step.window }) do
      i = i + 1
      check_result(step.tasks[i], name, #text)
      if i == step.left then return end
    end
    check.that(i == #step.tasks, "%d results of %d tasks", i, #step.tasks)
  end)
  if not ok then
    check_first_problem(plan, step.tasks, problem)
  end
end

--- Has some task be taken back; gives its name if it was.
local function cancel(step, pool, futures)
  local i = step.cancelled
  return i and pool:cancel(futures[i]) and step.tasks[i].name
end

function steps.submit(plan, step, pool, witness)
  local futures = {}
  for i, task in ipairs(step.tasks) do
    futures[i] = pool:submit(run, task)
  end
  local cancelled = cancel(step, pool, futures)
  for i, task in ipairs(step.tasks) do
    local ok, name, text = pcall(futures[i].get, futures[i], check.LIMIT)
    if task.name == cancelled then
      check.that(not ok and name.kind == "NotListening", "%s was taken back: %s", task.name, name)
      witness:write("cancelled", task.name)
    elseif ok then
      check_result(task, name, #text)
    else
      check_problem(plan, step.tasks, task, name)
    end
  end
end

-- ---- the end ----

local ends = {}

function ends.close(_, pool) pool:close() end

function ends.drop() end

--- With tasks under way, of which none is left hanging.
function ends.kill(plan, pool, witness)
  local futures, names = {}, {}
  for i = 1, 10 do
    names[i] = plan.name .. ".last." .. i
    futures[i] = pool:submit(run, { name = names[i], fate = "slow", seconds = 0.001, size = 1 })
  end
  pool:kill()
  for i, future in ipairs(futures) do
    local ok, problem = pcall(future.get, future, check.LIMIT)
    local kind = not ok and problem.kind
    check.that(ok or kind == "ProcessDied" or kind == "NotListening", "%s: %s", names[i], problem)
    if kind == "NotListening" and plan.retries == 0 then
      witness:write("cancelled", names[i])
    end
  end
end

--- No task was run more often than it may be, none that was taken back.
local function check_runs(plan, witness)
  local seen = witness:all()
  local ran = witnesses.count(seen.ran)
  for name, times in pairs(ran) do
    if name:sub(1, #plan.name + 1) == plan.name .. "." then
      check.that(times <= 1 + plan.retries, "%s was run %d times, with %d retries", name, times, plan.retries)
    end
  end
  for _, name in ipairs(seen.cancelled) do
    check.that(not ran[name], "%s was run, and is told not to have been", name)
  end
end

--- A process that kills some worker at the planned moment.
local function kill_one(plan, witness)
  remoteobj.sleep(plan.killed)
  local workers = witness:list("worker-of-" .. plan.name)
  signal.kill(tonumber(workers[1]), signal.SIGKILL)
end

function pools.play(plan, witness)
  local pool = remoteobj.pool(plan.workers, {
    name = plan.name, retries = plan.retries, object = { begin, witness, plan.name },
  })
  local killer = plan.killed and remoteobj.process(kill_one, plan, witness):start()
  for _, step in ipairs(plan.steps) do
    steps[step.kind](plan, step, pool, witness)
  end
  if killer then
    check.ends(killer, "who kills a worker")
  end
  ends[plan.finish](plan, pool, witness)
  check_runs(plan, witness)
end

return pools
