--- What a process does that was started here, from its first moment to its last. Errors in it are never seen by the
-- parent's frames.

local core = require "remoteobj.core"
local worker = require "remoteobj.worker"

local native = core._process

local child = {}

-- What is to be done at the end of a process that was started here, whichever way it ends by itself.
local endings = {}

--- Has func() called at the end of processes started from now on.
function child.at_end(func)
  endings[#endings + 1] = func
end

local function run_endings()
  local due = endings
  endings = {} -- one of them may end the process itself
  for i = #due, 1, -1 do
    local ok, message = pcall(due[i])
    if not ok then
      io.stderr:write("remoteobj: ", tostring(message), "\n")
    end
  end
end

--- os.exit of a child: neither the parent's pending closes nor its finalizers are this process's business.
local function exit_child(code)
  if code == nil or code == true then
    code = 0
  elseif code == false then
    code = 1
  elseif math.type(code) ~= "integer" then
    local number = math.tointeger(tonumber(code))
    if not number then
      error(("bad argument #1 to 'exit' (number expected, got %s)"):format(type(code)), 2)
    end
    code = number
  end
  run_endings()
  native.exit(code)
end

local channel -- that of this process

local function next_thrown()
  return channel:next_thrown()
end

--- From now on errors can be thrown into the function. Where limits.signal can't be used, nobody throws.
local function heed(self)
  channel = self._channel
  if native.heed(next_thrown) and channel.journal:attend() then
    native.look()
  end
end

--- All that a child does. Returns its exit code.
function child.run(self)
  native.name_process(self.name)
  os.exit = exit_child -- luacheck: ignore 122
  self._inside = native.getpid()
  if self._known_as and type(self._func) == "function" then
    native.name_function(self._func, self._known_as)
  end
  local ok, problem = pcall(heed, self)
  if not ok then -- who throws must not wait for what never comes
    self._func, self._arguments = error, { problem, 0, n = 2 }
  end
  local code = worker.run(self)
  run_endings()
  return code
end

return child
