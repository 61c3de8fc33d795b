-- Except and LocalExcept: what contexts record, what they let through, what other processes tell.
local counts = require "spec.support.process_counts"
local remoteobj = require "remoteobj"
local resource = require "posix.sys.resource"
local signal = require "posix.signal"
local unistd = require "posix.unistd"

local process = remoteobj.process

local function raise(value)
  error(value, 0)
end

--- Calls and gives the error.
local function caught(func, ...)
  local results = table.pack(pcall(func, ...))
  assert.is_false(results[1])
  return results[2]
end

for _, kind in ipairs { "Except", "LocalExcept" } do
  local Book = remoteobj[kind]

  describe("a context of " .. kind, function()
    it("runs a function with arguments and gives its results", function()
      local exc = Book()
      local function give(...)
        return ...
      end
      assert.are.same(table.pack(1, nil, 3), table.pack(exc "name"(give, 1, nil, 3)))
      assert.are.same(table.pack(1, nil), table.pack(exc(give, 1, nil)))
      assert.are.equal(0, select("#", exc()(give)))
      assert.are.equal(0, #exc)
    end)

    it("records and raises again, the very error", function()
      local exc = Book()
      local err = { "e" }
      assert.are.equal(err, caught(exc "init", raise, err))
      assert.are.equal("text", caught(exc "work", raise, "text"))
      assert.are.equal(5, caught(exc, raise, 5))
      assert.are.equal(err, exc:get "init")
      assert.are.same({ "text" }, exc:group "work")
      assert.are.same({ 5 }, exc:group())
      assert.is_true(rawequal(exc.first, err))
      assert.are.equal(5, exc.last)
      assert.are.equal(3, #exc)
      assert.are.same({ err, "text", 5 }, exc:all())
    end)

    it("swallows with raises = false", function()
      local exc = Book { raises = false }
      assert.are.equal(0, select("#", exc(raise, "a")))
      assert.are.equal("b", caught(exc { raises = true }, raise, "b"))
      exc("n", { raises = false })(raise, "c")
      assert.are.same({ "a", "b" }, exc:group())
      assert.are.same({ "c" }, exc:group "n")
    end)

    it("records once what several contexts see", function()
      for _, err in ipairs { "text", { "table" } } do
        local exc = Book()
        exc { raises = false }(function()
          exc "outer"(function()
            exc "inner"(raise, err)
          end)
        end)
        assert.are.same({ err }, exc:all())
        assert.are.same({ err }, exc:group "inner")
      end
    end)

    it("records twice what is raised twice", function()
      local exc = Book { raises = false }
      local sentinel = { "the same table" }
      for _ = 1, 3 do
        exc "text"(raise, "same")
        exc "table"(raise, sentinel)
      end
      assert.are.equal(3, #exc:group "text")
      assert.are.equal(3, #exc:group "table")
      exc "outer"(function()
        pcall(exc { raises = true }, raise, "again")
        raise "again" -- as equal as can be, but another raise
      end)
      assert.are.same({ "again" }, exc:group())
      assert.are.same({ "again" }, exc:group "outer")
      exc "swallowed before"(function()
        exc(raise, sentinel)
        raise(sentinel)
      end)
      assert.are.same({ sentinel }, exc:group "swallowed before")
    end)

    it("knows a table that the program has caught and passed on", function()
      local exc = Book { raises = false }
      local err = { "passed on" }
      exc "outer"(function()
        local _, value = pcall(exc("inner", { raises = true }), raise, err)
        raise(value)
      end)
      assert.are.same({ err }, exc:all())
    end)

    it("lets outer ones record too with catch_once = false", function()
      local exc = Book()
      exc { raises = false }(function()
        exc { catch_once = false }(raise, "q")
      end)
      assert.are.same({ "q", "q" }, exc:all())
      exc:clear()
      exc { raises = false, catch_once = false }(function()
        exc(raise, "q") -- the flag of the one that records decides
      end)
      assert.are.same({ "q" }, exc:all())
    end)

    it("is a value to be closed, which records and lets the error go on", function()
      local exc = Book { raises = false }
      local err = caught(function()
        local _ <close> = exc "init"
        raise "x"
      end)
      assert.are.equal("x", err)
      assert.are.same({ "x" }, exc:group "init")
      do
        local _ <close> = exc "fine"
      end
      assert.are.equal(1, #exc)
    end)

    it("records once however contexts are nested", function()
      local function closing(exc, name, body, ...)
        local _ <close> = exc(name)
        body(...)
      end
      local exc = Book()
      pcall(closing, exc, "a", closing, exc, "b", raise, "1")
      assert.are.same({ "1" }, exc:group "b")
      exc { raises = false }(closing, exc, "c", raise, "2")
      assert.are.same({ "2" }, exc:group "c")
      pcall(closing, exc, "d", exc "e", raise, "3")
      assert.are.same({ "3" }, exc:group "e")
      pcall(exc "f", closing, exc, "g", exc "h", raise, "4")
      assert.are.same({ "4" }, exc:group "h")
      assert.are.same({ "1", "2", "3", "4" }, exc:all())
    end)

    it("leaves the error to values that are closed on its way", function()
      local seen
      Book { raises = false }(function()
        local _ <close> = setmetatable({}, { __close = function(_, err) seen = err end })
        Book { raises = false }(raise, "other")
        raise "x"
      end)
      assert.are.equal("x", seen)
    end)

    it("records once although other errors come and go while it is on its way", function()
      local exc = Book { raises = false }
      exc(function()
        local _ <close> = exc "outer"
        local _ <close> = setmetatable({}, { __close = function() exc "cleaning"(raise, "while cleaning") end })
        local _ <close> = exc "inner"
        raise "x"
      end)
      assert.are.same({ "x", "while cleaning" }, exc:all())
    end)

    it("records again what was caught in between and raised anew", function()
      local exc = Book()
      pcall(function()
        local _ <close> = exc "outer"
        pcall(function()
          local _ <close> = exc "inner"
          raise "x"
        end)
        pcall(exc "called", raise, "x")
        raise "x"
      end)
      assert.are.same({ "x" }, exc:group "inner")
      assert.are.same({ "x" }, exc:group "called")
      assert.are.same({ "x" }, exc:group "outer")
      for _ = 1, 3 do
        pcall(function()
          local _ <close> = exc "loop"
          raise "x"
        end)
      end
      assert.are.equal(3, #exc:group "loop")
    end)

    it("does not mix with those of other coroutines", function()
      local exc = Book { raises = false }
      local function body(name)
        exc(name)(function()
          coroutine.yield()
          exc { raises = true }(function()
            coroutine.yield()
            raise "same"
          end)
        end)
        exc(name)(function()
          coroutine.yield()
          raise "same"
        end)
      end
      local a, b = coroutine.wrap(body), coroutine.wrap(body)
      a "a"
      b "b"
      for _ = 1, 3 do
        a()
        b()
      end
      assert.are.equal(4, #exc)
      assert.are.same({ "same", "same" }, exc:group())
      assert.are.same({ "same" }, exc:group "a")
      assert.are.same({ "same" }, exc:group "b")
    end)

    it("takes classes, predicates and patterns as types", function()
      local Base = { __tostring = function() return "an object" end }
      Base.__index = Base
      local Derived = setmetatable({}, Base)
      Derived.__index = Derived
      local Other = {}
      local exc = Book { raises = false }
      local derived = setmetatable({}, Derived)
      exc { types = { Other, Base } }(raise, derived)
      exc { types = { Derived } }(raise, derived)
      exc { types = { "^b..m$" } }(raise, "boom")
      exc { types = { function(e) return e == 7 end } }(raise, 7)
      assert.are.same({ derived, derived, "boom", 7 }, exc:all())
      for _, types in ipairs { { Other }, { "^x" }, { function() return false end } } do
        assert.are.equal("boom", caught(exc { types = types }, raise, "boom"))
      end
      assert.are.equal(4, #exc)
      local short = Book(Base, "oom")
      caught(short, raise, "boom")
      caught(short, raise, derived)
      caught(short, raise, "other")
      assert.are.same({ "boom", derived }, short:all())
      assert.are.equal(1, #(function(e) pcall(e, raise, "boom") return e end)(Book "boom"))
    end)

    it("calls log with error, group and traceback", function()
      local seen = {}
      local exc = Book { raises = false, log = function(...) seen[#seen + 1] = table.pack(...) end }
      local function place_of_the_error()
        raise "x"
      end
      exc "g"(function() place_of_the_error() return 1 end)
      pcall(function()
        local _ <close> = exc()
        raise "y"
      end)
      exc { log = false }(raise, "z")
      assert.are.equal(2, #seen)
      assert.are.same({ "x", "g" }, { seen[1][1], seen[1][2] })
      assert.matches("place_of_the_error", seen[1][3])
      assert.is_nil(seen[1][3]:find("remoteobj/", 1, true), seen[1][3])
      assert.are.same({ "y", nil }, { seen[2][1], seen[2][2] })
    end)

    it("keeps the traceback of the raise for outer contexts", function()
      local text
      local exc = Book { raises = false, log = function(_, _, traceback) text = traceback end }
      local function place_of_the_error()
        raise "x"
      end
      exc "outer"(function()
        exc("inner", { types = { "never" } })(function() place_of_the_error() return 1 end)
      end)
      assert.matches("place_of_the_error", text)
    end)

    it("refuses options that it doesn't know or understand", function()
      local exc = Book()
      assert.matches("except_spec.lua:%d+: unknown option 'rises'", caught(function() exc { rises = true } end))
      assert.matches("'raises': a boolean expected, got 1", caught(function() exc { raises = 1 } end))
      assert.matches("'catch_once'", caught(function() return Book { catch_once = "no" } end))
      assert.matches("'types'", caught(function() exc { types = {} } end))
      assert.matches("malformed pattern", caught(function() exc { types = { "[" } } end))
      assert.matches("'log'", caught(function() exc { log = true } end))
      assert.is_false(pcall(exc, "name", "no options"))
      assert.is_false(pcall(exc "name", 5))
    end)
  end)

  describe("the book " .. kind, function()
    it("raises the last error of all, of a group or of the default group", function()
      local exc = Book { raises = false }
      exc:raise_any()
      exc(raise, "default")
      exc "a"(raise, "in a")
      exc:raise_any "b"
      assert.are.equal("in a", caught(exc.raise_any, exc))
      assert.are.equal("in a", caught(exc.raise_any, exc, "a"))
      assert.are.equal("default", caught(exc.raise_any, exc, nil))
      assert.are.equal("default", exc:get())
      assert.is_nil(exc:get "b")
      assert.are.same({}, exc:group "b")
    end)

    it("iterates, counts and forgets", function()
      local exc = Book { raises = false }
      for i = 1, 3 do
        exc(i)(raise, i * 10)
      end
      local seen = {}
      for err in exc:iter() do
        seen[#seen + 1] = err
      end
      assert.are.same({ 10, 20, 30 }, seen)
      assert.are.equal(3, #exc)
      assert.matches("1: 1, 2: 1, 3: 1", tostring(exc))
      exc:pull()
      exc:clear()
      assert.are.equal(0, #exc)
      assert.is_nil(exc.first)
      assert.is_nil(exc.last)
      exc:raise_any()
    end)

    it("wraps functions: records, swallows, keeps the result", function()
      local exc = Book()
      local wrapped = exc:wrap(function(x, ...)
        if x == "bad" then
          raise "bad"
        end
        return x, ...
      end)
      assert.are.same(table.pack(1, nil), table.pack(wrapped(1, nil)))
      assert.are.same(table.pack(1, nil), table.pack(exc:get_result()))
      assert.are.equal(0, select("#", wrapped "bad"))
      assert.are.equal("bad", exc.last)
      assert.are.equal(1, (exc:pop_result()))
      assert.is_nil(exc:get_result())
      exc:set_result("set", 2)
      assert.are.same({ "set", 2 }, { exc:get_result() })
      exc:clear_result()
      assert.are.equal(0, select("#", exc:get_result()))
    end)

    it("closes as its default context", function()
      local exc = Book()
      for _ = 1, 2 do
        pcall(function()
          local _ <close> = exc
          raise "x"
        end)
      end
      assert.are.same({ "x", "x" }, exc:group())
    end)
  end)
end

describe("the errors of LocalExcept", function()
  it("are the very values, whatever they are", function()
    local exc = remoteobj.LocalExcept { raises = false }
    for _, value in ipairs { {}, print, io.stdout, coroutine.create(print), 1.5 } do
      exc(raise, value)
      assert.is_true(rawequal(value, exc.last))
    end
  end)
end)

describe("Except across processes", function()
  local function work(exc)
    exc "overall"(function()
      exc(function() raise { code = 1 } end)
      exc "init"(raise, "text")
      for i = 1, 5 do
        exc "process"(raise, { code = i })
      end
      pcall(exc { raises = true }, raise, "last")
    end)
    return #exc, exc.first.code, exc.last
  end

  it("brings what a child has recorded, which sees it too", function()
    local exc = remoteobj.Except { raises = false }
    local p <close> = process(work, exc):start()
    p:join()
    assert.are.same({ 8, 1, "last" }, { p:results() })
    assert.are.equal(8, #exc)
    assert.are.same({ 1, 2, 3, 4, 5 }, (function(list)
      for i, err in ipairs(list) do
        list[i] = err.code
      end
      return list
    end)(exc:group "process"))
    assert.are.same({}, exc:group "overall")
    local err = exc:get "init"
    assert.are.equal(remoteobj.RemoteError, getmetatable(err))
    assert.are.equal("text", err.value)
    assert.are.equal(p.pid, err.pid)
    assert.are.equal(p.name, err.process)
    assert.matches("traceback", remoteobj.traceback(exc.first))
  end)

  it("orders them as they were raised, wherever", function()
    local exc = remoteobj.Except { raises = false }
    local reading, writing = unistd.pipe()
    local p = process(function()
      for i = 1, 2 do
        exc(raise, { i })
        coroutine.yield()
        unistd.read(reading, 1)
      end
    end):start()
    local next_value = p:iter()
    next_value()
    exc(raise, "here")
    assert.are.equal("here", exc.last)
    unistd.write(writing, "xx")
    p:join()
    exc(raise, "and here")
    assert.are.same({ { 1 }, "here", { 2 }, "and here" }, exc:all())
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("brings them from grandchildren, from forks of others and from the dead", function()
    local exc = remoteobj.Except { raises = false }
    local p = process(function()
      process(function()
        exc "grandchild"(raise, { 1 })
      end):start():join()
      exc "child"(raise, { 2 })
      signal.raise(9)
    end):start()
    local died = caught(p.join, p)
    assert.are.equal("ProcessDied", died.kind)
    local pid = unistd.fork()
    if pid == 0 then
      pcall(exc "fork", raise, { 3 })
      unistd._exit(0)
    end
    require("posix.sys.wait").wait(pid)
    assert.are.same({ { 1 }, { 2 }, { 3 } }, exc:all())
    assert.are.equal("fork", exc:group "fork" and "fork")
    assert.are.same({ { 3 } }, exc:group "fork")
  end)

  it("brings as text what can't be sent", function()
    local exc = remoteobj.Except { raises = false }
    process(function()
      exc(raise, { file = io.stdout })
      exc(raise, coroutine.create(print))
    end):start():join()
    for err in exc:iter() do
      assert.are.equal(remoteobj.RemoteError, getmetatable(err))
      assert.is_nil(err.value)
    end
    assert.matches("^table: ", exc.first.message)
    assert.matches("^thread: ", exc.last.message)
  end)

  it("forgets only in the process that says so", function()
    local exc = remoteobj.Except { raises = false }
    exc(raise, "before")
    local p <close> = process(function()
      local seen = exc:all()
      exc:clear()
      exc(raise, { "child" })
      return seen, #exc
    end):start()
    p:join()
    assert.are.same({ "before" }, (p:results()))
    assert.are.equal(1, (select(2, p:results())))
    assert.are.same({ "before", { "child" } }, exc:all())
  end)

  it("brings results, the last that was kept", function()
    local exc = remoteobj.Except()
    process(exc:wrap(function() return "kept", { 1 } end)):start():join()
    assert.are.same({ "kept", { 1 } }, { exc:get_result() })
    exc:set_result "here"
    assert.are.equal("here", exc:get_result())
    local p = process(function() return 1, 2 end):start()
    p:join()
    assert.are.same({ 1, 2 }, { p.exc:get_result() })
    local q = process(function() return 3 end)
    local own = q.exc -- asked for before there is anything in it
    q:start()
    assert.is_true(q:join())
    assert.are.same({ 3 }, { own:get_result() })
    assert.are.equal(own, q.exc)
  end)

  it("never waits for a reader", function()
    local exc = remoteobj.Except { raises = false }
    local p <close> = process(function()
      for i = 1, 20 do
        exc(raise, { i, ("x"):rep(1 << 20) })
      end
    end):start()
    assert.is_true(p:join(60))
    assert.are.equal(20, #exc)
    assert.are.equal(1 << 20, #exc.last[2])
  end)

  it("skips a record that was torn, and loses no other", function()
    local exc = remoteobj.Except { raises = false }
    local p <close> = process(function()
      exc(raise, { "whole" })
      -- A limit on the size of files cuts a record short as a kill in the middle does.
      signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
      resource.setrlimit(resource.RLIMIT_FSIZE, { rlim_cur = 100000, rlim_max = 100000 })
      return (pcall(exc, raise, { ("x"):rep(1 << 20) }))
    end):start()
    pcall(p.join, p)
    assert.are.same({ { "whole" } }, exc:all()) -- the torn one may be one that is being written
    for i = 1, 3 do
      process(function() exc(raise, { i }) end):start():join()
      assert.are.same({ i }, exc.last)
    end
    assert.are.equal(4, #exc)
  end)

  it("survives writers that are killed at any moment", function()
    local exc = remoteobj.Except { raises = false }
    local block = ("y"):rep(3 << 20)
    for round = 1, 10 do
      local victim = process(function()
        while true do
          coroutine.yield(1)
          for _ = 1, 5 do
            exc "victim"(raise, { block })
          end
        end
      end):start()
      victim:iter()()
      local witness = process(function()
        for i = 1, 20 do
          exc "witness"(raise, { round, i })
        end
      end):start()
      for _ = 1, round * 300 do -- another moment each time
        victim:is_alive()
      end
      victim:kill()
      victim:join()
      witness:join()
      assert.are.equal(20 * round, #exc:group "witness")
    end
    for _, err in ipairs(exc:group "victim") do
      assert.are.equal(#block, #err[1])
    end
  end)

  it("holds no descriptor once it is gone", function()
    local before = counts.descriptors()
    for _ = 1, 50 do
      remoteobj.Except()
    end
    assert.are.equal(before, counts.descriptors())
  end)
end)
