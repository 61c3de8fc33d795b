-- The library in C programs: what is exported, real hosts built by pkg-config in every way, threads, signals, several
-- states, memory that runs out.
local counts = require "spec.support.process_counts"
local hosts = require "spec.support.hosts"
local installation = require "spec.support.installation"
local markdown = require "spec.support.markdown"
local scale = require "spec.support.scale"
local script = require "spec.support.script"
local wait = require "spec.support.wait"
local signal = require "posix.signal"

local function fresh_file(text)
  local name = os.tmpname()
  local file <close> = assert(io.open(name, "w"))
  file:write(text)
  return name
end

-- Runs a program that must end well and say nothing on stderr; returns what it prints.
local function output_of(command, options)
  local result = hosts.run(command, options)
  assert.equal("", result.stderr)
  assert.equal(0, result.code)
  return result.stdout
end

for _, tool in ipairs { "pkg-config", "g++" } do
  if script.run_command({ tool, "--version" }).code ~= 0 then
    pending(tool .. " is not installed")
    return
  end
end

describe("the library for C hosts", function()
  setup(hosts.install)
  teardown(hosts.clean)

  -- The global symbols that a file defines, sorted, but for those of a sanitizer.
  local function exported(...)
    local symbols = {}
    for name in installation.run({ "nm", "--defined-only", "--extern-only", ... }):gmatch "%x+ %a ([%w_]+)" do
      symbols[#symbols + 1] = not name:find "^__" and name or nil
    end
    table.sort(symbols)
    return symbols
  end

  it("exports what its header declares, and nothing else", function()
    local public = {}
    for line in io.lines "src/remoteobj.h" do
      public[#public + 1] = line:match "^REMOTEOBJ_API .-([%w_]+)%("
    end
    table.sort(public)
    assert.equal(5, #public)
    assert.same(public, exported("--dynamic", hosts.libdir .. "/libremoteobj.so"))
    assert.same(public, exported(hosts.libdir .. "/libremoteobj.a"))
  end)

  it("has public functions that come without the rest of it", function()
    local members = installation.run { "nm", "--undefined-only", hosts.libdir .. "/libremoteobj.a" }
    assert.is_nil(members:match "public%.o:.*":match "ro_")
  end)

  it("tells its version in the header, the shared object's name and to pkg-config", function()
    local version = assert(io.open "src/remoteobj.h"):read("a"):match 'REMOTEOBJ_VERSION "([%d.]+)"'
    local told = installation.run({ "pkg-config", "--modversion", "remoteobj" }, nil, hosts.environment())
    assert.equal(version .. "\n", told)
    local dynamic = installation.run { "readelf", "--dynamic", hosts.libdir .. "/libremoteobj.so." .. version }
    assert.is_truthy(dynamic:find(("soname: [libremoteobj.so.%s]"):format(version:match "%d+"), 1, true))
  end)

  it("leaves the choice of Lua to the program", function()
    local dynamic = installation.run { "readelf", "--dynamic", hosts.libdir .. "/libremoteobj.so" }
    for needed in dynamic:gmatch "%(NEEDED%)[^\n]*" do
      assert.is_nil(needed:match "lua")
    end
  end)

  -- ---- examples/host ----

  for way, how in pairs { dynamic = false, static = "static", ["C++"] = "c++" } do
    describe("examples/host, " .. way, function()
      local program
      setup(function()
        program = hosts.make_example("host", how)
      end)

      local function command(...)
        return { program, "--rate", "200", "--lua", "examples/host/lua", ... }
      end

      it("runs a script in a process of its own, which steers the instrument", function()
        local output = output_of(command "examples/host/scripts/watch.lua")
        assert.is_truthy(output:find "host: watch.lua is process %d+\n")
        assert.is_truthy(output:find "watch: 50 samples, mean %d%d%.%d\n")
        assert.is_truthy(output:find "host: watch.lua has ended\n")
        assert.is_truthy(output:find "host: ends with 0\n$")
      end)

      for _, name in ipairs { "SIGTERM", "SIGINT" } do
        it("ends in order on " .. name, function()
          local child = hosts.start(command "examples/host/scripts/alarm.lua")
          child:expect "alarm: [%d.]+ is above 20\n"
          child:expect "monitor: %d+ samples from %d+%.%d to %d+%.%d, mean %d+%.%d\n"
          child:kill(signal[name])
          local result = child:wait()
          assert.equal("", result.stderr)
          assert.equal(0, result.code)
          assert.is_truthy(result.stdout:find "host: asked to end\n")
          assert.is_truthy(result.stdout:find "host: ends with 0\n$")
        end)
      end

      it("reports a script that fails, and goes on with the others", function()
        local bad = fresh_file "error 'broken'\n"
        local result = hosts.run(command(bad, "examples/host/scripts/watch.lua"))
        os.remove(bad)
        assert.equal(1, result.code)
        assert.equal("", result.stderr)
        assert.is_truthy(result.stdout:find(("has failed: %s:1: broken\n"):format(bad), 1, true))
        assert.is_truthy(result.stdout:find "host: watch.lua has ended\n")
      end)

      it("reports a script that is killed, and goes on with the others", function()
        local child = hosts.start(command("examples/host/scripts/alarm.lua", "examples/host/scripts/watch.lua"))
        local pid = tonumber(child:expect "alarm.lua is process (%d+)\n")
        child:expect "alarm: watching\n"
        signal.kill(pid, signal.SIGKILL)
        local result = child:wait()
        assert.equal("", result.stderr)
        assert.equal(1, result.code)
        assert.is_truthy(result.stdout:find "alarm.lua has failed: .* was killed by SIGKILL\n")
        assert.is_truthy(result.stdout:find "host: watch.lua has ended\n")
      end)

      it("takes its scripts along when it is killed", function()
        local child = hosts.start(command "examples/host/scripts/alarm.lua")
        local pid = tonumber(child:expect "alarm.lua is process (%d+)\n")
        child:expect "alarm: watching\n"
        child:kill(signal.SIGKILL)
        assert.equal(signal.SIGKILL, child:wait().signal)
        wait.until_true(function()
          local state = counts.status(pid)
          return state == nil or state == "Z"
        end, "the script to end")
      end)
    end)
  end

  -- ---- examples/limited ----

  describe("examples/limited", function()
    local program
    setup(function()
      program = hosts.make_example "limited"
    end)

    local scripts = { "examples/limited/greedy.lua", "examples/limited/modest.lua" }

    it("gives errors where memory is short, and goes on", function()
      local result = hosts.run { program, "1024", table.unpack(scripts) }
      assert.equal("", result.stderr)
      assert.equal(1, result.code)
      local lines = {
        "here\tfalse\t10\tnot enough memory",
        "there\tfalse\tnot enough memory",
        "small\t1000",
        "limited: examples/limited/greedy.lua: not enough memory",
        "modest\t42",
        "limited: %d+ times too much, 0 bytes left behind\n$",
      }
      assert.is_truthy(result.stdout:find("^" .. table.concat(lines, "\n")), result.stdout)
    end)

    it("says so where the library does not fit, with any limit", function()
      for limit = 20, 100, 10 do
        local result = hosts.run { program, tostring(limit), table.unpack(scripts) }
        assert.equal(2, result.code)
        assert.is_truthy(result.stdout:find "^limited: the library: not enough memory\n")
        assert.is_truthy(result.stdout:find " 0 bytes left behind\n$")
      end
    end)
  end)

  -- ---- a host for the specs ----

  describe("a host", function()
    local program
    setup(function()
      program = hosts.compile "spec/support/host.c"
    end)

    -- Runs a script in the host with such options; it must end well. Returns what it printed.
    local function run(text, options, settings)
      local file = fresh_file(text)
      local command = { program, file }
      table.move(options or {}, 1, #(options or {}), 2, command)
      command[#command + 1] = #command > 2 and file or nil
      local ok, output = pcall(output_of, command, settings)
      os.remove(file)
      if not ok then
        error(output, 0)
      end
      return output
    end

    -- A client that calls while the program blocks in C, or computes.
    local SERVES = [[
      local remoteobj = require "remoteobj"
      for round = 1, 10 do
        local object = { n = 0 }
        function object:add(k)
          self.n = self.n + k
          return self.n
        end
        local remote = remoteobj.Proxy(object)
        local _ <close> = remote:listen_()
        local client = remoteobj.process(function()
          for i = 1, 50 do
            remote:add(1)
          end
          return remote.n.__
        end):start()
        while client:is_alive() do
          if round % 2 == 0 then host.block(0.001) end
        end
        client:join()
        assert(client.result == 50 and object.n == 50)
      end
      io.write("state " .. host.number .. "\n") -- whole, beside those of others
    ]]

    it("needs no file of the library", function()
      assert.equal("state 1\n", run(SERVES, {}, { env = { LUA_PATH = "", LUA_CPATH = "" } }))
    end)

    it("has several states, each on a thread of its own, some of which are closed while others go on", function()
      local seen = {}
      for number in run(SERVES, { "-t", "8" }):gmatch "state (%d+)\n" do
        seen[#seen + 1] = tonumber(number)
      end
      table.sort(seen)
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, seen)
    end)

    it("closes a state whose finalizers leave everything open", function()
      local output = run([[
        local remoteobj = require "remoteobj"
        KEPT = {}
        local function keep(...) KEPT[#KEPT + 1] = { ... } end

        local function leave_open()
          local served, used = remoteobj.Proxy({ n = 5 }), remoteobj.Proxy({ echo = function(_, ...) return ... end })
          keep(served:listen_(), remoteobj.Proxy({}):listen_ { bg = false })
          keep(remoteobj.thread(function() while true do end end):start())
          keep(remoteobj.thread(remoteobj.sleep, 1000):start())
          local server = remoteobj.process(function()
            used:listen_()
            coroutine.yield(served.n.__)
            coroutine.yield(("x"):rep(1000))
            remoteobj.sleep(1000)
          end):start()
          assert(server:iter()() == 5)
          used:wait_until_listening(server)
          local futures = { used:with_({ async = true }):echo(("x"):rep(100000)), used:with_({ async = true }):echo(1) }
          remoteobj.wait(futures)
          keep(futures, server, used:with_({ ref = true }):echo({}), remoteobj.Except(), remoteobj.pool(1))
          assert(not pcall(remoteobj.pack, { ("x"):rep(100000), coroutine.running() }))
          assert(not pcall(remoteobj.unpack, "\x91\xc1"))
          io.write "left\n"
        end

        setmetatable({}, { __gc = leave_open })
        if host.number % 2 == 1 then remoteobj.sleep(0.1) end
      ]], { "-t", "4" })
      assert.equal(("left\n"):rep(4), output)
    end)

    it("may use malloc and stdio on other threads, and wait for input, while processes start", function()
      local output = run(SERVES, { "-t", "3", "-w", "-r" })
      for number = 1, 3 do
        assert.is_truthy(output:find(("state %d\n"):format(number)))
      end
      local last = 0
      for number in output:gmatch "\nline (%d+)%f[\n]" do
        assert.is_true(tonumber(number) > last, "a line that comes twice: " .. number)
        last = tonumber(number)
      end
      assert.is_truthy(output:find "read a line\n")
    end)

    it("starts processes by the hundred while it listens and its threads use malloc and stdio", function()
      local settings = { timeout = scale(2, 40) * wait.LIMIT, env = { FORKS = tostring(scale(200, 10000)) } }
      local output = run([[
        local remoteobj = require "remoteobj"
        local object = { n = 0 }
        function object:add() self.n = self.n + 1 return self.n end
        function object:start() -- on a thread of the listener's
          local process = remoteobj.process(function() return ("x"):rep(10000) end):start()
          process:join()
          return #process.result
        end
        local remote = remoteobj.Proxy(object)
        local _ <close> = remote:listen_()
        local client = remoteobj.process(function()
          while not remote.over.__ do
            remote:add()
            assert(remote:start() == 10000)
          end
        end):start()
        for i = 1, tonumber(os.getenv "FORKS") // 2 do
          local process = remoteobj.process(function()
            io.write(("forked %d\n"):format(i))
            return remote:add()
          end):start()
          assert(host.wait(host.child(i % 100)) == i % 100)
          process:join()
          assert(process.result > 0)
        end
        object.over = true
        client:join()
        io.write(("added %d\n"):format(object.n)) -- at once: others write meanwhile
      ]], { "-w", "-r" }, settings)
      local forks = 0
      for number in output:gmatch "forked (%d+)\n" do
        forks = math.max(forks, tonumber(number))
      end
      assert.equal(scale(100, 5000), forks)
      assert.is_true(tonumber(output:match "added (%d+)\n") >= forks)
    end)

    it("may have on a thread's stack what its state needs: processes that other threads start have it too", function()
      local output = run [[
        local remoteobj = require "remoteobj"
        local object = {}
        function object:start() -- on a thread of the listener's: in the process that of the state is gone
          local process = remoteobj.process(function()
            local threads = {}
            for i = 1, 4 do
              threads[i] = remoteobj.thread(function() remoteobj.sleep(0.01) end):start()
            end
            for _, thread in ipairs(threads) do
              thread:join()
            end
            return host.sealed()
          end):start()
          process:join()
          return process.result
        end
        local remote = remoteobj.Proxy(object)
        local _ <close> = remote:listen_()
        local client = remoteobj.process(function() return remote:start() end):start()
        client:join()
        print(host.sealed(), client.result)
      ]]
      assert.equal("true\ttrue\n", output)
    end)

    it("may hand a state that listens to another thread, whatever signals that blocks", function()
      run [[
        local remoteobj = require "remoteobj"
        local object = { n = 0 }
        local remote = remoteobj.Proxy(object)
        local _ <close> = remote:listen_()
        local function start(n)
          remoteobj.process(function() remote.n = n end):start()
        end
        start(1)
        host.move(function()
          while object.n ~= 1 do end -- interrupted on the thread where it runs now
        end)
        start(2)
        host.move(function()
          while object.n ~= 2 do host.block(0.001) end
        end)
        start(3)
        coroutine.wrap(function()
          host.move(function() while object.n ~= 3 do end end)
        end)()
        local ok, message = pcall(host.move, function() error "there" end)
        assert(not ok and message:match "there$")
      ]]
    end)

    it("may have two states that listen on one thread, and leaves both to others at once", function()
      local text = [[
        local remoteobj = require "remoteobj"
        local object = { n = 0 }
        local remote = remoteobj.Proxy(object)
        remote:listen_()
        local client = remoteobj.process(function()
          for i = 1, 20 do remote.n = i end
        end):start()
        function go_on()
          if object.n < 20 then return true end
          client:join()
        end
      ]]
      run(text .. ("host.beside [==[%s]==]"):format(text))
    end)

    it("may block in a request too, and others are served meanwhile", function()
      run [[
        local remoteobj = require "remoteobj"
        local object = {}
        function object:wait()
          while not self.open do host.block(0.001) end
          return "open"
        end
        local remote = remoteobj.Proxy(object)
        local _ <close> = remote:listen_()
        local waiting = remoteobj.process(function() return remote:wait() end):start()
        local opening = remoteobj.process(function() remote.open = true end):start()
        waiting:join()
        opening:join()
        assert(waiting.result == "open")
      ]]
    end)

    it("serves from its own event loop", function()
      run [[
        local remoteobj = require "remoteobj"
        local remote = remoteobj.Proxy({ n = 42 })
        remote:listen_ { bg = false }
        assert(host.fileno(remote) == remote:fileno_())
        local client = remoteobj.process(function()
          for i = 1, 10 do assert(remote.n.__ == 42) end
        end):start()
        local served = 0
        while client:is_alive() do
          served = served + host.process_requests(1, remote)
          assert(host.process_requests(0, remote) == 0)
        end
        client:join()
        assert(served == 10 and host.process_requests(-1, remote) == 0)
        for _, wrong in ipairs { 3, {}, remote.n } do
          assert(not pcall(host.fileno, wrong) and not pcall(host.process_requests, 1, wrong))
        end
        remote:stop_listen_()
        assert(not pcall(host.fileno, remote) and not pcall(host.process_requests, 1, remote))
      ]]
    end)

    it("keeps its signal handlers and its children", function()
      run(([[
        local remoteobj = require "remoteobj"
        local CHLD, URG, TERM = %d, %d, %d
        host.handle(CHLD) host.handle(URG) host.handle(TERM)
        local own = host.child(7)
        do
          local object = { n = 0 }
          local remote = remoteobj.Proxy(object)
          local _ <close> = remote:listen_()
          remoteobj.process(function()
            for i = 1, 100 do remote.n = i end
          end):start() -- and its handle is dropped
          while object.n < 100 do end
          host.raise(URG) host.raise(TERM)
        end
        local process = remoteobj.process(function() end):start()
        process:join()
        collectgarbage()
        assert(host.seen(URG) == 1 and host.seen(TERM) == 1 and host.seen(CHLD) >= 1)
        assert(host.wait(own) == 7)
        assert(host.wait(process.pid) == nil)
      ]]):format(signal.SIGCHLD, signal.SIGURG, signal.SIGTERM))
    end)

    it("acts on the copy of the library that a script has required from files", function()
      local root = hosts.prefix
      local env = {
        LUA_PATH = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(root, root),
        LUA_CPATH = ("%s/lib/lua/5.4/?.so"):format(root),
      }
      run([[
        local remoteobj = require "remoteobj"
        assert(debug.getinfo(remoteobj.process, "S").source:match "^@.*/share/lua/5.4/remoteobj/")
        local object = { n = 0 }
        local remote = remoteobj.Proxy(object)
        do
          local _ <close> = remote:listen_ { preempt = false } -- served in the host's sections only
          remoteobj.process(function() remote.n = 1 end):start()
          while object.n == 0 do host.block(0.001) end
        end
        assert(host.open() == remoteobj) -- that copy, no other
        remote:listen_ { bg = false }
        assert(host.fileno(remote) == remote:fileno_())
      ]], { "-n" }, { env = env })
    end)

    it("may collect garbage outside of all functions while others listen, and what is let go is given back", function()
      local source = os.tmpname() .. ".c"
      local file <close> = assert(io.open(source, "w"))
      file:write [[
        #include <dirent.h>
        #include <stdio.h>
        #include <lauxlib.h>
        #include <lualib.h>
        #include <remoteobj.h>
        static int descriptors(void) {
          int n = 0;
          DIR *folder = opendir("/proc/self/fd");
          while (readdir(folder) != NULL)
            n++;
          closedir(folder);
          return n;
        }
        static const char begin[] =
          "remote = remoteobj.Proxy({}) remote:listen_() remoteobj.process(print):start():join()";
        int main(void) {
          lua_State *L = luaL_newstate();
          int before, kept;
          luaL_openlibs(L);
          luaL_requiref(L, "remoteobj", luaopen_remoteobj, 1);
          if (luaL_dostring(L, begin) != LUA_OK)
            return 1;
          lua_settop(L, 0);
          lua_gc(L, LUA_GCCOLLECT);
          if (luaL_dostring(L, "remoteobj.Proxy({})") != LUA_OK)
            return 2;
          before = descriptors();
          if (luaL_dostring(L, "for i = 1, 20 do remoteobj.Proxy({}) end") != LUA_OK)
            return 3;
          kept = descriptors();
          for (int i = 0; i < 3; i++)
            lua_gc(L, LUA_GCCOLLECT);
          if (luaL_dostring(L, "remoteobj.Proxy({})") != LUA_OK)
            return 4;
          printf("%d %d\n", kept >= before + 20, descriptors() <= before + 10);
          lua_close(L);
          return 0;
        }
      ]]
      file:close()
      local collecting = hosts.compile(source)
      os.remove(source)
      assert.equal("\n1 1\n", output_of { collecting })
    end)

    it("may be a C module of a script, which links the public functions alone", function()
      local source = os.tmpname() .. ".c"
      local file <close> = assert(io.open(source, "w"))
      file:write [[
        #include <poll.h>
        #include <lauxlib.h>
        #include <remoteobj.h>
        static int block(lua_State *L) {
          remoteobj_allow_begin(L);
          poll(NULL, 0, 1);
          remoteobj_allow_end(L);
          return 0;
        }
        int luaopen_block(lua_State *L) {
          lua_pushcfunction(L, block);
          return 1;
        }
      ]]
      file:close()
      local module = hosts.compile_module(source, "block")
      os.remove(source)
      assert.is_nil(installation.run({ "nm", module }):match "luaopen_remoteobj")
      local result = script.run([[
        local block, remoteobj = require "block", require "remoteobj"
        local object = { n = 0 }
        local remote = remoteobj.Proxy(object)
        local _ <close> = remote:listen_ { preempt = false } -- served in the module's sections only
        remoteobj.process(function() remote.n = 42 end):start()
        while object.n == 0 do block() end
        print(object.n)
      ]], {}, { env = { LUA_CPATH = module:gsub("[^/]*$", "?.so") .. ";" .. os.getenv "LUA_CPATH" } })
      assert.equal("", result.stderr)
      assert.equal("42\n", result.stdout)
    end)

    it("gets an error, or nothing, in a state without the library", function()
      run([[
        host.block(0.001)
        local ok, message = pcall(host.process_requests, 1, {})
        assert(not ok and message:match "has not loaded remoteobj")
        assert(not pcall(host.fileno, {}))
      ]], { "-n" })
    end)

    it("opens the library again after it ran out of memory, wherever that was", function()
      run([[
        local step, n, done = ]] .. (scale(13, 1)) .. [[, 0, false
        while not done do
          for name in pairs(package.loaded) do
            if name:match "^remoteobj" then package.loaded[name] = nil end
          end
          host.fail_after(n)
          local ok, message = pcall(host.open)
          host.fail_after(-1)
          assert(ok or message == "not enough memory", message)
          done = ok
          n = n + step
        end
        assert(n > 1000)
        local remote = require "remoteobj".Proxy({ n = 1 })
        local process = require "remoteobj".process(function() return remote.n.__ end):start()
        remote:listen_ { bg = false }
        while process:is_alive() do remote:poll(0.01) end
        process:join()
        assert(process.result == 1)
      ]], { "-n" })
    end)

    it("gets an error wherever memory runs out, and everything is in order after that", function()
      run [[
        local remoteobj = require "remoteobj"
        local Class = {}
        Class.__index = Class
        function Class:same(...) return ... end
        function Class:list() return { 1, { 2, { 3, "four" } }, five = 6.5 } end

        -- Calls operation(made) with memory for 0, 1, 2 ... allocations until it succeeds; after each time
        -- check(made) must do.
        local function try(make, operation, check)
          for n = 0, 5000 do
            local made = make()
            host.fail_after(n)
            local ok, err = pcall(operation, made)
            host.fail_after(-1)
            check(made)
            made = nil
            collectgarbage()
            if ok then return end
          end
          error "never succeeds"
        end

        local function nothing() return {} end
        local function proxy() return { remote = remoteobj.Proxy(setmetatable({}, Class)) } end
        local function listens(options)
          return function(made) made.handle = made.remote:listen_(options) end
        end
        local function listens_again(made)
          made.remote:stop_listen_()
          made.remote:listen_()
          made.remote:stop_listen_()
        end
        try(nothing, function() remoteobj.Proxy({}) end, proxy)
        try(proxy, listens { bg = false }, listens_again)
        try(proxy, listens { bg = true }, listens_again)

        local object = setmetatable({ numbers = { 1, 2, 3 } }, Class)
        local remote = remoteobj.Proxy(object)
        local server = remoteobj.process(function()
          remote:listen_ { bg = false }
          while not object.stop do remote:poll(60) end
        end):start()
        remote:wait_until_listening(server)
        local function answers() assert(remote:same(4) == 4) end
        try(nothing, function() assert(remote:same(3, "x") == 3) end, answers)
        try(nothing, function() assert(remote:list()[2][2][2] == "four") end, answers)
        try(nothing, function() remote:same({ { 1 } }, Class, function() return object end) end, answers)
        try(nothing, function()
          local sum = 0
          for _, n in pairs(remote.numbers) do sum = sum + n end
          assert(sum == 6)
        end, answers)
        try(nothing, function()
          local ok, err = pcall(remote.no_such_method)
          assert(not ok and tostring(err):match "attempt to call")
        end, answers)
        remote.stop = true
        server:join()
        try(nothing, function() assert(remoteobj.unpack(remoteobj.pack({ 1, { "x" } }))[2][1] == "x") end, nothing)
      ]]
    end)
  end)

  describe("docs/embedding.md", function()
    local blocks = markdown.blocks("docs/embedding.md", "c")

    it("has programs", function()
      assert.equal(4, #blocks)
    end)

    for _, block in ipairs(blocks) do
      it(("line %d (%s) is a program that prints what it says"):format(block.line, block.heading), function()
        local file = fresh_file(block.text)
        local source = file .. ".c"
        assert(os.rename(file, source))
        local program = hosts.compile(source)
        os.remove(source)
        assert.equal(markdown.expected_output(block.text), output_of { program })
      end)
    end

    it("documents every function, with the stack effect that the header has", function()
      local text = assert(io.open "docs/embedding.md"):read "a"
      local effect
      for line in io.lines "src/remoteobj.h" do
        effect = line:match "^Stack effect: (%[[^%]]*%])" or effect
        local name = line:match "^REMOTEOBJ_API .-([%w_]+)%("
        if name then
          local row = text:match("\n(| `[%w ]+ %*?" .. name .. "%([^\n]*)")
          assert.is_truthy(row and row:find("| " .. effect .. " |", 1, true), name)
        end
      end
    end)
  end)

  local static = hosts.instrumented and pending or it
  static("is one with the program where all of that is linked statically", function()
    local program = hosts.compile("spec/support/host.c", "static")
    local file = fresh_file [[
      local remoteobj = require "remoteobj"
      local process = remoteobj.process(function() return 42 end):start()
      process:join()
      print(process.result)
    ]]
    assert.equal("42\n", output_of { program, file })
    os.remove(file)
    assert.is_truthy(installation.run({ "readelf", "--dynamic", program }):find "no dynamic section")
  end)
end)
