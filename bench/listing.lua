-- The results as a table for a terminal.
local format = require "bench.format"

local WIDTHS = { 56, 10, 20, 8 }

local function line(...)
  local cells = { ... }
  for i, text in ipairs(cells) do
    cells[i] = format.pad(text, WIDTHS[i] or 0)
  end
  return (table.concat(cells, " "):gsub("%s+$", "")) .. "\n"
end

local function heading(run)
  local m, names = run.machine, {}
  for name, version in pairs(run.versions) do
    names[#names + 1] = name .. " " .. version
  end
  table.sort(names)
  return ("%s, %d CPUs, %d GiB, %s\n%s\n%d rounds, slices of %g ms, %d s in all\n\n"):format(m.cpu, m.cpus, m.memory,
    m.kernel, table.concat(names, ", "), run.rounds, run.slice * 1000, run.seconds)
end

local function measurement_line(entry)
  if entry.missing then
    return line("  " .. entry.what, "– (" .. entry.missing .. ")")
  end
  local spread = ("%s–%s"):format(format.figure(entry.low, entry.unit), format.figure(entry.high, entry.unit))
  return line("  " .. entry.what, format.figure(entry.median, entry.unit), spread)
end

local function row_line(row, named)
  local value, spread = format.row(row)
  local sign = row.kind == "difference" and "    above " or row.kind == "ratio" and "    against " or "    "
  return line(sign .. (row.reference and named[row.reference].what or "itself"), value, spread,
    format.target(row), row.verdict or "")
end

local function section(group)
  local parts, named = { group.title, "\n" }, {}
  for _, entry in ipairs(group.measurements) do
    named[entry.name] = entry
    parts[#parts + 1] = measurement_line(entry)
    for _, row in ipairs(group.rows) do
      if row.name == entry.name then
        parts[#parts + 1] = row
      end
    end
  end
  for i, part in ipairs(parts) do
    parts[i] = type(part) == "table" and row_line(part, named) or part
  end
  return table.concat(parts) .. "\n"
end

--- The whole table as text.
return function(run)
  local parts = { heading(run) }
  for _, group in ipairs(run.groups) do
    parts[#parts + 1] = section(group)
  end
  return table.concat(parts)
end
