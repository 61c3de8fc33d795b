-- Futures of any source, and what every wait of the library does for them. Futures of evaluations: async_spec.
local core = require "remoteobj.core"
local private_pipe = require "spec.support.pipe"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"

local new, settle, watch = core._future.new, core._future.settle, core._future.watch

local function done_with(...)
  local future = new()
  settle(future, true, ...)
  return future
end

describe("a future", function()
  it("gives what it was settled with, again and again", function()
    for _, values in ipairs { table.pack(), table.pack(1), table.pack(nil), table.pack(1, nil, 3, nil) } do
      local future = new()
      assert.is_false(future:done())
      assert.is_true(settle(future, true, table.unpack(values, 1, values.n)))
      assert.is_false(settle(future, true, "again"))
      assert.is_true(future:done())
      for _ = 1, 2 do
        assert.same(values, table.pack(future:get()))
        assert.same(values, table.pack(future:get(0)))
      end
    end
  end)

  it("raises the very error that it was settled with", function()
    local problem = { "problem" }
    local future = new()
    settle(future, false, problem)
    assert.is_true(future:done())
    for _ = 1, 2 do
      local ok, err = pcall(future.get, future)
      assert.is_false(ok)
      assert.equal(problem, err)
    end
  end)

  it("is waited for as long as one wants", function()
    local future = new()
    for _, seconds in ipairs { 0, 0.01, -1 } do
      local ok, err = pcall(future.get, future, seconds)
      assert.is_false(ok)
      assert.equal("Timeout", err.kind)
    end
    settle(future, true, 5)
    assert.equal(5, future:get(0))
  end)

  it("calls functions once it is done, in order", function()
    local future, calls = new(), {}
    for i = 1, 3 do
      future:on_done(function(f)
        calls[#calls + 1] = { i, f, f:get() }
      end)
    end
    assert.same({}, calls)
    settle(future, true, "x")
    assert.same({ { 1, future, "x" }, { 2, future, "x" }, { 3, future, "x" } }, calls)
    future:on_done(function(f)
      calls[#calls + 1] = f
    end)
    assert.equal(future, calls[4])
  end)

  it("calls functions though nobody has it any more", function()
    local called
    local settle_it
    do
      local future = new()
      future:on_done(function(f) called = f:get() end)
      local weak = setmetatable({ future }, { __mode = "v" })
      settle_it = function() settle(weak[1], true, "kept") end
    end
    collectgarbage()
    collectgarbage()
    settle_it()
    assert.equal("kept", called)
  end)

  it("raises what a function raises that is called at once, and warns of it otherwise", function()
    local future = new()
    local after = false
    future:on_done(function() error "not here" end)
    future:on_done(function() after = true end)
    settle(future, true)
    assert.is_true(after)
    assert.has_error(function() future:on_done(function() error("here", 0) end) end, "here")
  end)

  it("refuses what it can't use", function()
    local future = new()
    assert.error_matches(function() future:get "soon" end, "number expected, got string")
    assert.error_matches(function() future:get(0 / 0) end, "got nan")
    assert.error_matches(function() future:on_done(1) end, "function expected, got number")
    assert.error_matches(function() future.get {} end, "remoteobj.Future expected, got table")
    assert.equal("<Future (not done)>", tostring(future))
    assert.equal("<Future (done)>", tostring(done_with()))
  end)
end)

describe("wait", function()
  it("gives the futures that are done and the others, in order", function()
    local a, b, c, d = done_with(), new(), done_with(), new()
    local done, others = remoteobj.wait({ a, b, c, d }, { timeout = 0 })
    assert.same({ { a, c }, { b, d } }, { done, others })
    done, others = remoteobj.wait({ b, a, a }, { all = false })
    assert.same({ { a, a }, { b } }, { done, others })
    done, others = remoteobj.wait({ d, b }, { all = false, timeout = 0.01 })
    assert.same({ {}, { d, b } }, { done, others })
    for _, all in ipairs { true, false } do
      assert.same({ {}, {} }, { remoteobj.wait({}, { all = all }) })
    end
  end)

  it("takes futures that failed for done", function()
    local future = new()
    settle(future, false, "problem")
    assert.same({ { future }, {} }, { remoteobj.wait { future } })
  end)

  it("refuses what is no future, and unknown options", function()
    assert.error_matches(function() remoteobj.wait { done_with(), 5 } end, "future expected at %[2%], got number")
    assert.error_matches(function() remoteobj.wait(done_with()) end, "table expected")
    assert.error_matches(function() remoteobj.wait({}, { every = true }) end, "unknown option 'every'")
    assert.error_matches(function() remoteobj.wait({}, { all = 1 }) end, "'all' must be a boolean")
    assert.error_matches(function() remoteobj.wait({}, { timeout = -1 }) end, "'timeout' must be a number of seconds")
  end)
end)

describe("a descriptor that is watched", function()
  local pipe

  before_each(function()
    pipe = {}
    pipe.output, pipe.input = private_pipe()
  end)

  after_each(function()
    unistd.close(pipe.output)
    unistd.close(pipe.input)
  end)

  -- Calls func whenever a byte comes.
  local function on_byte(func)
    return watch(pipe.output, function()
      unistd.read(pipe.output, 1)
      func()
    end)
  end

  for name, wait in pairs {
    sleep = function() remoteobj.sleep(0.05) end,
    poll = function() remoteobj.poll({}, 0.05) end,
    get = function() pcall(new().get, new(), 0.05) end,
    wait = function() remoteobj.wait({ new() }, { timeout = 0.05 }) end,
  } do
    it("is attended to by " .. name, function()
      local calls = 0
      local handle <close> = on_byte(function() calls = calls + 1 end)
      unistd.write(pipe.input, "xy")
      wait()
      assert.equal(2, calls)
      handle:close()
      unistd.write(pipe.input, "z")
      wait()
      assert.equal(2, calls)
    end)
  end

  it("settles futures that are waited for", function()
    local a, b = new(), new()
    local handle <close> = on_byte(function()
      settle(a:done() and b or a, true, "it")
    end)
    unistd.write(pipe.input, "xy")
    assert.equal("it", a:get(60))
    assert.same({ { a, b }, {} }, { remoteobj.wait({ a, b }, { timeout = 60 }) })
    handle:close()
  end)

  it("is not attended to while it is", function()
    local depth, deepest = 0, 0
    local handle <close> = watch(pipe.output, function()
      depth = depth + 1
      deepest = math.max(deepest, depth)
      remoteobj.sleep(0.01)
      unistd.read(pipe.output, 1)
      depth = depth - 1
    end)
    unistd.write(pipe.input, "x")
    remoteobj.sleep(0.05)
    assert.equal(1, deepest)
    handle:close()
  end)

  it("may be closed by its own function, many at once", function()
    local handles, calls = {}, 0
    for i = 1, 20 do
      handles[i] = watch(pipe.output, function()
        calls = calls + 1
        for _, handle in ipairs(handles) do
          handle:close()
        end
      end)
    end
    unistd.write(pipe.input, "x")
    remoteobj.sleep(0)
    remoteobj.sleep(0)
    assert.equal(1, calls)
  end)
end)
