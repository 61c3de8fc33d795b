-- The results as a table for a terminal.
local format = require "bench.format"

local WIDTHS = { 58, 10, 20, 10 }

local function line(...)
  local cells = { ... }
  for i, text in ipairs(cells) do
    cells[i] = format.pad(text, WIDTHS[i] or 0)
  end
  return (table.concat(cells, " "):gsub("%s+$", "")) .. "\n"
end

local function row_line(row, named)
  local value, spread = format.row(row)
  local sign = row.kind == "difference" and "    above " or "    against "
  local what = row.kind == "figure" and "  " .. named[row.name].what or sign .. named[row.reference].what
  local last = row.count and ("%d in all"):format(row.count) or row.verdict or ""
  return line(what, value, spread, format.target(row), last)
end

-- A measurement with what it is compared with; its target stands beside it when that is no comparison.
local function measurement_lines(entry, rows, named)
  local lines = { row_line({ kind = "figure", name = entry.name, unit = entry.unit, missing = entry.missing,
    median = entry.median, low = entry.low, high = entry.high, count = entry.count }, named) }
  for _, row in ipairs(rows) do
    if row.name == entry.name then
      lines[row.kind == "figure" and 1 or #lines + 1] = row_line(row, named)
    end
  end
  return table.concat(lines)
end

local function section(group)
  local parts, named = { group.title, "\n" }, {}
  for _, entry in ipairs(group.measurements) do
    named[entry.name] = entry
  end
  for _, entry in ipairs(group.measurements) do
    parts[#parts + 1] = measurement_lines(entry, group.rows, named)
  end
  return table.concat(parts) .. "\n"
end

--- The whole table as text.
return function(run)
  local parts = { table.concat(format.circumstances(run), "\n"), "\n\n" }
  for _, group in ipairs(run.groups) do
    parts[#parts + 1] = section(group)
  end
  return table.concat(parts)
end
