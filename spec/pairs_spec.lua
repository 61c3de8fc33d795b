-- Iteration over remote tables.
local fixture = require "spec.support.fixture"
local remoteobj = require "remoteobj"

describe("pairs over a remote table", function()
  local object, proxy, server

  before_each(function()
    object, proxy = fixture.open { list = {}, map = {}, sub = { a = 1, b = 2 } }
  end)
  after_each(fixture.close)

  local function collect(iterator, state, control, closing)
    local entries, count = {}, 0
    for key, value in iterator, state, control, closing do
      assert(entries[key] == nil, "twice")
      entries[key], count = value, count + 1
    end
    return entries, count
  end

  it("sees every entry once", function()
    object.map = { 1, 2, 3, x = "y", [true] = false, [2.5] = { nested = { 1 } } }
    server = fixture.serve()
    local entries, count = collect(pairs(proxy.map))
    assert.equal(6, count)
    assert.same(object.map, entries)
    assert.equal(0, select(2, collect(pairs(proxy.list))))
  end)

  it("ipairs_ goes from 1 up to the first nil", function()
    object.list = { "a", "b", "c", nil, "e" }
    object.list.x = 1
    server = fixture.serve()
    local order = {}
    for i, value in proxy.list:ipairs_() do
      order[#order + 1] = i .. value
    end
    assert.same({ "1a", "2b", "3c" }, order)
    for _ in proxy.map:ipairs_() do
      error "an entry"
    end
  end)

  it("of the object itself goes over the object", function()
    server = fixture.serve()
    local entries = collect(pairs(proxy))
    assert.same({ list = {}, map = {}, sub = { a = 1, b = 2 } }, entries)
  end)

  it("honours the object's own __pairs", function()
    setmetatable(object.map, {
      __pairs = function(t)
        local n = 0
        return function()
          n = n + 1
          if n <= 3 then
            return "key" .. n, t.factor * n
          end
        end, t, nil
      end,
    })
    object.map.factor = 10
    server = fixture.serve()
    assert.same({ key1 = 10, key2 = 20, key3 = 30 }, (collect(pairs(proxy.map))))
  end)

  it("goes through hundreds of thousands of entries, in bounded chunks", function()
    for i = 1, 200000 do
      object.list[i] = i
    end
    for i = 1, 20000 do
      object.map["key" .. i] = i
    end
    local ceiling = remoteobj.limits.frame
    remoteobj.limits.frame = 256 * 1024
    finally(function() remoteobj.limits.frame = ceiling end)
    server = fixture.serve()
    assert.is_false(pcall(remoteobj.get, proxy.list))
    local before = proxy:stats_().requests
    local sum, count = 0, 0
    for key, value in pairs(proxy.list) do
      assert(key == value)
      sum, count = sum + value, count + 1
    end
    assert.equal(200000, count)
    assert.equal(200000 * 200001 // 2, sum)
    assert.is_true(proxy:stats_().requests - before < 20000)
    local expected = 1
    for i, value in proxy.list:ipairs_() do
      assert(i == expected and value == i)
      expected = expected + 1
    end
    assert.equal(200001, expected)
    local entries
    entries, count = collect(pairs(proxy.map))
    assert.equal(20000, count)
    assert.equal(777, entries.key777)
  end)

  it("fetches large values in bounded chunks, too", function()
    for i = 1, 64 do
      object.map["key" .. i] = ("x"):rep(100000)
    end
    local ceiling = remoteobj.limits.frame
    remoteobj.limits.frame = 1024 * 1024
    finally(function() remoteobj.limits.frame = ceiling end)
    server = fixture.serve()
    local _, count = collect(pairs(proxy.map))
    assert.equal(64, count)
  end)

  it("evaluates a view that has calls in it once", function()
    function object.make(self)
      self.made = (self.made or 0) + 1
      local t = {}
      for i = 1, 50000 do
        t[i] = self.made
      end
      return t
    end
    object, proxy = fixture.open(object, { eager_proxy = true })
    server = fixture.serve()
    local _, count = collect(pairs(proxy:make()))
    assert.equal(50000, count)
    assert.equal(1, proxy.made.__)
    count = 0
    for _, value in proxy:make():ipairs_() do
      assert(value == 2)
      count = count + 1
    end
    assert.equal(50000, count)
    assert.equal(2, proxy.made.__)
  end)

  it("goes through the chunks of an iterator of the object's own", function()
    setmetatable(object.map, {
      __pairs = function()
        local n = 0
        return function()
          n = n + 1
          if n <= 30000 then
            return n, { n }
          end
        end
      end,
    })
    server = fixture.serve()
    local entries, count = collect(pairs(proxy.map))
    assert.equal(30000, count)
    assert.same({ 30000 }, entries[30000])
  end)

  it("keeps the position in a table whose place is taken by another meanwhile", function()
    for i = 1, 50000 do
      object.list[i] = "old"
    end
    server = fixture.serve()
    local count, strange = 0, 0
    for _, value in pairs(proxy.list) do
      count = count + 1
      if count == 10 then
        proxy.list = { "new" }
      end
      if value ~= "old" then
        strange = strange + 1
      end
    end
    assert.same({ 50000, 0 }, { count, strange })
  end)

  it("can be left early", function()
    for i = 1, 50000 do
      object.list[i] = i
    end
    server = fixture.serve()
    for _ = 1, 50 do
      for key in pairs(proxy.list) do
        if key == 10 then
          break
        end
      end
      for key in proxy.list:ipairs_() do
        if key == 3 then
          break
        end
      end
    end
    assert.equal(50000, #proxy.list)
    -- Each of the hundred iterations would otherwise have brought the whole list, of 150,000 bytes at least.
    assert.is_true(proxy:stats_().bytes_received < 50 * 150000)
  end)

  it("survives entries that are added, changed and removed meanwhile", function()
    for i = 1, 100000 do
      object.map["stays" .. i] = i
      object.map["goes" .. i] = i
    end
    function object.disturb(self, round)
      for i = 1, 1000 do
        self.map["goes" .. (round * 1000 + i)] = nil
        self.map["comes" .. round .. "/" .. i] = i
      end
      if round % 10 == 0 then
        collectgarbage()
      end
    end
    server = fixture.serve()
    local seen, stayed, round = {}, 0, 0
    for key in pairs(proxy.map) do
      assert(not seen[key], "twice")
      seen[key] = true
      if key:match "^stays" then
        stayed = stayed + 1
      end
      if stayed % 1000 == 1 and round < 100 then
        proxy:disturb(round)
        round = round + 1
      end
    end
    assert.equal(100000, stayed)
    assert.is_true(round > 50)
    for i = 1, 100000 do
      assert(seen["stays" .. i])
    end
  end)

  it("survives the removal of every entry", function()
    for i = 1, 20000 do
      object.map["key" .. i] = i
    end
    function object.clear(self)
      for key in pairs(self.map) do
        self.map[key] = nil
      end
      self.map.other = true
      collectgarbage()
    end
    server = fixture.serve()
    local count = 0
    for _ in pairs(proxy.map) do
      count = count + 1
      if count == 10 then
        proxy:clear()
      end
    end
    assert.is_true(count >= 10 and count <= 20001)
  end)

  it("can run several times at once, and inside itself", function()
    for i = 1, 3000 do
      object.list[i] = i
    end
    server = fixture.serve()
    local outer, inner = 0, 0
    for _ in pairs(proxy.list) do
      outer = outer + 1
      if outer % 1000 == 0 then
        for _ in pairs(proxy.list) do
          inner = inner + 1
        end
      end
    end
    assert.same({ 3000, 9000 }, { outer, inner })
  end)

  it("raises when the listener goes away meanwhile", function()
    for i = 1, 100000 do
      object.list[i] = i
    end
    server = fixture.serve()
    local count = 0
    local ok, err = pcall(function()
      for _ in pairs(proxy:with_({ default = 1 }).list) do
        count = count + 1
        if count == 10 then
          server:kill()
        end
      end
    end)
    assert.is_false(ok)
    assert.is_true(err.kind == "NotListening" or err.kind == "Disconnected", tostring(err))
    assert.is_true(count < 100000)
  end)

  it("raises the errors of the operation and of values that cannot be sent", function()
    object.bad = { a = coroutine.create(print) }
    object.breaks = setmetatable({}, { __pairs = function() error("no pairs here", 0) end })
    server = fixture.serve()
    assert.error_matches(function() for _ in pairs(proxy.missing) do error "an entry" end end, "nil")
    assert.error_matches(function() for _ in pairs(proxy.breaks) do error "an entry" end end, "no pairs here")
    local ok, err = pcall(function() for _ in pairs(proxy.bad) do error "an entry" end end)
    assert.is_false(ok)
    assert.equal("Unsendable", err.kind)
  end)

  it("gives the object as the root proxy", function()
    object.sub.me = object
    server = fixture.serve()
    assert.equal(proxy, collect(pairs(proxy.sub)).me)
  end)
end)
