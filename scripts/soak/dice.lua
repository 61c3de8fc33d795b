-- Dice that a seed tells how to fall. Each actor has its own, so that what it chooses depends on nobody's pace.
local Dice = {}
Dice.__index = Dice

--- Dice of a seed, an integer.
local function new(seed)
  local self = setmetatable({ state = seed }, Dice)
  for _ = 1, 4 do -- seeds that lie side by side have nothing in common after that
    self:next()
  end
  return self
end

-- The next of 2^31 numbers. The lower bits, which repeat soon, are left out.
function Dice:next()
  self.state = self.state * 6364136223846793005 + 1442695040888963407
  return self.state >> 33
end

--- An integer from 1 to n.
function Dice:roll(n)
  return self:next() % n + 1
end

--- True one time in n.
function Dice:one_in(n)
  return self:roll(n) == 1
end

function Dice:pick(list)
  return list[self:roll(#list)]
end

--- Seconds, less than `most`.
function Dice:seconds(most)
  return self:next() / (1 << 31) * most
end

--- A seed for somebody else's dice.
function Dice:seed()
  return self:next() << 31 | self:next()
end

return { new = new }
