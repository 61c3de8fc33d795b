-- Is the installed library below the folder arg[1] whole? Uses it as a program would: an object in a process of
-- its own, asked from here. Every file of the library must come from that folder: the C module alone, which has the
-- Lua half inside, where package.path leads to no files.
local root = assert(arg[1], "usage: check-installed.lua FOLDER")
local remoteobj, origin = require "remoteobj"

local Counter = { count = 40 }
Counter.__index = Counter

function Counter:add(n)
  self.count = self.count + n
  return self.count
end

local counter = setmetatable({}, Counter)
local remote = remoteobj.Proxy(counter)

local function serve()
  local _ <close> = remote:listen_()
  while not counter.stopped do
    remoteobj.sleep(0.01)
  end
end

do
  local process <close> = remoteobj.process(serve):start()
  remote:wait_until_listening(process)
  assert(remote:add(2) == 42)
  remote.stopped = true
end

local function check(name, file)
  assert(file and file:sub(1, #root) == root, name .. " comes from " .. tostring(file))
end

check("remoteobj", origin)
check("remoteobj.core", package.searchpath("remoteobj", package.cpath))
if origin:match "%.lua$" then
  for name in pairs(package.loaded) do
    if name:match "^remoteobj" and name ~= "remoteobj.core" then
      check(name, package.searchpath(name, package.path))
    end
  end
end
print("the library in " .. root .. " works")
