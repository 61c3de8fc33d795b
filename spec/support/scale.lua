-- How much of a heavy spec is run: a reduced count, or the full one where REMOTEOBJ_FULL is set.
--
--   for _ = 1, scale(200, 10000) do ... end
local full = os.getenv "REMOTEOBJ_FULL"

return function(reduced, whole)
  return full and whole or reduced
end
