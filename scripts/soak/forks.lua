-- Forks that the library does not know of.
local check = require "scripts.soak.check"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local forks = {}

local function run_child(func)
  local ok, problem = pcall(func)
  if not ok then
    io.stderr:write("in a fork: ", tostring(problem), "\n")
  end
  unistd._exit(ok and 0 or 1)
end

--- Runs a function in a fork, and waits until that has ended, while others run here.
function forks.run(func)
  local pid = check.that(unistd.fork(), "fork fails")
  if pid == 0 then
    run_child(func)
  end
  local how, code
  check.eventually(function()
    local ended
    ended, how, code = wait.wait(pid, wait.WNOHANG)
    return ended == pid
  end, "a fork to end")
  check.that(how == "exited" and code == 0, "a fork has %s: %s", how, code)
end

return forks
