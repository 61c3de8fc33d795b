-- The behaviour of the Python package remoteobj 0.4, as its tests lay it down, in Lua: what
-- somebody who comes from there relies on.
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local A = {}
A.x = 10
function A:multiply()
  self.x = self.x * 2
  return self
end
function A:chain() return self end
function A.fail() error(setmetatable({ message = "error!" }, A.KeyError)) end
function A:increment()
  self.x = self.x + 1
  return self.x
end
function A.override() return 2 end

local KeyError = { __name = "spec.original.KeyError", __tostring = function(self) return self.message end }
KeyError.__index = KeyError
A.KeyError = KeyError

local B = setmetatable({}, { __index = A })
B.__index = function(_, key)
  if key == "computed" then
    return 8
  end
  return B[key]
end
B.__tostring = function(self) return "<A x=" .. self.x .. ">" end
function B.override() return 10 end

local function new_object(options)
  local object = setmetatable({ data = { a = 5 } }, B)
  object.remote = remoteobj.Proxy(object, options)
  return object
end

local function listen_until_stopped(object, bg)
  local _ <close> = object.remote:listen_ { bg = bg }
  while not rawget(object, "stopped") do
    if bg then
      remoteobj.sleep(0.002)
    else
      object.remote:poll(0.1)
    end
  end
end

--- A started process that listens until it is closed.
local function listener(object, bg)
  local p = remoteobj.util.process {
    listen_until_stopped, object, bg ~= false,
    close_ = function()
      if object.remote.listening_ then
        object.remote:with_({ default = false }):set_("stopped", true)
      end
    end,
  }
  p:start()
  object.remote:wait_until_listening(p, { timeout = wait.LIMIT })
  return p
end

describe("as in the original, a proxy", function()
  before_each(wait.guard)
  after_each(function()
    processes.cleanup()
    wait.unguard()
  end)

  setup(function() remoteobj.register(KeyError) end)

  it("gets values in three forms, and a default when nobody listens any more", function()
    local object = new_object()
    do
      local _ <close> = listener(object)
      assert.equal(object.x, remoteobj.get(object.remote.x))
      assert.equal(object.x, object.remote.x:get_())
      assert.equal(object.x, object.remote.x.__)
    end
    assert.is_false(pcall(function() return object.remote.x:get_() end))
    assert.is_true(object.remote.x:get_ { default = true })
  end)

  for _, bg in ipairs { false, true } do
    it("is answered with bg = " .. tostring(bg) .. ", errors included", function()
      local object = new_object()
      local _ <close> = listener(object, bg)
      assert.equal(10, object.remote.x.__)
      local ok, err = pcall(function() object.remote:fail() end)
      assert.is_false(ok)
      assert.equal(KeyError, getmetatable(err))
      assert.equal("error!", err.message)
    end)
  end

  it("reads, writes and deletes fields of the remote object alone", function()
    local object = new_object()
    object.y = 5
    local _ <close> = listener(object)
    object.remote.y = 6
    assert.equal("userdata", type(object.remote.y))
    assert.same({ 6, 5 }, { object.remote.y.__, object.y })
    object.remote.y = 5
    assert.same({ 5, 5 }, { object.remote.y.__, object.y })
    object.y = 6
    assert.same({ 5, 6 }, { object.remote.y.__, object.y })
    local function present()
      return { object.x ~= nil, object.y ~= nil, object.remote:contains_ "x", object.remote:contains_ "y" }
    end
    assert.same({ true, true, true, true }, present())
    object.remote.y = nil
    assert.same({ true, true, true, false }, present())
    object.y = nil
    assert.same({ true, false, true, false }, present())
    object.remote.y = 2
    assert.same({ true, false, true, true }, present())
    assert.equal(8, object.remote.computed.__)
  end)

  it("reads, writes and deletes items of a table inside", function()
    local object = new_object()
    local _ <close> = listener(object)
    local function keys()
      return object.remote.data:passto(function(data)
        local list = {}
        for key in pairs(data) do
          list[#list + 1] = key
        end
        table.sort(list)
        return list
      end)
    end
    assert.is_true(object.remote.data:contains_ "a")
    assert.same({ "a" }, keys())
    assert.equal(5, object.remote.data["a"].__)
    assert.is_false(object.remote.data:contains_ "b")
    object.remote.data["b"] = 8
    assert.same({ "a", "b" }, keys())
    object.remote.data["a"] = nil
    assert.is_false(object.remote.data:contains_ "a")
    assert.is_true(object.remote.data:contains_ "b")
    assert.same({ "b" }, keys())
    object.remote.data[1] = "one"
    assert.equal(1, #object.remote.data)
  end)

  it("comes back from methods that chain", function()
    local object = new_object()
    local _ <close> = listener(object)
    assert.equal(object.remote, object.remote:chain())
    assert.equal(object.remote, object.remote:chain():chain())
  end)

  it("calls what a class has overridden by super", function()
    local object = new_object()
    local _ <close> = listener(object)
    assert.same({ 10, 10 }, { object:override(), object.remote:override() })
    assert.same({ 2, 2 }, { A.override(object), object.remote.super:override() })
  end)

  it("passes the object to a function", function()
    local object = new_object()
    local _ <close> = listener(object)
    assert.equal("<A x=10>", tostring(object))
    assert.equal("<A x=10>", object.remote:passto(tostring))
  end)

  local function up_and_down(object)
    local _ <close> = object.remote:listen_ { bg = false }
    remoteobj.sleep(0.2)
  end

  it("waits until somebody listens", function()
    local object = new_object()
    local _ <close> = remoteobj.util.process(up_and_down, object):start()
    assert.is_true(object.remote:wait_until_listening())
  end)

  it("does not wait for a process that ends without listening", function()
    local object = new_object()
    local p <close> = remoteobj.util.process(function() end):start()
    local ok, err = pcall(function() object.remote:wait_until_listening(p) end)
    assert.is_false(ok)
    assert.equal("ProcessDied", err.kind)
  end)

  it("is answered by a listener that closes, or refused with fulfill_final = false", function()
    for _, fulfill in ipairs { true, false } do
      local object = new_object { fulfill_final = fulfill }
      local p <close> = remoteobj.util.process(up_and_down, object):start()
      assert.is_true(object.remote:wait_until_listening(p))
      assert.equal(fulfill and 10 or "refused", object.remote.x:get_ { default = "refused" })
      wait.until_true(function() return not p:is_alive() end, "the process to end on its own")
    end
  end)

  it("evaluates calls, unless they are to be proxies", function()
    do
      local object = new_object()
      local _ <close> = listener(object)
      assert.equal("integer", math.type(object.remote:increment()))
    end
    local object = new_object { eager_proxy = true }
    local _ <close> = listener(object)
    assert.equal("userdata", type(object.remote:increment()))
  end)

  it("serves clients in other processes", function()
    local object = new_object()
    local _ <close> = listener(object)
    assert.equal(10, object.remote.x.__)
    do
      local _ <close> = remoteobj.util.process(function()
        assert(object.remote.x.__ == 10)
        object.remote:multiply()
        assert(object.remote.x.__ == 20)
        object.remote:multiply():multiply()
        assert(object.remote.x.__ == 80)
      end):start()
    end
    assert.equal(80, object.remote.x.__)
  end)

  it("serves several clients that fight for it", function()
    local values = {
      boolean = function() return true end,
      integer = function() return 5 end,
      table = function() return {} end,
      string = function() return "asdfasdfasdf" end,
    }
    local proxy = remoteobj.Proxy(values)
    assert.is_false(proxy.listening_)
    local server = processes.serve(proxy)
    assert.is_true(proxy.listening_)
    local function work(name)
      local value = proxy:attrs_(name)()
      assert((math.type(value) or type(value)) == name)
    end
    local clients = {}
    for _, name in ipairs { "boolean", "string", "integer" } do
      clients[#clients + 1] = remoteobj.util.process(function()
        for _ = 1, 300 do
          work(name)
        end
        return 300
      end):start()
    end
    for _ = 1, 300 do
      work "table"
    end
    for _, client in ipairs(clients) do
      client:join()
      assert.equal(300, client.result)
    end
    server:stop()
  end)
end)

describe("as in the original, a process", function()
  local process = remoteobj.util.process

  before_each(wait.guard)
  after_each(wait.unguard)

  setup(function() remoteobj.register(KeyError) end)

  local function fail() error(setmetatable({ message = "errorrr" }, KeyError)) end
  local function nested_3()
    fail()
    return 1
  end
  local function nested_2()
    nested_3()
    return 1
  end
  local function nested_1()
    nested_2()
    return 1
  end

  local function is_key_error(ok, err)
    assert.is_false(ok)
    assert.equal(KeyError, getmetatable(err))
    assert.equal("errorrr", err.message)
    return err
  end

  it("gives the traceback of its error", function()
    local p
    do
      local q <close> = process { nested_1, raises_ = false }:start()
      p = q
    end
    local err = is_key_error(pcall(function() p.exc:raise_any() end))
    local text = remoteobj.traceback(err)
    for _, name in ipairs { "nested_1", "nested_2", "nested_3", "fail" } do
      assert.is_truthy(text:find(name, 1, true), name .. " in " .. text)
    end
  end)

  it("raises its error when it is joined", function()
    local p = process(fail)
    p:start()
    is_key_error(pcall(function() p:join() end))
  end)

  it("raises its error rather than that of the block that it closes", function()
    is_key_error(pcall(function()
      local _ <close> = process(fail):start()
      error "error of the block"
    end))
  end)

  it("cannot be made of what is no function", function()
    assert.is_false(pcall(process, true))
    assert.is_false(pcall(process, { true }))
  end)

  local function add(x, y) return x + y end

  it("has the result that the function returned", function()
    local p
    do
      local q <close> = process(add, 5, 6):start()
      p = q
    end
    assert.equal(11, p.result)
  end)

  it("has large results, too", function()
    local function large()
      local list = {}
      for i = 1, 1000 do
        local t = {}
        for j = 0, 99 do
          t[j] = tostring(j):rep(20)
        end
        list[i] = t
      end
      return list
    end
    local p = process(large):start()
    p:join()
    assert.same(large(), p.result)
  end)

  it("can be joined although it crashes", function()
    local p = process { function() signal.kill(unistd.getpid(), signal.SIGSEGV) end, raises_ = false }:start()
    p:join()
    assert.is_nil(p.result)
    assert.equal(-signal.SIGSEGV, p.exitcode)
  end)

  it("has its result after it has ended, without being joined", function()
    local p = process(function()
      remoteobj.sleep(0.05)
      return 10
    end):start()
    wait.until_true(function() return not p:is_alive() end, "the process to end")
    assert.equal(10, p.result)
  end)

  it("may end long before it is joined", function()
    local p = process(add, 5, 6):start()
    wait.until_true(function() return not p:is_alive() end, "the process to end")
    remoteobj.sleep(0.05)
    p:join()
    assert.equal(11, p.result)
  end)

  for name, func in pairs {
    ["yields"] = function(x, y)
      for i = x, y - 1 do
        coroutine.yield(i)
      end
    end,
    ["returns an iterator"] = function(x, y)
      local i = x - 1
      return function()
        i = i + 1
        return i < y and i or nil
      end
    end,
  } do
    it("that " .. name .. " has an iterator as its result", function()
      local p = process(func, 5, 10):start()
      p:join()
      assert.is_false(pcall(function() return p.result[1] + 0 end))
      local values = {}
      for value in p.result do
        values[#values + 1] = value
      end
      assert.same({ 5, 6, 7, 8, 9 }, values)
    end)
  end

  it("is named after its function, with a number that counts", function()
    local function some_function_of_the_original() end
    local p <close> = process(some_function_of_the_original):start()
    local name, number = p.name:match "^(.*)%-(%d+)$"
    assert.equal("some_function_of_the_original", name)
    for i = 1, 3 do
      local q <close> = process(some_function_of_the_original):start()
      assert.equal(("%s-%d"):format(name, tonumber(number) + i), q.name)
    end
  end)
end)

describe("as in the original, caught errors", function()
  local Named = {}

  before_each(wait.guard)
  after_each(wait.unguard)

  local function class(name)
    local C = { __name = "spec.original." .. name, __tostring = function(self) return name .. ": " .. self.text end }
    C.__index = C
    Named[name] = C
    return C
  end

  for _, name in ipairs { "AttributeError", "LookupError", "ValueError", "IndexError", "RuntimeError", "TypeError" } do
    class(name)
  end

  setup(function()
    for _, C in pairs(Named) do
      remoteobj.register(C)
    end
  end)

  local function throw(name, text)
    return function() error(setmetatable({ text = text }, Named[name])) end
  end

  local function raises(name, func)
    local ok, err = pcall(func)
    assert(not ok and getmetatable(err) == Named[name], "expected " .. name)
  end

  local function raise_stuff(catch)
    catch "overall" (function()
      catch(throw("AttributeError", "a"))
      catch()(throw("LookupError", "a"))
      catch "init" (throw("ValueError", "b"))
      for _ = 1, 5 do
        catch "process" (throw("IndexError", "c"))
      end
      catch "finish" (throw("RuntimeError", "d"))
      raises("AttributeError", function()
        catch { raises = true } (throw("AttributeError", "e"))
      end)
      raises("AttributeError", function()
        catch { types = { Named.TypeError } } (throw("AttributeError", "e"))
      end)
      catch(function()
        catch { catch_once = false, raises = true } (throw("TypeError", "q"))
      end)
    end)
  end

  local expected = {
    [false] = { "AttributeError: a", "LookupError: a", "AttributeError: e", "TypeError: q", "TypeError: q" },
    init = { "ValueError: b" },
    process = { "IndexError: c", "IndexError: c", "IndexError: c", "IndexError: c", "IndexError: c" },
    finish = { "RuntimeError: d" },
    overall = {},
  }

  local function compare(catch)
    local count = 0
    for name, texts in pairs(expected) do
      local group = {}
      for i, err in ipairs(catch:group(name or nil)) do
        group[i] = tostring(err)
      end
      assert.same(texts, group)
      count = count + #texts
    end
    assert.equal(count, #catch:all())
    assert.equal(count, #catch)
  end

  it("of another process stand in their groups", function()
    local catch = remoteobj.Except { raises = false }
    do
      local _ <close> = remoteobj.util.process(raise_stuff, catch):start()
    end
    compare(catch)
  end)

  it("of this process stand in their groups", function()
    local catch = remoteobj.LocalExcept { raises = false }
    raise_stuff(catch)
    compare(catch)
  end)
end)
