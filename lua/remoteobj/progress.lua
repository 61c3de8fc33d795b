--- A line on the terminal that tells how far a loop is: its share, its rate, how long it will still take.

local native = require("remoteobj.core")._process

local SECOND = 1e9

-- Nanoseconds between two states that are shown.
local INTERVAL = SECOND / 10

-- Columns of the bar itself, where there is room.
local LEAST_BAR, MOST_BAR = 5, 40

local Progress = {}
Progress.__index = Progress

local function duration(seconds)
  local whole = math.floor(seconds + 0.5)
  local hours, minutes = whole // 3600, whole // 60 % 60
  if hours > 0 then
    return ("%d:%02d:%02d"):format(hours, minutes, whole % 60)
  end
  return ("%d:%02d"):format(minutes, whole % 60)
end

local function rate_text(rate)
  for _, unit in ipairs { { 1e6, "M" }, { 1e3, "k" } } do
    if rate >= unit[1] then
      return ("%.1f%s/s"):format(rate / unit[1], unit[2])
    end
  end
  return ("%.1f/s"):format(rate)
end

--- The parts of the line before and behind the bar, and how much of that is full (nil where nobody knows).
local function describe(self, seconds)
  local rate = self.done / math.max(seconds, 1e-9)
  if not self.total then
    return ("%s: %d"):format(self.label, self.done), ("%s, %s"):format(rate_text(rate), duration(seconds))
  end
  local share = self.total > 0 and self.done / self.total or 1
  local time = duration(seconds)
  if self.done < self.total then
    time = (self.done > 0 and duration((self.total - self.done) / rate) or "?") .. " left"
  end
  return ("%s: %3d %%"):format(self.label, math.floor(100 * share)),
    ("%d/%d, %s, %s"):format(self.done, self.total, rate_text(rate), time), share
end

--- The line, which fits into so many columns.
local function line_of(self, columns)
  local before, behind, share = describe(self, (native.now() - self.begin) / SECOND)
  local room = math.min(MOST_BAR, columns - 1 - #before - #behind - 4)
  local bar = ""
  if share and room >= LEAST_BAR then
    local full = math.floor(share * room)
    bar = ("[%s%s] "):format(("#"):rep(full), ("."):rep(room - full))
  end
  return (before .. " " .. bar .. behind):sub(1, columns - 1)
end

local function show(self, ending)
  local columns = native.columns()
  if columns then
    io.stderr:write("\r", line_of(self, columns), "\27[K", ending)
    io.stderr:flush()
  end
end

--- So many more are done.
function Progress:advance(count)
  self.done = self.done + count
  local now = native.now()
  if now - self.shown >= INTERVAL then
    self.shown = now
    show(self, "")
  end
end

--- Nothing more comes: the last state stays where it is.
function Progress:finish()
  show(self, "\n")
end

--- Begins to tell, of `total` or, with nil, nobody knows how many. Returns nil where standard error is no terminal.
local function open(label, total)
  if not native.columns() then
    return nil
  end
  return setmetatable({ label = label, total = total, done = 0, begin = native.now(), shown = 0 }, Progress)
end

return { open = open }
