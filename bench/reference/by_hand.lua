-- What one would write by hand: a pair of sockets, messages packed by cmsgpack, an object's methods called by name.
--
-- Usage: by_hand.lua call | echo
-- Each line of input is a count; the answer is a line with the seconds that so many calls took. `echo` sends
-- 64 MiB there and back.
local cmsgpack = require "cmsgpack"
local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local unistd = require "posix.unistd"

local function send(connection, message)
  assert(connection:write(string.pack("<s4", cmsgpack.pack(message))))
  assert(connection:flush())
end

local function receive(connection)
  local head = connection:read(4)
  return head and cmsgpack.unpack(connection:read((string.unpack("<I4", head))))
end

local function serve(connection)
  local object = { count = 0 }
  function object:add(n)
    self.count = self.count + n
    return self.count
  end
  function object.echo(_, value)
    return value
  end
  for request in receive, connection do
    send(connection, { object[request[1]](object, table.unpack(request, 2)) })
  end
end

local function call(connection, ...)
  send(connection, { ... })
  return receive(connection)[1]
end

local function main(what)
  local here, there = socket.pair()
  here:setmode("bn", "bn")
  there:setmode("bn", "bn")
  if unistd.fork() == 0 then
    here:close()
    serve(there)
    unistd._exit(0)
  end
  there:close()
  local argument = what == "echo" and ("x"):rep(64 * 1024 * 1024) or 1
  local method = what == "echo" and "echo" or "add"
  for line in io.lines() do
    local begin = cqueues.monotime()
    for _ = 1, tonumber(line) do
      call(here, method, argument)
    end
    print(cqueues.monotime() - begin)
    io.stdout:flush()
  end
end

main(arg[1])
