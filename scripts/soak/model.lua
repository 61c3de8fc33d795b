-- What must have happened in the listeners, given what clients have been told.
--
-- Words of the witness: "begun" TICKET before an operation; "run" TICKET when the store is used; then what the client
-- was told: "once" (answered), "never" (certainly not run), "maybe", or "told" (sent without an answer). Before that
-- goes "reason" TICKET=KIND, what kind of error has told it.
local check = require "scripts.soak.check"
local count = require "scripts.soak.witness".count

local model = { totals = { once = 0, never = 0, maybe = 0, told = 0, cut = 0 } }

--- What clients were told, by ticket.
function model.outcomes(seen)
  local outcomes = {}
  for _, word in ipairs { "once", "never", "maybe", "told" } do
    for _, ticket in ipairs(seen[word]) do
      outcomes[ticket] = word
    end
  end
  return outcomes
end

local function reason_for(seen, ticket)
  for _, subject in ipairs(seen.reason) do
    local whose, kind = subject:match "^(.*)=(.*)$"
    if whose == ticket then
      return kind
    end
  end
end

--- Compares what clients were told with what was run, of the tickets that begin with the name of the house. It is
-- steady when no listener has died or refused anything.
function model.compare(witness, house, steady)
  local seen = witness:all() -- at one moment: forks of clients that were killed may still be at it
  local begun, runs, outcomes = count(seen.begun), count(seen.run), model.outcomes(seen)
  for ticket in pairs(begun) do
    if ticket:sub(1, #house + 1) == house .. "." then
      local times, outcome = runs[ticket] or 0, outcomes[ticket] or "cut"
      model.totals[outcome] = model.totals[outcome] + 1
      check.that(begun[ticket] == 1, "%s was begun %d times", ticket, begun[ticket])
      check.that(times <= 1, "%s was run %d times", ticket, times)
      check.that(outcome ~= "once" or times == 1, "%s was answered, and not run", ticket)
      check.that(outcome ~= "never" or times == 0, "%s was run, and said not to be: %s", ticket,
        outcome == "never" and reason_for(seen, ticket))
      check.that(outcome ~= "told" or not steady or times == 1, "%s was told, and not run", ticket)
    end
  end
  for ticket in pairs(runs) do
    check.that(begun[ticket], "%s was run, and never asked for", ticket)
  end
end

return model
