-- References: objects that stay in the listener, named by proxies of their own.
local fixture = require "spec.support.fixture"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local resource = require "posix.sys.resource"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait_pid = require "posix.sys.wait".wait
local wait = require "spec.support.wait"

local COUNT = tonumber(os.getenv "REMOTEOBJ_REFS") or 20000 -- references that are made and dropped

local Base = {}
Base.__index = Base
function Base:describe() return "base of " .. self.name end

local Account = setmetatable({}, Base)
Account.__index = Account
function Account.new(name) return setmetatable({ name = name, total = 0, log = {} }, Account) end
function Account:deposit(n)
  self.total = self.total + n
  self.log[#self.log + 1] = n
  return self
end
function Account:describe() return "account of " .. self.name end
function Account:partner() return self.other end
function Account:nap(seconds)
  remoteobj.sleep(seconds)
  return self.name
end

remoteobj.register(Account, "refs_spec.Account")

local function new_bank()
  local bank = { accounts = {} }
  function bank:open(name)
    local account = Account.new(name)
    self.accounts[name] = account
    return account
  end
  function bank.make(_, name) return Account.new(name or "") end
  function bank.several() return {}, 1, "two", true, nil, print end
  function bank.nothing() return nil, "why not" end
  function bank:me() return self end
  function bank:is(name, account) return rawequal(self.accounts[name], account) end
  function bank.held() return bank.remote:stats_().references end
  function bank.slow(_, seconds)
    remoteobj.sleep(seconds)
    return {}
  end
  return bank
end

describe("a reference", function()
  local bank, proxy

  before_each(function()
    bank, proxy = fixture.open(new_bank())
    bank.remote = proxy
  end)
  after_each(fixture.close)

  local function wait_held(count)
    wait.until_true(function() return proxy:held() == count end, count .. " references in the listener")
  end

  local function collect()
    collectgarbage()
    collectgarbage()
  end

  describe("to a result", function()
    before_each(function() fixture.serve() end)

    it("stands for the object there", function()
      proxy:with_ { ref = true }:open "ada"
      local account = proxy.accounts.ada:ref_()
      account:deposit(5)
      account.total = account.total.__ + 1
      assert.equal(6, proxy.accounts.ada.total.__)
      assert.equal(1, #account.log)
      assert.equal("account of ada", account:describe())
      assert.equal("account of ada", account.describe(account))
      assert.equal("base of ada", account.super:describe())
      assert.is_true(account:contains_ "name")
      assert.equal("ada!", account:passto(function(o, mark) return o.name .. mark end, "!"))
      assert.equal("ada", account:item_("name").__)
      account:set_("extra", { 1 })
      assert.same({ 1 }, account.extra.__)
      account:del_ "extra"
      assert.is_false(account:contains_ "extra")
      local keys = {}
      for key, value in pairs(account) do
        keys[key] = value
      end
      assert.same({ name = "ada", total = 6, log = { 5 } }, keys)
      for i, n in account.log:ipairs_() do
        assert.same({ 1, 5 }, { i, n })
      end
    end)

    it("comes from `ref` as well, which holds for all that is built on the view", function()
      local making = proxy:with_ { ref = true }
      local ada, bob = making:open "ada", making:with_ { timeout = 60 }:open "bob"
      assert.equal("ada", ada.name.__)
      assert.equal("bob", bob.name.__)
      assert.equal(ada, making.accounts.ada.__)
      assert.equal(5, ada:with_ { ref = true }:deposit(5):with_ { ref = false }.total.__)
    end)

    it("stands for the object as an argument, also inside one and as an upvalue", function()
      local ada = proxy:with_ { ref = true }:open "ada"
      assert.is_true(proxy:is("ada", ada))
      assert.is_true(proxy:passto(function(o, t) return rawequal(o.accounts.ada, t[1].deep) end, { { deep = ada } }))
      assert.is_true(proxy:passto(function(o) return rawequal(o.accounts.ada.log, ada.log.__) end))
      assert.is_true(proxy:passto(function(_, log) return log == nil or #log == 0 end, ada.log))
      proxy.favourite = ada
      assert.is_true(proxy:passto(function(o) return o.favourite == o.accounts.ada end))
    end)

    it("equals every other to the same object, and is the same while one is in use", function()
      local one, two = proxy:with_ { ref = true }:open "ada", proxy.accounts.ada:ref_()
      assert.is_true(rawequal(one, two))
      assert.equal(one, one:ref_())
      assert.equal(one.log, two.log)
      assert.equal(one, one:with_ { timeout = 1 })
      assert.not_equal(one, proxy:with_ { ref = true }:open "bob")
      assert.not_equal(one, proxy.accounts.ada)
    end)

    it("comes back where its object is a result of what it is asked", function()
      local ada = proxy:with_ { ref = true }:open "ada"
      assert.is_true(rawequal(ada, ada:deposit(1):deposit(2)))
      assert.equal(3, ada.total.__)
      local inside = ada:passto(function(o) return { first = o, again = { o } } end)
      assert.equal(ada, inside.first)
      assert.equal(ada, inside.again[1])
      assert.equal(proxy, ada:passto(function(_, o) return o end, proxy))
    end)

    it("takes the place of what has an identity; the rest comes as it is", function()
      local results = table.pack(proxy:with_ { ref = true }:several())
      assert.equal(6, results.n)
      assert.equal("Proxy", tostring(getmetatable(results[1]).__name):match "%w+$")
      assert.same({ 1, "two", true }, { table.unpack(results, 2, 4) })
      assert.is_nil(results[5])
      assert.equal("function", results[6]:passto(type))
      assert.same({ nil, "why not" }, { proxy:with_ { ref = true }:nothing() })
      assert.equal(proxy, proxy:ref_())
      assert.equal(proxy, proxy:with_ { ref = true }:me())
    end)

    it("may be to what can't be sent: functions, files, coroutines", function()
      local file = proxy:with_ { ref = true }:passto(function() return io.tmpfile() end)
      file:write("one ", "two")
      file:seek "set"
      assert.equal("one two", (file:read "a"))
      local co = proxy:with_ { ref = true }:passto(function()
        return coroutine.create(function(a) return coroutine.yield(a + 1) end)
      end)
      assert.same({ true, 2 }, { co:passto(coroutine.resume, 1) })
      local add = proxy:with_ { ref = true }:passto(function() return function(a, b) return a + b end end)
      assert.equal(5, add(2, 3))
    end)

    it("nests: objects of objects, and in loops", function()
      local ada, bob = proxy:with_ { ref = true }:open "ada", proxy:with_ { ref = true }:open "bob"
      ada.other = bob
      assert.equal(bob, ada:with_ { ref = true }:partner())
      assert.equal("bob", ada:partner().name)
      local log = ada:with_ { ref = true }:partner().log:ref_()
      bob:deposit(7)
      assert.equal(7, log[1].__)
      local found = {}
      for name, account in pairs(proxy.accounts:with_ { ref = true }) do
        found[name] = account
      end
      assert.same({ ada = true, bob = true }, { ada = found.ada == ada, bob = found.bob == bob })
    end)

    it("shows its chain", function()
      local ada = proxy:with_ { ref = true }:open "ada"
      assert.matches("^<Remote table: 0x%x+ : %(ref_%d+%.log%[1%]%)>$", tostring(ada.log[1]))
      local ok, err = pcall(function() return ada.log.x.y.__ end)
      assert.is_false(ok)
      assert.matches("attempt to index a nil value", tostring(err))
    end)

    it("goes by its proxy's options, and may have others", function()
      local ada = proxy:with_ { ref = true }:open "ada"
      assert.equal("late", (ada:with_ { timeout = 0.01, default = "late" }:nap(0.5)))
    end)

    it("is nothing for other listeners, for pack, or for results of processes", function()
      local ada = proxy:with_ { ref = true }:open "ada"
      local other = remoteobj.Proxy { id = function(_, x) return x end }
      local second = processes.serve(other)
      local ok, err = pcall(other.id, other, { ada })
      assert.is_false(ok)
      assert.equal("Unsendable", err.kind)
      assert.matches("cannot send argument 1%[1%]: a reference to an object that another listener keeps", err.message)
      assert.equal(2, other:id(2))
      assert.is_false(pcall(remoteobj.pack, ada))
      local process = remoteobj.process { function() return ada end, raises_ = false }:start()
      process:join()
      assert.equal("Unsendable", process.exc.last.kind)
      second:stop()
    end)
  end)

  describe("is let go", function()
    before_each(function() fixture.serve() end)

    it("when it is collected, with the next request", function()
      local kept = proxy:with_ { ref = true }:open "kept"
      for i = 1, COUNT do
        proxy:with_ { ref = true }:make()
        if i % 1000 == 0 then
          collectgarbage()
        end
      end
      collect()
      proxy:me()
      wait_held(1)
      assert.equal(1, proxy:stats_().references)
      assert.equal("kept", kept.name.__)
    end)

    it("when its block is left, at once", function()
      local again
      do
        local ada <close> = proxy:with_ { ref = true }:open "ada"
        again = ada
        assert.equal(1, proxy:held())
      end
      wait_held(0)
      local ok, err = pcall(function() return again.name.__ end)
      assert.is_false(ok)
      assert.matches("refs_spec.lua:%d+: attempt to use a reference that was let go %(ref_%d+%)", err)
      assert.is_false(pcall(proxy.is, proxy, "ada", again))
      local fresh = proxy.accounts.ada:ref_()
      assert.equal("ada", fresh.name.__)
      assert.not_equal(fresh, again)
    end)

    it("and its object is free there then", function()
      proxy:passto(function(o)
        o.weak = setmetatable({}, { __mode = "k" })
        function o.fresh()
          local object = {}
          o.weak[object] = true
          return object
        end
        function o.left()
          collectgarbage()
          collectgarbage()
          local count = 0
          for _ in pairs(o.weak) do
            count = count + 1
          end
          return count
        end
      end)
      local held = { proxy:with_ { ref = true }.fresh(), proxy:with_ { ref = true }.fresh() }
      assert.equal(2, proxy.left())
      held[1] = nil
      collect()
      proxy:me()
      assert.equal(1, proxy.left())
      getmetatable(held[2]).__close(held[2])
      wait.until_true(function() return proxy.left() == 0 end, "the object to go")
    end)

    it("as often as it has come, whatever crosses", function()
      for _ = 1, 200 do
        local held = { proxy:with_ { ref = true }:open "ada", proxy.accounts.ada:ref_() }
        assert.equal(held[1], held[2])
        held[1], held[2] = nil, nil
        if math.random(3) == 1 then
          collect()
        end
        assert.equal("ada", proxy.accounts.ada:ref_().name.__)
      end
      collect()
      proxy:me()
      wait_held(0)
    end)

    for _, how in ipairs { "oneway", "async" } do
      it("only when requests that name it have been read to their end, with " .. how, function()
        proxy:passto(function(o)
          function o:await()
            while not self.goes_on do
              remoteobj.sleep(0.001)
            end
            return self
          end
          o.taken = {}
          function o:take(...)
            for _, account in ipairs { ... } do
              self.taken[account.name] = true
            end
          end
        end)
        local making = proxy:with_ { ref = true }
        local waits = proxy:with_({ proxy = true }):await()
        local takes = waits:with_({ proxy = false, [how] = true })
        takes:take(making:make "one", making:make "two")
        takes:take(making:make "three")
        collect()
        proxy:me()
        assert.same({}, proxy.taken.__)
        proxy.goes_on = true
        wait.until_true(function() return proxy.taken.one.__ and proxy.taken.three.__ end, "both to be taken")
        assert.same({ one = true, two = true, three = true }, proxy.taken.__)
        wait_held(0)
      end)
    end

    it("when the answer that names it comes too late", function()
      proxy:passto(function(o)
        function o.later(self)
          while not self.goes_on do
            require("remoteobj").sleep(0.001)
          end
          return {}
        end
      end)
      assert.equal("late", (proxy:with_ { ref = true, timeout = 0.05, default = "late" }:later()))
      proxy.goes_on = true
      wait.until_true(function() return proxy:held() == 1 end, "the late answer to be made")
      wait.until_true(function()
        collect()
        return proxy:held() == 0
      end, "what it names to be let go")
    end)

    it("when the answer that would have named it could not be sent", function()
      proxy:passto(function(o)
        function o.both() return setmetatable({}, { __pairs = function() error "no" end }), o end
        function o.broken() return {}, setmetatable({}, { __name = "odd" }), coroutine.create(print) end
      end)
      assert.is_false(pcall(proxy.passto, proxy, function(o) return { o, coroutine.create(print) } end))
      local ada = proxy:with_ { ref = true }:open "ada"
      assert.is_false(pcall(ada.passto, ada, function(o) return { o, coroutine.create(print) } end))
      assert.equal(1, proxy:held())
      ada = nil -- luacheck: ignore
      collect()
      proxy:me()
      wait_held(0)
    end)

    it("when its process dies, whatever it held", function()
      local child = processes.fork(function(link)
        local list = {}
        for i = 1, 500 do
          list[i] = proxy:with_ { ref = true }:make()
        end
        link:send(#list)
        link:receive()
      end)
      assert.equal(500, child:receive())
      assert.equal(500, proxy:held())
      child:kill()
      wait_held(0)
    end)

    it("when the view is not closed but the reference itself", function()
      local ada = proxy:with_ { ref = true }:open "ada"
      do
        local _ <close> = ada.log
        local _ <close> = proxy
      end
      assert.equal("ada", ada.name.__)
    end)
  end)

  it("ends with its listener, and says so", function()
    local first = processes.serve(proxy)
    local ada = proxy:with_ { ref = true }:open "ada"
    first:kill()
    local function uses()
      return {
        function() return ada.name.__ end,
        function() ada.name = "x" end,
        function() return proxy:is("ada", ada) end,
        function() for _ in pairs(ada) do error "an entry" end end,
      }
    end
    for _, use in ipairs(uses()) do
      local ok, err = pcall(use)
      assert.is_false(ok)
      assert.equal("NotListening", err.kind)
    end
    fixture.serve()
    local other = proxy:with_ { ref = true }:open "bob" -- may well have the same handle
    for _, use in ipairs(uses()) do
      local ok, err = pcall(use)
      assert.is_false(ok)
      assert.equal("NotListening", err.kind)
      assert.matches("reference in .*ref_%d+.* is not kept any more: the connection that it came by has ended",
        err.message)
    end
    assert.equal("gone", (ada.name:get_ { default = "gone" }))
    assert.equal("bob", other.name.__)
    assert.not_equal(ada, other)
    ada = nil -- luacheck: ignore
    collect()
    proxy:me()
    assert.equal(1, proxy:held())
  end)

  it("in the listener's own process is direct", function()
    local _ <close> = proxy:listen_()
    local ada = proxy:with_ { ref = true }:open "ada"
    assert.is_true(rawequal(bank.accounts.ada, ada:passto(function(o) return o end) and bank.accounts.ada))
    assert.is_true(rawequal(ada, proxy.accounts.ada:ref_()))
    assert.is_true(rawequal(ada, ada:deposit(3):deposit(4)))
    assert.equal(7, bank.accounts.ada.total)
    assert.is_true(proxy:is("ada", ada))
    assert.equal("base of ada", ada.super:describe())
    assert.same({ nil, "why not" }, { proxy:with_ { ref = true }:nothing() })
    assert.equal(proxy, proxy:ref_())
    local keys = 0
    for _ in pairs(ada) do
      keys = keys + 1
    end
    assert.equal(3, keys)
    do
      local _ <close> = ada
    end
    assert.is_false(pcall(function() return ada.name.__ end))
    local bob = proxy:with_ { ref = true }:open "bob"
    proxy:stop_listen_()
    assert.is_false(pcall(function() return bob.name.__ end))
  end)

  it("made there is a reference for the clients that it is sent to", function()
    function bank:lend(name) return self.remote.accounts[name]:ref_(), { self.remote.accounts[name]:ref_().log } end
    fixture.serve()
    proxy:open "ada"
    local ada, list = proxy:lend "ada"
    assert.is_true(rawequal(ada, proxy.accounts.ada:ref_()))
    assert.equal(ada.log, list[1])
    assert.equal(0, #list[1])
    list, ada = nil, nil -- luacheck: ignore
    collect()
    proxy:me()
    wait_held(0)
  end)

  describe("after a fork", function()
    local ada

    before_each(function()
      fixture.serve()
      ada = proxy:with_ { ref = true }:open "ada"
      proxy.accounts = {} -- nobody else keeps it
    end)

    -- The parent lets go before the child has used its share for the first time.
    local function share(fork)
      local child = fork(function(link)
        link:receive()
        local name = ada.name.__
        ada:deposit(1)
        link:send(name, ada.total.__)
        link:receive()
        ada = nil
        collect()
        proxy:me()
        link:send "let go"
        link:receive()
      end)
      getmetatable(ada).__close(ada)
      child:send()
      assert.same({ "ada", 1 }, { child:receive() })
      wait_held(1)
      child:send()
      child:receive()
      wait_held(0)
      child:stop()
    end

    it("is the child's as well, which has a share of its own", function()
      share(processes.fork)
    end)

    it("also in a child of the child", function()
      local between = processes.fork(function(link)
        local below = processes.fork(function(inner)
          inner:receive()
          inner:send(ada.name.__, ada:deposit(2).total.__)
          inner:receive()
        end)
        getmetatable(ada).__close(ada)
        below:send()
        link:send(below:receive())
        link:receive()
        below:stop()
      end)
      getmetatable(ada).__close(ada)
      assert.same({ "ada", 2 }, { between:receive() })
      assert.equal(1, proxy:held())
      between:stop()
      wait_held(0)
    end)

    it("also when the parent dies", function()
      local between = processes.fork(function(link)
        local mine = proxy:with_ { ref = true }:make "mine"
        local below = processes.fork(function(inner)
          pcall(inner.receive, inner) -- until its parent has died
          link:send(mine.name.__)
          link:receive()
        end)
        link:send(below.pid)
        link:receive()
      end)
      between:receive()
      assert.equal(5, proxy:held()) -- the one made here three times, the one made there twice
      signal.kill(between.pid, signal.SIGKILL)
      assert.equal("mine", between:receive())
      wait_held(3)
      between:send()
      between:join()
      wait_held(1)
    end)

    it("of a child of the library's own", function()
      local process = remoteobj.process(function() return ada.name.__, ada:deposit(1) == ada end):start()
      process:join()
      assert.same({ "ada", true }, { process:results() })
      wait_held(1)
    end)

    it("is of no use where the child could get no share", function()
      local between = processes.fork(function(link)
        local limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, { rlim_cur = 3, rlim_max = limit.rlim_max })
        local pid = assert(unistd.fork())
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        if pid == 0 then
          local ok, err = pcall(function() return ada.name.__ end)
          link:send(ok, err.kind, err.message, (ada.name:get_ { default = "none" }), proxy:held())
          unistd._exit(0)
        end
        assert(wait_pid(pid))
        link:receive()
      end)
      local ok, kind, message, default, held = between:receive()
      assert.same({ false, "NotListening", "none", 2 }, { ok, kind, default, held })
      assert.matches("the object of the reference in ref_%d+.name is not kept any more", message)
      between:stop()
    end)
  end)
end)
