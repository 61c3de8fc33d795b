-- Processes that answer: each line that one is sent is a question, and one line comes back.
local errno = require "posix.errno"
local fcntl = require "posix.fcntl"
local signal = require "posix.signal"
local stdio = require "posix.stdio"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local peer = {}

-- One that has ended is an error of `ask`, not the end of whoever asks.
signal.signal(signal.SIGPIPE, signal.SIG_IGN)

local Peer = {}
Peer.__index = Peer

local function private(fd)
  assert(fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC))
end

-- Forks a process that runs main(in, out) with its ends of two pipes, and never returns.
local function launch(name, main)
  local questions, ask = assert(unistd.pipe())
  local hear, answers = assert(unistd.pipe())
  private(ask)
  private(hear)
  io.stdout:flush()
  local pid = assert(unistd.fork())
  if pid == 0 then
    unistd.close(ask)
    unistd.close(hear)
    local ok, problem = xpcall(main, debug.traceback, questions, answers)
    if not ok then
      io.stderr:write(name, ": ", tostring(problem), "\n")
    end
    unistd._exit(ok and 0 or 1)
  end
  unistd.close(questions)
  unistd.close(answers)
  local to, from = stdio.fdopen(ask, "w"), stdio.fdopen(hear, "r")
  to:setvbuf "line"
  return setmetatable({ name = name, pid = pid, to = to, from = from }, Peer)
end

--- Starts a program: a list of its name and arguments.
function peer.program(command)
  return launch(command[1], function(questions, answers)
    unistd.dup2(questions, 0)
    unistd.dup2(answers, 1)
    for _, fd in ipairs { questions, answers } do
      if fd > 2 then
        unistd.close(fd)
      end
    end
    local _, problem = unistd.execp(command[1], { table.unpack(command, 2) })
    error(problem)
  end)
end

--- Starts a process that calls prepare() once, which returns the function from a question to its answer.
function peer.fork(name, prepare)
  return launch(name, function(questions, answers)
    local answer = prepare()
    local from, to = stdio.fdopen(questions, "r"), stdio.fdopen(answers, "w")
    to:setvbuf "line"
    for line in from:lines() do
      to:write(tostring(answer(line)), "\n")
    end
  end)
end

--- Sends a question, for `hear` to get the answer.
function Peer:tell(question)
  self.to:write(question, "\n")
end

--- The answer; an error when the process has ended instead.
function Peer:hear()
  return self.from:read "l" or error(self.name .. " has ended without an answer", 0)
end

--- The answer to a question.
function Peer:ask(question)
  self:tell(question)
  return self:hear()
end

--- Lets the process see the end of its questions, and waits until it has ended.
function Peer:close()
  self.to:close()
  self.from:close()
  local _, code
  repeat
    _, code = wait.wait(self.pid)
  until code ~= errno.EINTR
end

return peer
