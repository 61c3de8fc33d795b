-- A weather station in a loop of cqueues: it takes in readings from a pipe, does something of its own
-- every few milliseconds, and answers requests when the loop comes to them. Clients in other processes ask it.
local cqueues = require "cqueues"
local unistd = require "posix.unistd"
local weather = require "examples.weather" -- the station, its sensor and its clients

-- What the station's process does: three coroutines of one loop, which ends with the last of them.
local function serve(station, remote, input)
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
end

weather(serve)
--> 10.5
--> 10.5
--> 10.5
--> 20	true
