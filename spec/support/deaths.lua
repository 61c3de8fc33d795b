-- The ways in which a process can die, for specs that make it do so.
--
--   for _, way in ipairs(deaths.ways) do
--     way.name        -- for people
--     way.signal      -- number of the signal that another process sends; nil: it dies by itself
--     way.die()       -- dies, in the process itself
--     way.exitcode    -- what is the exit code then
--     way.error       -- what of the error that `join` raises matches; nil: it raises none
--     way.orderly     -- a process of the library's own puts its listeners in order before
--   end
local resource = require "posix.sys.resource"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local deaths = {}

-- A crash needs no picture of the process, and sanitizers are not to catch it.
function deaths.prepare()
  resource.setrlimit(resource.RLIMIT_CORE, { rlim_cur = 0, rlim_max = 0 })
  signal.signal(signal.SIGSEGV, signal.SIG_DFL)
end

local function by_signal(name, number)
  return {
    name = name,
    signal = number,
    die = function()
      deaths.prepare()
      signal.raise(number)
    end,
    exitcode = -number,
    error = name,
  }
end

deaths.ways = {
  by_signal("SIGKILL", signal.SIGKILL),
  by_signal("SIGSEGV", signal.SIGSEGV),
  { name = "os.exit", die = function() os.exit(7) end, exitcode = 7, orderly = true },
  { name = "_exit", die = function() unistd._exit(8) end, exitcode = 8 },
  {
    name = "an uncaught error",
    die = function() error("uncaught", 0) end,
    exitcode = 1,
    error = "uncaught",
    orderly = true,
  },
}

--- What a process that was started by the library with `raises_ = false` tells of its end is what it should be.
function deaths.check(process, way)
  local ok, err = pcall(process.raise_any, process)
  if process.exitcode ~= way.exitcode then
    error(("exit code %s instead of %d"):format(process.exitcode, way.exitcode))
  elseif ok == (way.error ~= nil) or not ok and not tostring(err):find(way.error, 1, true) then
    error(("raise_any after %s: %s %s"):format(way.name, ok, err))
  elseif way.signal and err.kind ~= "ProcessDied" then
    error(("the kind of the error is %s"):format(err.kind))
  end
end

return deaths
