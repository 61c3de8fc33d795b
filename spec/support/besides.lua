-- What becomes of errors that are thrown into a thread or process while it is in a function that the library calls
-- besides what that is at.
local assert = require "luassert"
local fixture = require "spec.support.fixture"
local private_pipe = require "spec.support.pipe"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local futures = require("remoteobj.core")._future -- after the whole, which may bring it along

local function settled_with(func)
  local future = futures.new()
  future:on_done(func)
  futures.settle(future, true)
end

local function stay_on()
  while true do end
end

-- Has `stay` called, which never returns. `remote` is a proxy of a counter that somebody listens for.
local callers = {
  ["a function given to on_done"] = function(stay) settled_with(stay) end,
  ["such a function in another"] = function(stay)
    settled_with(function()
      settled_with(stay)
      stay_on()
    end)
  end,
  ["a coroutine in a function given to on_done"] = function(stay) settled_with(coroutine.wrap(stay)) end,
  ["a function that watches a descriptor"] = function(stay)
    local output, input = private_pipe()
    unistd.write(input, "x")
    local _ <close> = futures.watch(output, function()
      unistd.read(output, 1)
      stay()
    end)
    local _ <close> = setmetatable({}, { __close = function()
      unistd.close(output)
      unistd.close(input)
    end })
    remoteobj.sleep(1e9)
  end,
  ["a duty"] = function(stay)
    local first = true
    futures.perform(futures.duty(function()
      if first then
        first = false
        stay()
      end
    end))
  end,
  ["an atomic function"] = function(stay) futures.atomic(stay) end,
  ["a function that traces"] = function(stay, remote)
    local _ <close> = setmetatable({}, { __close = function() remoteobj.trace(nil) end })
    remoteobj.trace(function() stay() end)
    remote:add()
  end,
  ["a callback"] = function(stay, remote)
    remote:passto(function(_, func) pcall(func) end, remoteobj.callback(stay))
  end,
  ["a request that it serves in the foreground"] = function(stay)
    local own = remoteobj.Proxy({ stay = function() stay() end })
    local _ <close> = own:listen_ { bg = false }
    local _ <close> = remoteobj.process { own.stay, raises_ = false }:start()
    while own:process_requests() == 0 do
      remoteobj.poll { [own:fileno_()] = { events = { IN = true } } }
    end
  end,
  ["the function on_error"] = function(stay)
    local own = remoteobj.Proxy {}
    local _ <close> = own:listen_ { bg = false, on_error = function() stay() end }
    own:with_ { oneway = true }:passto(error)
  end,
  ["the text of an error"] = function(stay, remote)
    remote:passto(function(_, func) pcall(func) end, remoteobj.callback(function()
      error(setmetatable({ file = io.stdout }, { __tostring = function() stay() end }))
    end))
  end,
}

local ways = {
  computes = stay_on,
  sleeps = function() remoteobj.sleep(1e9) end,
}

local thrown = { computes = { code = 42 }, sleeps = "thrown" }

--- Is an error what was thrown into what stays in this way; a text may say where it was.
local function is_thrown(err, way)
  err = type(err) == "table" and (err.code or err.value) or err
  return err == 42 or way == "sleeps" and tostring(err):find "thrown$"
end

local places = {}

for name, call in pairs(callers) do
  for way, stay in pairs(ways) do
    places[name .. " that " .. way] = {
      way = way,
      func = function(place, remote)
        call(function()
          place.begin()
          stay()
        end, remote)
        stay_on()
      end,
    }
  end
end

places["a finalizer, which it does not interrupt"] = {
  way = "sleeps",
  finishes = true,
  func = function(place)
    setmetatable({}, { __gc = function()
      place.begin()
      place.await_thrown()
      place.finish()
    end })
    collectgarbage()
    stay_on()
  end,
}

--- What tells of a place, also to another process: `begin`, `finish` and `await_thrown` are for the function; and
-- `await_begun`, `thrown`, `has_finished` for who throws.
local function new_place()
  local begun, beginning = private_pipe()
  local told, telling = private_pipe()
  local ended, ending = private_pipe()
  local function await(fd)
    assert(remoteobj.poll({ [fd] = { events = { IN = true } } }, wait.LIMIT) > 0)
    unistd.read(fd, 1)
  end
  return {
    begin = function() unistd.write(beginning, "x") end,
    await_thrown = function() await(told) end,
    finish = function() unistd.write(ending, "x") end,
    await_begun = function() await(begun) end,
    thrown = function() unistd.write(telling, "x") end,
    has_finished = function() return remoteobj.poll({ [ended] = { events = { IN = true } } }, 0) > 0 end,
    close = function()
      for _, fd in ipairs { begun, beginning, told, telling, ended, ending } do
        unistd.close(fd)
      end
    end,
  }
end

--- Of several threads any that waits calls a function that watches; and what is atomic lets no other compute.
local function suits_threads(name)
  return not (name:find "watches" or name:find "duty that computes" or name:find "atomic function that computes")
end

--- Settles a future with three functions to call, of which the first `staying` stay, and catches the error that is
-- raised where it goes on. Where another is still to come it waits for that.
local function settle_with_three(place, staying)
  local future, called = futures.new(), 0
  for i = 1, 3 do
    future:on_done(function()
      called = called + 1
      if i <= staying then
        place.begin()
        stay_on()
      end
    end)
  end
  local _, err = pcall(function()
    futures.settle(future, true)
    stay_on()
  end)
  assert(called == 3)
  while staying > 1 do
    remoteobj.sleep(wait.LIMIT)
  end
  return err
end

--- Makes a test of each place, by which what func(...) is given is run by `start(func)`, a thread or
--- process.
local function test_all(it, start, has_threads)
  for name, what in pairs(places) do
    local define = has_threads and not suits_threads(name) and function() end or it
    define("ends a thread or process, though it finds it in " .. name, function()
      local _, remote = fixture.open(fixture.counter())
      local place = new_place()
      fixture.serve()
      local t = start(function() what.func(place, remote) end)
      place.await_begun()
      assert.is_true(t:throw(thrown[what.way]))
      place.thrown()
      local ok, err = pcall(t.join, t, wait.LIMIT)
      assert.is_false(ok, "it has not ended")
      assert(is_thrown(err, what.way), err)
      if what.finishes then
        assert.is_true(place.has_finished())
      end
      place.close()
      fixture.close()
    end)
  end

  it("ends one function of several, and is raised once where they were called", function()
    local place = new_place()
    local t = start(settle_with_three, place, 1)
    place.await_begun()
    assert.is_true(t:throw "thrown")
    assert.is_true(t:join(wait.LIMIT))
    assert.equal("thrown", t.result)
    place.close()
  end)

  it("ends another function, if one is to be raised yet, and is raised after that", function()
    local place = new_place()
    local t = start(settle_with_three, place, 2)
    for _, err in ipairs { "first", "second" } do
      place.await_begun()
      assert.is_true(t:throw(err))
    end
    local ok, err = pcall(t.join, t, wait.LIMIT)
    assert.is_false(ok)
    assert.equal("second", type(err) == "table" and err.value or err)
    place.close()
  end)
end

return test_all
