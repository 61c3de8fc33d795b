-- Seeing inside: remoteobj.trace, REMOTEOBJ_TRACE, remoteobj.stats.
local fcntl = require "posix.fcntl"
local fixture = require "spec.support.fixture"
local private_pipe = require "spec.support.pipe"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

-- The parts of a line; nil unless it is one, whole.
local function parse(line)
  local pid, direction, request, answer, time, name, text =
    line:match "^remoteobj%[(%d+)%] %d+%.%d%d%d%d%d%d (%l+) +(%d+)%+(%d+) +B +([%d.]+) us  (.-)  ([?#pc].*)$"
  if not pid then
    return nil
  end
  local shown, problem = text:match "^(.-)  %-%- (.*)$"
  return {
    pid = tonumber(pid), direction = direction, request = tonumber(request), answer = tonumber(answer),
    time = tonumber(time), name = name, text = shown or text, error = problem,
  }
end

-- All lines of a text, each of which has to be whole.
local function parse_all(text)
  local list = {}
  assert.is_true(text == "" or text:sub(-1) == "\n")
  for line in text:gmatch "([^\n]*)\n" do
    list[#list + 1] = parse(line) or error("no line of a trace: " .. line)
  end
  return list
end

local function read_file(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

local function texts_of(list, direction)
  local texts = {}
  for _, operation in ipairs(list) do
    if operation.direction == direction then
      texts[#texts + 1] = operation.text
    end
  end
  return texts
end

-- A program with a listener in a child: it prints the ids of both, and what comes of its operations.
local PROGRAM = [[
local remoteobj = require "remoteobj"
local object = { list = { 10, 20 } }
function object:double(x) return 2 * x end
function object.fails() error("boom\nsecond line", 0) end
local remote = remoteobj.Proxy(object)
local process <close> = remoteobj.process {
  function()
    remote:listen_()
    while not object.stop do
      remoteobj.sleep(0.001)
    end
  end,
}
process:start()
remote:wait_until_listening(process)
print(process.pid, tostring(object))
print(remote:double(21), remote.list[2].__, #remote.list)
for i, v in pairs(remote.list) do print(i, v) end
for i, v in remote.list:ipairs_() do print(i, v) end
remote.x = "a\nb"
print(remote:contains_ "x")
print(pcall(remote.fails))
print(pcall(remoteobj.get, remote.no.such.field))
print(remote:passto(function(_, v) return v end, remote.list[1]))
remote.stop = true
]]

local SENT = {
  "?:double(21)", "?.list[2]", "#?.list", "pairs(?.list)", "?.list:ipairs_()", '?.x = "a\\nb"', '?:contains_("x")',
  "?.fails()", "?.no.such.field", "?:passto(function, ?.list[1])", "?.stop = true",
}
local SERVED = {
  "?:double(21)", "?.list[2]", "#?.list", "pairs(?.list)", "?.list:ipairs_()", '?.x = "a\\nb"', '?:contains_("x")',
  "?.fails()", "?.no.such", "?:passto(function, 10)", "?.stop = true",
}

local function without_addresses(texts)
  for i, text in ipairs(texts) do
    texts[i] = text:gsub("function: 0x%x+", "function")
  end
  return texts
end

-- Is the text what a trace of PROGRAM has to be.
local function check_trace(text, output)
  local list = parse_all(text)
  local child, name = output:match "^(%d+)%s+([^\n]+)"
  assert.same(SENT, without_addresses(texts_of(list, "sent")))
  assert.same(SERVED, without_addresses(texts_of(list, "served")))
  local errors = 0
  for _, operation in ipairs(list) do
    assert.equal(operation.direction == "served", operation.pid == tonumber(child))
    assert.equal(name, operation.name)
    assert.is_true(operation.request > 32 and operation.answer >= 32)
    if operation.error then
      errors = errors + 1
      assert.equal(operation.text:find "fails" and "boom" or "attempt to index a nil value (field 'such')",
        operation.error)
    end
  end
  assert.equal(4, errors)
end

describe("REMOTEOBJ_TRACE", function()
  local name
  before_each(function()
    name = os.tmpname()
  end)
  after_each(function()
    os.remove(name)
  end)

  local function run(value)
    local result = script.run(PROGRAM, {}, { env = { REMOTEOBJ_TRACE = value } })
    assert.equal(0, result.code, result.stderr)
    return result
  end

  it("is off, and changes nothing that a program does", function()
    for _, value in ipairs { false, "", "0" } do
      local off = run(value)
      assert.equal("", off.stderr)
      local function strip(text)
        return text:gsub("^[^\n]*\n", ""):gsub("/tmp/lua_%w+", "")
      end
      assert.equal(strip(off.stdout), strip(run "1".stdout))
    end
  end)

  it("writes the operations of client and listener to standard error", function()
    local result = run "1"
    check_trace(result.stderr, result.stdout)
  end)

  it("writes them to a file, at its end", function()
    local result = run(name)
    assert.equal("", result.stderr)
    check_trace(read_file(name), result.stdout)
    run(name)
    assert.equal(2 * #SENT, #texts_of(parse_all(read_file(name)), "sent"))
  end)

  it("that names no file is a warning, and the program runs", function()
    local result = run "/no/such/file"
    assert.equal("remoteobj: REMOTEOBJ_TRACE: cannot open '/no/such/file' for the trace: No such file or directory\n",
      result.stderr)
  end)
end)

describe("remoteobj.trace", function()
  local object, proxy, seen

  before_each(function()
    object, proxy = fixture.open(fixture.counter())
    seen = {}
  end)
  after_each(function()
    remoteobj.trace(nil)
    fixture.close()
  end)

  local function see(operation)
    seen[#seen + 1] = operation
  end

  it("refuses what it can't tell to", function()
    for _, wrong in ipairs { 1, {}, io.stderr } do
      assert.error_matches(function() remoteobj.trace(wrong) end, "function, file name, boolean or nil expected")
    end
    assert.error_matches(function() remoteobj.trace "/no/such/file" end,
      "cannot open '/no/such/file' for the trace: No such file or directory")
  end)

  it("calls a function with each operation of a client", function()
    fixture.serve()
    local before, begun = proxy:stats_(), os.time()
    remoteobj.trace(see)
    proxy:add(5)
    local after = proxy:stats_()
    assert.equal(1, #seen)
    local operation = seen[1]
    assert.equal(unistd.getpid(), operation.pid)
    assert.equal("sent", operation.direction)
    assert.equal(tostring(object), operation.name)
    assert.equal("?:add(5)", operation.text)
    assert.equal(after.bytes_sent - before.bytes_sent, operation.request_bytes)
    assert.equal(after.bytes_received - before.bytes_received, operation.answer_bytes)
    assert.is_true(operation.time >= begun and operation.time < os.time() + 2)
    assert.is_true(operation.seconds > 0 and operation.seconds < wait.LIMIT)
    assert.is_nil(operation.error)
  end)

  it("calls it with each operation of a listener", function()
    local server = fixture.serve(function(link)
      remoteobj.trace(see)
      link:send "ready"
      link:receive()
      remoteobj.trace(nil)
      link:send(seen)
      link:receive()
    end)
    assert.equal("ready", server:receive())
    proxy:add(5)
    proxy:sleep(0.05)
    pcall(proxy.passto, proxy, error, "bad")
    server:send "enough"
    local list = server:receive()
    assert.same({ "?:add(5)", "?:sleep(0.05)" }, { list[1].text, list[2].text })
    assert.equal(3, #list)
    assert.is_true(list[2].seconds >= 0.05)
    assert.is_truthy(list[3].error)
    for _, operation in ipairs(list) do
      assert.equal("served", operation.direction)
      assert.equal(server.pid, operation.pid)
    end
  end)

  it("tells why an operation failed", function()
    remoteobj.trace(see)
    pcall(proxy.add, proxy)
    assert.equal(0, seen[1].request_bytes)
    assert.equal(0, seen[1].answer_bytes)
    assert.equal("nobody listens for ?:add()", seen[1].error)
    assert.equal("d", proxy:with_ { default = "d" }:add())
    assert.is_nil(seen[2].error)
    local server = fixture.serve(function() remoteobj.sleep(wait.LIMIT) end)
    pcall(proxy.passto, proxy, function() os.execute "kill -9 $PPID" end)
    assert.is_true(seen[3].request_bytes > 0)
    assert.equal(0, seen[3].answer_bytes)
    assert.matches("^the listener ended before it answered", seen[3].error)
    server:join()
  end)

  it("tells of operations on references", function()
    object.sub = { count = 3 }
    local server = fixture.serve(function(link)
      link:receive()
      link:send(seen, tostring(object.sub))
      link:receive()
    end, nil, function()
      remoteobj.trace(see)
    end)
    remoteobj.trace(see)
    local sub = proxy.sub:ref_()
    assert.equal(3, sub.count.__)
    remoteobj.trace(nil)
    server:send "enough"
    local there, name = server:receive()
    assert.same({ "?.sub", "ref(" .. name .. ").count" }, { there[1].text, there[2].text })
    assert.equal("?.sub", seen[1].text)
    assert.matches("^ref_%d+%.count$", seen[2].text)
  end)

  -- Serves the proxy in a process that sees what it does until the test asks for it.
  local function serve_seen(options)
    return fixture.serve(function(link)
      link:receive()
      remoteobj.trace(nil)
      link:send(seen)
      link:receive()
    end, options, function()
      remoteobj.trace(see)
    end)
  end

  local function seen_by(server)
    server:send "enough"
    return server:receive()
  end

  it("tells of callbacks, on both sides", function()
    function object.call(_, func, ...) return func(...) end
    function object.twice(_, first, second) return first(second(1)) end
    local server = serve_seen()
    remoteobj.trace(see)
    assert.equal(5, proxy:call(remoteobj.callback(function(a, b) return a + #b end), 2, "xyz"))
    assert.equal("-2", proxy:twice(remoteobj.callback(function(n) return "-" .. n end),
      remoteobj.callback(function(n) return n + 1 end)))
    pcall(proxy.call, proxy, remoteobj.callback(function() error("no\nmore", 0) end))
    remoteobj.trace(nil)
    local expected = { 'callback_1(2, "xyz")', "callback_2(1)", "callback_1(2)", "callback_1()" }
    local function callbacks(list, direction)
      local found = {}
      for _, operation in ipairs(list) do
        if operation.text:find "^callback_" then
          assert.equal(direction, operation.direction)
          found[#found + 1] = operation
        end
      end
      assert.same(expected, texts_of(found, direction))
      assert.equal(#expected + 3, #list) -- and the requests that they came with
      return found
    end
    local here, there = callbacks(seen, "served"), callbacks(seen_by(server), "sent")
    for i, operation in ipairs(here) do
      local other = there[i]
      assert.equal(unistd.getpid(), operation.pid)
      assert.equal(server.pid, other.pid)
      assert.is_true(operation.request_bytes > 32 and operation.answer_bytes >= 32)
      assert.same({ operation.request_bytes, operation.answer_bytes }, { other.request_bytes, other.answer_bytes })
      assert.equal(i == #expected and "no\nmore" or nil, operation.error)
      assert.equal(operation.error, other.error)
    end
  end)

  it("tells of callbacks at any depth, and of those that nobody answers", function()
    function object.down(self, n, func) return n == 0 and 0 or func(n - 1, self) end
    function object.try(self, func)
      pcall(func)
      self.tried = true
    end
    local server = serve_seen()
    remoteobj.trace(see)
    local function down(n) return 1 + proxy:down(n, remoteobj.callback(down)) end
    assert.equal(101, down(100))
    assert.equal(201, #seen)
    remoteobj.trace(nil)
    local client = processes.fork(function()
      proxy:try(remoteobj.callback(function() unistd._exit(0) end))
    end)
    client:join()
    wait.until_true(function() return proxy.tried.__ end, "the listener to learn of the client's end")
    local there = seen_by(server)
    for i = #there, 1, -1 do
      if there[i].text == "callback_1()" then
        assert.equal("the client of a callback is gone", there[i].error)
        assert.is_true(there[i].request_bytes > 0)
        assert.equal(0, there[i].answer_bytes)
        return
      end
    end
    error "it was not told"
  end)

  it("tells of what is told with oneway, and of what futures stand for, on both sides", function()
    local server = serve_seen { on_error = function() end }
    remoteobj.trace(see)
    proxy:with_ { oneway = true }:add(1)
    proxy:with_ { oneway = true }:fails()
    local future = proxy:with_ { async = true }:add(2)
    remoteobj.trace(nil)
    assert.equal(3, future:get())
    local there, texts = seen_by(server), { "?:add(1)", "?:fails()", "?:add(2)" }
    assert.same(texts, texts_of(seen, "sent"))
    assert.same(texts, texts_of(there, "served"))
    assert.equal(#texts, #there)
    for i, operation in ipairs(there) do
      assert.equal(seen[i].request_bytes, operation.request_bytes)
      assert.equal(i == 3, operation.answer_bytes > 0)
      assert.equal(0, seen[i].answer_bytes)
      assert.is_nil(seen[i].error)
    end
    assert.matches("attempt to call a nil value", there[2].error)
  end)

  it("cuts what is long", function()
    fixture.serve()
    remoteobj.trace(see)
    proxy:echo(("x"):rep(1000000), ("ä"):rep(1000), ("z"):rep(1000))
    assert.is_true(#seen[1].text < 250)
    assert.is_truthy(utf8.len(seen[1].text))
    assert.matches('^%?:echo%("x+%.%.%.", "ä+', seen[1].text)
  end)

  it("does not tell of evaluations in the listener's own process", function()
    remoteobj.trace(see)
    local _ <close> = proxy:listen_()
    proxy:add()
    assert.equal(1, proxy.count.__)
    assert.same({}, seen)
  end)

  it("ends, and may be replaced", function()
    fixture.serve()
    remoteobj.trace(see)
    proxy:add()
    remoteobj.trace(function() seen.other = true end)
    proxy:add()
    for _, off in ipairs { 1, 2 } do
      remoteobj.trace(off == 1 and nil)
      seen.other = nil
      proxy:add()
      assert.is_nil(seen.other)
    end
    assert.equal(1, #seen)
  end)

  it("lets its function use proxies, which is not told", function()
    fixture.serve()
    remoteobj.trace(function(operation)
      see(operation)
      proxy:echo(operation)
      coroutine.wrap(function() proxy:echo() end)()
    end)
    fixture.count_to(3, proxy)
    assert.equal(3, #seen)
    assert.equal(3 + 6, proxy:stats_().replies)
  end)

  it("goes on in processes that are forked later, also in those that its function makes", function()
    fixture.serve()
    remoteobj.trace(function(operation)
      see(operation)
      if operation.text == "?:add(7)" then
        local process = remoteobj.process(function()
          proxy:echo "in a child"
          return #seen, seen[#seen].text, seen[#seen].pid
        end):start()
        process:join()
        seen.child = { pid = process.pid, process:results() }
      end
    end)
    proxy:add(7)
    assert.same({ 2, '?:echo("in a child")', seen.child.pid }, { table.unpack(seen.child) })
    assert.equal(1, #seen)
  end)

  it("is not harmed by what raises while it tells", function()
    local awkward = setmetatable({}, { __tostring = function() error "no text" end })
    remoteobj.register(getmetatable(awkward), "spec.trace.Awkward")
    fixture.serve()
    local nameless = remoteobj.Proxy(awkward)
    local calls = 0
    remoteobj.trace(function(operation)
      calls = calls + 1
      assert(operation.text)
      error "in the function"
    end)
    fixture.count_to(3, proxy)
    assert.equal(7, #proxy:echo({ 1, 2, 3, 4, 5, 6, 7 }))
    assert.equal("table", type(proxy:echo(awkward)))
    assert.equal("NotListening", select(2, pcall(remoteobj.get, nameless.x)).kind)
    assert.equal(6, calls)
    remoteobj.trace(see)
    pcall(remoteobj.get, nameless.x)
    assert.equal("table", seen[1].name)
    getmetatable(awkward).__tostring = nil
  end)

  it("makes a warning of an error of its function", function()
    local result = script.run [[
      warn "@on"
      local remoteobj = require "remoteobj"
      remoteobj.trace(function() error "of the function" end)
      print(pcall(remoteobj.get, remoteobj.Proxy({}).x))
    ]]
    assert.matches("^false\tnobody listens for %?%.x\n$", result.stdout)
    assert.matches("^Lua warning: remoteobj%.trace: .*:3: of the function\n$", result.stderr)
  end)

  it("writes each line of several processes whole", function()
    local name = os.tmpname()
    local calls = tonumber(os.getenv "TRACE_CALLS") or 100
    remoteobj.trace(name)
    fixture.serve()
    local clients = {}
    for i = 1, 4 do
      clients[i] = processes.fork(function()
        for _ = 1, calls do
          proxy:echo(("long "):rep(10), i)
        end
      end)
    end
    for _, client in ipairs(clients) do
      client:result()
    end
    remoteobj.trace(nil)
    local list = parse_all(read_file(name))
    os.remove(name)
    assert.equal(8 * calls, #list)
    local count = {}
    for _, operation in ipairs(list) do
      local key = operation.direction .. operation.text:match "(%d)%)$"
      count[key] = (count[key] or 0) + 1
    end
    for i = 1, 4 do
      assert.equal(calls, count["sent" .. i])
      assert.equal(calls, count["served" .. i])
    end
  end)

  -- What is in a pipe.
  local function drain(fd)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
    local parts = {}
    while true do
      local bytes = unistd.read(fd, 65536)
      if not bytes or bytes == "" then
        return table.concat(parts)
      end
      parts[#parts + 1] = bytes
    end
  end

  it("loses lines, and says how many, rather than wait for ever for who reads standard error", function()
    local reading, writing = private_pipe()
    fixture.serve(function(link)
      link:receive()
    end, nil, function()
      unistd.dup2(writing, 2)
      remoteobj.trace(true)
    end)
    local calls = 1000
    for _ = 1, calls do -- more than fits into the pipe: all are answered
      proxy:echo(("x"):rep(100))
    end
    local first = parse_all(drain(reading))
    assert.is_true(#first > 0 and #first < calls)
    proxy:add()
    local lost, rest = drain(reading):match "^remoteobj%[%d+%] (%d+) lines lost\n(.*)$"
    assert.equal(calls, #first + tonumber(lost))
    assert.equal("?:add()", parse_all(rest)[1].text)
    unistd.close(reading)
    unistd.close(writing)
  end)

  it("is not killed when nobody reads standard error any more", function()
    local reading, writing = private_pipe()
    fixture.serve()
    local client = processes.fork(function()
      signal.signal(signal.SIGPIPE, signal.SIG_DFL)
      unistd.dup2(writing, 2)
      unistd.close(writing)
      unistd.close(reading)
      remoteobj.trace(true)
      fixture.count_to(3, proxy)
      return "alive"
    end)
    unistd.close(reading)
    unistd.close(writing)
    assert.equal("alive", client:result())
  end)
end)

describe("remoteobj.stats", function()
  local proxy

  before_each(function()
    proxy = select(2, fixture.open(fixture.counter()))
  end)
  after_each(fixture.close)

  local function entry(stats)
    for _, one in ipairs(stats.proxies) do
      if one.id == proxy:stats_().id then
        return one
      end
    end
  end

  local function assert_times(count, least, times)
    assert.equal(count, times.count)
    assert.is_true(times.max >= least)
    assert.is_true(times.mean > 0 and times.mean <= times.max)
    assert.is_true(times.median > 0 and times.median <= times.p99 and times.p99 <= times.max)
  end

  it("counts what was sent and served, and how long it took", function()
    local server = fixture.serve(function(link)
      remoteobj.stats()
      link:send "ready"
      link:receive()
      link:send(remoteobj.stats())
      link:receive()
    end)
    assert.equal("ready", server:receive())
    local before = remoteobj.stats()
    assert.equal(unistd.getpid(), before.pid)
    assert.equal(0, entry(before).requests)
    fixture.count_to(9, proxy)
    proxy:sleep(0.05)
    pcall(proxy.passto, proxy, error)
    local after = remoteobj.stats()
    local ours = entry(after)
    assert.same({ 11, 11, 0, 0, 0, false },
      { ours.requests, ours.replies, ours.late_replies, ours.served, ours.errors, ours.listening })
    assert_times(11, 0.05, ours.round_trips)
    assert.is_true(ours.round_trips.median < ours.round_trips.max)
    assert.same({ count = 0, mean = 0, median = 0, p99 = 0, max = 0 }, ours.executions)
    server:send "enough"
    local there = server:receive()
    local theirs = entry(there)
    assert.equal(server.pid, there.pid)
    assert.same({ 0, 0, 11, 1, 1, true },
      { theirs.requests, theirs.replies, theirs.served, theirs.errors, theirs.clients, theirs.listening })
    assert_times(11, 0.05, theirs.executions)
    assert.equal(ours.name, theirs.name)
    for _, field in ipairs { "requests", "replies", "bytes_sent", "bytes_received" } do
      assert.equal(ours[field], after.total[field] - before.total[field])
    end
  end)

  it("come over the wire", function()
    fixture.serve()
    fixture.count_to(3, proxy)
    local there = proxy:passto(function() return remoteobj.stats() end)
    assert.equal(4, entry(there).served)
    assert.equal(3, proxy:passto(function() return remoteobj.stats() end).total.served - 2)
  end)

  it("take no times until they are asked for, here or before a fork", function()
    local program = [[
      local remoteobj = require "remoteobj"
      local proxy = remoteobj.Proxy({})
      local function count()
        local process = remoteobj.process(function()
          local _ <close> = proxy:listen_()
          remoteobj.sleep(60)
        end):start()
        proxy:wait_until_listening(process)
        for _ = 1, 3 do pcall(remoteobj.get, proxy.x) end
        print(proxy:stats_().round_trips.count)
        print(proxy:passto(function() return remoteobj.stats().total.executions.count end))
        process:kill()
        process:join()
      end
      count()
      remoteobj.stats()
      count()
    ]]
    local result = script.run(program)
    assert.equal("0\n0\n3\n3\n", result.stdout, result.stderr)
  end)

  it("keep in the total what proxies have counted that are gone", function()
    collectgarbage()
    collectgarbage()
    local before = remoteobj.stats()
    do
      local other = remoteobj.Proxy { n = 1 }
      local server = processes.serve(other)
      for _ = 1, 5 do
        assert.equal(1, other.n.__)
      end
      server:stop()
    end
    collectgarbage()
    collectgarbage()
    local after = remoteobj.stats()
    assert.equal(5, after.total.requests - before.total.requests)
    assert.equal(5, after.total.round_trips.count - before.total.round_trips.count)
    assert.equal(#before.proxies, #after.proxies)
  end)

  it("begin anew in a fork", function()
    fixture.serve()
    fixture.count_to(3, proxy)
    local child = processes.fork(function()
      local begun = remoteobj.stats().total
      proxy:echo()
      local total = remoteobj.stats().total
      return begun.requests, begun.round_trips.count, total.requests, total.round_trips.count
    end)
    assert.same({ 0, 0, 1, 1 }, { child:result() })
  end)

  it("list proxies by their age, whatever tostring does of their objects", function()
    local kept = {}
    for i = 1, 20 do
      kept[i] = remoteobj.Proxy(setmetatable({}, { __tostring = function()
        kept[#kept + 1] = remoteobj.Proxy {}
        return i % 2 == 0 and error "no name" or "number " .. i
      end }))
    end
    local names = {}
    for _, one in ipairs(remoteobj.stats().proxies) do
      names[#names + 1] = one.name:match "^number (%d+)$"
    end
    assert.same({ "1", "3", "5", "7", "9", "11", "13", "15", "17", "19" }, names)
  end)
end)
