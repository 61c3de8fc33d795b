-- A monitor in a process of its own: it samples the machine's CPU and memory ten times a second and keeps a
-- history. The program here looks in, changes its rate, has it compute, makes it fail, and stops it.
local remoteobj = require "remoteobj"

-- ---- what runs there ----

local function read_file(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

-- Ticks that all CPUs together were busy, and ticks in all, since the machine started.
local function cpu_ticks()
  local fields = {}
  for ticks in read_file("/proc/stat"):match("^cpu%s+([^\n]+)"):gmatch "%d+" do
    fields[#fields + 1] = tonumber(ticks)
  end
  local user, nice, system, idle, waiting = table.unpack(fields)
  local rest = (fields[6] or 0) + (fields[7] or 0) + (fields[8] or 0)
  local busy = user + nice + system + rest
  return busy, busy + idle + (waiting or 0)
end

-- Memory in use, in MiB.
local function memory_used()
  local text = read_file "/proc/meminfo"
  local total = tonumber(text:match "MemTotal:%s+(%d+)")
  local available = tonumber(text:match "MemAvailable:%s+(%d+)" or text:match "MemFree:%s+(%d+)")
  return (total - available) / 1024
end

local Sampler = {}
Sampler.__index = Sampler

function Sampler.new(rate)
  return setmetatable({ rate = rate, history = {}, latest = false, sensors = "/proc/no-such-sensor" }, Sampler)
end

function Sampler:sample()
  local busy, all = cpu_ticks()
  local cpu = self.latest and self.latest.cpu or 0
  if all > self.all then
    cpu = math.max(0, math.min(100, 100 * (busy - self.busy) / (all - self.all)))
  end
  self.busy, self.all = busy, all
  self.latest = { cpu = cpu, memory = memory_used() }
  self.history[#self.history + 1] = self.latest
end

function Sampler:run(remote)
  self.busy, self.all = cpu_ticks()
  local _ <close> = remote:listen_()
  while not self.stop do
    remoteobj.sleep(1 / self.rate)
    self:sample()
  end
  return #self.history
end

-- Returns once there are `n` samples more; a request that waits holds up neither the sampling nor others.
function Sampler:wait_for(n)
  local goal = #self.history + n
  while #self.history < goal do
    remoteobj.sleep(1 / self.rate)
  end
  return #self.history
end

function Sampler:summary(field)
  local least, most, sum = math.huge, -math.huge, 0
  for _, sample in ipairs(self.history) do
    least, most = math.min(least, sample[field]), math.max(most, sample[field])
    sum = sum + sample[field]
  end
  return least, sum / #self.history, most
end

function Sampler:temperature(zone)
  return tonumber(read_file(self.sensors .. "/" .. zone))
end

-- ---- what runs here ----

local BARS = { [0] = " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }

-- Draws the numbers, one column each, between `low` and `high`, `height` lines high.
local function draw(numbers, low, high, height)
  for line = height, 1, -1 do
    local columns = {}
    for i, number in ipairs(numbers) do
      local eighths = (number - low) / math.max(high - low, 1e-9) * height * 8
      columns[i] = BARS[math.max(0, math.min(8, math.ceil(eighths) - (line - 1) * 8))]
    end
    local label = line == height and high or line == 1 and low
    print(("%9s |%s"):format(label and ("%.0f"):format(label) or "", table.concat(columns)))
  end
end

local function column(history, field)
  local numbers = {}
  for i, sample in ipairs(history) do
    numbers[i] = sample[field]
  end
  return numbers
end

local sampler = Sampler.new(10)
local remote = remoteobj.Proxy(sampler)
local process <close> = remoteobj.process { sampler.run, sampler, remote, name_ = "sampler" }
process:start()
remote:wait_until_listening(process)
print(("process %s (%d) samples %d times a second"):format(process.name, process.pid, remote.rate.__))

-- Live figures, while it runs.
for _ = 1, 3 do
  local count = remote:wait_for(4)
  print(("%3d samples, CPU %5.1f %%, memory %.0f MiB"):format(
    count, remote.latest.cpu.__, remote.latest.memory.__))
end

-- A new rate takes effect with the next sample.
remote.rate = 50
print(("now %d times a second; this process keeps a CPU busy meanwhile"):format(remote.rate.__))
local goal = #remote.history + 30
while #remote.history < goal do
  for _ = 1, 1000000 do -- luacheck: ignore 542
  end
end
remote:wait_for(10)

-- The summary is computed there: three numbers come back, not the history.
print(("CPU: least %.1f %%, mean %.1f %%, most %.1f %%"):format(remote:summary "cpu"))
print(("memory: least %.0f MiB, mean %.0f MiB, most %.0f MiB"):format(remote:summary "memory"))

-- An error there is an error here, and says where it happened.
local _, err = pcall(function()
  return remote:temperature "cpu0"
end)
print("an error in the sampler, with its traceback there:")
print((tostring(err):gsub("[^\n]+", "  %0")))

-- The history comes over as a plain table; then the sampler is told to stop, and joined.
local history = remote.history.__
remote.stop = true
process:join()
print(("stopped after %d samples, exit code %d"):format(process.result, process.exitcode))

print "CPU, percent"
draw(column(history, "cpu"), 0, 100, 5)
local memory = column(history, "memory")
print "memory in use, MiB"
draw(memory, math.min(table.unpack(memory)), math.max(table.unpack(memory)), 3)
