-- A weather station in a loop of luv: it takes in readings from a pipe, does something of its own
-- every few milliseconds, and answers requests when the loop comes to them. Clients in other processes ask it.
local uv = require "luv"
local weather = require "examples.weather" -- the station, its sensor and its clients

-- What the station's process does: three handles of one loop, which ends when all of them are closed.
local function serve(station, remote, input)
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
end

weather(serve)
--> 10.5
--> 10.5
--> 10.5
--> 20	true
