-- What the library does when memory runs out, at whichever allocation, and when system calls fail, whichever they are:
-- an error, or nothing; never a crash, a hang, a descriptor that is left, or a state that can't be used any more. And
-- with all garbage collected at every allocation.
local scarce = require "spec.support.scarce"

-- What all scripts begin with. `try(prepare, done)` does each operation again and again: prepare(n) has something
-- fail, done(n) takes that back and tells whether it has come to that.
local PROLOGUE = [[
  local remoteobj = require "remoteobj"
  local operations = dofile "spec/support/operations.lua"
  for i = #operations, 1, -1 do
    if operations[i].plenty then table.remove(operations, i) end
  end
  operations.begin()
  local children = scarce.children()
  local threads = os.getenv "REMOTEOBJ_SANITIZED" == "tsan" and 2 or 1 -- ThreadSanitizer has one of its own

  -- An error that says what was lacking; or, of a process that could not even tell that, by which signal it gave up.
  local function check_error(name, n, err, expected)
    local text = tostring(err)
    for _, pattern in ipairs { "not enough memory", "SIGABRT", table.unpack(expected) } do
      if text:find(pattern) then return end
    end
    error(("%s, %d: %s"):format(name, n, text), 0)
  end

  local function settle()
    collectgarbage()
    collectgarbage()
  end

  local function try(operation, prepare, done, expected, step)
    local n, tries, failed, hit = 0, 0, 0, nil
    repeat
      local made = operation.make()
      prepare(n)
      local ok, err = pcall(operation.run, made)
      hit = done(n)
      local fine, problem = pcall(operation.check, made)
      if not fine then
        error(("after %s, %d (%s): %s"):format(operation.name, n, ok or tostring(err), tostring(problem)), 0)
      end
      if not ok then
        check_error(operation.name, n, err, expected)
        failed = failed + 1
      end
      tries, n = tries + 1, n + step
      if tries > 5000 then error(operation.name .. " is never done") end
      made = nil
      settle()
    until ok and not hit -- a child may come to it after this process has
    return tries, failed
  end

  -- Threads and processes that were let go end by themselves. A child for which there was no thread to wait for it is
  -- looked at when the next is started.
  local function check_rest(name, descriptors)
    remoteobj.process(function() end):start():join()
    local held
    for _ = 1, 6000 do
      settle()
      held = ("%d descriptors, %d threads, %d children"):format(scarce.descriptors(), scarce.threads(),
        scarce.children())
      local expected = ("%d descriptors, %d threads, %d children"):format(descriptors, threads, children)
      if held == expected then return end
      remoteobj.sleep(0.01)
    end
    error(("%s leaves %s"):format(name, held), 0)
  end

  -- Descriptors are counted when everything has been done once.
  local function once()
    for _, operation in ipairs(operations) do
      local made = operation.make()
      operation.run(made)
      operation.check(made)
    end
    settle()
    return scarce.descriptors()
  end
]]

local function run(text)
  return tonumber(scarce(PROLOGUE .. text):match "(%d+)\n$")
end

describe("where memory runs out", function()
  it("here, an error comes out and all goes on", function()
    local failed = run [[
      local descriptors, total = once(), 0
      for _, operation in ipairs(operations) do
        local _, failed = try(operation, scarce.memory, function() return scarce.memory(-1) == 0 end, {}, 1)
        total = total + failed
        check_rest(operation.name, descriptors)
      end
      operations.finish()
      print(total)
    ]]
    assert.is_true(failed > 200, failed)
  end)

  -- Two allocations fail: Lua collects all garbage after the first and tries once more.
  it("here for a moment, the error says that nevertheless, or nothing was lacking", function()
    local failed = run [[
      local descriptors, total = once(), 0
      local swallowed = { "^[^\n]*: nil instead of [%w]+$" } -- as it is asked for
      for _, operation in ipairs(operations) do
        local function prepare(n) scarce.memory(n, 2) end
        local _, failed = try(operation, prepare, function() return scarce.memory(-1) == 0 end, swallowed, 1)
        total = total + failed
      end
      check_rest("all that has failed", descriptors)
      operations.finish()
      print(total)
    ]]
    assert.is_true(failed > 200, failed)
  end)

  -- The server that the operations call is told to have `n` allocations and then, for a while, none.
  it("in the listener, the client hears of it and is served again", function()
    local failed = run [[
      local total, others = 0, 0
      for _, operation in ipairs(operations) do
        if operation.calls then
          local function prepare(n)
            pcall(operations.remote.passto, operations.remote, function() scarce.memory(n, 30) end)
          end
          local function done()
            local ok, left
            repeat
              ok, left = pcall(operations.remote.passto, operations.remote, function() return scarce.memory(-1) end)
            until ok
            return left == 0
          end
          local _, failed = try(operation, prepare, done, {}, 1)
          total = total + failed
        end
      end
      operations.finish()
      print(total)
    ]]
    assert.is_true(failed > 50, failed)
  end)

  it("for a moment at every allocation, Lua collects all garbage and all goes on", function()
    run [[
      scarce.emergency(true)
      for _, operation in ipairs(operations) do
        local made = operation.make()
        local ok, err = pcall(operation.run, made)
        if not ok then error(operation.name .. ": " .. tostring(err), 0) end
        operation.check(made)
      end
      scarce.emergency(false)
      operations.finish()
      print(1)
    ]]
  end)
end)

describe("where a call of the system fails", function()
  -- By the errors that it may give; "too many", "no memory" and the like reach the user.
  local ERRORS = {
    EMFILE = { "Too many open files", "pipe", "pipe2", "socketpair", "eventfd", "epoll_create1", "fcntl64", "syscall",
      "open64" },
    ENOMEM = { "Cannot allocate memory", "malloc", "calloc", "realloc", "mmap64", "epoll_ctl", "sendmsg", "send",
      "recv", "poll", "ppoll" },
    EAGAIN = { "Resource temporarily unavailable", "fork", "pthread_create" },
    ENOSPC = { "No space left on device", "write", "writev" },
  }

  for code, names in pairs(ERRORS) do
    for i = 2, #names do
      local name = names[i]
      it(("%s with %s, an error comes out and all goes on"):format(name, code), function()
        run(([[
          local NAME, CODE, PATTERN = %q, scarce.codes.%s, %q
          local descriptors, total = once(), 0
          for _, operation in ipairs(operations) do
            local _, failed = try(operation, function(n) scarce.fail(NAME, n + 1, CODE) end, function(n)
              local hit = scarce.calls(NAME) > n
              scarce.fail(NAME, 0, CODE)
              return hit
            end, { PATTERN, "before it answered", "process .* has ended" }, 1)
            total = total + failed
          end
          check_rest("all that has failed", descriptors)
          operations.finish()
          print(total)
        ]]):format(name, code, names[1]))
      end)
    end
  end

  -- In the server that the operations call, of which the client knows only that it ended the connection, or what it
  -- could still tell: that, a default, the text of an error.
  for name, code in pairs {
    write = "ENOSPC", read = "ENOMEM", epoll_ctl = "ENOMEM", malloc = "ENOMEM", calloc = "ENOMEM", realloc = "ENOMEM",
  } do
    it(("%s with %s in the listener, the client hears of it and is served again"):format(name, code), function()
      run(([[
        local NAME, CODE = %q, scarce.codes.%s
        local TOLD = { "before it answered", "nobody listens", "not enough memory", "Cannot allocate memory",
          "1 instead of nil", "^table: " }
        local total, passto = 0, operations.remote.passto
        for _, operation in ipairs(operations) do
          if operation.calls then
            local function prepare(n)
              pcall(passto, operations.remote, function() scarce.fail(NAME, n + 1, CODE) end)
            end
            local function done(n)
              local ok, hit
              repeat
                ok, hit = pcall(passto, operations.remote, function()
                  local calls = scarce.calls(NAME)
                  scarce.fail(NAME, 0, CODE)
                  return calls > n
                end)
              until ok
              return hit
            end
            local _, failed = try(operation, prepare, done, TOLD, 1)
            total = total + failed
          end
        end
        operations.finish()
        print(total)
      ]]):format(name, code))
    end)
  end

  -- Every second call, in all processes: what waits goes on waiting.
  for _, name in ipairs {
    "read", "write", "writev", "recv", "send", "recvmsg", "sendmsg", "poll", "ppoll", "epoll_wait", "waitid", "waitpid",
  } do
    it(("%s with EINTR, nobody hears of it"):format(name), function()
      run(([[
        local descriptors = once()
        scarce.fail(%q, 1, scarce.codes.EINTR, -1, 2)
        for _, operation in ipairs(operations) do
          local made = operation.make()
          operation.run(made)
          operation.check(made)
        end
        scarce.fail(%q, 0, scarce.codes.EINTR)
        check_rest("all that was interrupted", descriptors)
        operations.finish()
        print(1)
      ]]):format(name, name))
    end)
  end
end)

if (os.getenv "NO_LINUX" or "0") == "0" then -- else there is no start without fcntl
  describe("where a process can't say that it looks for errors that are thrown", function()
    it("it fails, so that nobody throws in vain", function()
      run [[
        local p = remoteobj.process(function() remoteobj.sleep(600) end)
        scarce.fail("fcntl64", 1, scarce.codes.EMFILE, -1)
        p:start()
        scarce.fail("fcntl64", 0, scarce.codes.EMFILE)
        local ok, err = pcall(p.join, p)
        assert(not ok and err:find "cannot look for errors that are thrown: Too many open files", err)
        operations.finish()
        print(1)
      ]]
    end)
  end)
end

describe("where the system has no further thread", function()
  it("who waits for a callback is told when another request keeps the thread that would take its answer in", function()
    run [[
      local object = {}
      function object:visit(visit)
        self.visited = true
        local ok
        ok, self.problem = pcall(visit)
      end
      function object:nap()
        self.napping = true
        remoteobj.sleep(600)
      end
      local remote = remoteobj.Proxy(object)
      remote:listen_()
      local visitor = remoteobj.process(function()
        remote:visit(remoteobj.callback(function() remoteobj.sleep(600) end))
      end):start()
      while not object.visited do remoteobj.sleep(0.001) end
      scarce.fail("pthread_create", 1, scarce.codes.EAGAIN, -1)
      local napper = remoteobj.process(function() remote:nap() end):start()
      while not object.problem do remoteobj.sleep(0.001) end
      assert(object.napping)
      scarce.fail("pthread_create", 0, scarce.codes.EAGAIN)
      assert(tostring(object.problem):find("cannot wait for the answer of a callback", 1, true), object.problem)
      for _, p in ipairs { visitor, napper } do
        p:kill()
        p:join()
      end
      operations.finish()
      print(1)
    ]]
  end)

  it("who waits for a callback is told, too, when another that could not wait for one sleeps", function()
    run [[
      local object = { problems = {} }
      function object:visit(visit)
        self.visited = true
        local _, problem = pcall(visit)
        table.insert(self.problems, problem)
        remoteobj.sleep(600)
      end
      local remote = remoteobj.Proxy(object)
      remote:listen_()
      local function visit()
        remote:visit(remoteobj.callback(function() remoteobj.sleep(600) end))
      end
      local visitors = { remoteobj.process(visit):start() }
      while not object.visited do remoteobj.sleep(0.001) end
      scarce.fail("pthread_create", 1, scarce.codes.EAGAIN, -1)
      visitors[2] = remoteobj.process(visit):start()
      while #object.problems < 2 do remoteobj.sleep(0.001) end
      scarce.fail("pthread_create", 0, scarce.codes.EAGAIN)
      for i, p in ipairs(visitors) do
        assert(tostring(object.problems[i]):find("cannot wait for the answer of a callback", 1, true))
        p:kill()
        p:join()
      end
      operations.finish()
      print(1)
    ]]
  end)

  it("others are served as soon as it has one again, though a request goes on that sleeps now and then", function()
    run [[
      local object = {}
      function object:nap()
        repeat
          remoteobj.sleep(0.001)
          self.napped = true
        until self.over
      end
      function object:wake() self.over = true end
      local remote = remoteobj.Proxy(object)
      remote:listen_()
      scarce.fail("pthread_create", 1, scarce.codes.EAGAIN, -1)
      local napper = remoteobj.process(function() remote:nap() end):start()
      while not object.napped do remoteobj.sleep(0.001) end
      scarce.fail("pthread_create", 0, scarce.codes.EAGAIN)
      remoteobj.process(function() remote:with_({ timeout = 60 }):wake() end):start():join()
      napper:join()
      operations.finish()
      print(1)
    ]]
  end)
end)

describe("where the system refuses what it takes to tell a listener to stop", function()
  local REFUSED = (os.getenv "NO_LINUX" or "0") == "0" and "pipe2" or "pipe"
  local STOP = "kill -STOP PID; until grep -q ') T ' /proc/PID/stat; do :; done"
  for what, command in pairs { ["it is terminated"] = ":", ["and SIGTERM does nothing, it is killed"] = STOP } do
    it(what .. ", and the end of the block says why", function()
      run(([[
        local COMMAND, REFUSED = %q, %q
        local descriptors = once()
        local listener
        local ok, err = pcall(function()
          local p <close> = remoteobj.util.listener({})
          listener = p
          os.execute((COMMAND:gsub("PID", p.pid)))
          scarce.fail(REFUSED, 1, scarce.codes.EMFILE, -1)
        end)
        scarce.fail(REFUSED, 0, scarce.codes.EMFILE)
        local expected = "cannot connect to the listener: Too many open files"
        assert(not ok and tostring(err):sub(-#expected) == expected, err)
        assert(not listener:is_alive())
        assert(listener.exitcode == (COMMAND == ":" and -15 or -9), listener.exitcode)
        assert(pcall(listener.join, listener))
        listener = nil
        check_rest("the listener", descriptors)
        operations.finish()
        print(1)
      ]]):format(command, REFUSED))
    end)
  end
end)

describe("where the system refuses the second thing of a kind that a listener takes", function()
  local has_epoll = (os.getenv "NO_LINUX" or "0") == "0"
  local may_run = has_epoll and it or pending
  may_run("nobody finds one that serves but can't be told to stop", function()
    run [[
      local descriptors = once()
      scarce.fail("epoll_create1", 2, scarce.codes.EMFILE)
      local ok, err = pcall(remoteobj.util.listener, {})
      scarce.fail("epoll_create1", 0, scarce.codes.EMFILE)
      assert(not ok and tostring(err):find("cannot listen: Too many open files", 1, true), err)
      check_rest("the listener", descriptors)
      operations.finish()
      print(1)
    ]]
  end)
end)

-- An old system, or a filter of system calls. With POSIX alone nobody asks for it.
describe("where the system has no descriptors of processes", function()
  local lacks = (os.getenv "NO_LINUX" or "0") == "0"
  local REFUSALS = {
    ENOSYS = "the system has no pidfd_open: build with make NO_LINUX=1",
    EPERM = "the system refuses pidfd_open: build with make NO_LINUX=1",
  }

  for code, reason in pairs(REFUSALS) do
    it(("(%s), it says so before anything depends on them"):format(code), function()
      local expected = lacks and reason or ""
      run(([[
        local CODE, REASON = scarce.codes.%s, %q
        local problems = {}
        local function check(what, func, ...)
          local ok, err = pcall(func, ...)
          local expected = ("cannot %%s: %%s"):format(what, REASON)
          if ok ~= (REASON == "") or not ok and tostring(err):sub(-#expected) ~= expected then
            problems[#problems + 1] = what .. ": " .. tostring(err)
          end
        end
        local descriptors = once()
        local remote = remoteobj.Proxy(setmetatable({}, { __index = { add = function(_, a, b) return a + b end } }))
        local server = remoteobj.process(function()
          local _ <close> = remote:listen_()
          coroutine.yield "listening"
          remoteobj.sleep(600)
        end):start()
        assert(server:iter()() == "listening") -- nobody has looked at the listener here

        scarce.fail("syscall", 1, CODE, -1)
        check("make a proxy", remoteobj.Proxy, {})
        check("start a process", function() remoteobj.process(function() end):start():join() end)
        check("connect to the listener", remote.add, remote, 2, 3)
        local listens, problem = pcall(remote.listen_, remote)
        assert(not listens and problem:find(server.pid .. " is listening already$"), problem)
        assert(remote.listening_ and remote:wait_until_listening { timeout = 60 })
        scarce.fail("syscall", 0, CODE)
        if problems[1] then error(table.concat(problems, "\n"), 0) end

        assert(remote:add(2, 3) == 5)
        local orphan = remoteobj.Proxy({})
        local other = remoteobj.process(function()
          orphan:listen_()
          coroutine.yield "listening"
          remoteobj.sleep(600)
        end):start()
        assert(other:iter()() == "listening")
        scarce.fail("syscall", 1, CODE, -1)
        assert(orphan.listening_)
        os.execute("kill -KILL " .. other.pid) -- it is not waited for, so that its number stays
        assert(remoteobj.poll({ [other.sentinel] = { events = { IN = true } } }, 60) == 1)
        assert(not orphan.listening_ and not orphan:wait_until_listening { timeout = 0, fail = false })
        do local _ <close> = orphan:listen_() end
        scarce.fail("syscall", 0, CODE)
        server:kill()
        server:join()
        assert(not pcall(other.join, other))
        assert(not pcall(remote.add, remote, 2, 3))
        remote, server, orphan, other = nil, nil, nil, nil
        settle()
        assert(scarce.descriptors() == descriptors)
        operations.finish()
        print(1)
      ]]):format(code, expected))
    end)
  end

  if lacks then
    it("and /proc can't be read either, it is an error to ask whether anybody listens", function()
      run [[
        local descriptors = once()
        local remote = remoteobj.Proxy({})
        local server = remoteobj.process(function()
          local _ <close> = remote:listen_()
          coroutine.yield "listening"
          remoteobj.sleep(600)
        end):start()
        assert(server:iter()() == "listening")
        local function fail(first)
          for _, name in ipairs { "syscall", "open64" } do
            scarce.fail(name, first, scarce.codes.EMFILE, -1)
          end
        end
        local function check(expected, func, ...)
          fail(1)
          local ok, problem = pcall(func, ...)
          fail(0)
          assert(not ok and problem:find(expected .. ": Too many open files$"), problem)
        end
        check("cannot tell whether the listener lives", function() return remote.listening_ end)
        check("cannot tell whether the listener lives", remote.wait_until_listening, remote)
        check("cannot listen", remote.listen_, remote)
        server:kill()
        server:join()
        fail(1)
        assert(not remote.listening_)
        fail(0)
        remote, server = nil, nil
        check_rest("asking", descriptors)
        operations.finish()
        print(1)
      ]]
    end)
  end
end)
