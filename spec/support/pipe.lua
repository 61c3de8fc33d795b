-- A pipe whose ends are closed by exec: two descriptors, to read from and to write to.
local fcntl = require "posix.fcntl"
local unistd = require "posix.unistd"

return function()
  local reading, writing = assert(unistd.pipe())
  fcntl.fcntl(reading, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
  fcntl.fcntl(writing, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
  return reading, writing
end
