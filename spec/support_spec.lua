-- What specs rely on: nothing that fails in them may end them without a word.
local processes = require "spec.support.processes"
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
