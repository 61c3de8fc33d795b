-- Runs a command and tells how it ended: `lua5.4 supervise.lua DESCRIPTOR COMMAND ARGS...` writes the
-- lines "pid N" and "exited CODE" or "killed SIGNAL" to the descriptor, or "lost: REASON" when it can't tell. A process
-- of its own does this, so that the end is an event (a line to read) and no copy of a test's descriptors stays open
-- meanwhile. When nobody reads the descriptor any more, the command and what it started are killed.
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local status = tonumber(arg[1])
fcntl.fcntl(status, fcntl.F_SETFD, fcntl.FD_CLOEXEC)

local pid, watcher

-- Returns what a call that only fails where the machine has no room has returned. Else says what has failed, and ends
-- with all that was started.
local function must(what, ...)
  local result, message = ...
  if result then
    return ...
  end
  for _, victim in ipairs { pid and -pid, watcher } do
    signal.kill(victim, signal.SIGKILL)
  end
  unistd.write(status, ("lost: %s: %s\n"):format(what, message))
  unistd._exit(1)
end

pid = must("fork", unistd.fork())
if pid == 0 then
  unistd.setpid("p", 0, 0)
  local _, message = unistd.execp(arg[2], { table.unpack(arg, 3) })
  io.stderr:write(arg[2], ": ", tostring(message), "\n")
  unistd._exit(127)
end
unistd.setpid("p", pid, pid)

-- The command's ends of the streams are its own: who reads them sees their end when it closes them.
unistd.close(0)
unistd.close(1)
unistd.close(2)

-- Sees the end of those who read: a pipe without readers is in error.
watcher = must("fork of the watcher", unistd.fork())
if watcher == 0 then
  local fds = { [status] = { events = {} } }
  repeat
    poll.poll(fds, -1)
  until fds[status].revents and fds[status].revents.ERR
  signal.kill(-pid, signal.SIGKILL)
  unistd._exit(0)
end

unistd.write(status, ("pid %d\n"):format(pid))
local _, how, code = must("wait", wait.wait(pid))
signal.kill(watcher, signal.SIGKILL)
wait.wait(watcher)
unistd.write(status, ("%s %d\n"):format(how, code))
unistd._exit(0)
