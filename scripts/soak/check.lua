-- What must hold. Whoever finds that it does not raises a text; the round that it is in fails with it.
local remoteobj = require "remoteobj"
local wait = require "spec.support.wait"

local check = {}

--- Seconds that any single thing may take.
check.LIMIT = 60

--- Raises unless the condition is true; returns it.
function check.that(condition, what, ...)
  if not condition then
    error("VIOLATION: " .. what:format(...), 0)
  end
  return condition
end

--- Waits until condition() is true, for what has no event of its own. If that never comes, tells what it has waited
-- for, and what else the condition has returned last.
function check.eventually(condition, what)
  local deadline = wait.now() + check.LIMIT
  local holds, state = condition()
  while not holds do
    check.that(wait.now() < deadline, "waited in vain for %s%s", what, state and ": " .. state or "")
    remoteobj.sleep(0.002)
    holds, state = condition()
  end
end

--- Waits for the end of a process or thread.
function check.ends(job, what)
  check.that(job:join(check.LIMIT), "%s does not end", what)
end

return check
