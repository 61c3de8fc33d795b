--- The names of the original's module of utilities.
-- @module remoteobj

local core = require "remoteobj.core"
local naming = require "remoteobj.naming"
local options = require "remoteobj.options"
local spawn = require "remoteobj.spawn"

local native = core._process
local aside = native.aside
local unpack = table.unpack

-- Seconds that a listener that can't be told to stop has to end by SIGTERM.
local GRACE = 2

--- The names of the original's module of utilities.
-- @type util

local util = {
  --- The same as `process`.
  -- @function util.process
  process = spawn.process,

  --- The same as `thread`.
  -- @function util.thread
  thread = spawn.thread,

  --- The same as `job`.
  -- @function util.job
  job = spawn.job,

  --- Prints as Lua's `print` does, but in one write: lines of several processes don't mix. (Into a pipe the system may
  -- split a line of more than `PIPE_BUF` bytes, which is 4096 on Linux.)
  -- @function util.mprint
  -- @param ... any values
  -- @raise when standard output can't be written to
  mprint = native.print,

  --- Ends the process as a crash does, by SIGSEGV: for tests of what survives that.
  -- @function util.segfault
  segfault = native.segfault,
}

-- ---- listeners ----

local known = options.with {
  bg = options.boolean,
  callback = options.callable,
  delay = options.seconds,
  exc_ = options.except,
  wait = options.boolean,
  wait_timeout = options.seconds,
}
known.close_ = nil -- which is how the listener is told to stop

local function is_proxy(value)
  local metatable = type(value) == "userdata" and debug.getmetatable(value)
  return metatable and rawget(metatable, "__name") == "remoteobj.Proxy"
end

--- The proxy that stands for an object: itself, its field `remote`, or a new one.
local function proxy_of(object)
  if is_proxy(object) then
    return object
  end
  local remote = type(object) == "table" and object.remote
  return is_proxy(remote) and remote or core.Proxy(object)
end

--- What the process does: serves, and calls the callback between requests, until `control` has been told to stop.
local function serve(object, remote, control, given)
  local callback, bg = given.callback, given.bg
  local _ <close> = control.remote:listen_ { bg = false } -- first: who finds that it serves can tell it to stop
  local _ <close> = remote:listen_ { bg = bg }
  local readable = { events = { IN = true } }
  local fds = { [control.remote:fileno_()] = readable }
  if not bg then
    fds[remote:fileno_()] = readable
  end
  repeat
    if callback then
      callback(object)
    end
    core.poll(fds, callback and given.delay or nil)
    if not bg then
      remote:process_requests()
    end
    control.remote:process_requests()
  until control.stopped
end
native.name_function(serve)

--- Tells the process to stop. Returns false when it has not heard of that; true, too, when it has ended.
local function tell(control, timeout)
  local remote = control.remote
  if not remote:wait_until_listening(control.process, { fail = false }) then
    return true
  end
  local ok, problem = pcall(remote.set_, remote:with_ { timeout = timeout }, "stopped", true)
  local kind = getmetatable(problem) == core.Error and problem.kind
  if ok or kind == "Timeout" then -- it is at its callback, and will hear of it
    return true
  elseif kind == "NotListening" or kind == "Disconnected" then
    return false
  end
  error(problem, 0)
end

--- Ends a process that can't be told to stop.
local function put_down(process)
  aside(process.terminate, process)
  local ok, ended = aside(process.join, process, GRACE)
  if not (ok and ended) and process:is_alive() then
    process:kill()
  end
end

--- A remote control of the process: `stop` is safe whatever has become of it, and is heard by one that is only about to
-- listen. Where the system refuses what it takes it raises that, but the process stops or ends all the same.
local function new_control(timeout)
  local control = { stopped = false, remote = nil, process = nil, stop = nil }
  control.remote = core.Proxy(control)
  function control.stop()
    local ok, told = pcall(tell, control, timeout)
    if ok and told then
      return
    end
    local again, told_now = pcall(tell, control, timeout) -- it may have been a moment's lack
    if not again or not told_now then
      put_down(control.process)
    end
    if not ok or not again then
      error(ok and told_now or told, 0)
    elseif not told_now then
      error(("process '%s' could not be told to stop, and was terminated"):format(control.process.name), 0)
    end
  end
  return control
end

--- Waits until the process listens; where it does not, ends it and raises why.
local function await(process, remote, timeout)
  local ok, problem = pcall(remote.wait_until_listening, remote, process, { timeout = timeout })
  if ok then
    return
  end
  process:kill()
  process:join()
  error(problem, 0)
end

--- Starts the process, of which all is known.
local function start(object, given)
  if object == nil then
    error("bad argument #1 to 'listener' (an object expected, got nil)", 3)
  end
  local remote, control = proxy_of(object), new_control(given.timeout_)
  if remote.listening_ then
    error("bad argument #1 to 'listener' (somebody listens for it already)", 3)
  end
  if given.bg == nil then
    given.bg = given.callback ~= nil
  end
  given.delay = given.delay or 0
  local process = spawn.process {
    serve, object, remote, control, given,
    name_ = given.name_ or naming.numbered("process", "listener"),
    group_ = given.group_,
    daemon_ = given.daemon_,
    timeout_ = given.timeout_,
    raises_ = given.raises_,
    results_ = given.results_,
    exc_ = given.exc_,
    close_ = control.stop,
  }
  process:start()
  control.process = process
  if given.wait ~= false then
    await(process, remote, given.wait_timeout)
  end
  return process, remote
end

--- A started process that listens for an object, for trials and tests. The end of the `<close>` variable's block stops
-- and joins it. Where the system refuses the descriptors or the memory that it takes to tell the process, that is
-- raised there, and the process is terminated, and killed if it lives on for two seconds.
-- @function util.listener
-- @param object any object, or a proxy; a proxy in its field `remote` is used, else it gets one
-- @tparam[opt] table options these, and those of `process` but `close_`
-- @tparam[opt] function options.callback called with the object there, again and again
-- @tparam[opt] boolean options.bg serve in the background, by default with a callback only; else between its calls
-- @tparam[opt=0] number options.delay seconds between two calls of the callback
-- @tparam[opt=true] boolean options.wait return when it listens
-- @tparam[opt] number options.wait_timeout seconds that this may take
-- @tparam[opt] string options.name_ as of `process`
-- @param[opt] options.group_ as of `process`
-- @tparam[opt=true] boolean options.daemon_ as of `process`
-- @tparam[opt] number options.timeout_ as of `process`
-- @tparam[opt=true] boolean options.raises_ as of `process`
-- @tparam[opt=true] boolean options.results_ as of `process`
-- @tparam[opt] Except options.exc_ as of `process`
-- @treturn Process the process
-- @treturn Proxy the proxy
-- @raise when somebody listens for the object already; what has ended the process before it listened; `Timeout`
-- @usage local process <close>, remote = remoteobj.util.listener { speed = 1 }
function util.listener(object, given)
  local process, remote = start(object, options.named("listener", 2, known, given))
  return process, remote
end

--- Makes of a function one that gives listeners whose callback it is.
-- @function util.listener_func
-- @tparam function func called as `func(object, ...)` again and again in the process
-- @param ... its further arguments
-- @treturn function called as `util.listener`
-- @usage
-- local counting = remoteobj.util.listener_func(Counter.count, 1)
-- local process <close> = counting(counter)
function util.listener_func(func, ...)
  local good, expected = options.callable(func)
  if not good then
    error(("bad argument #1 to 'listener_func' (%s expected, got %s)"):format(expected, type(func)), 2)
  end
  local arguments = table.pack(...)
  local function callback(object)
    return func(object, unpack(arguments, 1, arguments.n))
  end
  native.name_function(callback)
  return function(object, given)
    local copy = options.named("listener", 2, known, given)
    copy.callback = callback
    local process, remote = start(object, copy)
    return process, remote
  end
end

return { util = util }
