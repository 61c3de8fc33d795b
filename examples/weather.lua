-- The weather station that the examples of event loops serve, and who has to do with it: a sensor that writes
-- readings into a pipe, and clients in processes of their own, which ask for the mean.
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

--- Runs the station in a process of its own and prints what it comes to. `serve` is what that process does: it is given
-- the station, its proxy and the descriptor from which readings come, and returns when the station was stopped.
return function(serve)
  local reading, writing = unistd.pipe()
  local process <close> = remoteobj.process(function()
    unistd.close(writing) -- else the pipe would never end here
    serve(station, remote, reading)
    return #station.readings, station.ticks > 0
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
  end

  remote:stop()
  process:join()
  print(process:results())
end
