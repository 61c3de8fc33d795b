-- Puts the table of results.json into a document, between two comments that mark its place.
--
-- Usage: document.lua RESULTS DOCUMENT [check]      check: only tells whether it is up to date
local format = require "bench.format"
local json = require "bench.json"

local BEGIN, END = "<!-- results: written by make bench -->\n", "<!-- end of results -->\n"

local function read(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

local function cells(...)
  return "| " .. table.concat({ ... }, " | ") .. " |"
end

local function row_cells(row, named)
  local ours, theirs = named[row.name], named[row.reference]
  local value, spread = format.row(row)
  local target = format.target(row)
  local verdict = row.verdict == "met" and row.verdict or row.verdict and "**" .. row.verdict .. "**" or ""
  return cells(ours.what, ours.missing and "–" or format.figure(ours.median, ours.unit), theirs and theirs.what or "",
    theirs and not theirs.missing and format.figure(theirs.median, theirs.unit) or "",
    row.missing and value or ("%s (%s)"):format(value, spread), target, verdict)
end

local function section(group)
  local lines, named = { "**" .. group.title .. "**", "" }, {}
  for _, entry in ipairs(group.measurements) do
    named[entry.name] = entry
  end
  lines[3] = cells("what", "median", "against", "median", "compared (quartiles)", "target", "")
  lines[4] = cells("---", "---", "---", "---", "---", "---", "---")
  for _, row in ipairs(group.rows) do
    lines[#lines + 1] = row_cells(row, named)
  end
  return table.concat(lines, "\n")
end

local function tables(run)
  local parts = { table.concat(format.circumstances(run), "  \n") }
  for _, group in ipairs(run.groups) do
    parts[#parts + 1] = section(group)
  end
  return table.concat(parts, "\n\n") .. "\n"
end

local function main(results, document, mode)
  local old = read(document)
  local _, before = old:find(BEGIN, 1, true)
  local after = old:find(END, 1, true)
  assert(before and after, document .. " has no place for the results")
  local new = old:sub(1, before) .. "\n" .. tables(json.decode(read(results))) .. "\n" .. old:sub(after)
  if mode ~= "check" and new ~= old then
    local file <close> = assert(io.open(document, "w"))
    assert(file:write(new))
  end
  os.exit(mode ~= "check" or new == old)
end

main(arg[1], arg[2], arg[3])
