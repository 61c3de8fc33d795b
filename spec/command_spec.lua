-- The command `remoteobj`: an interpreter like `lua`, which it is compared with, and with the library inside.
local environment = require "spec.support.installation".environment
local script = require "spec.support.script"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local terminal = require "spec.support.terminal"
local unistd = require "posix.unistd"

-- The commands are built beside the module that the specs use.
local module = assert(package.searchpath("remoteobj", package.cpath))
local COMMAND = stdlib.realpath(module:gsub("[^/]*/[^/]*$", "") .. "bin/remoteobj")
local STATIC = COMMAND .. "-static"
-- What the command is compared with; on instrumented builds the specs are run by the command itself.
local LUA = not os.getenv "REMOTEOBJ_SANITIZED" and os.getenv "LUA" or "lua5.4"

local work -- a folder with the files that the command lines name

local function write(name, text)
  local file <close> = assert(io.open(work .. "/" .. name, "w"))
  assert(file:write(text))
end

setup(function()
  work = assert(stdlib.mkdtemp "/tmp/remoteobj_command_XXXXXX")
  write("arguments.lua", [[
    print("here", ...)
    for i = -3, 4 do print(i, arg[i]) end
  ]])
  write("-dash.lua", "print('dash', ...)")
  write("-", "print('a file called -', ...)")
  write("shebang.lua", "#!/usr/bin/env lua\nprint 'after the first line'")
  write("syntax.lua", "local x = = 1")
  write("fails.lua", [[
    local function inner() error("it fails") end
    function outer() inner() end
    local co = coroutine.wrap(function() outer() end)
    outer(co)
  ]])
  write("returns.lua", "return 1, 2, 3")
  write("exit.lua", [[
    local code, close = ...
    setmetatable({}, { __gc = function() print "collected" end })
    if code then os.exit(math.tointeger(tonumber(code)) or code == "true", close == "close") end
  ]])
  write("binary.luac", string.dump(assert(load("print('compiled', ...)", "=binary"))))
  write("init.lua", "print('init', ...)")
  write("module.lua", "print('loading', ...) return { name = 'module' }")
  write("mod-v2.lua", "return 'two'")
end)

teardown(function()
  script.run_command { "rm", "-rf", work }
end)

-- Runs a program in that folder; its own name, in what it prints, becomes NAME.
local function run(program, arguments, options)
  options = options or {}
  local result = script.run_command({ program, table.unpack(arguments) }, {
    cwd = work,
    env = environment(options.env),
    stdin = options.stdin or "",
  })
  local function anonymous(text)
    return (text:gsub(program:gsub("%p", "%%%0"), "NAME"))
  end
  return { code = result.code, signal = result.signal, out = anonymous(result.stdout), err = anonymous(result.stderr) }
end

describe("the command does as lua does with", function()
  -- Arguments, and options of `run`.
  local LINES = {
    { { "-e", "print(1)" } },
    { { "-eprint(1)", "-e", "print(2) x = 3", "-e", "print(x)" } },
    { { "-e", "print(...)", "arguments.lua", "a", "b c" } },
    { { "arguments.lua" } },
    { { "arguments.lua", "-e", "--", "-v" } },
    { { "--", "arguments.lua", "a" } },
    { { "--", "-dash.lua", "a" } },
    { { "--", "-", "a" } },
    { { "-", "a", "b" }, { stdin = "print(arg[0], arg[1], ...)" } },
    { {}, { stdin = "print('input', ..., arg[0], arg[1])" } },
    { {}, { stdin = "error 'in the input'" } },
    { { "-" }, { stdin = "error 'in the input'" } },
    { { "--" }, { stdin = "print 'input'" } },
    { { "-e", "x = 1", "-" }, { stdin = "print(x)" } },
    { { "-e", "return 1" } },
    { { "shebang.lua" } },
    { { "syntax.lua" } },
    { { "-e", "x = = 1" } },
    { {}, { stdin = "x = = 1" } },
    { { "fails.lua" } },
    { { "returns.lua" } },
    { { "nowhere.lua" } },
    { { "." } },
    { { "binary.luac", "a" } },
    { { "-e", "error()" } },
    { { "-e", "error(nil)" } },
    { { "-e", "error {}" } },
    { { "-e", "error(42)" } },
    { { "-e", "error('no position', 0)" } },
    { { "-e", "error(setmetatable({}, { __tostring = function() return 'an object' end }))" } },
    { { "-e", "error(setmetatable({}, { __tostring = function() return 5 end }))" } },
    { { "-e", "error(setmetatable({}, { __tostring = function() error 'again' end }))" } },
    { { "-e", "error(setmetatable({}, { __name = 'Named' }))" } },
    { { "-e", "local function f() return 1 + f() end f()" }, { deep = true } },
    { { "-e", "coroutine.wrap(function() error 'inside' end)()" } },
    { { "-e", "string.rep()" } },
    { { "-e", "print(1) error 'then'", "-e", "print(2)", "arguments.lua" } },
    { { "-l", "module", "-e", "print(module.name)" } },
    { { "-lmodule", "-e", "print(module.name)" } },
    { { "-l", "m=module", "-e", "print(m.name, module)" } },
    { { "-lm=module", "-e", "print(m.name, module)" } },
    { { "-l", "mod-v2", "-e", "print(_G['mod-v2'], mod)" } },
    { { "-l", "nowhere", "-e", "print 'not reached'" } },
    { { "-l", "syntax" } },
    { { "-W", "-e", "warn 'shown'" } },
    { { "-e", "warn 'not shown'", "-W", "-e", "warn('sh', 'own')" } },
    { { "-W", "-e", "setmetatable({}, { __gc = function() error 'in a finalizer' end })" } },
    { { "-e", "warn '@on' warn 'on' warn '@off' warn 'off'" } },
    { { "exit.lua" } },
    { { "exit.lua", "0" } },
    { { "exit.lua", "3" } },
    { { "exit.lua", "3", "close" } },
    { { "exit.lua", "true", "close" } },
    { { "exit.lua", "false" } },
    { { "-e", "local x <close> = setmetatable({}, { __close = function() print 'closed' end }) error 'x'" } },
    { { "-e", "arg = nil", "arguments.lua" } },
    { { "-e", "arg = { 'changed', [0] = 'zero' }", "arguments.lua", "a" } },
    { { "-e", "arg[1] = nil", "arguments.lua", "a" } },
    { { "-e", "print(collectgarbage 'incremental')" } },
    { { "-e", "print(_VERSION, package.path, package.cpath)" } },
    { { "-e", "for name in pairs(package.loaded) do io.write(#name > 0 and '' or name) end print(_ENV == _G)" } },
    { { "-e", "io.write 'no end of line'" } },
    { { "-e", "print(io.read 'a')" }, { stdin = "a text" } },
    { { "-e", "os.exit(7)" }, { stdin = "print 'not reached'" } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "print(1, ...)" } } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "@init.lua" } } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "@nowhere.lua" } } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "error 'in it'" } } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "x = = 1" } } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "" } } },
    { { "-e", "print(2)" }, { env = { LUA_INIT = "print 'one'", LUA_INIT_5_4 = "print 'the other'" } } },
    { { "-E", "-e", "print(2, package.path)" }, { env = { LUA_INIT = "error 'x'", LUA_PATH = "a/?.lua" } } },
    { { "-e", "print(package.path, package.cpath)" }, { env = { LUA_PATH = "a/?;;", LUA_CPATH_5_4 = "b/?" } } },
    { { "-e", "print(1)", "-v", "nowhere.lua" }, { first_line_differs = true } },
    { { "-v", "-e", "print(1)" }, { first_line_differs = true } },
    { { "-v" }, { first_line_differs = true, stdin = "print 'not reached'" } },
    { { "-v", "-" }, { first_line_differs = true, stdin = "print 'reached'" } },
    { { "-E", "-v", "-W" }, { first_line_differs = true } },
    { { "-x" }, { usage = true } },
    { { "-ix" }, { usage = true } },
    { { "-vv" }, { usage = true } },
    { { "-Ev" }, { usage = true } },
    { { "-WW" }, { usage = true } },
    { { "--x" }, { usage = true } },
    { { "---" }, { usage = true } },
    { { "-e" }, { usage = true } },
    { { "-l" }, { usage = true } },
    { { "-e", "-v" }, { usage = true } },
    { { "-l", "-" }, { usage = true } },
    { { "-e", "print(1)", "-y", "arguments.lua" }, { usage = true, env = { LUA_INIT = "print 'not reached'" } } },
  }

  -- What may differ of the results: the version, the text that explains the usage, and how much fits on the stack.
  local function comparable(result, options)
    if options.first_line_differs then
      assert.is_truthy(result.out:match "Lua 5%.4%.%d")
      result.out = result.out:gsub("^[^\n]*\n", "")
    end
    if options.usage then
      assert.is_truthy(result.err:match "\nusage: NAME ")
      result.err = result.err:match "^[^\n]*"
    end
    if options.deep then
      result.err = result.err:gsub("skipping %d+ levels", "skipping levels")
    end
    return result
  end

  for _, line in ipairs(LINES) do
    local arguments, options = line[1], line[2] or {}
    local name = table.concat(arguments, " ")
    for variable, value in pairs(options.env or {}) do
      name = ("%s=%s %s"):format(variable, value, name)
    end
    it("'" .. name .. "'" .. (options.stdin and " < " .. options.stdin or ""), function()
      local expected = comparable(run(LUA, arguments, options), options)
      assert.same(expected, comparable(run(COMMAND, arguments, options), options))
    end)
  end

  it("thousands of arguments", function()
    local arguments = { "-e", "print(select('#', ...))", "-" }
    for i = 1, 5000 do
      arguments[#arguments + 1] = tostring(i)
    end
    local options = { stdin = "print(select('#', ...), #arg, (select(5000, ...)))" }
    local result = run(COMMAND, arguments, options)
    assert.same(run(LUA, arguments, options), result)
    assert.equal("0\n5000\t5000\t5000\n", result.out)
  end)
end)

-- Both commands, where there are both.
local COMMANDS = { COMMAND }
if unistd.access(STATIC, "x") then
  COMMANDS[2] = STATIC
else
  print "command_spec: there is no static C library or no static Lua, and no static command"
end

for _, command in ipairs(COMMANDS) do
  describe(command:match "[^/]+$", function()
    it("has the library inside, and takes no other", function()
      write("remoteobj.lua", "error 'the wrong file'")
      write("library.lua", [[
        assert(remoteobj == nil, "a script asks for it")
        local remoteobj, origin = require "remoteobj"
        local object = { n = 40 }
        function object:add(n) self.n = self.n + n return self.n end
        local remote = remoteobj.Proxy(object)
        local process = remoteobj.process(function()
          local _ <close> = remote:listen_()
          while not object.stop do remoteobj.sleep(0.01) end
        end):start()
        remote:wait_until_listening(process)
        print(remote:add(2), object.n)
        print(select(2, pcall(function() remote:missing() end)))
        remote.stop = true
        process:join()
        print(origin)
      ]])
      local result = run(command, { "library.lua" }, { env = { LUA_PATH = "./?.lua", LUA_CPATH = "" } })
      assert.equal("", result.err)
      assert.is_truthy(result.out:match "^42\t40\n")
      assert.is_truthy(result.out:find("attempt to call a nil value", 1, true), result.out)
      assert.is_truthy(result.out:match "\n:preload:\n$")
      assert.equal(0, result.code)
      assert(os.remove(work .. "/remoteobj.lua"))
    end)

    it("ends with 1 when a process has failed, with the traceback there", function()
      write("broken.lua", [[
        local function inner() error "broken" end
        local function work() inner() end
        require "remoteobj".process(work):start():join()
      ]])
      local result = run(command, { "broken.lua" })
      assert.equal(1, result.code)
      local inner, outer = "\n[^\n]*broken.lua:1: in [^\n]*'inner'", "\n[^\n]*broken.lua:2: in "
      local place = "^NAME: broken.lua:1: broken\nstack traceback:"
      assert.is_truthy(result.err:match(place .. ".*" .. inner .. outer), result.err)
    end)

    it("says its version and Lua's", function()
      local result = run(command, { "-v" })
      assert.is_truthy(result.out:match "^remoteobj %d+%.%d+%.%d+, Lua 5%.4%.%d+ [^\n]*\n$", result.out)
    end)

    -- Starts a script that prints "ready" and goes on; `count` signals, each after another "ready"; its end.
    local function interrupt(source, count)
      write("interrupted.lua", source)
      local child = script.start_command({ command, work .. "/interrupted.lua" }, { env = environment() })
      local pattern = ""
      for _ = 1, count do
        pattern = pattern .. ".*ready\n"
        child:expect(pattern)
        child:kill(signal.SIGINT)
      end
      return child:wait()
    end

    it("raises an error at Ctrl-C, in the middle of a loop", function()
      local result = interrupt("local x = 0 print 'ready' io.stdout:flush() while true do x = x + 1 end", 1)
      assert.equal(1, result.code)
      assert.is_truthy(result.stderr:match ": interrupted!\nstack traceback:\n.*interrupted.lua:1: in main chunk\n",
        result.stderr)
    end)

    it("raises it in a wait of the library", function()
      -- The request is served, and says that it is, only while the program sleeps.
      local result = interrupt([[
        local remoteobj = require "remoteobj"
        local remote = remoteobj.Proxy { ready = function() print 'ready' io.stdout:flush() end }
        local _ <close> = remote:listen_ { preempt = false }
        local process <close> = remoteobj.process(function() remote.ready() end):start()
        print(pcall(remoteobj.sleep, 3600))
      ]], 1)
      assert.equal(0, result.code, result.stderr)
      assert.is_truthy(result.stdout:match "false\t[^\n]*interrupted!\n$", result.stdout)
    end)

    it("is ended by a second one, whatever the program makes of the first", function()
      local result = interrupt([[
        for i = 1, 2 do
          print(pcall(function() print 'ready' io.stdout:flush() while true do end end))
        end
      ]], 2)
      assert.is_nil(result.code)
      assert.equal(signal.SIGINT, result.signal)
    end)

    -- What is shown in the interactive mode, on a terminal.
    local function interact(arguments, env)
      env = environment(env)
      env.TERM, env.INPUTRC, env.HOME = "dumb", "/dev/null", work
      return terminal.start({ command, table.unpack(arguments or {}) }, env)
    end

    it("is interactive on a terminal", function()
      local session <close> = interact()
      session:expect "^remoteobj %d[^\n]*\n.*> "
      session:write "1 + 1, 'two'\n"
      session:expect "\n2\ttwo\r\n.*> "
      session:write "=3\n"
      session:expect "\n3\r\n.*> "
      session:write "x = 4\n"
      session:expect "> "
      session:write "for i = 1, 2 do\n"
      session:expect ">> "
      session:write "print(i * x)\n"
      session:expect ">> "
      session:write "end\n"
      session:expect "\n4\r\n8\r\n.*> "
      session:write "error 'wrong'\n"
      session:expect "\nstdin:1: wrong\r\nstack traceback:\r\n.*> "
      session:write "x = = 1\n"
      session:expect "\nstdin:1: unexpected symbol near '='\r\n.*> "
      session:write "print = nil\n"
      session:expect "> "
      session:write "5\n"
      session:expect "\nerror calling 'print' %([^\n]*%)\r\n.*> "
      session:write "second = setmetatable({}, { __tostring = function() return 'second: ' end })\n"
      session:expect "> "
      session:write "_PROMPT, _PROMPT2 = 'first: ', second\n"
      session:expect "first: "
      session:write "return (\n"
      session:expect "second: "
      session:write "\4"
      session:expect "first: "
      session:write "\4"
      assert.same({ "exited", 0 }, { session:finish() })
    end)

    it("is interactive after a script with -i, with the library at hand", function()
      write("before.lua", "x = ...")
      local session <close> = interact { "-i", work .. "/before.lua", "given" }
      session:expect "> "
      session:write "x\n"
      session:expect "\ngiven\r\n.*> "
      session:write "remoteobj == require 'remoteobj' and remoteobj.unpack(remoteobj.pack(5))\n"
      session:expect "\n5\r\n.*> "
      session:write "os.exit(3)\n"
      assert.same({ "exited", 3 }, { session:finish() })
    end)

    it("is not interactive with -i when the script fails", function()
      local session <close> = interact { "-i", "-e", "error 'at once'" }
      assert.same({ "exited", 1 }, { session:finish() })
      session:expect "at once"
    end)

    it("is not interactive on a terminal when it has something to do", function()
      local session <close> = interact { "-e", "print 'done'" }
      assert.same({ "exited", 0 }, { session:finish() })
      session:expect "^done\r\n$"
    end)

    it("comes back to the prompt at Ctrl-C, as often as need be", function()
      local session <close> = interact()
      for _ = 1, 3 do
        session:expect "> "
        session:write "print 'loop' while true do end\n"
        session:expect "\nloop\r\n"
        session:write "\3"
        session:expect "interrupted!\r\nstack traceback:"
      end
      session:expect "> "
      session:write "'still here'\n"
      session:expect "\nstill here\r\n"
    end)

    it("is ended by Ctrl-C at the prompt, as lua is", function()
      for _, program in ipairs { LUA, command } do
        local session <close> = terminal.start({ program }, environment { TERM = "dumb", INPUTRC = "/dev/null" })
        session:expect "> "
        session:write "\3x" -- readline may look for the signal only when it has read something
        assert.same({ "killed", signal.SIGINT }, { session:finish() })
      end
    end)

    it("serves requests while it waits for a line", function()
      local session <close> = interact()
      session:expect "> "
      session:write "object = { n = 1 } remote = remoteobj.Proxy(object) handle = remote:listen_()\n"
      session:expect "> "
      session:write "process = remoteobj.process(function() remote.n = 2 print('set to', remote.n.__) end):start()\n"
      session:expect "set to\t2\r\n" -- nothing is typed meanwhile
      session:write "object.n, process:join(), process.exitcode\n"
      session:expect "\n2\ttrue\t0\r\n"
    end)
  end)
end

describe("remoteobj", function()
  it("edits lines and remembers them, where readline is installed", function()
    if not package.loadlib("libreadline.so.8", "*") then
      print "command_spec: readline is not installed, and lines are not edited"
      return
    end
    local session <close> = terminal.start({ COMMAND }, environment { TERM = "dumb", INPUTRC = "/dev/null" })
    session:expect "> "
    session:write "1 + 1\n"
    session:expect "\n2\r\n.*> "
    session:write "\27[A\n" -- the line before
    session:expect "\n2\r\n.*> "
    session:write "20 + 20\1\27[C\4 \5 + 2\n" -- takes out the second character, and adds at the end
    session:expect "\n24\r\n.*> "
    session:write "for i = 7, 7 do\n"
    session:expect ">> "
    session:write "print(i) end\n"
    session:expect "\n7\r\n.*> "
    session:write "\27[A\n" -- all lines of a statement
    session:expect "\n7\r\n.*> "
  end)

  it("loads C modules", function()
    assert.equal("true\n", run(COMMAND, { "-e", "print(require 'posix.unistd'.getpid() > 0)" }).out)
  end)

  it("has a manual page without faults", function()
    local result = script.run_command { "mandoc", "-Tlint", "man/remoteobj.1" }
    if result.code == 127 then
      print "command_spec: mandoc is not installed, and the manual page is not checked"
    else
      assert.same({ 0, "" }, { result.code, result.stdout })
    end
  end)

  it("has a manual page that names all options, and no others", function()
    local file <close> = assert(io.open "man/remoteobj.1")
    local page = file:read "a"
    local told = {}
    for option in page:gmatch "\n%.It Fl (%a)" do
      told[option] = true
    end
    for byte = 33, 126 do
      local option = string.char(byte)
      local result = run(COMMAND, { "-" .. option, "x=1" }, { stdin = "" })
      local known = not result.err:find("unrecognized option", 1, true)
      if option ~= "-" then
        assert.equal(told[option] or false, known, option)
      end
    end
  end)
end)

if COMMANDS[2] then
  describe("remoteobj-static", function()
    it("needs nothing of the machine", function()
      local result = script.run_command { "ldd", STATIC }
      assert.is_truthy((result.stdout .. result.stderr):match "not a dynamic executable")
    end)

    it("says why it loads no C module", function()
      local result = run(STATIC, { "-e", "print(select(2, pcall(require, 'posix.unistd')))" })
      local reason = "this program is linked statically, and loads no C modules"
      assert.is_truthy(result.out:find(reason, 1, true), result.out)
      assert.equal(0, result.code)
    end)
  end)
end
