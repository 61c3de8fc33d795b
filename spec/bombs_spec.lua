-- Bytes that promise more than there is, go deeper than anything should, or speak of what does not exist, over real
-- connections: in requests, answers and callbacks, and in what a child writes to its parent. They end in an error of
-- kind Protocol, or end the one connection that they came on; memory stays in proportion to what has come, and
-- everybody else goes on.
local fixture = require "spec.support.fixture"
local poll = require "posix.poll"
local processes = require "spec.support.processes"
local raw = require "spec.support.raw"
local remoteobj = require "remoteobj"
local scale = require "spec.support.scale"
local scarce = require "spec.support.scarce"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local measured = not os.getenv "REMOTEOBJ_SANITIZED"
local DEPTH = scale(50000, 10000000)
local LIMIT = scale(wait.LIMIT, 3600) -- seconds for a test
local MiB = 1024 * 1024
local BYTES_PER_LEVEL = 400

remoteobj.register({ __name = "bombs.V" }, "V")
remoteobj.register({ __name = "bombs.P", __pack = function() end, __unpack = function(value) return value end }, "P")

local function str(text) return (">s4"):pack(text):gsub("^", "\xdb") .. "" end

local function ext(kind, payload) return "\xc9" .. (">I4"):pack(#payload) .. string.char(kind) .. payload end

local function graph(count, payload) return "\xd6\1" .. (">I4"):pack(count) .. payload end

local upvalue = 1
local CODE = string.dump(function() return upvalue end, true)

-- Values that are none.
local bombs = {
  ["arrays without an end"] = ("\x91"):rep(DEPTH),
  ["maps without an end"] = ("\x81\1"):rep(DEPTH),
  ["maps as keys of maps"] = ("\x81"):rep(DEPTH),
  ["instances without an end"] = ("\xc7\xff\3\xa1V\x91"):rep(DEPTH // 4),
  ["packed objects without an end"] = ("\xc7\xff\4\xa1P\x91"):rep(DEPTH // 4),
  ["functions without an end"] = ("\xc9\0\0\xff\xff\6" .. str(CODE) .. "\x91\x91"):rep(DEPTH // 100),
  ["graphs without an end"] = graph(1, ""):rep(DEPTH // 10),
  ["a graph of very many objects"] = graph(0xffffffff, "\x90"),
  ["an object that does not exist"] = graph(2, "\x92\x90\xd4\2\3"),
  ["object 0"] = graph(2, "\x92\x90\xd4\2\0"),
  ["an object of very large number"] = graph(2, "\x92\x90\xd6\2\xff\xff\xff\xff"),
  ["an object without a graph"] = "\x92\x90\xd4\2\1",
  ["a reference of three bytes"] = graph(1, "\x92\x90\xc7\3\2\1\1\1"),
  ["an object within itself that is not whole"] = graph(1, ext(4, "\xa1P\x91\xd4\2\1")),
  ["an upvalue that does not exist"] = graph(1, ext(6, str(CODE) .. "\x91\7")),
  ["more upvalues than a function has"] = ext(6, str(CODE) .. "\xdd\xff\xff\xff\xff"),
  ["code that is none"] = ext(6, str "\x1bLua" .. "\x90"),
  ["very many values for an __unpack"] = ext(4, "\xa1P\xdd\xff\xff\xff\xff"),
  ["a class that does not exist"] = ext(3, "\xa4none\x90"),
  ["a timestamp of 5 bytes"] = "\xc7\5\xff12345",
  ["an extension that is longer than what it holds"] = ext(3, "\xa1V\x90") .. "",
  ["the byte that begins nothing"] = "\x91\xc1",
}
bombs["an extension that is longer than what it holds"] = ext(3, "\xa1V\x90\1")
for name, head in pairs { string = "\xdb", binary = "\xc6", array = "\xdd", map = "\xdf", ext = "\xc9" } do
  for _, size in ipairs { "\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\x80\0\0\0", "\1\0\0\0" } do
    bombs[("%s of %d"):format(name, (">I4"):unpack(size))] = head .. size
    bombs[("%s of %d, deep"):format(name, (">I4"):unpack(size))] = ("\x92\1"):rep(100) .. head .. size .. "\1"
  end
end
for kind = 0, 24 do
  bombs["an empty extension of type " .. kind] = kind ~= 7 and kind ~= 16 and "\xc7\0" .. string.char(kind) or nil
  bombs["an endless extension of type " .. kind] = "\xc9\xff\xff\xff\xff" .. string.char(kind) .. "\1"
end

-- Values that are unusual.
local values = {
  ["arrays, deep"] = ("\x91"):rep(DEPTH) .. "\1",
  ["maps, deep"] = ("\x81\1"):rep(DEPTH) .. "\1",
  ["a table in itself"] = graph(1, "\x91\xd4\2\1"),
  ["a map that is its own key"] = graph(1, "\x81\xd4\2\1\1"),
  ["an array of holes"] = "\xdd\0\1\0\0" .. ("\xc0"):rep(65536),
}

-- The largest resident memory that the process has had, and with "VmPeak" the largest of its addresses; bytes.
local function peak(pid, field)
  local file = assert(io.open(("/proc/%d/status"):format(pid)))
  local text = file:read "a"
  file:close()
  return 1024 * tonumber(text:match((field or "VmHWM") .. ":%s*(%d+)"))
end

local function levels(bytes) return #bytes < DEPTH // 100 and 0 or #bytes end

-- Calls func; the process has not taken more memory for the bytes meanwhile than they may cost.
local function bounded(pid, bytes, func, ...)
  local before = measured and peak(pid)
  local results = table.pack(func(...))
  if measured then
    assert.is_true(peak(pid) - before < 32 * MiB + BYTES_PER_LEVEL * levels(bytes), "much memory")
  end
  return table.unpack(results, 1, results.n)
end

local function new_object()
  local object = { n = 0 }
  function object.take(_, ...) return select("#", ...) end
  function object.pid() return unistd.getpid() end
  function object.add(self)
    self.n = self.n + 1
    return self.n
  end
  return object
end

local function is_protocol(ok, err)
  assert.is_false(ok)
  assert.equal("Protocol", type(err) == "table" and err.kind or err, tostring(err))
end

describe("a client", function()
  local proxy, server

  before_each(function()
    local _
    _, proxy = fixture.open(new_object())
    server = fixture.serve()
    wait.guard(2 * LIMIT)
  end)
  after_each(fixture.close)

  -- A process that has a connection sends the bytes; returns the kinds and payloads of the first `count` answers, and
  -- whether the connection has ended.
  local function send(bytes, count)
    local client = processes.fork(function()
      local before = raw.open()
      assert(proxy:take() == 0)
      local ends = raw.link(before, server.pid)
      raw.send(ends, bytes)
      local told = {}
      for i, frame in ipairs(raw.answers(ends, count)) do
        told[i] = { kind = frame.kind, text = frame.payload:sub(1, 10000) }
      end
      return told, ends.ended
    end)
    return client:result(LIMIT)
  end

  local function goes_on()
    local n = proxy:add()
    assert.equal(n + 1, proxy:add())
  end

  -- The bytes are refused; the next request of the same connection is answered.
  local function refused(bytes)
    local request = raw.frame(raw.KINDS.request, bytes, { id = 2 })
    local told = bounded(server.pid, bytes, send, request .. raw.request(3, "\1"), 2)
    assert.equal(raw.KINDS.failure, told[1].kind)
    assert.is_truthy(told[1].text:find "Protocol" or told[1].text:find "not known here", told[1].text)
    assert.same({ kind = raw.KINDS.reply, text = "\1" }, told[2])
    goes_on()
  end

  it("that sends what is no value gets an error of kind Protocol, and its next answer", function()
    for name, bytes in pairs(bombs) do
      local ok, err = pcall(refused, raw.call("take", bytes))
      assert(ok, name .. ": " .. tostring(err))
    end
  end)

  it("that sends deep values, cycles and holes is served", function()
    for name, bytes in pairs(values) do
      local told = bounded(server.pid, bytes, send, raw.request(2, bytes), 1)
      assert.same({ kind = raw.KINDS.reply, text = "\1" }, told[1], name)
      goes_on()
    end
  end)

  it("that sends what is no chain gets an error of kind Protocol, and its next answer", function()
    for _, bytes in ipairs {
      "", "\xc0", "\xff", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
      "\1", "\1\3", "\1\3\x90",
      "\1\3\xdd\xff\xff\xff\xff", "\1\xff\x90", "\1\x63\x90", "\1\6\x91\1", "\1\3\x81\1\1", graph(1, ""):rep(100000),
    } do
      local ok, err = pcall(refused, bytes)
      assert(ok, ("%q: %s"):format(bytes:sub(1, 20), tostring(err)))
    end
  end)

  it("that names results, references and loops which do not exist gets an error", function()
    local trailer = ("<I8"):pack(1) .. ("<I8"):pack(math.mininteger)
    for what, request in pairs {
      ["a result"] = raw.frame(1, raw.call("take", ext(20, "\1")), { id = 2 }),
      ["more results than there are bytes"] = raw.frame(1, raw.call("take", "\1") .. trailer, { id = 2, flags = 2 }),
      ["no results"] = raw.frame(1, raw.call("take", "\1") .. ("<I8"):pack(0), { id = 2, flags = 2 }),
      ["its own result"] = raw.frame(1, raw.call("take", "\1") .. ("<I8I8"):pack(2, 1), { id = 2, flags = 3 }),
      ["a reference"] = raw.frame(1, "\2\x0c\x91\7\1\x91\1", { id = 2 }),
      ["a reference of a string"] = raw.frame(1, "\2\x0c\x91\xa1x\1\x91\1", { id = 2 }),
      ["a loop"] = raw.frame(1, "\1\x0a\x91\7", { id = 2 }),
      ["a loop of a string"] = raw.frame(1, "\1\x0a\x91\xa1x", { id = 2 }),
    } do
      local told = send(request .. raw.request(3), 2)
      assert.equal(raw.KINDS.failure, told[1] and told[1].kind, what)
      assert.is_nil(told[1].text:find "bad argument")
      assert.same({ kind = raw.KINDS.reply, text = "\0" }, told[2], what)
    end
    goes_on()
  end)

  it("that lets go what it never had, and answers what nobody has called, changes nothing", function()
    local nonsense = {}
    for _, handle in ipairs { 0, 1, -1, math.mininteger, math.maxinteger } do
      for _, times in ipairs { 0, 1, -1, math.mininteger } do
        nonsense[#nonsense + 1] = raw.frame(raw.KINDS.release, ("<i8i8"):pack(handle, times))
      end
    end
    for _, kind in ipairs { 2, 3, 4, 5, 7, 8, 9 } do
      for id = 0, 3 do
        nonsense[#nonsense + 1] = raw.frame(kind, "\xc1", { id = id })
        nonsense[#nonsense + 1] = raw.frame(kind, "", { id = id })
      end
    end
    nonsense[#nonsense + 1] = raw.frame(raw.KINDS.release, "odd bytes")
    local told, ended = send(table.concat(nonsense) .. raw.request(2), 1)
    assert.same({ { kind = raw.KINDS.reply, text = "\0" } }, told)
    assert.is_falsy(ended)
    goes_on()
  end)

  it("whose bytes are no frame is told so, and its connection ends", function()
    for _, bytes in ipairs {
      ("x"):rep(32), raw.frame(0, ""), raw.frame(10, ""), raw.frame(1, "", { flags = 8 }),
      raw.frame(2, "", { flags = 1 }), raw.frame(1, "", { size = -1 }), raw.frame(1, "", { size = math.mininteger }),
      raw.frame(1, "", { size = math.maxinteger }),
      raw.frame(1, "", { size = remoteobj.limits.frame + 1 }), raw.request(2):gsub("^ROB1", "ROB2") .. "",
    } do
      local told, ended = send(bytes .. raw.request(3), 3)
      assert.is_true(ended)
      assert.equal(1, #told)
      assert.equal(raw.KINDS.fault, told[1].kind)
      goes_on()
    end
  end)

  it("that promises the largest of frames takes no memory by that", function()
    local limit = remoteobj.limits.frame
    local before = measured and peak(server.pid, "VmPeak")
    local clients = {}
    for i = 1, 4 do
      clients[i] = processes.fork(function(link)
        local start = raw.open()
        proxy:take()
        raw.send(raw.link(start, server.pid), raw.frame(1, ("x"):rep(100000), { id = 2, size = limit }))
        link:send "sent"
        link:receive()
      end)
      assert.equal("sent", clients[i]:receive())
    end
    for _ = 1, 100 do
      goes_on()
    end
    if measured then
      assert.is_true(peak(server.pid, "VmPeak") - before < limit)
    end
    for _, client in ipairs(clients) do
      client:send "end"
      client:result()
    end
    goes_on()
  end)
end)

describe("a process", function()
  -- What a record in a journal looks like (src/sys/journal.c), with the check that it must have.
  local function mix(sum, word)
    sum = (sum ~ word) * 0x9E3779B97F4A7C15
    return sum ~ (sum >> 29)
  end

  local function fragment(key, bytes, last, record)
    local sums = { #bytes, record, unistd.getpid(), last + 1 }
    local head = ("=i8I4I4"):pack(record, sums[3], last)
    local at = 1
    while at + 31 <= #bytes do
      for lane = 1, 4 do
        sums[lane] = mix(sums[lane], (("=i8"):unpack(bytes, at + 8 * lane - 8)))
      end
      at = at + 32
    end
    while at + 7 <= #bytes do
      sums[1] = mix(sums[1], (("=i8"):unpack(bytes, at)))
      at = at + 8
    end
    local rest = ("=i8"):unpack(bytes:sub(at) .. ("\0"):rep(8))
    local check = mix(mix(mix(mix(key, sums[1]), sums[2]), sums[3]), mix(sums[4], rest))
    return ("=i8i8i8"):pack(key, check, #bytes) .. head .. bytes
  end

  local function write_all(fd, bytes)
    for at = 1, #bytes, 65536 do
      assert(unistd.write(fd, bytes:sub(at, at + 65535)))
    end
  end

  -- The journal of an Except that is made, and its key, as a child has them that has recorded something.
  local function journal_of(before)
    for fd in pairs(raw.all_new(before, "%(deleted%)$", 2)) do
      local file = io.open("/proc/self/fd/" .. fd, "rb") -- none if it was closed just now
      local key = file and file:read(8)
      if file then
        file:close()
      end
      if key then
        return fd, (("=i8"):unpack(key))
      end
    end
    error "no journal has been written to"
  end

  -- Runs func(journal, key, exc) in a child that has an Except of its own.
  local function recorded(func)
    local before = raw.open()
    local exc = remoteobj.Except()
    local process = remoteobj.process { function()
      exc { raises = false } (error, "first", 0)
      func(journal_of(before))
    end, exc_ = exc }:start()
    return process, exc
  end

  local function head(kind) return ("=I4"):pack(5) .. string.char(kind) .. "\1\1\1\xc0" end

  it("that writes records which are none, and whole ones behind, is heard as far as that goes", function()
    for name, bytes in pairs(bombs) do
      local process, exc = recorded(function(fd, key)
        for kind = 0, 4 do
          write_all(fd, fragment(key, head(kind) .. bytes, 1, kind))
          write_all(fd, fragment(key, head(kind) .. "\1" .. bytes, 1, kind))
        end
        write_all(fd, fragment(key, ("=I4"):pack(#bytes) .. bytes, 1, 1))
        write_all(fd, fragment(key, "\xff\xff\xff\xff" .. bytes, 1, 1))
        write_all(fd, fragment(key, "", 1, 1))
        write_all(fd, fragment(key, bytes, 0, 77))
        write_all(fd, fragment(key, bytes, 0, 77))
        write_all(fd, bytes)
        write_all(fd, ("=i8"):pack(key):rep(1000))
        write_all(fd, ("=i8i8i8"):pack(key, 1, math.maxinteger))
        write_all(fd, ("=i8i8i8"):pack(key, 1, 1 << 30))
      end)
      local told = 0
      bounded(unistd.getpid(), bytes:rep(8), function()
        for _ = 1, 1000 do
          local ok, err = pcall(function()
            process:join()
            exc:pull()
            return #exc, exc:all()
          end)
          if ok then
            break
          end
          told = told + 1
          local known = type(err) == "table" and err.kind == "Protocol" or tostring(err):find "first"
          assert(known, name .. ": " .. tostring(err))
        end
      end)
      assert.is_true(told < 1000)
      local kinds = {}
      for _, err in ipairs(exc:all()) do
        kinds[err.kind or err.value or err.message] = true
      end
      assert.is_true(kinds.first, name)
      assert.is_false(process:is_alive())
    end
  end)

  it("that yields what is none gives an error of kind Protocol", function()
    local frames = {}
    for name, bytes in pairs(bombs) do
      frames[name] = ("=I8"):pack(#bytes + 1) .. "\1" .. bytes
      frames[name .. ", instead of a number"] = ("=I8"):pack(#bytes) .. bytes
    end
    frames["a number of values below 0"] = ("=I8"):pack(1) .. "\xff"
    frames["very many values"] = ("=I8"):pack(5) .. "\xce\x7f\xff\xff\xff"
    for size = -9, -2 do
      frames["a frame of " .. size] = ("=i8"):pack(size)
    end
    frames["a frame of 2^63"] = ("=i8"):pack(math.mininteger) .. "x"
    for name, bytes in pairs(frames) do
      local before = raw.open()
      local process = remoteobj.process { function()
        coroutine.yield(1)
        write_all(raw.new(before, "^socket:", 2), bytes)
        remoteobj.sleep(1000)
      end, raises_ = false }:start()
      local iterate = process:iter()
      assert.equal(1, iterate(), name)
      local ok, err = bounded(unistd.getpid(), bytes, pcall, iterate)
      assert(not ok and type(err) == "table" and err.kind == "Protocol", name .. ": " .. tostring(err))
      process:kill()
      process:join()
    end
  end)

  it("that promises a frame which never comes takes no memory by that", function()
    local before = raw.open()
    local size = measured and peak(unistd.getpid(), "VmPeak")
    local process = remoteobj.process(function()
      coroutine.yield(1)
      write_all(raw.new(before, "^socket:", 2), ("=i8"):pack(1 << 40) .. ("x"):rep(100000))
    end):start()
    local got = {}
    for value in process:iter() do
      got[#got + 1] = value
    end
    assert.same({ 1 }, got)
    assert.is_true(not measured or peak(unistd.getpid(), "VmPeak") - size < 1 << 30)
  end)
end)

describe("a listener", function()
  local object, proxy, server, before, requests
  local client = unistd.getpid()

  -- It says what it is told to, over the bare connection: before the answer to the call in which it does so.
  before_each(function()
    object, proxy = fixture.open(new_object())
    function object.say(_, bytes, visit)
      raw.send(raw.link(before, client), bytes)
      return "said", visit and nil
    end
    object.loop = setmetatable({}, {
      __pairs = function(loop)
        raw.send(raw.link(before, client), raw.frame(raw.KINDS.reply, loop.bytes, { id = loop.id }))
        return next, {}
      end,
    })
    server = fixture.serve(nil, nil, function() before = raw.open() end)
    requests = 0
    wait.guard(2 * LIMIT)
  end)
  after_each(fixture.close)

  -- A call to `say`, with what it says built from the number that the call has.
  local function say(build, ...)
    requests = requests + 1
    return pcall(proxy.say, proxy, build(requests), ...)
  end

  local function answered(bytes)
    return bounded(unistd.getpid(), bytes, say, function(id) return raw.frame(raw.KINDS.reply, bytes, { id = id }) end)
  end

  -- The call has got an error; what the listener answers then is dropped, and the next call is answered.
  local function next_is_answered()
    requests = requests + 1
    assert.equal(server.pid, proxy:pid())
  end

  it("whose answer is no value gives an error of kind Protocol, and the next answer", function()
    for name, bytes in pairs(bombs) do
      local ok, err = pcall(function()
        is_protocol(answered(bytes))
        next_is_answered()
      end)
      assert(ok, name .. ": " .. tostring(err))
    end
  end)

  it("may answer with deep values, cycles and holes", function()
    for name, bytes in pairs(values) do
      local ok, value = answered(bytes)
      assert.is_true(ok, name)
      assert.equal("table", type(value), name)
      next_is_answered()
    end
  end)

  it("whose failure is none gives an error", function()
    for name, bytes in pairs(bombs) do
      local failures = { bytes, "\xc3" .. str(bytes) .. "\xa1m\xc0\1\xa1n", "\xc3\xa1x" .. bytes, "\xc2\xc0" .. bytes }
      for _, failure in ipairs(failures) do
        local ok = bounded(unistd.getpid(), failure, say, function(id)
          return raw.frame(raw.KINDS.failure, failure, { id = id })
        end)
        assert.is_false(ok, name)
        next_is_answered()
      end
    end
  end)

  it("whose call of a callback is none is told so, and the call goes on", function()
    local calls = 0
    local visit = remoteobj.callback(function() calls = calls + 1 end)
    for name, bytes in pairs(bombs) do
      for _, call in ipairs { "\1" .. bytes, bytes } do
        local ok, said = bounded(unistd.getpid(), call, say, function(id)
          return raw.frame(raw.KINDS.callback, ("<I8"):pack(id) .. call, { id = 1000 + id })
        end, visit)
        assert.is_true(ok and said == "said", name .. ": " .. tostring(said))
      end
    end
    for _, call in ipairs { "", "x", ("<I8"):pack(7), "\1\1\1\1\1\1\1\1\1", ("<I8"):pack(requests + 1) .. "\2" } do
      local ok, said = say(function() return raw.frame(raw.KINDS.callback, call, { id = 9 }) end, visit)
      assert.is_true(ok and said == "said", ("%q: %s"):format(call, tostring(said)))
    end
    assert.equal(0, calls)
    next_is_answered()
  end)

  it("whose bytes are no frame, or a large one, gives an error of that kind; the next call connects anew", function()
    for _, bytes in ipairs {
      ("x"):rep(32), raw.frame(0, ""), raw.frame(2, "", { flags = 1 }), raw.frame(2, "", { size = -1 }),
      raw.frame(2, "", { size = math.maxinteger }), raw.frame(2, "", { size = remoteobj.limits.frame + 1 }),
      raw.frame(raw.KINDS.fault, "no"), raw.frame(raw.KINDS.fault, ("no"):rep(10000)),
    } do
      is_protocol(say(function() return bytes end))
      assert.equal(server.pid, proxy:pid())
    end
  end)

  it("that answers a loop with what is none raises an error or ends the loop", function()
    for name, bytes in pairs(bombs) do
      for _, answer in ipairs { bytes, "\1" .. bytes, "\1\1" .. bytes } do
        proxy.loop.bytes, proxy.loop.id = answer, requests + 3
        requests = requests + 3
        is_protocol(pcall(function()
          for _ in pairs(proxy.loop) do error("an entry of " .. name) end
        end))
      end
    end
    local answers = {
      "", "\1", "\xa1x\1\1", "\xc0\xc0", "\1\1", "\1\xc0\1", "\0\1\1\1", "\xff\1\1", "\xc3\1\1\xc0",
    }
    for _, answer in ipairs(answers) do
      proxy.loop.bytes, proxy.loop.id = answer, requests + 3
      requests = requests + 3
      local entries = 0
      pcall(function()
        for _ in pairs(proxy.loop) do
          entries = entries + 1
        end
      end)
      assert.is_true(entries < 3)
      requests = proxy:stats_().requests
    end
  end)

  it("that answers what nobody has asked changes nothing", function()
    for kind = 1, 8 do
      if kind ~= raw.KINDS.fault and kind ~= raw.KINDS.callback then
        local frames = raw.frame(kind, "\xc1", { id = 12345 }) .. raw.frame(kind, "", { id = 0, deadline = -1 })
        local ok, said = say(function() return frames:rep(100) end)
        assert.is_true(ok and said == "said", kind .. ": " .. tostring(said))
        next_is_answered()
      end
    end
  end)
end)

describe("a listener that stops", function()
  -- For scripts in which the clock is put forward: request(bytes, go_on) has a client send the bytes over a bare
  -- connection to a listener, and call go_on(ends) when that has been told to stop; gives what the client returns. The
  -- listener is told so by a request of somebody else, or by the bytes: one to stop(seconds, patience), which puts the
  -- clock forward and waits, no longer than that, for the client to return.
  local STOPPING = [[
    local raw = require "spec.support.raw"
    local remoteobj = require "remoteobj"
    local unistd = require "posix.unistd"

    local told, tell = unistd.pipe()
    local object, client = {}, nil
    local remote = remoteobj.Proxy(object)
    function object.take() end
    function object:stop(seconds, patience)
      remote:stop_listen_()
      scarce.pass(seconds)
      unistd.write(tell, "x")
      client:join(patience)
    end

    local function talk(bytes, go_on)
      local before = raw.open()
      remote:take()
      local ends = raw.link(before, unistd.getppid())
      raw.send(ends, bytes)
      if not bytes:find "stop" then
        remoteobj.process { function() remote:stop(11, 0.5) end, daemon_ = false }:start()
      end
      unistd.read(told, 1)
      return go_on(ends)
    end

    local function request(bytes, go_on)
      remote:listen_()
      client = remoteobj.process(talk, bytes, go_on):start()
      while remote.listening_ do
        remoteobj.sleep(0.001)
      end
      client:join()
      return client.result
    end
  ]]

  local object, proxy, server
  local SENT = 500

  local function open(options)
    object, proxy = fixture.open(new_object(), options)
    wait.guard(2 * LIMIT)
  end
  after_each(fixture.close)

  -- Serves until it is told to be busy, which it tells, and stops when it is told something again.
  local function serve_and_stop(link)
    while poll.rpoll(link.input, 0) ~= 1 do
      proxy:poll(0.01)
    end
    link:receive()
    link:send "busy"
    while poll.rpoll(link.input, 1000) ~= 1 do -- luacheck: ignore
    end
    proxy:stop_listen_()
    link:send "stopped"
    link:receive()
  end

  -- Sends requests without end until the listener ends the connection. Returns how many answers of each kind have come
  -- to the first SENT of them, and how many thousands were begun to be sent after these.
  local function flood(link)
    local before = raw.open()
    assert(proxy:take() == 0)
    local ends = raw.link(before, server.pid)
    link:send "connected"
    link:receive()
    local text = {}
    for id = 1, SENT do
      text[id] = raw.request(id)
    end
    raw.send(ends, table.concat(text))
    link:send "sent"
    text = raw.request(SENT + 1):rep(1000)
    local kinds, count, thousands = {}, 0, 0
    repeat
      thousands = thousands + 1
      raw.send(ends, text)
      for _, frame in ipairs(raw.met(ends, SENT - count)) do
        count = count + 1
        kinds[frame.kind] = (kinds[frame.kind] or 0) + 1
      end
      ends.text = count < SENT and ends.text or "" -- nothing keeps it from sending fast
    until ends.ended
    return kinds, thousands
  end

  for _, bg in ipairs { true, false } do
    for _, fulfill in ipairs { true, false } do
      it(("waits for no client that asks on and on, bg = %s, fulfill_final = %s"):format(bg, fulfill), function()
        open { fulfill_final = fulfill }
        server = fixture.serve(serve_and_stop, { bg = bg, preempt = false })
        local clients = { processes.fork(flood), processes.fork(flood), processes.fork(flood) }
        for _, client in ipairs(clients) do
          assert.equal("connected", client:receive())
        end
        server:send "be busy"
        assert.equal("busy", server:receive())
        for _, client in ipairs(clients) do
          client:send "go"
          assert.equal("sent", client:receive())
        end
        server:send "stop"
        assert.equal("stopped", server:receive())
        for _, client in ipairs(clients) do
          local kinds, thousands = client:result()
          assert.same({ [fulfill and raw.KINDS.reply or raw.KINDS.refused] = SENT }, kinds)
          assert.is_true(thousands <= 20, thousands) -- what fits into a pipe, and what is read at once
        end
        assert.is_false(proxy.listening_)
      end)
    end

    it("hears what clients answer whose calls are under way, bg = " .. tostring(bg), function()
      open()
      function object.ask(_, answer)
        proxy:stop_listen_()
        return "asked", answer()
      end
      server = fixture.serve(function(link)
        while proxy.listening_ do
          proxy:poll(0.01)
        end
        link:receive()
      end, { bg = bg })
      local client = processes.fork(function()
        return proxy:ask(remoteobj.callback(function() return "answered" end))
      end)
      assert.same({ "asked", "answered" }, { client:result() })
    end)
  end

  it("reads no longer than for ten seconds on in a request that has no end", function()
    local count = scarce(STOPPING .. [[
      remoteobj.limits.frame = 1 << 40
      print(request(raw.frame(raw.KINDS.request, "x", { id = 2, size = 1 << 40 }), function(ends)
        local MiB, count = ("x"):rep(1 << 20), 0
        repeat
          raw.send(ends, MiB)
          count = count + 1
        until ends.ended or count == 200
        return count
      end))
    ]])
    assert.is_true(tonumber(count) <= 20, count) -- what fits into a pipe, and what is read at once
  end)

  it("does nothing more, ten seconds later, that a client asks whose request is under way", function()
    for seconds, kind in pairs { [0] = raw.KINDS.reply, [11] = raw.KINDS.refused } do
      assert.equal(kind .. "\n", scarce(STOPPING .. ([[
        local stop = raw.frame(raw.KINDS.request, raw.call("stop", "\%d", "\60"), { id = 2 })
        print(request(stop, function(ends)
          raw.send(ends, raw.request(3))
          local answer = raw.answers(ends, 1)[1]
          assert(answer.id == 3, answer.id)
          return answer.kind
        end))
      ]]):format(seconds)))
    end
  end)
end)
