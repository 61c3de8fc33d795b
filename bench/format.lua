-- Figures as readers like them: three digits and a unit.
local format = {}

local function digits(value)
  local size = math.abs(value)
  return size >= 100 and ("%.0f"):format(value) or size >= 10 and ("%.1f"):format(value)
    or size >= 0.095 and ("%.2f"):format(value) or ("%.2g"):format(value)
end

local function scaled(value, steps)
  for i, step in ipairs(steps) do
    if math.abs(value) >= step[1] * 0.9995 or i == #steps then
      return digits(value / step[1]) .. " " .. step[2]
    end
  end
end

local STEPS = {
  s = { { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "µs" }, { 1e-9, "ns" } },
  ["/s"] = { { 1e6, "M/s" }, { 1e3, "k/s" }, { 1, "/s" } },
  B = { { 2 ^ 20, "MiB" }, { 2 ^ 10, "KiB" }, { 1, "B" } },
}

--- A figure with its unit: "s" seconds, "/s" a rate, "B" bytes, "%" a share of 1, "x" a plain number.
function format.figure(value, unit)
  if value == 0 then
    return "0"
  elseif unit == "%" then
    return digits(value * 100) .. " %"
  end
  return STEPS[unit] and scaled(value, STEPS[unit]) or digits(value)
end

--- The same without a unit, for ratios.
format.ratio = digits

--- A row's value, and between which values half of the rounds were; or why there is none.
function format.row(row)
  if row.missing then
    return "– (" .. row.missing .. ")", ""
  end
  local unit = row.unit or "x"
  local spread = ("%s–%s"):format(format.figure(row.low, unit), format.figure(row.high, unit))
  return (row.kind == "ratio" and "×" or "") .. format.figure(row.median, unit), spread
end

--- The target: "≤ 1.6".
function format.target(row)
  local limit = row.at_most or row.at_least
  return limit and (row.at_most and "≤ " or "≥ ") .. format.figure(limit, row.unit or "x") or ""
end

--- Machine, versions and counts of a run: a list of lines.
function format.circumstances(run)
  local m, names = run.machine, {}
  for name, version in pairs(run.versions) do
    names[#names + 1] = name .. " " .. version
  end
  table.sort(names)
  return {
    ("%s, %d CPUs, %d GiB, %s"):format(m.cpu, m.cpus, m.memory, m.kernel),
    table.concat(names, ", "),
    ("%d rounds, slices of %g ms, %d s in all"):format(run.rounds, run.slice * 1000, run.seconds),
  }
end

--- Pads to so many characters.
function format.pad(text, width)
  return text .. (" "):rep(width - utf8.len(text))
end

return format
