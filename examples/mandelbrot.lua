-- Draws the Mandelbrot set, line by line, on all processors, and writes it as a PNG file.
--
-- Usage: mandelbrot.lua [file [width [height]]]
local remoteobj = require "remoteobj"

local name = arg[1] or "mandelbrot.png"
local width, height = tonumber(arg[2] or 640), tonumber(arg[3] or 480)
local MOST = 255 -- steps before a point counts as one of the set

-- Runs in the workers: the line of that number, a byte for each of its points.
local function line(y)
  local points = {}
  local ci = (y - 0.5 - height / 2) * 2.5 / height
  for x = 1, width do
    local cr = (x - 0.5 - width / 2) * 3.5 / width - 0.75
    local zr, zi, steps = 0, 0, 0
    while zr * zr + zi * zi < 4 and steps < MOST do
      zr, zi, steps = zr * zr - zi * zi + cr, 2 * zr * zi + ci, steps + 1
    end
    points[x] = string.char(steps)
  end
  return table.concat(points)
end

-- ---- PNG, as simple as it gets: points are numbers of colours, and nothing is compressed ----

local crc_of_byte = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do
    crc = crc & 1 == 1 and crc >> 1 ~ 0xedb88320 or crc >> 1
  end
  crc_of_byte[byte] = crc
end

local function part(kind, content)
  local bytes, crc = kind .. content, 0xffffffff
  for i = 1, #bytes do
    crc = crc >> 8 ~ crc_of_byte[(crc ~ bytes:byte(i)) & 0xff]
  end
  return string.pack(">I4", #content) .. bytes .. string.pack(">I4", crc ~ 0xffffffff)
end

-- Lines as a zlib stream, each a block of its own that is stored as it is.
local function stream(lines)
  local blocks, a, b = {}, 1, 0
  for i, text in ipairs(lines) do
    text = "\0" .. text -- no filter
    for j = 1, #text do
      a = (a + text:byte(j)) % 65521
      b = (b + a) % 65521
    end
    blocks[i] = string.pack("<BI2I2", i == #lines and 1 or 0, #text, ~#text & 0xffff) .. text
  end
  return "\x78\x01" .. table.concat(blocks) .. string.pack(">I4", b << 16 | a)
end

local function colours()
  local list = {}
  for steps = 0, MOST do
    local t = (steps / MOST) ^ 0.5
    local red, green, blue = 9 * (1 - t) * t ^ 3, 15 * (1 - t) ^ 2 * t ^ 2, 8.5 * (1 - t) ^ 3 * t
    list[#list + 1] = string.char(red * 255 // 1 | 0, green * 255 // 1 | 0, blue * 255 // 1 | 0)
  end
  return table.concat(list)
end

-- ---- the picture ----

local numbers = {}
for y = 1, height do
  numbers[y] = y
end
local pool <close> = remoteobj.pool()
local lines = pool:map(line, numbers, { progress = name })

local file <close> = assert(io.open(name, "wb"))
assert(file:write("\x89PNG\r\n\x1a\n", part("IHDR", string.pack(">I4I4BBBBB", width, height, 8, 3, 0, 0, 0)),
  part("PLTE", colours()), part("IDAT", stream(lines)), part("IEND", "")))
print(("%s: %d x %d points, by %d processes"):format(name, width, height, #pool))
