-- What the library really offers, looked up in the library itself: owner -> { name -> true }. Owners are the module
-- ("remoteobj"), its tables and classes, and "options of F" for each function F that takes a table of options.
local remoteobj = require "remoteobj"
local core = require "remoteobj.core" -- after the whole, which may bring it along

local exports = {}

-- What metatables have for their own working, and does nothing that users could write.
local PLUMBING = { __gc = true, __index = true, __newindex = true }

local function set_of(t, keep)
  local set = {}
  for name in pairs(t) do
    if keep == nil or keep(name) then
      set[name] = true
    end
  end
  return set
end

local function join(...)
  local all = {}
  for _, set in ipairs { ... } do
    for name in pairs(set) do
      all[name] = true
    end
  end
  return all
end

local function is_public(name)
  return name:sub(1, 1) ~= "_"
end

--- The table in an upvalue of a function: the one of that name, or the first one of a C function.
local function table_in(func, wanted)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(func, i)
    assert(name, "no such upvalue")
    if type(value) == "table" and (name == wanted or name == "") then
      return value
    end
  end
end

local function metamethods(value, also)
  local metatable = debug.getmetatable(value)
  return set_of(metatable, function(name)
    return type(name) == "string" and type(metatable[name]) == "function"
      and (not PLUMBING[name] or also ~= nil and also[name])
  end)
end

local function class_in_lua(value, index)
  local methods, getters = table_in(index, "methods"), table_in(index, "getters")
  return join(set_of(methods, is_public), set_of(getters), set_of(value, is_public), metamethods(value))
end

local function proxy_class(proxy)
  local index = debug.getmetatable(proxy).__index
  return join(set_of(table_in(index)), metamethods(proxy, { __index = true, __newindex = true }))
end

local function future_class(future)
  local metatable = debug.getmetatable(future)
  return join(set_of(metatable.__index), metamethods(future))
end

local function pool_class()
  local pool <close> = remoteobj.pool(1)
  return join(set_of(getmetatable(pool).__index, is_public), set_of(pool, is_public), metamethods(pool))
end

local function handle_class(proxy)
  local handle = proxy:listen_ { bg = false }
  proxy:stop_listen_()
  return metamethods(handle)
end

--- The names of options: a function that is given one that is not there lists them.
local function options_of(func, ...)
  local ok, message = pcall(func, ...)
  assert(not ok)
  local set = {}
  for name in tostring(message):match "unknown option 'no_such' %(there are ([%w_, ]+)%)":gmatch "[%w_]+" do
    set[name] = true
  end
  return set
end

local function all_options(proxy)
  local pool <close> = remoteobj.pool(1)
  local wrong = { no_such = 1 }
  local exc = remoteobj.LocalExcept()
  return {
    ["Proxy"] = options_of(remoteobj.Proxy, {}, wrong),
    ["get"] = options_of(remoteobj.get, proxy, wrong),
    ["Proxy:get_"] = options_of(proxy.get_, proxy, wrong),
    ["Proxy:with_"] = options_of(proxy.with_, proxy, wrong),
    ["Proxy:listen_"] = options_of(proxy.listen_, proxy, wrong),
    ["Proxy:wait_until_listening"] = options_of(proxy.wait_until_listening, proxy, wrong),
    ["wait"] = options_of(remoteobj.wait, {}, wrong),
    ["process"] = options_of(remoteobj.process, { print, no_such = 1 }),
    ["thread"] = options_of(remoteobj.thread, { print, no_such = 1 }),
    ["job"] = options_of(remoteobj.job, { print, no_such = 1 }),
    ["Except"] = options_of(remoteobj.Except, wrong),
    ["LocalExcept"] = options_of(remoteobj.LocalExcept, wrong),
    ["Except:__call"] = options_of(exc, wrong),
    ["unpack"] = options_of(remoteobj.unpack, "", wrong),
    ["pool"] = options_of(remoteobj.pool, 1, wrong),
    ["Pool:map"] = options_of(pool.map, pool, print, {}, wrong),
    ["Pool:imap"] = options_of(pool.imap, pool, print, {}, wrong),
    ["util.listener"] = options_of(remoteobj.util.listener, {}, wrong),
  }
end

-- ---- errors ----

local function error_of(func, ...)
  local ok, err = pcall(func, ...)
  assert(not ok)
  return err
end

local function kill_me()
  os.execute "kill -9 $PPID"
end

--- An error of the library of each kind.
function exports.errors()
  local proxy = remoteobj.Proxy {}
  local server = remoteobj.process(function()
    proxy:listen_ { bg = false }
    proxy:poll(60)
  end)
  server:start()
  proxy:wait_until_listening(server)
  local cut_off = error_of(proxy.passto, proxy, kill_me)
  return {
    cut_off,
    error_of(server.join, server),
    error_of(remoteobj.get, proxy.x),
    error_of(proxy.wait_until_listening, proxy, { timeout = 0 }),
    error_of(remoteobj.pack, io.stdout),
    error_of(remoteobj.unpack, "\xc1"),
  }
end

local function error_class()
  local fields = {}
  for _, err in ipairs(exports.errors()) do
    fields = join(fields, set_of(err))
  end
  return join(fields, metamethods(setmetatable({}, remoteobj.Error)))
end

local function remote_error_class()
  local process = remoteobj.process(error, "text")
  process:start()
  local err = error_of(process.join, process)
  assert(getmetatable(err) == remoteobj.RemoteError)
  return join(set_of(err), metamethods(err))
end

-- ---- seeing inside ----

--- An operation as a function that traces is given it: one that fails, so that it has all fields.
local function operation()
  local seen
  remoteobj.trace(function(op) seen = op end)
  error_of(remoteobj.get, remoteobj.Proxy({}).x)
  remoteobj.trace(nil)
  return seen
end

-- ---- all of it ----

--- What is exported, as said above.
function exports.all()
  local proxy, process = remoteobj.Proxy({}), remoteobj.process { print, group_ = "g" }
  local thread = remoteobj.thread { print, group_ = "g" }
  local exc, own = remoteobj.Except(), remoteobj.LocalExcept()
  local stats = remoteobj.stats()
  local all = {
    remoteobj = set_of(remoteobj),
    limits = set_of(remoteobj.limits),
    util = set_of(remoteobj.util),
    Proxy = proxy_class(proxy),
    Stats = set_of(proxy:stats_()),
    ProcessStats = set_of(stats),
    Times = set_of(stats.total.round_trips),
    Operation = set_of(operation()),
    Listening = handle_class(proxy),
    Callback = metamethods(remoteobj.callback(print)),
    Future = future_class(core._future.new()),
    Pool = pool_class(),
    Process = class_in_lua(process, getmetatable(process).__index),
    Thread = class_in_lua(thread, getmetatable(thread).__index),
    Except = join(class_in_lua(exc, getmetatable(exc).__index), class_in_lua(own, getmetatable(own).__index)),
    Context = metamethods(exc()),
    Error = error_class(),
    RemoteError = remote_error_class(),
  }
  for name, options in pairs(all_options(proxy)) do
    all["options of " .. name] = options
  end
  return all
end

--- The kinds of errors, as the library spells them.
function exports.kinds()
  local file <close> = assert(io.open "src/base/error.c")
  local set = {}
  for name in file:read "a":match "kind_names%[%] = (%b{})":gmatch '"(%w+)"' do
    set[name] = true
  end
  return set
end

--- The public functions of C hosts: what the static library shows.
function exports.c_functions(library)
  local set = {}
  local pipe <close> = assert(io.popen(("nm --defined-only -g '%s'"):format(library)))
  for line in pipe:lines() do
    local name = line:match "^%x+ [TDBRV] ([%w_]+)$"
    if name then
      set[name] = true
    end
  end
  return set
end

return exports
