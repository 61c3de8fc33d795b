-- A weather station in a loop of luv: it takes in readings from a pipe, does something of its own
-- every few milliseconds, and answers requests when the loop comes to them. Clients in other processes ask it.
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"
local uv = require "luv"

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

-- What the station's process does: three handles of one loop, which ends when all of them are closed.
local function run(input)
  local _ <close> = remote:listen_ { bg = false }
  local requests, timer, pipe = uv.new_poll(remote:fileno_()), uv.new_timer(), uv.new_pipe()

  requests:start("r", function()
    remote:process_requests()
    if station.stopped then
      requests:close() -- before the listener closes the descriptor
      timer:close()
    end
  end)

  timer:start(0, 5, function()
    station:tick()
  end)

  pipe:open(input)
  pipe:read_start(function(problem, text)
    assert(not problem, problem)
    if text then
      station:take_in(text)
    else -- the sensor has ended
      pipe:close()
    end
  end)

  uv.run()
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
