-- A weather station in a loop of cqueues: it takes in readings from a pipe, does something of its own
-- every few milliseconds, and answers requests when the loop comes to them. Clients in other processes ask it.
local cqueues = require "cqueues"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"

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

-- What the station's process does: three coroutines of one loop, which ends with the last of them.
local function run(input)
  local _ <close> = remote:listen_ { bg = false }
  local loop = cqueues.new()

  loop:wrap(function()
    local requests = { pollfd = remote:fileno_(), events = "r" }
    while not station.stopped do
      cqueues.poll(requests)
      remote:process_requests()
    end
    cqueues.cancel(requests.pollfd) -- before the listener closes it
  end)

  loop:wrap(function()
    repeat
      cqueues.poll { pollfd = input, events = "r" }
      local text = unistd.read(input, 4096)
      station:take_in(text)
    until text == "" -- the sensor has ended
    cqueues.cancel(input)
    unistd.close(input)
  end)

  loop:wrap(function()
    while not station.stopped do
      station:tick()
      cqueues.sleep(0.005)
    end
  end)

  assert(loop:loop())
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
