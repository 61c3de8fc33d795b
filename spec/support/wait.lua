-- Waiting in specs: for a condition where no event can be had, and against a test that hangs.
local remoteobj = require "remoteobj"
local posix_time = require "posix.time"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local wait = {}

--- How many times slower than usual programs are here.
wait.SLOWNESS = tonumber(os.getenv "REMOTEOBJ_SLOWNESS") or 1

--- Seconds that anything may take before it counts as failed; generous, since machines are shared.
wait.LIMIT = 30 * wait.SLOWNESS

--- Seconds on the monotonic clock.
function wait.now()
  local t = posix_time.clock_gettime(posix_time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

--- Waits until `condition()` is true, letting requests in; raises when the limit has passed.
-- Only for what has no event of its own.
function wait.until_true(condition, what)
  local deadline = wait.now() + wait.LIMIT
  while true do
    local value = condition()
    if value then
      return value
    end
    if wait.now() > deadline then
      error("waited in vain for " .. (what or "a condition"), 2)
    end
    remoteobj.sleep(0.002)
  end
end

--- Turns of a plain loop, without any call of the library, until `condition()`; raises at the limit.
function wait.spin_until(condition, what)
  local deadline = wait.now() + wait.LIMIT
  while not condition() do
    if wait.now() > deadline then
      error("spun in vain for " .. (what or "a condition"), 2)
    end
  end
end

--- What the guard does when a test hangs; spec.support.processes ends its processes then, so that
-- whoever waits for them goes on, with an error.
function wait.on_expiry()
end

--- From now on a test that hangs is helped to its end after `seconds` (default twice the limit).
function wait.guard(seconds)
  signal.signal(signal.SIGALRM, function()
    io.stderr:write "a test takes too long: its processes are ended\n"
    wait.on_expiry()
  end)
  unistd.alarm(seconds or 2 * wait.LIMIT)
end

--- Takes the guard back.
function wait.unguard()
  unistd.alarm(0)
  signal.signal(signal.SIGALRM, signal.SIG_DFL)
end

return wait
