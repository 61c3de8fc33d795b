-- How much of a heavy spec is run: a reduced count, or the full one where REMOTEOBJ_FULL is set.
--
--   for _ = 1, scale(200, 10000) do ... end
--
-- Where programs are slower than usual (REMOTEOBJ_SLOWNESS), reduced counts of twenty and more are reduced further.
local full = os.getenv "REMOTEOBJ_FULL"
local slowness = math.tointeger(os.getenv "REMOTEOBJ_SLOWNESS") or 1

return function(reduced, whole)
  if full then
    return whole
  end
  return math.type(reduced) == "integer" and reduced >= 20 and reduced // slowness or reduced
end
