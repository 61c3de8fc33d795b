-- What specs rely on: nothing that fails in them may end them without a word.
local processes = require "spec.support.processes"
local script = require "spec.support.script"
local wait = require "spec.support.wait"

describe("a child of a spec", function()
  before_each(function() wait.guard() end)
  after_each(function()
    processes.cleanup()
    wait.unguard()
  end)

  it("that has failed is told of by its result, whatever was sent to it since", function()
    local child = processes.fork(function() error "boom" end)
    processes.wait_ended(child.pid)
    child:send "are you there?"
    assert.error_matches(function() child:result() end, "boom")
  end)
end)

describe("a script of a spec", function()
  it("that has failed is told of by its result, whatever was written to it since", function()
    local child = script.start "error 'boom'"
    processes.wait_ended(child.supervisor)
    child:write "are you there?\n"
    local result = child:wait()
    assert.equal(1, result.code)
    assert.is_truthy(result.stderr:find("boom", 1, true))
  end)
end)
