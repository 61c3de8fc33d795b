-- A weather station in a plain loop of posix.poll: it takes in readings from a pipe, does something of its own
-- every few milliseconds, and answers requests when the loop comes to them. Clients in other processes ask it.
local poll = require "posix.poll"
local time = require "posix.time"
local unistd = require "posix.unistd"
local weather = require "examples.weather" -- the station, its sensor and its clients

local TICK = 0.005 -- seconds

local function now()
  local t = time.clock_gettime(time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

-- What the station's process does. `fds` are watched, `ready` has what is to be done when one is readable.
local function serve(station, remote, input)
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
    if (poll.poll(fds, math.ceil(left * 1000)) or 0) > 0 then -- nil after a signal, 0 when the time has passed
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
end

weather(serve)
--> 10.5
--> 10.5
--> 10.5
--> 20	true
