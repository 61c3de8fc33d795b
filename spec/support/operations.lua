-- What users do with the library, operation by operation, for specs in which something fails while it is done. To be
-- run by spec/support/scarce.c.
--
-- Each operation has a name, `run(made)`, which may raise, and optionally `make()`, what it works on, and
-- `check(made)`, which must do after the operation has failed and after it has not. Those with `calls` only call
-- `remote`; those with `plenty` are not for specs in which memory runs out or calls fail.
local remoteobj = require "remoteobj"

local Class = {}
Class.__index = Class
Class.__name = "Operations"
function Class.same(_, ...) return ... end
function Class.list() return { 1, { 2, { 3, "four" } }, five = 6.5 } end
function Class:me() return self end
function Class.fail() error { code = 7 } end
function Class.visit(_, visit) return visit(3) and visit(4) end
function Class.long(_, size) return ("x"):rep(size) end
local Derived = setmetatable({ __name = "Derived" }, Class)
Derived.__index = Derived
function Derived.same() return "derived" end

remoteobj.register(Class)

local function equal(expected, value)
  if expected ~= value then
    error(("%s instead of %s"):format(value, expected), 2)
  end
end

local list = {}

local function operation(name, made)
  made.name = name
  list[#list + 1] = made
end

local function nothing() return {} end

local function proxy() return { remote = remoteobj.Proxy(setmetatable({}, Class)) } end

local function listens_again(made)
  for _, bg in ipairs { true, false } do
    made.remote:stop_listen_()
    made.remote:listen_ { bg = bg }
  end
  made.remote:stop_listen_()
end

-- The same, after the client has ended: it may have waited for a listener that nobody served any more.
local function listens_again_alone(made)
  listens_again(made)
  if made.client and made.client.pid then
    made.client:kill()
    pcall(made.client.join, made.client)
  end
end

operation("making a proxy", { run = function() remoteobj.Proxy({}) end, check = proxy })

for _, bg in ipairs { true, false } do
  operation("listening, bg = " .. tostring(bg), {
    make = proxy,
    run = function(made) made.remote:listen_ { bg = bg } end,
    check = listens_again,
  })

  operation("a listener with a client, bg = " .. tostring(bg), {
    make = proxy,
    run = function(made)
      local client = remoteobj.process(function() return made.remote:same(5) end)
      made.client = client
      made.remote:listen_ { bg = bg }
      client:start()
      while client:is_alive() do
        if bg then remoteobj.sleep(0.001) else made.remote:poll(0.01) end
      end
      client:join()
      equal(5, client.result)
    end,
    check = listens_again_alone,
  })
end

operation("a listener that calls back", {
  make = proxy,
  run = function(made)
    local client <close> = remoteobj.process(function()
      return made.remote:visit(remoteobj.callback(function(i) return i end))
    end)
    made.remote:listen_()
    client:start()
    client:join()
    equal(4, client.result)
  end,
  check = listens_again,
})

operation("serving by hand", {
  make = proxy,
  run = function(made)
    local client = remoteobj.process(function()
      return made.remote:same(1), made.remote:with_({ default = 2 }):same(3)
    end)
    made.client = client
    made.remote:listen_ { bg = false, on_error = error }
    local events = { events = { IN = true } }
    local ready = { [made.remote:fileno_()] = events, [client:start().sentinel] = events }
    for _, serve in ipairs { "process_requests", "cancel_requests" } do
      local done = 0
      while client:is_alive() and done == 0 do
        remoteobj.poll(ready, 60)
        done = made.remote[serve](made.remote, 1)
      end
    end
    client:join()
    equal(2, (select(2, client:results())))
  end,
  check = listens_again_alone,
})

-- Calls of a server, which is told what to do first.
local object = setmetatable({ numbers = { 1, 2, 3 } }, Derived)
local remote = remoteobj.Proxy(object)
local server

local function answers()
  equal(4, remote.super:same(4))
end

local calls = {
  ["a call"] = function() equal("x", (select(2, remote.super:same(3, "x")))) end,
  ["a nested result"] = function() equal("four", remote:list()[2][2][2]) end,
  ["all kinds of arguments"] = function()
    remote:same({ { 1 } }, Class, function() return object end, remote.numbers, remote, print, 1.5, "x")
  end,
  ["a field"] = function() equal(2, remote.numbers[2].__) end,
  ["an assignment"] = function() remote.x = { 1, "y" } end,
  ["a length"] = function() equal(3, #remote.numbers) end,
  ["the object itself"] = function() equal(remote, remote:me():me()) end,
  ["super"] = function() equal("derived", remote:same()) end,
  ["passto"] = function() equal(6, remote:passto(function(o) return o.numbers[1] + o.numbers[2] + 3 end)) end,
  ["references"] = function()
    local kept = remote:with_({ ref = true }).super:list()
    equal(1, kept[1].__)
    kept[3] = remote.numbers:ref_()
    equal(2, kept[3][2].__)
    equal(kept, (remote:with_({ ref = true }).super:same(kept)))
    local _ <close> = kept
  end,
  ["a callback"] = function()
    local n = 0
    equal(7, remote:visit(remoteobj.callback(function(i)
      n = n + i
      return remote.super:same(n)
    end)))
  end,
  ["an error of a callback"] = function()
    local ok, err = pcall(remote.visit, remote, remoteobj.callback(function() error { code = 6 } end))
    if ok or err.code ~= 6 then error(err, 0) end
  end,
  ["an evaluation that is told only"] = function()
    remote:with_({ oneway = true }).super:same(1)
    equal(2, remote.super:same(2))
  end,
  ["pairs"] = function()
    local sum = 0
    for _, n in pairs(remote.numbers) do sum = sum + n end
    for _, n in remote.numbers:ipairs_() do sum = sum + n end
    equal(12, sum)
  end,
  ["a large answer"] = function() equal(300000, #remote:long(300000)) end,
  ["a large argument"] = function() equal("derived", remote:same(("x"):rep(300000))) end,
  ["an error there"] = function()
    local ok, err = pcall(remote.fail, remote)
    if ok or err.code ~= 7 then error(err, 0) end
  end,
  ["views by name"] = function()
    equal(3, remote.numbers:item_(3):get_())
    equal(true, remote.numbers:contains_(1))
    equal(1, remoteobj.get(remote:attrs_ "numbers":item_(1)))
    remote:set_("y", { 2 })
    remote:del_ "y"
  end,
  ["waiting for the listener"] = function()
    equal(true, remote.listening_)
    equal(true, remote:wait_until_listening { timeout = 60 })
  end,
  ["a default"] = function() equal(nil, remote.nothing:get_ { default = 1 }) end,
}

local names = {}
for name in pairs(calls) do
  names[#names + 1] = name
end
table.sort(names)
for _, name in ipairs(names) do
  operation(name, { run = calls[name], check = answers, calls = true })
end

operation("the first call of a process", {
  run = function()
    local client <close> = remoteobj.process(function() return remote.super:same(1) end):start()
    client:join()
    equal(1, client.result)
  end,
  check = answers,
})

if remoteobj.wait and pcall(remote.with_, remote, { async = true }) then
  operation("futures", {
    run = function()
      local late = remote:with_ { async = true }
      local list_of = { late.super:same(1), late:list(), late:fail() }
      remoteobj.wait(list_of)
      equal(1, list_of[1]:get())
      equal(1, list_of[2]:get()[1])
      local ok, err = pcall(list_of[3].get, list_of[3])
      if ok or err.code ~= 7 then error(err, 0) end
    end,
    check = answers,
  })

  operation("futures one by one", {
    run = function()
      local late, told = remote:with_ { async = true }, 0
      local first = late.super:same { 1 }
      local second = late.super:same(first)
      second:on_done(function() told = told + 1 end)
      local done, others = remoteobj.wait({ first, second }, { all = false, timeout = 60 })
      equal(2, #done + #others)
      equal(1, second:get(60)[1])
      equal(true, first:done())
    end,
    check = answers,
  })
end

operation("a process", {
  run = function()
    local p <close> = remoteobj.process(function(...) return ... end, 1, "two", { 3 }):start()
    equal(true, p:join())
    equal(3, (select(3, p:results())[1]))
  end,
})

operation("joining a process", {
  make = function()
    return { process = remoteobj.process(function()
      for i = 1, 3 do coroutine.yield { i } end
      return "one", { 2 }
    end):start() }
  end,
  run = function(made) equal(true, made.process:join()) end,
  check = function(made) -- nothing is lost
    equal(true, made.process:join())
    local first, second = made.process:results()
    equal("one", first)
    equal(2, second[1])
    local sum = 0
    for value in made.process:iter() do sum = sum + value[1] end
    equal(6, sum)
  end,
})

operation("joining a process that fails", {
  make = function() return { process = remoteobj.process { error, { code = 8 }, raises_ = false }:start() } end,
  run = function(made) equal(true, made.process:join()) end,
  check = function(made)
    equal(true, made.process:join())
    local ok, err = pcall(made.process.raise_any, made.process)
    if ok or type(err) ~= "table" or err.code ~= 8 then error(err, 0) end
    equal(1, #made.process.exc)
  end,
})

operation("joining a process that dies", {
  make = function() return { process = remoteobj.process { remoteobj.util.segfault, raises_ = false }:start() } end,
  run = function(made) equal(true, made.process:join()) end,
  check = function(made)
    equal(true, made.process:join())
    local ok, err = pcall(made.process.raise_any, made.process)
    if ok or err.signal ~= "SIGSEGV" then error(err, 0) end
    equal(1, #made.process.exc)
  end,
})

operation("a process that yields", {
  run = function()
    local p <close> = remoteobj.process(function()
      for i = 1, 5 do coroutine.yield(i) end
      return "end"
    end):start()
    local sum = 0
    for i in p:iter() do sum = sum + i end
    equal(15, sum)
    equal("end", p:results())
  end,
})

operation("a process that fails", {
  run = function()
    local p = remoteobj.process { function() error { code = 8 } end, raises_ = false }:start()
    p:join()
    local ok, err = pcall(p.raise_any, p)
    if ok or type(err) ~= "table" or err.code ~= 8 then error(err, 0) end
  end,
})

operation("a process that is killed", {
  make = function() return { process = remoteobj.process(function() remoteobj.sleep(1000) end):start() } end,
  run = function(made)
    equal(true, made.process:kill())
    equal(true, made.process:join())
    equal(-9, made.process.exitcode)
  end,
  check = function(made)
    made.process:kill()
    made.process:join()
  end,
})

-- Ends what was started, whatever has become of it, and waits for that.
local function ends(child)
  if child.pid and child:is_alive() then
    child:throw "the end"
  end
  if child.pid then
    pcall(child.join, child)
    equal(false, child:is_alive())
  end
end

local function thread_ends(made)
  if made.thread then
    ends(made.thread)
  end
end

operation("a process that is terminated", {
  make = function() return { process = remoteobj.process(function() remoteobj.sleep(1000) end):start() } end,
  run = function(made)
    equal(true, made.process:terminate())
    equal(true, made.process:join())
    equal(false, made.process:terminate())
  end,
  check = function(made)
    made.process:kill()
    made.process:join()
  end,
})

operation("a thread", {
  run = function(made)
    made.thread = remoteobj.thread(function(...)
      coroutine.yield(1)
      remoteobj.sleep(0)
      return ...
    end, "one", {}):start()
    local t <close> = made.thread
    equal(1, t:iter()())
    equal(true, t:join())
    equal("one", t:results())
  end,
  check = thread_ends,
})

operation("a thread that fails", {
  run = function(made)
    local t = remoteobj.thread { function() remoteobj.sleep(1000) end, raises_ = false }
    made.thread = t
    t:start()
    t:throw { code = 5 } -- be it that another has ended it already
    t:join()
    local ok, err = pcall(t.raise_any, t)
    if ok or type(err) ~= "table" or err.code ~= 5 then error(err, 0) end
  end,
  check = thread_ends,
})

operation("a job of its own thread, watched", {
  run = function(made)
    local t = remoteobj.job { function(n) return n + 1 end, 4, threaded_ = true }
    made.thread = t
    equal(1, remoteobj.poll({ [t:start().sentinel] = { events = { IN = true } } }, 60))
    equal(5, t.result)
  end,
  check = thread_ends,
})

operation("an error thrown into a process", {
  make = function()
    local p = remoteobj.process { function()
      coroutine.yield()
      remoteobj.sleep(1000)
    end, raises_ = false }:start()
    p:iter()()
    return { process = p }
  end,
  run = function(made)
    local p = made.process
    equal(true, p:throw { code = 3 })
    p:join()
    local ok, err = pcall(p.raise_any, p)
    if ok or type(err) ~= "table" or err.code ~= 3 then error(err, 0) end
  end,
  check = function(made) ends(made.process) end,
})

operation("util.listener", {
  run = function()
    local _ <close>, made = remoteobj.util.listener(setmetatable({}, Class))
    equal(3, made:same(3))
  end,
})

operation("util.listener_func", {
  run = function()
    local counting = remoteobj.util.listener_func(function(o, by) o.n = (o.n or 0) + by end, 2)
    local p <close>, made = counting({}, { delay = 0.001, wait_timeout = 60 })
    while p:is_alive() and not made.n:get_ { default = false } do remoteobj.sleep(0.001) end
  end,
})

local function trace_ends(made)
  remoteobj.trace(nil)
  if made.file then os.remove(made.file) end
  answers()
end

operation("a trace for a function", {
  make = function() return { told = 0 } end,
  run = function(made)
    remoteobj.trace(function(o) made.told = made.told + #o.text end)
    remote:same(remoteobj.callback(print), { 1 })
    remoteobj.trace(nil)
  end,
  check = trace_ends,
})

operation("a trace in a file", {
  make = function() return { file = os.tmpname() } end,
  run = function(made)
    remoteobj.trace(made.file)
    for i = 1, 2 do remote:same(i) end
    remoteobj.trace(nil)
    local n = 0
    for _ in io.lines(made.file) do n = n + 1 end
    equal(true, n > 0)
  end,
  check = trace_ends,
})

operation("stats", {
  run = function()
    equal(true, remoteobj.stats().total.requests >= remote:stats_().requests)
  end,
})

operation("a pool", {
  run = function()
    local pool <close> = remoteobj.pool(2)
    equal(6, pool:map(function(i) return 2 * i end, { 1, 2, 3 })[3])
    local ok, err = pcall(pool.map, pool, function() error { code = 4 } end, { 1 })
    if ok or type(err) ~= "table" or err.code ~= 4 then error(err, 0) end
    equal("x", pool:submit(string.rep, "x", 1):get())
  end,
})

-- Nothing fails in workers that are there, though it may while they are started.
local scarce = _G.scarce
local ample = { init = function()
  scarce.memory(-1)
  for _, name in ipairs(scarce.names) do scarce.fail(name, 0, 0) end
end }

local function double(i) return 2 * i end

-- The pool can be used as before, unless a worker has found no memory to make itself ready, and closed.
local function works(made)
  local ok, results, n = pcall(made.pool.map, made.pool, double, { 1, 2, 3, 4, 5 })
  if ok then
    equal(5, n)
    equal(10, results[5])
  elseif type(results) ~= "table" or results.message ~= "not enough memory" then
    error(results, 0)
  end
  made.pool:close()
end

operation("tasks of a pool", {
  make = function() return { pool = remoteobj.pool(2, ample) } end,
  run = function(made)
    local futures = { made.pool:submit(double, 1), made.pool:submit(double, 2), made.pool:submit(double, 3) }
    local done = 0
    futures[1]:on_done(function() done = done + 1 end)
    if made.pool:cancel(futures[3]) then futures[3] = nil end
    local sum = 0
    for i in made.pool:imap(double, { 1, 2, 3, 4, 5, 6, 7, 8 }) do
      sum = sum + i
      if i == 10 then break end
    end
    equal(30, sum)
    remoteobj.wait(futures)
    equal(1, done)
    equal(4, futures[2]:get())
  end,
  check = works,
})

operation("workers that die", {
  make = function() return { pool = remoteobj.pool(2, { retries = 1, init = ample.init }) } end,
  run = function(made)
    local crashes, doubles = made.pool:submit(remoteobj.util.segfault), made.pool:submit(double, 2)
    local ok, err = pcall(crashes.get, crashes)
    if ok or err.signal ~= "SIGSEGV" then error(err, 0) end
    equal(4, doubles:get())
    equal(6, made.pool:map(double, { 1, 2, 3 })[3])
  end,
  check = works,
})

operation("a pool that is killed", {
  make = function()
    local pool = remoteobj.pool(2)
    return { pool = pool, futures = { pool:submit(remoteobj.sleep, 1000), pool:submit(remoteobj.sleep, 1000),
      pool:submit(double, 1) } }
  end,
  run = function(made) made.pool:kill() end,
  check = function(made)
    made.pool:kill()
    for _, future in ipairs(made.futures) do
      equal(true, future:done())
      equal(false, (pcall(future.get, future)))
    end
  end,
})

operation("Except", {
  make = function() return { exc = remoteobj.Except() } end,
  run = function(made)
    local p = remoteobj.process { function() made.exc("work", error, { code = 9 }) end, raises_ = false }:start()
    p:join()
    made.exc { raises = false }(error, "here")
    equal("here", (made.exc.last.value or made.exc.last))
  end,
  check = function(made)
    made.exc { raises = false }(error, "again")
    equal("again", (made.exc.last.value or made.exc.last))
  end,
})

operation("LocalExcept", {
  run = function()
    local exc = remoteobj.LocalExcept { raises = false }
    exc "work"(error, { code = 2 })
    equal(2, exc:get("work").code)
    equal(1, #exc:group "work" + #exc:all() - #exc)
    equal("kept", exc:wrap(function() return "kept" end)())
    equal("kept", exc:pop_result())
    exc:clear()
    equal(nil, exc:iter()())
  end,
})

operation("packing", {
  run = function()
    local cycle = setmetatable({ 1, { "x" }, ("y"):rep(1000) }, Class)
    cycle.self = cycle
    local back = remoteobj.unpack(remoteobj.pack(cycle, function() return cycle end), { code = true })
    equal(back, back.self)
    equal("x", back[2][1])
  end,
})

operation("sleeping and polling", {
  run = function()
    remoteobj.sleep(0.0001)
    equal(0, remoteobj.poll({}, 0.0001))
  end,
})

list.remote = remote -- what those with `calls` call

-- Starts what the operations need.
function list.begin()
  local _ = ("x"):rep(100000) -- Lua's own buffers don't survive that memory runs out at the first of them
  server = remoteobj.process(function()
    remote:listen_ { bg = false }
    while not object.stop do remote:poll(60) end
  end):start()
  remote:wait_until_listening(server)
end

function list.finish()
  remote.stop = true
  server:join()
end

for _, o in ipairs(list) do
  o.make, o.check = o.make or nothing, o.check or nothing
end

return list
