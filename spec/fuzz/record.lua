-- Writes files of spec/corpus: what clients, listeners and children really say to each other, and callbacks, whose
-- frames are put together here. For the targets `requests`, `answers` and `bodies`; run from the project's folder with
-- a build that Lua finds.
package.path = "./?.lua;" .. package.path
local core = require "remoteobj.core"
local processes = require "spec.support.processes"
local raw = require "spec.support.raw"
local remoteobj = require "remoteobj"
local unistd = require "posix.unistd"

local function write_file(name, bytes)
  local file = assert(io.open("spec/corpus/" .. name, "wb"))
  assert(file:write(bytes))
  file:close()
end

-- What was written to the other side and is not taken yet; it stays there.
local function look(ends)
  local bytes = unistd.read(ends.guard, 65536) or ""
  assert(#bytes == 0 or unistd.write(ends.output, bytes) == #bytes)
  return bytes
end

local function new_object()
  local object = { n = 0, numbers = { 1, 2, 3 }, words = { a = "b", c = { d = "e" } } }
  function object.echo(_, ...) return ... end
  function object:add(n)
    self.n = self.n + n
    return self
  end
  function object.fail(_, what) error(what) end
  function object:list() return { 1, { 2, "three" }, self } end
  function object.make() return {} end
  return object
end

-- Everything that a client sends, and that a listener answers, while act(proxy, answer) goes on. It may not wait for an
-- answer but by answer(), after which what was sent so far has been answered.
local function record(name, act)
  local proxy = remoteobj.Proxy(new_object())
  local client, before_there = unistd.getpid(), nil
  local server = processes.serve(proxy, function(link)
    while link:receive() do
      while proxy:process_requests() == 0 do
        proxy:poll(60)
      end
      while proxy:process_requests() > 0 do
      end
      link:send(look(raw.link(before_there, client)))
    end
  end, { bg = false }, function() before_there = raw.open() end)
  local before, ends = raw.open(), nil
  local said, answered = {}, {}
  local function sent()
    ends = ends or raw.link(before, server.pid)
    said[#said + 1] = look(ends)
  end
  act(proxy, function()
    sent()
    server:send(true)
    answered[#answered + 1] = server:receive()
  end)
  sent()
  server:send(false)
  server:result()
  write_file("requests/" .. name, table.concat(said))
  if #answered > 0 then
    write_file("answers/" .. name, table.concat(answered))
  end
end

local function collect()
  collectgarbage()
  collectgarbage()
end

record("references", function(proxy, answer)
  local async = proxy:with_ { async = true }
  local future = async:with_({ ref = true }):list()
  answer()
  local list = future:get()
  async:echo(list, list[1])
  list:with_({ async = true, ref = true })[2]:get_()
  answer()
  future, list = nil, nil
  collect()
  async:echo(future, list)
end)

record("futures", function(proxy, answer)
  local async = proxy:with_ { async = true }
  local list = async:list()
  async:echo(list, list)
  async:echo(async:fail("no"))
  answer()
  list = nil
  collect()
  async:add(5)
  proxy:with_({ oneway = true }):echo(list)
end)

record("oneway", function(proxy)
  local oneway = proxy:with_ { oneway = true }
  oneway:add(5)
  oneway:fail { code = 7 }
  oneway.n = 7
  oneway:passto(function(object, by) object.n = object.n + by end, 5)
end)

record("callback-of-a-future", function(proxy)
  local seen = 0
  proxy:with_({ async = true }):each(remoteobj.callback(function(x) seen = seen + x end), 1, 2)
end)

-- Callbacks: the request is what a client has sent, the answers are those that it could give.
local file = assert(io.open("spec/corpus/requests/callback-of-a-future", "rb"))
local request = file:read "a"
file:close()
local left = raw.frame(raw.KINDS.left, "", { id = 1 })
for name, frame in pairs {
  reply = raw.frame(raw.KINDS.reply, "\5\xa1x", { id = 1 }),
  failure = raw.frame(raw.KINDS.failure, "\xc3\xa2\xa1x\xa1x\xc0\1\xa1p", { id = 1 }),
  refused = raw.frame(raw.KINDS.refused, "", { id = 1 }),
  damaged = raw.frame(raw.KINDS.reply, "\x92\1", { id = 1 }),
  left = left,
} do
  write_file("requests/callback-" .. name, request .. frame .. left)
end

local function call(request_id, id, payload)
  return raw.frame(raw.KINDS.callback, ("<I8"):pack(request_id) .. payload, { id = id })
end

write_file("answers/callbacks", call(1, 1, "\1\5\xa1x") .. call(1, 2, "\1\x91\1") .. raw.frame(2, "\7", { id = 1 }))
write_file("answers/callbacks-of-nobody", call(1, 1, "\2") .. call(2, 2, "\1") .. call(9, 3, "\1") .. call(1, 4, ""))
write_file("answers/fault", raw.frame(raw.KINDS.fault, "the listener is weary"))
write_file("answers/refused", raw.frame(4, "", { id = 1 }) .. raw.frame(4, "", { id = 3 }))
write_file("answers/taken", raw.frame(raw.KINDS.taken, "", { id = 3 }) .. raw.frame(raw.KINDS.taken, "x", { id = 9 }))
write_file("answers/late", raw.frame(2, "\xd5\x12\1\1", { id = 9, deadline = 1 }) .. raw.frame(3, "", { id = 3 }))

-- Bodies: what a process has recorded, read from its journal.
local function body(name, odd, append)
  local before = raw.open()
  local journal = core._process.journal()
  append(journal)
  local fd = raw.new(before, "%(deleted%)$", 2)
  local content = assert(io.open("/proc/self/fd/" .. fd, "rb"))
  local bytes = content:read("a"):sub(1 + 40)
  content:close()
  local length = ("=I4"):unpack(bytes)
  write_file("bodies/" .. name, string.char(odd) .. bytes:sub(1 + 4 + length))
  journal:close()
end

local shared = { 1 }
shared.self = shared
body("values", 0, function(journal) journal:append_values(1, 1, 1, nil, 1, "two", { 3, { four = 5.5 } }, nil) end)
body("shared", 0, function(journal) journal:append_values(1, 1, 1, "group", shared, { shared }) end)
body("function", 0, function(journal) journal:append_values(1, 1, 1, nil, print, function() return shared end) end)
body("proxy", 0, function(journal) journal:append_values(1, 1, 1, nil, remoteobj.Proxy({}).x[5]) end)
body("nothing", 0, function(journal) journal:append_values(1, 1, 1, nil) end)
for name, value in pairs { text = "text", table = { code = 7 }, userdata = io.stdout } do
  body("failure-" .. name, 1, function(journal)
    local exc = remoteobj.LocalExcept()
    exc { raises = false } (error, value)
    journal:append_failure(1, 1, 1, nil, exc.last)
  end)
end
