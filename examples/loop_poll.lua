-- A weather station in a plain loop of posix.poll: it takes in readings from a pipe, does something of its own
-- every few milliseconds, and answers requests when the loop comes to them. Clients in other processes ask it.
local poll = require "posix.poll"
local remoteobj = require "remoteobj"
local time = require "posix.time"
local unistd = require "posix.unistd"

local TICK = 0.005 -- seconds

local station = { readings = {}, rest = "", ticks = 0 }
local remote = remoteobj.Proxy(station)

function station:mean()
  local sum = 0
  for _, value in ipairs(self.readings) do
    sum = sum + value
  end
  return sum / #self.readings
end

-- A request only says that it is time: the loop ends, and with it the listener, when the request is done.
function station:stop()
  self.stopped = true
end

function station:tick()
  self.ticks = self.ticks + 1
end

function station:take_in(text)
  self.rest = (self.rest .. text):gsub("(%d+)\n", function(value)
    self.readings[#self.readings + 1] = tonumber(value)
    return ""
  end)
end

local function now()
  local t = time.clock_gettime(time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

-- What the station's process does. `fds` are watched, `ready` has what is to be done when one is readable.
local function run(input)
  local _ <close> = remote:listen_ { bg = false }
  local fds, ready = {}, {}

  local function watch(fd, func)
    fds[fd], ready[fd] = { events = { IN = true } }, func
  end

  watch(remote:fileno_(), function()
    remote:process_requests()
  end)
  watch(input, function()
    local text = unistd.read(input, 4096)
    if text == "" then -- the sensor has ended
      fds[input] = nil
    else
      station:take_in(text)
    end
  end)

  local next_tick = now() + TICK
  while not station.stopped do
    local left = math.max(0, next_tick - now())
    if poll.poll(fds, math.ceil(left * 1000)) then
      for fd, entry in pairs(fds) do
        if entry.revents.IN or entry.revents.HUP then
          ready[fd]()
        end
      end
    end
    if now() >= next_tick then
      station:tick()
      next_tick = next_tick + TICK
    end
  end
  return #station.readings, station.ticks > 0
end

-- What the sensor's process does.
local function sense(output)
  for value = 1, 20 do
    unistd.write(output, value .. "\n")
    remoteobj.sleep(0.002)
  end
end

-- What a client's process does.
local function ask()
  while #remote.readings < 20 do
    remoteobj.sleep(0.001)
  end
  return remote:mean()
end

local reading, writing = unistd.pipe()
local process <close> = remoteobj.process(function()
  unistd.close(writing) -- else the pipe would never end here
  return run(reading)
end):start()
remoteobj.process(sense, writing):start()
unistd.close(reading)
unistd.close(writing)
remote:wait_until_listening(process)

local clients = {}
for i = 1, 3 do
  clients[i] = remoteobj.process(ask):start()
end
for _, client in ipairs(clients) do
  client:join()
  print(client.result)
  --> 10.5
  --> 10.5
  --> 10.5
end

remote:stop()
process:join()
print(process:results()) --> 20	true
