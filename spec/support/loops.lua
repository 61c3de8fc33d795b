-- Event loops that serve a proxy by its descriptor and have a timer of their own: one form for all of them.
--
--   local loop = loops.cqueues(proxy)      -- or loops.luv, loops.poll
--   loop:watch()           -- from now on it serves requests
--   loop:unwatch()         -- no longer; to be done before the listener stops
--   loop:run(step)         -- calls step() every millisecond until it gives false
local loops = {}

--- The loops by their names, and the module that each needs.
loops.modules = { poll = "posix.poll", cqueues = "cqueues", luv = "luv" }

local Plain = {}
Plain.__index = Plain

function Plain:watch()
  self.fd = self.proxy:fileno_()
end

function Plain:unwatch()
  self.fd = nil
end

function Plain:run(step)
  local poll = require "posix.poll"
  while step() do
    local fds = self.fd and { [self.fd] = { events = { IN = true } } } or {}
    if (poll.poll(fds, 1) or 0) > 0 then
      self.proxy:process_requests()
    end
  end
end

local Cqueues = {}
Cqueues.__index = Cqueues

function Cqueues:watch()
  local watched = { pollfd = self.proxy:fileno_(), events = "r" }
  self.watched = watched
  self.loop:wrap(function()
    while self.watched == watched do
      self.proxy:process_requests()
      if self.watched == watched then -- no request has ended the watch
        require("cqueues").poll(watched)
      end
    end
  end)
end

function Cqueues:unwatch()
  local watched = self.watched
  self.watched = nil
  require("cqueues").cancel(watched.pollfd) -- ends the coroutine's wait
end

function Cqueues:run(step)
  self.loop:wrap(function()
    while step() do
      require("cqueues").sleep(0.001)
    end
    if self.watched then
      self:unwatch()
    end
  end)
  assert(self.loop:loop())
end

local Luv = {}
Luv.__index = Luv

function Luv:watch()
  self.handle = require("luv").new_poll(self.proxy:fileno_())
  self.handle:start("r", function(problem)
    assert(not problem, problem)
    self.proxy:process_requests()
  end)
end

function Luv:unwatch()
  self.handle:close()
  self.handle = nil
end

function Luv:run(step)
  local timer = require("luv").new_timer()
  timer:start(0, 1, function()
    if step() then
      return
    end
    timer:close()
    if self.handle then
      self:unwatch()
    end
  end)
  require("luv").run()
end

function loops.poll(proxy)
  return setmetatable({ proxy = proxy }, Plain)
end

function loops.cqueues(proxy)
  return setmetatable({ proxy = proxy, loop = require("cqueues").new() }, Cqueues)
end

function loops.luv(proxy)
  return setmetatable({ proxy = proxy }, Luv)
end

return loops
