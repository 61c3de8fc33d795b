-- Garbage: the state is closed at whatever moment, objects are let go while whoever they belong to is stopped, and all
-- garbage is collected, with finalizers, wherever that can happen.
local scarce = require "spec.support.scarce"
local script = require "spec.support.script"

-- What all scripts begin with.
local PROLOGUE = [[
  local remoteobj = require "remoteobj"
  local signal = require "posix.signal"
  local unistd = require "posix.unistd"

  local object = { numbers = { 1, 2, 3 } }
  local remote = remoteobj.Proxy(object)
  function object.echo(_, ...) return ... end
  function object.slow() object.begun = true remoteobj.sleep(1000) end
  function object.list() return {} end
  function object.each(_, visit) return visit(1) end

  -- A process that listens.
  local function serve()
    local server = remoteobj.process(function()
      remote:listen_()
      remoteobj.sleep(1000)
    end):start()
    remote:wait_until_listening(server)
    return server
  end

  local function leave() os.exit(7, true) end
]]

-- What LeakSanitizer says in a fork of threads that its parent had.
local OF_THREADS = "==%d+==Running thread %d+ was not suspended%. False leaks are possible%.\n"

-- Runs a script, which must say nothing but what is expected.
local function run(text, code, output)
  local result = script.run(PROLOGUE .. text)
  assert.equal("", (result.stderr:gsub(OF_THREADS, "")))
  assert.is_false(result.timed_out, "it does not end")
  assert.equal(code or 0, result.code)
  assert.equal(output or "", result.stdout)
end

describe("a state is closed", function()
  -- Each leaves by itself.
  local moments = {
    ["that has only made things"] = [[
      local process, thread = remoteobj.process(print), remoteobj.thread(print)
      local except, view, async = remoteobj.Except(), remote.numbers[1], remote:with_ { async = true }
      leave(process, thread, except, view, async)
    ]],
    ["with a listener, and clients that wait for their answers"] = [[
      remote:listen_()
      for _ = 1, 3 do remoteobj.process(remote.slow, remote):start() end
      while not object.begun do remoteobj.sleep(0.001) end
      leave()
    ]],
    ["with a listener, and clients that never stop"] = [[
      remote:listen_()
      function object.count() object.n = (object.n or 0) + 1 end
      for _ = 1, 3 do remoteobj.process(function() while true do remote:count() end end):start() end
      while (object.n or 0) < 100 do end
      leave()
    ]],
    ["with a listener that serves by hand, from a request"] = [[
      remote:listen_ { bg = false }
      object.leave = leave
      remoteobj.process(function() remote:leave() end):start()
      while true do remote:poll() end
    ]],
    ["from a request, while others are under way"] = [[
      remote:listen_()
      object.leave = leave
      for _ = 1, 3 do remoteobj.process(remote.slow, remote):start() end
      while not object.begun do remoteobj.sleep(0.001) end
      remoteobj.process(function() remote:leave() end):start()
      while true do end
    ]],
    ["from a request that came as an oneway"] = [[
      remote:listen_ { on_error = print }
      object.leave = leave
      remoteobj.process(function() remote:with_({ oneway = true }):leave() remoteobj.sleep(1000) end):start()
      remoteobj.sleep(1000)
    ]],
    ["with futures in flight"] = [[
      serve()
      local async, futures = remote:with_ { async = true }, {}
      for i = 1, 100 do futures[i] = i % 2 == 0 and async:slow() or async:echo(i) end
      futures[101] = async:echo(futures[2])
      futures[1]:get()
      leave()
    ]],
    ["with futures that are not all sent"] = [[
      local server = serve()
      remote:echo(1)
      signal.kill(server.pid, signal.SIGSTOP)
      local async, text, futures = remote:with_ { async = true, timeout = 0.05 }, ("x"):rep(300000), {}
      for i = 1, 10 do futures[i] = async:echo(text) end
      leave()
    ]],
    ["from what a future calls when it is done"] = [[
      serve()
      remote:with_({ async = true }):echo(1):on_done(leave)
      remoteobj.sleep(1000)
    ]],
    ["with references"] = [[
      serve()
      local a, b = remote:with_({ ref = true }):list(), remote.numbers:ref_()
      a.b = b
      leave()
    ]],
    ["from a callback"] = [[
      serve()
      remote:each(remoteobj.callback(leave))
    ]],
    ["while a request waits for a callback"] = [[
      remote:listen_()
      function object.each(_, visit) object.begun = true visit() end
      remoteobj.process(function()
        remote:each(remoteobj.callback(function() remoteobj.sleep(1000) end))
      end):start()
      while not object.begun do remoteobj.sleep(0.001) end
      leave()
    ]],
    ["in a loop over a remote table"] = [[
      serve()
      for _, n in pairs(remote.numbers) do
        if n == 2 then leave() end
      end
    ]],
    ["with threads in all states"] = [[
      local busy = remoteobj.thread(function() while true do end end):start()
      local asleep = remoteobj.thread(remoteobj.sleep, 1000):start()
      local yields = remoteobj.thread(function() while true do coroutine.yield(1) end end):start()
      local ended, fresh = remoteobj.thread(function() end):start(), remoteobj.thread(print)
      ended:join()
      yields:iter()()
      leave(busy, asleep, fresh)
    ]],
    ["with threads that wait for a process, for a listener, for an answer and for each other"] = [[
      local server = serve()
      local other = remoteobj.Proxy({})
      local threads = { remoteobj.thread(server.join, server):start() }
      threads[2] = remoteobj.thread(threads[1].join, threads[1]):start()
      threads[3] = remoteobj.thread(other.wait_until_listening, other):start()
      threads[4] = remoteobj.thread(function() remote:slow() end):start()
      threads[5] = remoteobj.thread(function() remote:with_({ async = true }):slow():get() end):start()
      while not remote.begun.__ do end
      leave()
    ]],
    ["with threads that are older than what they use, while others' finalizers let them go on"] = [[
      local counts = require "spec.support.process_counts"
      local box, begun = {}, 0
      local uses = {
        function() box.process:join() end,
        function() for _ in box.process:iter() do end end,
        function() box.silent:wait_until_listening(box.process) end,
        function() box.remote:slow() end,
        function() box.future:get() end,
        function() remoteobj.wait { box.future } end,
      }
      for _, use in ipairs(uses) do
        remoteobj.thread(function()
          while not box.future do remoteobj.sleep(0.001) end
          begun = begun + 1
          use()
        end):start()
      end
      LET_GO_ON = setmetatable({}, { __gc = function() remoteobj.sleep(0.01) end })
      box.silent, box.remote = remoteobj.Proxy({}), remoteobj.Proxy(object)
      box.process = remoteobj.process(remoteobj.sleep, 1000):start()
      local server = remoteobj.process(function() box.remote:listen_() remoteobj.sleep(1000) end):start()
      box.remote:wait_until_listening(server)
      box.future = box.remote:with_({ async = true }):slow()
      while begun < #uses do remoteobj.sleep(0.001) end
      local pids = { box.process.pid, server.pid }
      KILL = setmetatable({}, { __gc = function()
        for _, pid in ipairs(pids) do
          signal.kill(pid, signal.SIGKILL)
          while counts.status(pid) ~= "Z" do end
        end
      end })
      leave()
    ]],
    ["with a thread that is no daemon, once that has ended"] = [[
      local n = 0
      remoteobj.thread({ function() remoteobj.sleep(0.05) n = 1 end, daemon_ = false }):start()
      local _ = setmetatable({}, { __gc = function() end })
      leave()
    ]],
    ["with an error under way to a thread"] = [[
      local asleep = remoteobj.thread(pcall, remoteobj.sleep, 1000):start()
      asleep:throw {}
      leave()
    ]],
    ["with a pool that has tasks"] = [[
      local pool = remoteobj.pool(2)
      local futures = {}
      for i = 1, 20 do futures[i] = pool:submit(remoteobj.sleep, i % 2 * 1000) end
      futures[2]:get()
      leave()
    ]],
    ["within the loop over a pool's results"] = [[
      local pool <close> = remoteobj.pool(2)
      for result in pool:imap(function(i) return i end, { 1, 2, 3, 4, 5 }) do
        if result == 2 then leave() end
      end
    ]],
    ["with a process that is stopped"] = [[
      local process = remoteobj.process(remoteobj.sleep, 1000):start()
      signal.kill(process.pid, signal.SIGSTOP)
      leave()
    ]],
    ["with processes that yield more than is read, have failed, or have ended"] = [[
      local yields = remoteobj.process(function() while true do coroutine.yield(("x"):rep(1000)) end end):start()
      yields:iter()()
      remoteobj.process { error, "x", raises_ = false }:start():join()
      remoteobj.process(function() end):start()
      leave()
    ]],
    ["with a process that is no daemon"] = [[
      remoteobj.process({ function() return 5 end, daemon_ = false }):start()
      leave()
    ]],
    ["from the context of an Except"] = [[
      local exc = remoteobj.Except()
      exc "work" (function() exc { raises = false } (leave) end)
    ]],
    ["from a handler of errors"] = [[
      serve()
      xpcall(function() remote:missing() end, leave)
    ]],
    ["from the __close of a value, as the block ends, by an error and else"] = [[
      serve()
      pcall(function()
        local _ <close> = setmetatable({}, { __close = leave })
        remote:missing()
      end)
    ]],
    ["from a function that traces"] = [[
      serve()
      remoteobj.trace(leave)
      remote:echo(1)
    ]],
    ["from a hook"] = [[
      remote:listen_()
      remoteobj.process(function() while true do remote:echo(1) end end):start()
      local n = 0
      debug.sethook(function()
        n = n + 1
        if n == 1000 then leave() end
      end, "", 100)
      while true do end
    ]],
    ["from a signal's handler"] = [[
      serve()
      signal.signal(signal.SIGUSR1, leave)
      remoteobj.process(function() signal.kill(unistd.getppid(), signal.SIGUSR1) end):start()
      remote:slow()
    ]],
    ["while finalizers use the library"] = [[
      serve()
      remote:echo(1)
      local function finalize()
        assert(remote:echo(5) == 5)
        remoteobj.sleep(0.001)
        remoteobj.process(function() end):start():join()
        assert(remoteobj.unpack(remoteobj.pack { 1 })[1] == 1)
        local other <close> = remoteobj.Proxy({}):listen_()
        remoteobj.wait { remote:with_({ async = true }):echo(1) }
      end
      KEPT = setmetatable({}, { __gc = finalize })
      leave()
    ]],
  }

  local ways = {
    ["."] = "%s",
    [", in a coroutine."] = "coroutine.wrap(function() %s end)()",
    [", in a process of another."] = [[
      local process <close> = remoteobj.process(function() %s end):start()
      process:join()
      assert(process.exitcode == 7, process.exitcode)
      leave()
    ]],
    [", in a fork by other means."] = [[
      remote:listen_()
      local pid = assert(unistd.fork())
      if pid == 0 then
        remote = remoteobj.Proxy(object)
        %s
      end
      local _, how, code = require "posix.sys.wait".wait(pid)
      while not how do _, how, code = require "posix.sys.wait".wait(pid) end
      assert(how == "exited" and code == 7, how .. code)
      leave()
    ]],
  }

  for moment, text in pairs(moments) do
    for way, frame in pairs(ways) do
      it(moment .. way, function() run(frame:format(text), 7) end)
    end
  end
end)

-- Those that something belongs to are stopped until it has been collected: a finalizer that waited for one of them
-- would wait for ever.
describe("what is let go while others are stopped", function()
  local STOPPED = [[
    local processes = require "spec.support.processes"
    local others = {}

    local function stop(process)
      processes.suspend(process.pid)
      others[#others + 1] = process.pid
    end

    -- Fills the pipe to whoever listens for the proxy, who is stopped.
    local function fill(proxy)
      local async, text = proxy:with_ { async = true, timeout = 0.01 }, ("x"):rep(300000)
      for _ = 1, 10 do async:echo(text) end
    end

    -- Collects what make() gives, all of it.
    local function drop(make)
      local made = setmetatable({ make() }, { __mode = "v" })
      assert(next(made))
      for _ = 1, 3 do collectgarbage() end
      local left = next(made)
      if left then error(("the %dth is still held"):format(left)) end
      print "collected"
    end

  ]]

  local cases = {
    ["proxies and views with full pipes"] = [[
      drop(function()
        local proxy = remoteobj.Proxy({ echo = object.echo })
        local server = remoteobj.process(function() proxy:listen_() remoteobj.sleep(1000) end):start()
        proxy:wait_until_listening(server)
        proxy:echo(1)
        stop(server)
        fill(proxy)
        return proxy.x.y, proxy:with_ { timeout = 1 }
      end)
    ]],
    ["references"] = [[
      local server = serve()
      drop(function()
        local list, references = remote:with_ { ref = true }, {}
        for i = 1, 5000 do references[i] = list:list() end
        stop(server)
        fill(remote)
        return table.unpack(references)
      end)
    ]],
    ["futures, with results that are kept and without"] = [[
      local server = serve()
      drop(function()
        local async, futures = remote:with_ { async = true }, {}
        for i = 1, 5000 do futures[i] = async:echo(i) end
        futures[5000]:get()
        stop(server)
        for i = 5001, 6000 do futures[i] = async:echo(futures[i - 5000]) end
        fill(remote)
        return table.unpack(futures)
      end)
    ]],
    ["loops over remote tables"] = [[
      local server = serve()
      for i = 1, 10000 do remote.numbers[i] = i end
      drop(function()
        local iterator, state = pairs(remote.numbers)
        iterator(state)
        stop(server)
        fill(remote)
        return type(iterator) == "table" and iterator or {}, type(state) == "table" and state or {}
      end)
    ]],
    ["listeners with clients that don't read their answers"] = [[
      drop(function()
        local client
        local proxy = remoteobj.Proxy({ long = function()
          while not client do remoteobj.sleep(0.001) end -- it may ask before its handle is there
          stop(client)
          return ("x"):rep(1000000)
        end })
        local handle = proxy:listen_()
        client = remoteobj.process(function() return #proxy:long() end):start()
        while #others == 0 do remoteobj.sleep(0.001) end
        remoteobj.sleep(0.01) -- so that the answer is being sent
        return handle
      end)
    ]],
    ["processes"] = [[
      drop(function()
        local process = remoteobj.process(function() coroutine.yield(1) remoteobj.sleep(1000) end):start()
        process:iter()()
        stop(process)
        return process, process:iter()
      end)
    ]],
    ["processes that are written to without end"] = [[
      drop(function()
        local process = remoteobj.process(function() while true do coroutine.yield(("x"):rep(10000)) end end):start()
        process:iter()()
        stop(process)
        return process
      end)
    ]],
    ["pools"] = [[
      drop(function()
        local pool = remoteobj.pool(2)
        for _, pid in ipairs(pool:map(function() remoteobj.sleep(0.01) return unistd.getpid() end, { 1, 2, 3, 4 })) do
          if not others[pid] then others[pid] = true stop { pid = pid } end
        end
        local text = ("x"):rep(300000)
        for _ = 1, 5 do pool:submit(string.len, text) end
        return pool
      end)
    ]],
    ["records of errors"] = [[
      drop(function()
        local exc = remoteobj.Except()
        local process = remoteobj.process(function()
          exc { raises = false } (error, ("x"):rep(1000000))
          remote:listen_()
          remoteobj.sleep(1000)
        end):start()
        remote:wait_until_listening(process)
        stop(process)
        return exc
      end)
    ]],
  }

  for name, text in pairs(cases) do
    it(name .. " holds nobody up, neither then nor at the end", function()
      run(STOPPED .. text .. "leave()", 7, "collected\n")
    end)
  end

  it("threads that run, sleep and have ended hold nobody up", function()
    run(STOPPED .. [[
      local over = false
      drop(function()
        local asleep = remoteobj.thread(remoteobj.sleep, 1000):start()
        local busy = remoteobj.thread(function() while not over do end end):start()
        local ended = remoteobj.thread(function() end):start()
        ended:join()
        return ended, asleep.none or {}, busy.none or {}
      end)
      over = true
      leave()
    ]], 7, "collected\n")
  end)
end)

-- A listener that is stopped by the program gives its clients ten seconds. One whose state is closed is to give none:
-- it ends before another does that began to stop sooner, one listener after the other.
describe("a state with listeners whose client is stopped and has not read its answers", function()
  local COMPARE = [[
    local processes = require "spec.support.processes"
    local wait = require "posix.sys.wait".wait
    local background = %s
    local COUNT = 6

    -- A process that listens for several proxies, does what is asked, and leaves by finish().
    local function server(finish)
      local proxies, done = {}, 0
      local from_server, to_parent = unistd.pipe()
      local from_parent, to_server = unistd.pipe()
      for i = 1, COUNT do
        proxies[i] = remoteobj.Proxy({ long = function() done = done + 1 return ("x"):rep(1000000) end })
      end
      local pid = assert(unistd.fork())
      if pid == 0 then
        for _, proxy in ipairs(proxies) do proxy:listen_ { bg = background } end
        unistd.read(from_parent, 1) -- nothing is served meanwhile
        while done < COUNT do
          for _, proxy in ipairs(proxies) do proxy:process_requests() end
          remoteobj.sleep(0.001)
        end
        unistd.write(to_parent, "d")
        unistd.read(from_parent, 1)
        unistd.write(to_parent, "f")
        finish(proxies)
      end
      for _, proxy in ipairs(proxies) do proxy:wait_until_listening() end
      local function tell() unistd.write(to_server, "x") end
      local function hear() assert(#unistd.read(from_server, 1) == 1) end
      return { pid = pid, proxies = proxies, tell = tell, hear = hear }
    end

    local stops = server(function(proxies)
      for _, proxy in ipairs(proxies) do proxy:stop_listen_() end
      unistd._exit(1)
    end)
    local closes = server(function() os.exit(true, true) end)

    local from_client, to_parent = unistd.pipe()
    local client = remoteobj.process(function()
      for _, server in ipairs { stops, closes } do
        for _, proxy in ipairs(server.proxies) do proxy:with_({ async = true }):long() end
      end
      unistd.write(to_parent, "x")
      remoteobj.sleep(1000)
    end):start()
    assert(#unistd.read(from_client, 1) == 1)
    processes.suspend(client.pid)
    for _, server in ipairs { stops, closes } do
      server.tell()
      server.hear()
    end
    for _, server in ipairs { stops, closes } do
      server.tell()
      server.hear()
    end
    local ended = wait(-1)
    assert(ended == closes.pid, ended == stops.pid and "it waits for its client" or ended)
    signal.kill(stops.pid, signal.SIGKILL)
    leave()
  ]]

  it("is closed at once", function() run(COMPARE:format(true), 7) end)

  it("is closed at once, also if it serves by hand", function() run(COMPARE:format(false), 7) end)
end)

describe("all garbage is collected", function()
  -- Operations as a program does them, in both processes; other garbage has finalizers that use the library.
  local OPERATIONS = [[
    collectgarbage %q
    local remoteobj = require "remoteobj"
    local operations = dofile "spec/support/operations.lua"
    local Finalized = { __gc = function(self) if self.finalize then self.finalize() end end }
    local begin = operations.begin

    local function litter(finalize)
      return setmetatable({ finalize = finalize }, Finalized)
    end

    local function do_all(prepare)
      for _, operation in ipairs(operations) do
        local made = operation.make()
        prepare()
        local ok, err = pcall(operation.run, made)
        if not ok then error(operation.name .. ": " .. tostring(err), 0) end
        operation.check(made)
      end
    end

    %s
  ]]

  local function run_operations(mode, text)
    assert.equal("done\n", scarce(OPERATIONS:format(mode, text)))
  end

  for _, mode in ipairs { "incremental", "generational" } do
    it("at every instruction on both sides, " .. mode, function()
      run_operations(mode, [[
        scarce.collect(1)
        begin()
        do_all(litter)
        local there = operations.remote:passto(function() return scarce.collect(0) end)
        operations.finish()
        local here = scarce.collect(0)
        assert(here > 20000 and there > 5000, ("%d, %d"):format(here, there))
        print "done"
      ]])
    end)

    it("whenever the library waits, " .. mode, function()
      run_operations(mode, [[
        local over, times = false, 0
        begin()
        local thread = remoteobj.thread(function()
          while not over do
            collectgarbage()
            times = times + 1
            remoteobj.sleep(0)
          end
        end):start()
        do_all(litter)
        over = true
        thread:join()
        operations.finish()
        assert(times > 100, times)
        print "done"
      ]])
    end)

    it("with finalizers that use the library themselves, " .. mode, function()
      run_operations(mode, [[
        begin()
        local finalized = 0
        local function finalize()
          assert(operations.remote.super:same(5) == 5)
          assert(remoteobj.unpack(remoteobj.pack { "x" })[1] == "x")
          remoteobj.sleep(0)
          finalized = finalized + 1
        end
        scarce.collect(1)
        do_all(function() litter(finalize) end)
        scarce.collect(0)
        collectgarbage()
        assert(finalized == #operations, finalized)
        operations.finish()
        print "done"
      ]])
    end)
  end
end)
