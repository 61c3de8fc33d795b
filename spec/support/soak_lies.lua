-- What the soak must find out: a library, an object or a process that does not do what it should. Each of these makes
-- one thing wrong in the process that calls it, before the soak is run there.
local check = require "scripts.soak.check"
local operations = require "scripts.soak.operations"
local remoteobj = require "remoteobj"
local rounds = require "scripts.soak.rounds"
local stores = require "scripts.soak.store"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local lies = {}

-- ---- how ----

--- Gives a method of the objects that are like `sample` something else to do: change(original, self, ...).
local function change(sample, name, func)
  local class = getmetatable(sample)
  local index = class.__index
  local function find(self, key)
    return type(index) == "table" and index[key] or type(index) == "function" and index(self, key) or nil
  end
  class.__index = function(self, key)
    local original = find(self, key)
    if key ~= name then
      return original
    end
    return function(...)
      return func(original, ...)
    end
  end
end

--- Gives stores another way to use a ticket.
local function change_use(use)
  local new = stores.new
  function stores.new(witness)
    local store = new(witness)
    store.use = use
    return store
  end
end

--- Looks once at something that won't hold, however long one waits.
local function look_once_at(pattern)
  local eventually = check.eventually
  function check.eventually(condition, what)
    if not what:find(pattern) then
      return eventually(condition, what)
    end
    local holds, state = condition()
    check.that(holds, "waited in vain for %s: %s", what, state)
  end
end

--- Does something else before each round.
local function before_rounds(func)
  local play = rounds.play
  function rounds.play(...)
    func()
    play(...)
  end
end

-- ---- houses ----

function lies.runs_twice()
  change_use(function(store, ticket)
    store.witness:write("run", ticket)
    store.witness:write("run", ticket)
    return ticket
  end)
end

function lies.runs_nothing()
  change_use(function(_, ticket) return ticket end)
end

function lies.runs_what_nobody_asked()
  change_use(function(store, ticket)
    store.witness:write("run", ticket .. "x")
    store.witness:write("run", ticket)
    return ticket
  end)
end

function lies.answers_another()
  change_use(function(store, ticket)
    store.witness:write("run", ticket)
    return "another"
  end)
end

function lies.says_never()
  local outcome_of = operations.outcome_of
  function operations.outcome_of(...)
    local outcome = outcome_of(...)
    return outcome == "once" and "never" or outcome
  end
end

function lies.forgets_oneway()
  function operations.by_name.oneway() return "told" end
end

function lies.keeps_references()
  look_once_at "^the listener to let go"
  local new = stores.new
  function stores.new(witness)
    local store = new(witness)
    local census = store.census
    function store.census(...)
      local all = census(...)
      all.references = all.references + 1
      return all
    end
    return store
  end
end

-- ---- pools ----

function lies.swaps_results()
  change(remoteobj.pool(1), "map", function(map, ...)
    local results, count = map(...)
    results[1], results[#results] = results[#results], results[1]
    return results, count
  end)
end

function lies.runs_tasks_again()
  change(remoteobj.pool(1), "submit", function(submit, ...)
    for _ = 1, 3 do
      submit(...)
    end
    return submit(...)
  end)
end

function lies.cancels_nothing()
  change(remoteobj.pool(1), "cancel", function() return true end)
end

-- ---- the others ----

function lies.loses_yields()
  change(remoteobj.process(print), "iter", function(iter, ...)
    local next_value = iter(...)
    next_value()
    return next_value
  end)
end

function lies.copies_yields()
  change(remoteobj.thread(print), "iter", function(iter, ...)
    local next_value = iter(...)
    return function()
      return next_value() and {}
    end
  end)
end

function lies.loses_records()
  change(remoteobj.Except(), "all", function(all, ...)
    local list = all(...)
    list[#list] = nil
    return list
  end)
end

function lies.doubles_records()
  change(remoteobj.Except(), "all", function(all, ...)
    local list = all(...)
    list[#list + 1] = list[1]
    return list
  end)
end

local function throw_another(throw, target, err)
  return throw(target, { number = 0, text = err.text })
end

function lies.throws_another()
  change(remoteobj.process(print), "throw", throw_another)
  change(remoteobj.thread(print), "throw", throw_another)
end

-- ---- what is left ----

function lies.leaves_descriptors()
  look_once_at "^what there was before"
  before_rounds(unistd.pipe)
end

function lies.leaves_children()
  look_once_at "^what there was before"
  before_rounds(function()
    if unistd.fork() == 0 then
      unistd._exit(0) -- a zombie, which nobody waits for
    end
  end)
end

function lies.leaves_threads()
  look_once_at "^what there was before"
  before_rounds(function() remoteobj.thread(remoteobj.sleep, 1e6):start() end)
end

function lies.leaves_garbage()
  look_once_at "^what there was before"
  local kept = {}
  before_rounds(function() kept[#kept + 1] = ("x"):rep(1 << 20) .. #kept end)
end

function lies.never_ends()
  rounds.LIMIT = 0.1
  require("scripts.soak.threads").play = function() remoteobj.sleep(1e6) end
end

function lies.outlives_its_parent()
  local soak = unistd.getpid()
  look_once_at "^the end of process"
  require("scripts.soak.streams").play = function(_, witness)
    if unistd.fork() == 0 then
      witness:attend()
      while signal.kill(soak, 0) do -- with the soak it ends all the same
        unistd.sleep(1)
      end
      unistd._exit(0)
    end
    repeat until #witness:list "present" > 0
  end
end

return lies
