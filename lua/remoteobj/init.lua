--- Remote objects for Lua 5.4.
--
-- A script forks a process, leaves an object in it, and goes on using it through a proxy as if it were here.
--
-- Misuse (a bad argument, an unknown name or option) raises an ordinary string. What goes wrong otherwise raises an
-- `Error`, or what was raised in the other process: an error that is a table arrives as a copy with its metatable,
-- any other as a `RemoteError`.
-- @module remoteobj
-- @usage
-- local remoteobj = require "remoteobj"
-- local remote = remoteobj.Proxy({ speed = 1 })
-- local process <close> = remoteobj.process(function()
--   remote:listen_()
--   remoteobj.sleep(60)
-- end):start()
-- remote:wait_until_listening(process)
-- print(remote.speed.__)
-- process:terminate()

local core = require "remoteobj.core"

core.use_classes(require "remoteobj.classes")

-- A process of ours ends without closing its Lua state: its clients are told all the same.
require("remoteobj.child").at_end(core.end_listeners)

local remoteobj = {
  Proxy = core.Proxy,
  get = core.get,
  callback = core.callback,
  sleep = core.sleep,
  poll = core.poll,
  wait = core.wait,
  patch_blocking = require "remoteobj.patch",
  limits = core.limits,
  trace = core.trace,
  stats = core.stats,
  pack = core.pack,
  unpack = core.unpack,
  register = core.register,
  Error = core.Error,
  RemoteError = core.RemoteError,
  traceback = core.traceback,
}

for _, part in ipairs { "except", "spawn", "util", "pool" } do
  for name, value in pairs(require("remoteobj." .. part)) do
    remoteobj[name] = value
  end
end

return remoteobj
