-- The results as a bar chart: a panel for each group that wants one, a bar for each measurement. Its colours are
-- of middling brightness, so that it can be read on a light and on a dark ground.
local format = require "bench.format"

local WIDTH, LABELS, VALUES = 860, 300, 90
local BARS = WIDTH - LABELS - VALUES
local BAR, STEP, HEADING, GAP = 12, 19, 26, 22
local OURS, PEERS, TEXT, GRID = "#2f81f7", "#98a1ab", "#757d87", "#757d8755"

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function text(x, y, class, content)
  return ('<text x="%.1f" y="%.1f" class="%s">%s</text>\n'):format(x, y, class, escape(content))
end

local function rectangle(x, y, width, height, colour)
  return ('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>\n'):format(x, y, width, height, colour)
end

local function line(x, y, x2, y2, colour)
  return ('<path d="M%.1f %.1fL%.1f %.1f" stroke="%s"/>\n'):format(x, y, x2, y2, colour)
end

local function measured(group)
  local list = {}
  for _, entry in ipairs(group.measurements) do
    list[#list + 1] = not entry.missing and entry or nil
  end
  return list
end

-- A function from a figure to a place on the axis, and the marks of the axis. Figures that differ by more than
-- ten times get a logarithmic one, which begins below the least.
local function scale(entries)
  local least, most = math.huge, 0
  for _, entry in ipairs(entries) do
    least, most = math.min(least, entry.low), math.max(most, entry.high)
  end
  if most < 10 * least then
    return function(figure)
      return figure / most * BARS
    end, {}, false
  end
  local bottom = math.log(least / 2, 10)
  local reach = math.log(most, 10) - bottom
  local function place(figure)
    return math.max(0, (math.log(figure, 10) - bottom) / reach * BARS)
  end
  local marks = {}
  for power = math.ceil(bottom), math.floor(bottom + reach) do
    marks[#marks + 1] = 10.0 ^ power
  end
  return place, marks, true
end

local function bar(entry, ours, y, place)
  local middle = y + BAR / 2
  local value = format.figure(entry.median, entry.unit)
  return text(LABELS - 8, y + BAR - 2, ours and "label ours" or "label", entry.what)
    .. rectangle(LABELS, y, place(entry.median), BAR, ours and OURS or PEERS)
    .. line(LABELS + place(entry.low), middle, LABELS + place(entry.high), middle, TEXT)
    .. text(LABELS + place(entry.high) + 6, y + BAR - 2, ours and "ours" or "value", value)
end

local function is_compared(group, entry)
  for _, row in ipairs(group.rows) do
    if row.name == entry.name then
      return true
    end
  end
  return false
end

-- A panel whose upper edge is at `y`. Returns its text and height.
local function panel(group, y)
  local entries = measured(group)
  local place, marks, logarithmic = scale(entries)
  local title = group.title .. (logarithmic and " (logarithmic scale)" or "")
  local bottom = y + HEADING + #entries * STEP
  local parts = { text(0, y + 14, "title", title) }
  for _, mark in ipairs(marks) do
    local x = LABELS + place(mark)
    parts[#parts + 1] = line(x, y + HEADING - 4, x, bottom, GRID)
    parts[#parts + 1] = text(x, bottom + 10, "mark", format.figure(mark, entries[1].unit))
  end
  for i, entry in ipairs(entries) do
    parts[#parts + 1] = bar(entry, is_compared(group, entry), y + HEADING + (i - 1) * STEP, place)
  end
  return table.concat(parts), bottom - y + GAP
end

local FRAME = [[
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">
<style>
text { font: 12px sans-serif; fill: %s }
.title { font-weight: bold; font-size: 13px }
.label { text-anchor: end }
.mark { text-anchor: middle; font-size: 9px }
.ours { fill: %s; font-weight: bold }
</style>
%s</svg>
]]

--- The chart as SVG text.
return function(run)
  local parts, y = {}, 4
  for _, group in ipairs(run.groups) do
    if group.chart and #measured(group) > 0 then
      local drawn, height = panel(group, y)
      parts[#parts + 1], y = drawn, y + height
    end
  end
  local m = run.machine
  parts[#parts + 1] = text(0, y + 10, "value", ("Medians, shorter is better; lines: quartiles. %s, %d CPUs, %s.")
    :format(m.cpu, m.cpus, m.kernel))
  y = y + 20
  return FRAME:format(WIDTH, y, WIDTH, y, TEXT, OURS, table.concat(parts))
end
