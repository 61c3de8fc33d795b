--- Makes the blocking functions of luaposix and LuaSocket let requests run.
-- Each replacement waits as remoteobj does and then calls the original, which need not wait any more; so
-- parameters, results and errors are the original's.
-- @module remoteobj

local core = require "remoteobj.core"

local blocking = core.blocking
local EAGAIN, EINTR, ENOMSG = blocking.EAGAIN, blocking.EINTR, blocking.ENOMSG
local now = blocking.now

local replaced = setmetatable({}, { __mode = "k" }) -- original -> replacement
local is_ours = setmetatable({}, { __mode = "k" })  -- replacement -> true

-- The moment `seconds` from now, nil for never.
local function deadline_after(seconds)
  return seconds and now() + seconds
end

local function seconds_until(deadline)
  return deadline and math.max(0, deadline - now())
end

-- Is `n` an integer from 0 on, as luaposix takes it.
local function is_natural(n)
  n = math.tointeger(n)
  return n ~= nil and n >= 0
end

-- The results that were packed, as many as there were.
local function unpacked(results)
  return table.unpack(results, 1, results.n)
end

-- ---- luaposix ----

local posix = {} -- module -> function -> maker of the replacement, of the original and the module

posix["posix.unistd"] = {
  sleep = function(sleep)
    return function(seconds, ...)
      if select("#", ...) > 0 or not is_natural(seconds) then
        return sleep(seconds, ...)
      end
      local left = blocking.sleep(seconds)
      return math.floor(left)
    end
  end,
}

posix["posix.time"] = {
  nanosleep = function(nanosleep, time)
    local fields = { tv_sec = true, tv_nsec = true }
    local function is_plain(request)
      if type(request) ~= "table" then
        return false
      end
      for key in pairs(request) do
        if not fields[key] then
          return false
        end
      end
      local seconds, nanoseconds = request.tv_sec or 0, request.tv_nsec or 0
      return is_natural(seconds) and is_natural(nanoseconds) and nanoseconds < 1000000000
    end
    return function(request, ...)
      if select("#", ...) > 0 or not is_plain(request) then
        return nanosleep(request, ...)
      end
      local left, interrupted = blocking.sleep((request.tv_sec or 0) + (request.tv_nsec or 0) / 1e9)
      if not interrupted then
        return 0
      end
      local whole = math.floor(left)
      local rest = { tv_sec = whole, tv_nsec = math.floor((left - whole) * 1e9) }
      local model = time.clock_gettime and time.clock_gettime(0)
      setmetatable(rest, type(model) == "table" and getmetatable(model) or nil)
      return nil, "nanosleep: " .. blocking.message(EINTR), EINTR, rest
    end
  end,
}

-- What blocking.poll takes, of a table as luaposix takes it, where negative descriptors are left out.
local function watched(fds)
  local copy = {}
  for fd, entry in pairs(fds) do
    if fd >= 0 then
      copy[fd] = { events = entry.events }
    end
  end
  return copy
end

-- Calls `look` (with a timeout of 0) until it finds something or `milliseconds` have passed; waits on `fds` in
-- between.
local function poll_with(look, fds, milliseconds)
  local deadline = deadline_after(milliseconds >= 0 and milliseconds / 1000 or nil)
  while true do
    local results = table.pack(look())
    if results[1] ~= 0 or milliseconds == 0 then
      return unpacked(results)
    end
    local ready, why, errno = blocking.poll(fds(), seconds_until(deadline))
    if not ready then
      return nil, why, errno
    elseif ready == 0 then
      return look()
    end
  end
end

posix["posix.poll"] = {
  poll = function(poll)
    return function(fds, timeout, ...)
      if select("#", ...) > 0 or timeout ~= nil and not math.tointeger(timeout) then
        return poll(fds, timeout, ...)
      end
      return poll_with(function()
        return poll(fds, 0)
      end, function()
        return watched(fds)
      end, math.tointeger(timeout) or -1)
    end
  end,

  rpoll = function(rpoll)
    return function(fd, timeout, ...)
      if select("#", ...) > 0 or not math.tointeger(fd) or not math.tointeger(timeout) or fd < 0 then
        return rpoll(fd, timeout, ...)
      end
      local fds = { [math.tointeger(fd)] = { events = { IN = true } } }
      return poll_with(function()
        return rpoll(fd, 0)
      end, function()
        return fds
      end, math.tointeger(timeout))
    end
  end,
}

posix["posix.sys.wait"] = {
  wait = function(wait, module)
    local nohang = module.WNOHANG
    return function(pid, options, ...)
      local id, flags = math.tointeger(pid or -1), math.tointeger(options or 0)
      if select("#", ...) > 0 or not id or not flags or flags & nohang ~= 0 then
        return wait(pid, options, ...)
      end
      while true do
        local there, message, code = blocking.child(id, flags)
        if not there then
          return nil, message, code
        end
        local results = table.pack(wait(id, flags | nohang))
        if results[1] ~= 0 then -- else another thread has waited for it
          return unpacked(results)
        end
      end
    end
  end,
}

-- A replacement for `original`, whose first argument is the descriptor that it reads. `label` begins its messages.
local function reader(label)
  return function(original)
    return function(fd, ...)
      if is_natural(fd) then
        local ready, message, code = blocking.readable(math.tointeger(fd))
        if not ready then
          return nil, label .. message, code
        end
      end
      return original(fd, ...)
    end
  end
end

posix["posix.unistd"].read = function(original)
  local read = reader ""(original)
  return function(fd, ...)
    if ... == 0 then
      return original(fd, ...) -- of nothing there is always enough
    end
    return read(fd, ...)
  end
end

posix["posix.sys.socket"] = { accept = reader "accept: ", recv = reader "", recvfrom = reader "" }

posix["posix.sys.msg"] = {
  -- A System V queue has no descriptor: it can only be looked at.
  msgrcv = function(msgrcv, module)
    local nowait = module.IPC_NOWAIT
    return function(id, size, kind, flags, ...)
      if select("#", ...) > 0 or flags ~= nil and not math.tointeger(flags) or (flags or 0) & nowait ~= 0 then
        return msgrcv(id, size, kind, flags, ...)
      end
      local pause = 0.001
      while true do
        local results = table.pack(msgrcv(id, size, kind or 0, (flags or 0) | nowait))
        if results[1] or results[3] ~= ENOMSG and results[3] ~= EAGAIN then
          return unpacked(results)
        end
        local _, interrupted = blocking.sleep(pause)
        if interrupted then
          return nil, blocking.message(EINTR), EINTR
        end
        pause = math.min(pause * 2, 0.05)
      end
    end
  end,
}

-- ---- LuaSocket ----

local function descriptor(object)
  local ok, fd = pcall(function()
    return object:getfd()
  end)
  return ok and math.tointeger(fd) or -1
end

local function add_all(fds, list, event)
  for _, object in ipairs(list or {}) do
    local fd = descriptor(object)
    if fd >= 0 then
      fds[fd] = fds[fd] or { events = {} }
      fds[fd].events[event] = true
    end
  end
end

local function new_select(socket_select)
  return function(receivers, senders, timeout, ...)
    if timeout ~= nil and type(timeout) ~= "number" or timeout == 0 then
      return socket_select(receivers, senders, timeout, ...)
    end
    local deadline = deadline_after(timeout and timeout >= 0 and timeout or nil)
    while true do
      local results = table.pack(socket_select(receivers, senders, 0, ...))
      if results[3] ~= "timeout" or deadline and now() >= deadline then
        return unpacked(results)
      end
      local fds = {}
      add_all(fds, receivers, "IN")
      add_all(fds, senders, "OUT")
      core.poll(fds, seconds_until(deadline))
    end
  end
end

local stream_gettimeout -- gettimeout for unix stream sockets, once it is found that they need one

-- The two timeouts of `object`, in seconds: of each wait, and of an operation in total. Negative for none.
local function timeouts(object)
  return (object.gettimeout or stream_gettimeout)(object)
end

-- Calls `original` so that it does not wait; its results, packed.
local function at_once(original, object, block, ...)
  object:settimeout(0)
  local results = table.pack(pcall(original, object, ...))
  object:settimeout(block)
  if not results[1] then
    error(results[2], 0)
  end
  return table.pack(table.unpack(results, 2, results.n))
end

-- When an operation of `object` that begins now gives up: nil for never.
local function give_up_time(block, total)
  if block < 0 or total >= 0 and total < block then
    block = total
  end
  return deadline_after(block >= 0 and block or nil)
end

-- Waits for what `object` reads; false when the time has passed.
local function wait_readable(object, deadline)
  local fd = descriptor(object)
  if fd < 0 then
    return true
  end
  return core.poll({ [fd] = { events = { IN = true } } }, seconds_until(deadline)) > 0
end

-- Is this the end of what was to be read to its end? LuaSocket takes it for an error when nothing has come in the very
-- call that finds the end; here it is one only when nothing has come at all, after the program's `prefix`.
local function is_whole(results, pattern, prefix)
  return results[2] == "closed" and tostring(pattern):find "^%*a" and #results[3] > #tostring(prefix or "")
end

-- receive of stream sockets, which goes on with what has come so far.
local function new_receive(receive)
  return function(object, pattern, prefix, ...)
    local block, total = timeouts(object)
    if block == 0 or total == 0 then
      return receive(object, pattern, prefix, ...)
    end
    local deadline = give_up_time(block, total)
    pattern = pattern == nil and "*l" or pattern
    local so_far = prefix
    while true do
      local results = at_once(receive, object, block, pattern, so_far, ...)
      if not results[1] and is_whole(results, pattern, prefix) then
        return results[3]
      elseif results[1] or results[2] ~= "timeout" or not wait_readable(object, deadline) then
        return unpacked(results)
      end
      so_far = results[3]
    end
  end
end

-- accept, and the receiving functions of datagram sockets: nothing has come when they time out.
local function new_whole(original)
  return function(object, ...)
    local block, total = timeouts(object)
    if block == 0 or total == 0 then
      return original(object, ...)
    end
    local deadline = give_up_time(block, total)
    while true do
      local results = at_once(original, object, block, ...)
      if results[1] or results[2] ~= "timeout" or not wait_readable(object, deadline) then
        return unpacked(results)
      end
    end
  end
end

local socket_methods = {
  ["tcp{client}"] = { receive = new_receive },
  ["tcp{server}"] = { accept = new_whole },
  ["unixstream{client}"] = { receive = new_receive },
  ["unixstream{server}"] = { accept = new_whole },
  ["udp{connected}"] = { receive = new_whole, receivefrom = new_whole },
  ["udp{unconnected}"] = { receive = new_whole, receivefrom = new_whole },
  ["unixdgram{connected}"] = { receive = new_whole, receivefrom = new_whole },
  ["unixdgram{unconnected}"] = { receive = new_whole, receivefrom = new_whole },
}

-- ---- putting them into place ----

local function replace(container, name, make, module)
  local original = container[name]
  if type(original) ~= "function" or is_ours[original] then
    return
  end
  local replacement = replaced[original]
  if not replacement then
    replacement = make(original, module)
    replaced[original] = replacement
    is_ours[replacement] = true
  end
  container[name] = replacement
end

local function replace_all(container, makers, module)
  for name, make in pairs(makers) do
    replace(container, name, make, module)
  end
end

-- The metatable and the methods of a class of LuaSocket's, nil if it is not there: classes are in the registry.
local function class_of(name)
  local metatable = rawget(debug.getregistry(), name)
  local methods = type(metatable) == "table" and rawget(metatable, "__index")
  if type(methods) == "table" then
    return metatable, methods
  end
end

local function patch_methods()
  for class, makers in pairs(socket_methods) do
    local _, methods = class_of(class)
    if methods and (methods.gettimeout or stream_gettimeout) then
      replace_all(methods, makers)
    end
  end
end

-- LuaSocket (up to 3.1 at least) gives unix stream sockets no gettimeout, but unix datagram sockets, which are the
-- same C structure, have one. It takes what belongs to their group; so the streams join that. Remembering what
-- settimeout was given would not do: sockets may be older than the patches. A trial on a new socket tells whether
-- the method reads what was set; if not, the streams stay as they are.
local function find_stream_gettimeout(module)
  local _, datagram = class_of "unixdgram{unconnected}"
  local gettimeout = datagram and datagram.gettimeout
  local master, stream = class_of "unixstream{master}"
  if stream_gettimeout or not gettimeout or not master or stream.gettimeout then
    return
  end
  local socket = module.stream and module.stream()
  if not socket then
    return
  end
  local group = "unixdgram{any}"
  rawset(master, group, true)
  socket:settimeout(1.5)
  socket:settimeout(2.5, "t")
  local fine, block, total = pcall(gettimeout, socket)
  socket:close()
  if not fine or block ~= 1.5 or total ~= 2.5 then
    rawset(master, group, nil)
    return
  end
  for _, class in ipairs { "unixstream{client}", "unixstream{server}" } do
    rawset(class_of(class), group, true)
  end
  stream_gettimeout = gettimeout
end

local patches = {}
for name, makers in pairs(posix) do
  patches[name] = function(module)
    replace_all(module, makers, module)
  end
end
patches["socket.core"] = function(module)
  replace_all(module, {
    sleep = function()
      return function(seconds)
        core.sleep(seconds)
      end
    end,
    select = new_select,
  })
  patch_methods()
end
patches["socket.unix"] = function(module)
  find_stream_gettimeout(module)
  patch_methods()
end
for _, name in ipairs { "socket.unixstream", "socket.unixdgram" } do -- of their own in some releases
  patches[name] = patch_methods
end

-- Puts the replacements where a table holds originals.
local function patch_copies(container)
  for key, value in next, container do
    if type(value) == "function" and replaced[value] then
      rawset(container, key, replaced[value])
    end
  end
end

-- Functions written in Lua may have taken an original as an upvalue, or have an environment or another table that
-- holds it.
local function patch_upvalues(func)
  for i = 1, 255 do
    local name, value = debug.getupvalue(func, i)
    if not name then
      return
    elseif type(value) == "function" and replaced[value] then
      debug.setupvalue(func, i, replaced[value])
    elseif type(value) == "table" and value ~= _G then
      patch_copies(value)
    end
  end
end

-- `value` may be a function, or a table that can be called like one, as posix.poll is.
local function patch_callable(value)
  if type(value) == "table" then
    local metatable = debug.getmetatable(value)
    value = metatable and rawget(metatable, "__call")
  end
  if type(value) == "function" and not is_ours[value] then
    patch_upvalues(value)
  end
end

local function patch_users()
  for name, module in pairs(package.loaded) do
    if type(module) == "table" and module ~= _G then
      patch_copies(module)
      if type(name) == "string" and (name:match "^posix" or name:match "^socket") then
        patch_callable(module)
        for _, value in next, module do
          patch_callable(value)
        end
      end
    end
  end
end

local function patch_module(name)
  local module = package.loaded[name]
  if type(module) == "table" then
    patches[name](module)
  end
end

-- A searcher that finds nothing itself: it lets the others find the module, and patches it once it is loaded.
local function searcher(name)
  if not patches[name] then
    return nil
  end
  for _, search in ipairs(package.searchers) do
    if search ~= searcher then
      local loader, extra = search(name)
      if type(loader) == "function" then
        return function(...)
          local module = loader(...)
          if type(module) == "table" then
            patches[name](module)
          end
          return module
        end, extra
      end
    end
  end
  return nil
end

local function is_installed()
  for _, search in ipairs(package.searchers) do
    if search == searcher then
      return true
    end
  end
  return false
end

--- Lets requests run while functions of luaposix and LuaSocket sleep, poll, wait and read, also of modules that are
-- loaded later. Patching again does no harm.
-- @function patch_blocking
return function()
  for name in pairs(patches) do
    patch_module(name)
  end
  patch_users()
  if not is_installed() then
    table.insert(package.searchers, 1, searcher)
  end
end
