-- Runs Lua scripts and other commands as a user would: as real processes with their own streams.
--
--   local result = script.run("print(...)", { "a" })           -- source text, or the name of a .lua file
--   result.code, result.signal, result.stdout, result.stderr   -- code is nil when a signal ended it
--
--   local child = script.start(source)
--   child:expect("ready")           -- reads its output until the pattern is there
--   child:write("go\n")             -- to its standard input
--   child:kill(9)                   -- by its id
--   local result = child:wait()
--
-- Options (third argument): `timeout` in seconds (default 60; then the process group of the script is killed
-- and `result.timed_out` is true), `env` (a table of names and values, false to unset), `stdin` (text that it
-- can read, then the end), `cwd`. The end of the script ends the waiting, also when a process that it
-- started still holds the streams.
local errno = require "posix.errno"
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local private_pipe = require "spec.support.pipe"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local time = require "posix.time"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local script = {}

local SLOWNESS = tonumber(os.getenv "REMOTEOBJ_SLOWNESS") or 1 -- as in spec.support.wait, which needs the library
local DEFAULT_TIMEOUT = 60
local SUPERVISOR = debug.getinfo(1, "S").source:match "^@(.*)script%.lua$" .. "supervise.lua"

-- A file as it is called from everywhere; a program that is looked for in PATH as it is.
local function absolute(file)
  return file:match "^[^/].*/" and unistd.getcwd() .. "/" .. file or file
end

local INTERPRETER = absolute(os.getenv "LUA" or "lua5.4")

local Child = {}
Child.__index = Child

local function now()
  local t = time.clock_gettime(time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

-- Moves the given descriptors to 0, 1, 2 and 3, where they stay open over exec. They are first
-- copied out of the way: one of them may be another's destination.
local function place(descriptors)
  local copies = {}
  for i, fd in ipairs(descriptors) do
    copies[i] = assert(fcntl.fcntl(fd, fcntl.F_DUPFD, 10))
  end
  for i, fd in ipairs(copies) do
    assert(unistd.dup2(fd, i - 1))
    unistd.close(fd)
  end
end

-- What is garbage here may be a file that has the number of one of the descriptors, which its finalizer would close.
local function become(command, descriptors, options)
  collectgarbage "stop"
  place(descriptors)
  for name, value in pairs(options.env or {}) do
    stdlib.setenv(name, value or nil)
  end
  local supervisor = absolute(SUPERVISOR)
  if options.cwd then
    assert(unistd.chdir(options.cwd))
  end
  assert(unistd.execp(INTERPRETER, { "-E", supervisor, "3", table.unpack(command) }))
end

local function start_supervised(command, options)
  local input, to_script = private_pipe()
  local output, from_script = private_pipe()
  local errors, errors_from_script = private_pipe()
  local status, status_from_supervisor = private_pipe()
  local ours = { input, from_script, errors_from_script, status_from_supervisor }
  local supervisor = assert(unistd.fork())
  if supervisor == 0 then
    local _, message = pcall(become, command, ours, options)
    unistd.write(status_from_supervisor, ("lost: %s\n"):format(message))
    unistd._exit(127)
  end
  for i = 2, #ours do
    unistd.close(ours[i])
  end
  return setmetatable({
    supervisor = supervisor,
    input = to_script,
    guard = input, -- what is written to a script that has ended is lost, but is no SIGPIPE: its result tells more
    streams = { [output] = "stdout", [errors] = "stderr", [status] = "status" },
    text = { stdout = "", stderr = "", status = "" },
    deadline = now() + (options.timeout or DEFAULT_TIMEOUT) * SLOWNESS,
  }, Child)
end

-- Reads what is there of one stream; at its end, forgets the stream.
local function read_some(self, fd)
  local name = self.streams[fd]
  local bytes = unistd.read(fd, 65536)
  if bytes and #bytes > 0 then
    self.text[name] = self.text[name] .. bytes
  elseif bytes then
    unistd.close(fd)
    self.streams[fd] = nil
  end
end

-- Waits for output or the end until the deadline; returns whether there was anything.
local function step(self, deadline)
  local set = {}
  for fd in pairs(self.streams) do
    set[fd] = { events = { IN = true } }
  end
  if next(set) == nil then
    return false
  end
  local left = deadline and math.max(0, math.ceil((deadline - now()) * 1000)) or 0
  local ready = poll.poll(set, left)
  for fd, entry in pairs(set) do
    if ready and ready > 0 and (entry.revents.IN or entry.revents.HUP or entry.revents.ERR) then
      read_some(self, fd)
    end
  end
  return ready ~= 0
end

local function read_status(self)
  self.pid = self.pid or tonumber(self.text.status:match "pid (%d+)\n")
  local how, code = self.text.status:match "(%l+) (%d+)\n$"
  if how == "exited" then
    self.code = tonumber(code)
  elseif how == "killed" then
    self.signal = tonumber(code)
  end
  return self.code or self.signal
end

local function status_lost(self)
  for _, name in pairs(self.streams) do
    if name == "status" then
      return false
    end
  end
  return true
end

-- Ends the script and what it started, when its time is over.
local function end_group(self)
  self.timed_out = true
  if self.pid then
    signal.kill(-self.pid, signal.SIGKILL)
  end
  signal.kill(self.supervisor, signal.SIGKILL)
end

local function clean_up(self)
  while step(self) do -- luacheck: ignore
  end
  for fd in pairs(self.streams) do
    unistd.close(fd)
  end
  self.streams = {}
  self:close_input()
  local done, how, code
  repeat
    done, how, code = wait.wait(self.supervisor)
  until done or code ~= errno.EINTR
  self.supervision = ("%s %d"):format(how, code)
  if self.file then
    os.remove(self.file)
  end
  self.finished = true
end

--- Writes to the script's standard input; it must read it.
function Child:write(text)
  while #text > 0 do
    local count = assert(unistd.write(self.input, text))
    text = text:sub(count + 1)
  end
end

--- Lets the script see the end of its standard input.
function Child:close_input()
  if self.input then
    unistd.close(self.input)
    unistd.close(self.guard)
    self.input, self.guard = nil, nil
  end
end

--- Waits until the script's output so far matches `pattern`; returns what string.match gives. An error when
--- the script ends or its time passes before.
function Child:expect(pattern)
  while true do
    local captures = table.pack(self.text.stdout:match(pattern))
    if captures[1] ~= nil then
      return table.unpack(captures, 1, captures.n)
    end
    local deadline = not read_status(self) and self.deadline or nil
    if not step(self, deadline) then
      self:kill()
      local result = self:wait()
      error(("no %q in the script's output: %s\n%s"):format(pattern, result.stdout, result.stderr), 2)
    end
  end
end

--- Sends a signal (default SIGKILL) to the script itself.
function Child:kill(number)
  read_status(self)
  while not self.pid and step(self, self.deadline) do
    read_status(self)
  end
  return signal.kill(self.pid, number or signal.SIGKILL)
end

-- That the end of a script is not known is no result of it.
local function check_known(self)
  if not self.code and not self.signal then
    local reason = self.text.status:match "lost: (.*)\n$"
      or ("its supervisor has %s after %q"):format(self.supervision, self.text.status)
    error(("how the script has ended is not known (%s): %s\n%s"):format(reason, self.text.stdout, self.text.stderr), 3)
  end
end

--- Waits for the script's end; the result has `code` or `signal`, `stdout`, `stderr`, `pid`, `timed_out`.
function Child:wait()
  while not self.finished and not read_status(self) do
    if now() >= self.deadline then
      end_group(self)
      self.signal = signal.SIGKILL
    elseif status_lost(self) then
      break
    else
      step(self, self.deadline)
    end
  end
  if not self.finished then
    clean_up(self)
  end
  check_known(self)
  return {
    pid = self.pid,
    code = self.code,
    signal = self.signal,
    stdout = self.text.stdout,
    stderr = self.text.stderr,
    timed_out = self.timed_out or false,
  }
end

--- Starts any command: a list of the program and its arguments.
function script.start_command(command, options)
  options = options or {}
  local child = start_supervised(command, options)
  if options.stdin then
    child:write(options.stdin)
    child:close_input()
  end
  return child
end

--- Runs any command to its end.
function script.run_command(command, options)
  options = options or {}
  local child = script.start_command(command, options)
  if not options.stdin then
    child:close_input()
  end
  return child:wait()
end

local function write_source(source)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  assert(file:write(source))
  assert(file:close())
  return name
end

local function lua_command(source_or_file, args)
  local file, made = source_or_file, nil
  if source_or_file:find "\n" or not source_or_file:find "%.lua$" then
    file = write_source(source_or_file)
    made = file
  end
  return { INTERPRETER, file, table.unpack(args or {}) }, made
end

--- Starts a Lua script: source text, or the name of a file that ends with .lua.
function script.start(source_or_file, args, options)
  local command, made = lua_command(source_or_file, args)
  local child = script.start_command(command, options)
  child.file = made
  return child
end

--- Runs a Lua script to its end.
function script.run(source_or_file, args, options)
  local child = script.start(source_or_file, args, options)
  if not (options and options.stdin) then
    child:close_input()
  end
  return child:wait()
end

return script
