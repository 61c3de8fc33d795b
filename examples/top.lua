-- What the proxies of a program do, live, as `top` shows processes:
--
--   lua examples/top.lua [-d SECONDS] [-n COUNT] [program.lua [arguments]]
--
-- The program runs as it is, in a process of its own (what it prints is dropped); without one, a small shop is shown.
-- The table is drawn anew every SECONDS (1), COUNT times at most. The letter q or Ctrl-C ends it, and so does the end
-- of the program. Where standard output is no terminal, one table is printed: at the end of the program, or after
-- COUNT (1) times SECONDS.
--
-- How it works: a function that traces runs after each operation, in whichever process that was, and sends this
-- process's numbers (remoteobj.stats) to a board here, through a proxy. What it does with that is not traced itself.
local remoteobj = require "remoteobj"

-- ---- the board: what the processes have told ----

local Board = {}
Board.__index = Board

function Board.new()
  return setmetatable({ rows = {}, by_key = {} }, Board)
end

function Board:put(pid, proxy, role, count, times)
  local key = ("%d %d %s"):format(pid, proxy.id, role)
  local row = self.by_key[key]
  if not row then
    row = { pid = pid, id = proxy.id, role = role, before = 0 }
    self.by_key[key] = row
    table.insert(self.rows, row)
  end
  row.name, row.count, row.times = proxy.name:gsub("%c", " "), count, times
  row.failed = role == "serves" and proxy.errors or 0
end

-- Takes in the numbers of a process.
function Board:report(stats)
  for _, proxy in ipairs(stats.proxies) do
    local is_other = proxy.id ~= self.id
    if is_other and proxy.requests > 0 then
      self:put(stats.pid, proxy, "calls", proxy.requests, proxy.round_trips)
    end
    if is_other and proxy.served > 0 then
      self:put(stats.pid, proxy, "serves", proxy.served, proxy.executions)
    end
  end
end

-- Proxies by their age; who serves stands first.
local function is_before(a, b)
  if a.id ~= b.id then
    return a.id < b.id
  elseif a.role ~= b.role then
    return a.role > b.role
  end
  return a.pid < b.pid
end

local function show_time(seconds)
  if seconds < 0.000999 then
    return ("%.1f us"):format(seconds * 1e6)
  elseif seconds < 0.999 then
    return ("%.1f ms"):format(seconds * 1e3)
  end
  return ("%.1f s"):format(seconds)
end

local COLUMNS = "%8s  %-6s  %-24s %11s %10s %8s %10s %10s"

-- The table as a list of lines. `seconds` have passed since the last one, for the rates; nil shows totals alone.
function Board:draw(seconds)
  table.sort(self.rows, is_before)
  local lines = { COLUMNS:format("PID", "ROLE", "OBJECT", "OPERATIONS", "PER SECOND", "FAILED", "MEDIAN", "P99") }
  for _, row in ipairs(self.rows) do
    local rate = seconds and ("%.0f"):format((row.count - row.before) / seconds) or ""
    row.before = row.count
    lines[#lines + 1] = COLUMNS:format(row.pid, row.role, row.name:sub(1, 24), row.count, rate, row.failed,
      show_time(row.times.median), show_time(row.times.p99))
  end
  return lines
end

-- ---- what runs in the program's processes ----

-- The program that is watched: it and all its processes report to `board`, `pause` seconds after their last report at
-- the earliest. Of more operations than that, the last are missing until there is another; without a pause, whoever
-- calls waits for the report of the listener, too.
local function run(board, pause, program, ...)
  local last = 0

  remoteobj.trace(function(operation)
    if operation.time - last >= pause then
      last = operation.time
      board:report(remoteobj.stats())
    end
  end)

  io.output "/dev/null"
  print = function() end -- luacheck: ignore 121
  if type(program) == "string" then
    arg = { [0] = program, ... } -- luacheck: ignore 121
    program = assert(loadfile(program))
  end
  program(...)
end

-- Without a program: a shop that serves some customers. Each comes a number of times, or for ever.
local function demo(times)
  local shop = setmetatable({ stock = { tea = 1000000, milk = 30 }, sold = 0 }, { __name = "shop" })
  local remote = remoteobj.Proxy(shop)

  function shop:sell(name)
    local left = assert(self.stock[name], "there is no " .. name)
    self.stock[name] = left > 1 and left - 1 or nil
    self.sold = self.sold + 1
  end

  local function come(name, pause)
    for _ = 1, times or math.huge do
      pcall(remote.sell, remote, name)
      remoteobj.sleep(pause)
    end
  end

  local customers = {}
  local _ <close> = remote:listen_()
  for name, pause in pairs { tea = 0.001, milk = 0.05 } do
    customers[#customers + 1] = remoteobj.process(come, name, pause):start()
  end
  for _, customer in ipairs(customers) do
    customer:join()
  end
end

-- ---- the terminal ----

local function is_terminal(fd)
  return os.execute("test -t " .. fd) == true
end

-- Makes keys readable at once, Ctrl-C included, until it is closed.
local function raw_keys()
  local pipe <close> = assert(io.popen "stty -g")
  local before = pipe:read "l"
  os.execute "stty -icanon -echo -isig min 1 time 0"
  return setmetatable({}, {
    __close = function()
      os.execute("stty " .. before)
    end,
  })
end

local function show(lines)
  io.write("\27[H", table.concat(lines, "\27[K\n"), "\27[K\n\27[J")
  io.flush()
end

-- Waits for the next time to draw; returns false when it is over: for q, Ctrl-C or the end of the program.
local function wait(seconds, process, keys)
  local fds = { [process.sentinel] = { events = { IN = true } } }
  if keys then
    fds[0] = { events = { IN = true } }
  end
  while remoteobj.poll(fds, seconds) > 0 do
    if fds[process.sentinel].revents.IN or fds[process.sentinel].revents.HUP then
      return false
    end
    local key = io.read(1)
    if key == nil or key == "q" or key == "\3" then
      return false
    end
  end
  return true
end

local function watch(board, process, seconds, count)
  local keys <close> = is_terminal(0) and raw_keys() or nil
  io.write "\27[2J\27[?25l"
  for _ = 1, count do
    if not wait(seconds, process, keys) then
      break
    end
    show(board:draw(seconds))
  end
  io.write "\27[?25h"
end

-- ---- putting it together ----

local function options(list)
  local seconds, count, first = 1, nil, 1
  while list[first] == "-d" or list[first] == "-n" do
    local value = tonumber(list[first + 1])
    if not value or value <= 0 then
      io.stderr:write("usage: lua examples/top.lua [-d SECONDS] [-n COUNT] [program.lua [arguments]]\n")
      os.exit(1)
    end
    if list[first] == "-d" then
      seconds = value
    else
      count = value
    end
    first = first + 2
  end
  return seconds, count, table.pack(table.unpack(list, first))
end

local PAUSE = 0.001 -- seconds

local seconds, count, command = options(arg)
local live = is_terminal(1)
local board = Board.new()
local remote = remoteobj.Proxy(board)
local _ <close> = remote:listen_()
board.id = remote:stats_().id

local process = remoteobj.process { run, remote, live and PAUSE or 0, command[1] or demo, table.unpack(command, 2) }
process:start()
if live then
  watch(board, process, seconds, count or math.huge)
else
  wait(seconds * (count or 1), process)
end

-- The last table stays. A program that goes on is ended, and its processes with it; one that has failed says why.
local goes_on = process:is_alive()
if goes_on then
  process:kill()
end
local ok, problem = pcall(process.join, process)
if live then
  show(board:draw())
else
  print(table.concat(board:draw(), "\n"))
end
if not ok then
  io.stderr:write(tostring(problem), "\n")
  os.exit(1)
end
