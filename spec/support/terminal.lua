-- Programs on a terminal of their own, as if somebody typed.
--
--   local session = terminal.start({ "program", "argument" }, { NAME = "value" })
--   session:expect("pattern")    -- waits until what has been shown since the last one matches
--   session:write("text\n")      -- types
--   session:finish()             -- waits for its end: "exited" and its code, or "killed" and the signal
--   session:close()              -- ends it, should it still run
local errno = require "posix.errno"
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"
local wait_pid = require "posix.sys.wait".wait

local terminal = {}

local Session = {}
Session.__index = Session

-- A process that leads a session gets the first terminal that it opens. Who runs the specs in the background may have
-- had ignored what keys send.
local function become(command, name, env)
  for _, key in ipairs { "SIGINT", "SIGQUIT", "SIGHUP" } do
    signal.signal(signal[key], signal.SIG_DFL)
  end
  unistd.setpid "s"
  local fd = assert(fcntl.open(name, fcntl.O_RDWR))
  for standard = 0, 2 do
    unistd.dup2(fd, standard)
  end
  for key, value in pairs(env or {}) do
    stdlib.setenv(key, value or nil)
  end
  unistd.execp(command[1], table.move(command, 2, #command, 1, {}))
end

--- Starts a program on a new terminal.
-- @param command list of the program and its arguments
-- @param[opt] env names and values for its environment, false to unset
function terminal.start(command, env)
  local master = assert(stdlib.openpt(fcntl.O_RDWR | fcntl.O_NOCTTY))
  assert(stdlib.grantpt(master))
  assert(stdlib.unlockpt(master))
  fcntl.fcntl(master, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
  local name = assert(stdlib.ptsname(master))
  local pid = assert(unistd.fork())
  if pid == 0 then
    pcall(become, command, name, env)
    unistd._exit(127)
  end
  return setmetatable({ pid = pid, fd = master, text = "" }, Session)
end

-- Reads what is shown next; false at the end. A terminal that nobody has open any more fails with EIO.
local function read_some(self, deadline)
  local left = math.max(0, math.ceil((deadline - wait.now()) * 1000))
  local ready = poll.rpoll(self.fd, left)
  if not ready or ready == 0 then
    return wait.now() < deadline
  end
  local bytes, _, code = unistd.read(self.fd, 65536)
  if bytes and #bytes > 0 then
    self.text = self.text .. bytes
  end
  return bytes and #bytes > 0 or code == errno.EINTR
end

--- Waits until what has been shown, and not been expected yet, matches; returns what string.match gives.
function Session:expect(pattern)
  local deadline = wait.now() + wait.LIMIT
  while true do
    local found = table.pack(self.text:find(pattern))
    if found[1] then
      self.text = self.text:sub(found[2] + 1)
      return table.unpack(found, 3, found.n)
    end
    if not read_some(self, deadline) then
      error(("no %q in what was shown: %s"):format(pattern, self.text), 2)
    end
  end
end

function Session:write(text)
  assert(unistd.write(self.fd, text))
end

--- Waits for its end; what is shown until then remains to be expected.
function Session:finish()
  local deadline = wait.now() + wait.LIMIT
  while read_some(self, deadline) do -- luacheck: ignore
  end
  if wait.now() >= deadline then
    self:close()
    error("the program does not end: " .. self.text, 2)
  end
  self.ended = true
  return select(2, wait_pid(self.pid))
end

--- Ends the program by force, should it still run, and closes the terminal.
function Session:close()
  if not self.ended then
    self.ended = true
    signal.kill(self.pid, signal.SIGKILL)
    wait_pid(self.pid)
  end
  if self.fd then
    unistd.close(self.fd)
    self.fd = nil
  end
end

Session.__close = Session.close

return terminal
