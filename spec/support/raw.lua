-- The bare ends of a connection, for specs that write what no library would: what has been opened meanwhile, as the
-- system shows it.
--
--   local before = raw.open()
--   proxy:contains_ "x"                    -- connects
--   local ends = raw.link(before, pid)     -- with the process of that id; descriptors: ends.input, ends.output, and
--                                          -- ends.guard, where one reads what was written and not taken yet
--   raw.send(ends, raw.request(1, value))  -- all that the other side takes; what it says meanwhile is kept
--   raw.met(ends, most) -> frames          -- what it has said
--   raw.answers(ends, count) -> frames     -- so many of them, or all until it ends the connection
local dirent = require "posix.dirent"
local poll = require "posix.poll".poll
local stat = require "posix.sys.stat".stat
local unistd = require "posix.unistd"

local raw = {}

local HEAD = "<c4BBI2I8i8I8"
local NEVER = math.maxinteger

raw.KINDS = {
  request = 1, reply = 2, failure = 3, refused = 4, fault = 5, release = 6, callback = 7, left = 8, taken = 9,
}

--- The descriptors that are open, with what they lead to and how (0: reading, 1: writing, 2: both); of this process or
-- another.
function raw.open(pid)
  local process = "/proc/" .. (pid or "self")
  local found = {}
  for name in dirent.files(process .. "/fd") do
    local fd = tonumber(name)
    local target = fd and unistd.readlink(process .. "/fd/" .. fd)
    local file = target and stat(process .. "/fd/" .. fd)
    local info = file and io.open(process .. "/fdinfo/" .. fd)
    local flags = info and (info:read "a" or ""):match "flags:%s*(%d+)" -- nothing when it was closed just now
    if info then
      info:close()
    end
    if flags then
      found[fd] = { target = target, inode = file.st_ino, mode = tonumber(flags, 8) & 3 }
    end
  end
  return found
end

-- The number may be that of one which is closed by now, and which was called alike: anonymous files are.
local function is_new(before, fd, now)
  return not before[fd] or before[fd].target ~= now.target or before[fd].inode ~= now.inode
end

--- The descriptors that are open and were not before, of that sort.
function raw.all_new(before, pattern, mode)
  local found = {}
  for fd, now in pairs(raw.open()) do
    if is_new(before, fd, now) and now.target:find(pattern) and now.mode == mode then
      found[fd] = now
    end
  end
  return found
end

--- The only one of these.
function raw.new(before, pattern, mode)
  local found = raw.all_new(before, pattern, mode)
  local fd = assert(next(found), "no descriptor of the sort is new")
  assert(next(found, fd) == nil, "several descriptors of the sort are new")
  return fd
end

-- By what they lead to: as which ends the descriptors have it.
local function modes_of(descriptors)
  local modes = {}
  for _, entry in pairs(descriptors) do
    modes[entry.target] = modes[entry.target] or {}
    modes[entry.target][entry.mode] = true
  end
  return modes
end

--- The ends of the connection with the process `pid` that was made meanwhile: it reads one pipe, of which it has no
-- other end, and writes another, of which it has a copy of the reading end. The other process has ends of both, which
-- it has not of pipes by which this one wakes itself.
function raw.link(before, pid)
  local now = raw.open()
  local here, there, ends = modes_of(now), modes_of(raw.open(pid)), {}
  for fd, entry in pairs(now) do
    if is_new(before, fd, entry) and entry.target:find "^pipe:" and there[entry.target] then
      local both = here[entry.target][0] and here[entry.target][1]
      ends[entry.mode == 1 and "output" or both and "guard" or "input"] = fd
    end
  end
  assert(ends.input and ends.output and ends.guard, "no connection has been made")
  ends.text = ""
  return ends
end

--- A frame; `options` may have id, flags, deadline, and a size that is not that of the payload.
function raw.frame(kind, payload, options)
  options = options or {}
  local size, deadline = options.size or #payload, options.deadline or kind == raw.KINDS.request and NEVER or 0
  return HEAD:pack("ROB1", kind, options.flags or 0, 0, options.id or 0, deadline, size) .. payload
end

--- A request to call `take` with values that are written already.
function raw.request(id, ...)
  return raw.frame(raw.KINDS.request, raw.call("take", ...), { id = id })
end

--- The chain of one call of a method.
function raw.call(name, ...)
  return "\1\3" .. string.char(0x91 + select("#", ...), 0xa0 + #name) .. name .. table.concat { ... }
end

-- Takes in what has come; false when the other side has ended the connection.
local function take_in(ends)
  local bytes = unistd.read(ends.input, 65536)
  if bytes == "" then
    ends.ended = true
  elseif bytes then
    ends.text = ends.text .. bytes
  end
  return not ends.ended
end

--- Sends until all is sent or the other side has ended the connection.
function raw.send(ends, bytes)
  local at = 1
  while at <= #bytes and not ends.ended do
    local set = { [ends.output] = { events = { OUT = true } }, [ends.input] = { events = { IN = true } } }
    poll(set, -1)
    if set[ends.input].revents.IN or set[ends.input].revents.HUP then
      take_in(ends)
    elseif set[ends.output].revents.OUT then
      at = at + (unistd.write(ends.output, bytes:sub(at, at + 65535)) or 0)
    end
  end
end

local function take_frame(ends)
  if #ends.text < HEAD:packsize() then
    return nil
  end
  local _, kind, _, _, id, _, size = HEAD:unpack(ends.text)
  local first = HEAD:packsize() + 1
  if #ends.text - first + 1 < size then
    return nil
  end
  local frame = { kind = kind, id = id, payload = ends.text:sub(first, first + size - 1) }
  ends.text = ends.text:sub(first + size)
  return frame
end

--- The first frames that raw.send has met meanwhile, at most so many.
function raw.met(ends, most)
  local frames = {}
  while #frames < most do
    local frame = take_frame(ends)
    if not frame then
      break
    end
    frames[#frames + 1] = frame
  end
  return frames
end

--- So many frames that come in; fewer only when the other side has ended the connection.
function raw.answers(ends, count)
  local frames = {}
  while #frames < count do
    local frame = take_frame(ends)
    if frame then
      frames[#frames + 1] = frame
    else
      poll({ [ends.input] = { events = { IN = true } } }, -1)
      if not take_in(ends) then
        return frames
      end
    end
  end
  return frames
end

return raw
