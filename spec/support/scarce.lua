-- Runs scripts in the interpreter spec/support/scarce.c, in which memory and calls of the system fail when told to.
--
--   scarce(text) -> what it printed; it must end well, and complain of nothing
local assert = require "luassert"
local script = require "spec.support.script"

local build = os.getenv "BUILD" or "build"

return function(text)
  local made = script.run_command({ "make", "--no-print-directory", "-s", "spec-programs" }, { timeout = 300 })
  assert.equal(0, made.code, made.stdout .. made.stderr)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  local result = script.run_command({ build .. "/spec/scarce", name }, { timeout = 300 })
  os.remove(name)
  local errors = result.stderr:gsub("remoteobj: [^\n]*\n", "") -- of processes that could not tell otherwise
  assert.equal("", errors)
  assert.equal(0, result.code, result.stdout)
  return result.stdout
end
