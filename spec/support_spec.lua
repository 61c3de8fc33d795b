-- What specs rely on: nothing that fails in them may end them without a word.
local processes = require "spec.support.processes"
local script = require "spec.support.script"
local signal = require "posix.signal"
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

  it("has its streams, be they where the one that starts it has files that are garbage", function()
    local result = script.run [[
      local script = require "spec.support.script"
      local unistd = require "posix.unistd"
      local execp = unistd.execp
      function unistd.execp(...) -- its time to collect has come
        for _ = 1, 100000 do setmetatable({}, {}) end
        return execp(...)
      end
      collectgarbage()
      for _ = 0, 3 do io.open "/dev/null" end
      local result = script.run_command { "echo", "runs" }
      print(result.code, result.stdout, result.stderr)
    ]]
    assert.same({ 0, "0\truns\n\t\n", "" }, { result.code, result.stdout, result.stderr })
  end)

  it("whose end nobody can know is an error", function()
    local before = signal.signal(signal.SIGCHLD, signal.SIG_IGN) -- what is started now can't wait for its children
    local child = script.start "print 'runs'"
    signal.signal(signal.SIGCHLD, before)
    assert.error_matches(function() child:wait() end, "is not known %(wait: No child processes%)")
  end)
end)

describe("the shim that delays calls", function()
  local shim = (os.getenv "BUILD" or "build") .. "/spec/delays.so"

  local function run(source, how)
    local made = script.run_command({ "make", "--no-print-directory", "-s", "spec-programs" }, { timeout = 300 })
    assert.equal(0, made.code, made.stdout .. made.stderr)
    local folder = script.run_command({ "mktemp", "-d" }).stdout:match "[^\n]+" -- the checkout's name may have spaces
    script.run_command { "cp", shim, folder }
    local preload = "LD_PRELOAD=" .. folder .. "/delays.so"
    local lua = os.getenv "LUA" or "lua5.4"
    local result = script.run_command { "env", preload, "REMOTEOBJ_DELAYS=" .. how, lua, "-e", source }
    script.run_command { "rm", "-r", folder }
    return result
  end

  -- The runtimes of sanitizers must come before all others.
  local preloaded = os.getenv "REMOTEOBJ_SANITIZED" and pending or it

  preloaded("delays them in a program, its threads and its forks", function()
    local result = run([[
      local remoteobj = require "remoteobj"
      local function seconds()
        local unistd = require "posix.unistd"
        local wait = require "spec.support.wait"
        local start = wait.now()
        for _ = 1, 100 do
          unistd.close(-1)
        end
        return wait.now() - start
      end
      local thread = remoteobj.thread(seconds):start()
      local process = remoteobj.process(seconds):start()
      thread:join()
      process:join()
      print(seconds() >= 0.05, thread.result >= 0.05, process.result >= 0.05)
    ]], "1 1 4") -- on average a delay lasts half a millisecond, and there are two hundred
    assert.same({ 0, "true\ttrue\ttrue\n", "" }, { result.code, result.stdout, result.stderr })
  end)

  it("accepts nothing but what it understands", function()
    for _, how in ipairs { "", "1", "1 0.1", "x 0.1 1", "1 0 1", "1 2 1", "1 0.1 0", "1 0.1 1 1", "1 0.1 1ms" } do
      local result = run("print 'runs'", how)
      assert.same({ 2, "" }, { result.code, result.stdout })
      assert.is_truthy(result.stderr:find("REMOTEOBJ_DELAYS is '" .. how .. "'", 1, true))
    end
  end)
end)
