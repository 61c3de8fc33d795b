--- The handle of a thread.
-- @module remoteobj

local core = require "remoteobj.core"
local book = require "remoteobj.book"
local channels = require "remoteobj.channel"
local handle = require "remoteobj.handle"
local worker = require "remoteobj.worker"

local native = core._thread
local getpid = core._process.getpid
local value_of, keep_traceback = core._process.value_of, core._process.keep_traceback
local pack, unpack = table.pack, table.unpack

local methods = {}

--- A thread that runs a function: what `thread` gives. It has the interface of a `Process`, but for `terminate` and
-- `kill`, which no thread can have: `throw` takes their place. A `<close>` variable of it joins at the end of the
-- block. Dropping the handle changes nothing: the thread goes on.
-- @type Thread

--- Its name: `name_`, or the function's name and a number, which counts threads alone.
-- @tfield string name

--- What `group_` was: the group of its errors in `exc`.
-- @tfield any group

--- Is it ended when the Lua state is closed, rather than waited for?
-- @tfield boolean daemon

--- The process id of the process that it is a thread of; nil before `start`.
-- @tfield integer pid

--- A descriptor that is readable once the thread has ended; nil before `start`.
-- @tfield integer sentinel

--- nil while the thread runs; 0 after a return, 1 after an error.
-- @tfield integer exitcode

--- The LocalExcept with the very errors of the thread.
-- @tfield Except exc

--- The first value returned, nil until then; of a thread that has yielded its one iterator.
-- @tfield any result

--- Starts the thread. It shares all values with the program and its other threads.
-- @function Thread:start
-- @treturn Thread the handle itself
-- @raise when it was started already, or the system refuses a thread

--- Waits for the end. Values that were yielded are taken in meanwhile and can still be iterated over.
-- @function Thread:join
-- @tparam[opt] number timeout seconds; the default is `timeout_`, or without end
-- @treturn boolean has it ended
-- @raise the very error that has ended it, but with `raises_ = false`

--- Has it been started and not ended yet?
-- @function Thread:is_alive
-- @treturn boolean

--- Raises the error that has ended the thread, else the last in `exc`; nothing when there is none.
-- @function Thread:raise_any
-- @param[opt] name a group: its last error alone; nil is the group without a name

--- All that the function has returned; nothing until then.
-- @function Thread:results
-- @return its results

--- Iterates over what the thread yields, waiting for each. Leaving the loop early ends the thread at its next yield.
-- @function Thread:iter
-- @return what a generic `for` needs
-- @raise at the end the error that has ended the thread, if there is one

--- Joins. The thread's error takes the place of one that the block has raised.
-- @function Thread:__close

--- Its name, and how it goes.
-- @function Thread:__tostring
-- @treturn string text for messages

-- ---- what it tells ----

-- Values on their way, as the bodies of what processes tell are.
local Values = {}
Values.__index = Values

function Values:values()
  return unpack(self, 1, self.n)
end

-- The channel of a thread: what it tells is there at once.
local Channel = {}
Channel.__index = Channel

function Channel.pull()
end

function Channel.lend()
end

-- The LocalExcept with the thread's errors, made when it is needed.
function Channel:book()
  local made = self.exc
  if not made then
    made = book.LocalExcept()
    self.exc = made
    if self.outcome == channels.RETURNED then
      made:set_result(self.body:values())
    end
  end
  return made
end

local thread = {}

-- A channel for one thread.
function thread.channel()
  return setmetatable({ exc = nil, outcome = nil, body = nil }, Channel)
end

-- ---- in the thread ----

-- What a thread knows of itself. It is not the handle: nobody may have that any more, and then nobody reads what it
-- yields.
local inside = {}
inside.__index = inside

function inside:_book()
  return self._exc or self._channel:book()
end

function inside:_send(...)
  return self._record:send(setmetatable(pack(...), Values))
end

function inside:_close_stream()
  self._record:close_stream()
end

function inside:_returned(...)
  local channel = self._channel
  channel.body = setmetatable(pack(...), Values)
  channel.outcome = channels.RETURNED
  if channel.exc then
    channel.exc:set_result(...)
  end
end

function inside:_failed(_, failure)
  local channel = self._channel
  keep_traceback(failure)
  channel.body = value_of(failure)
  channel.outcome = channels.FAILED
end

local function run(record, self)
  self._record = record
  return worker.run(self)
end

local INSIDE = { "name", "group", "_func", "_arguments", "_sends", "_exc", "_channel" }

local function inside_of(self)
  local made = {}
  for _, name in ipairs(INSIDE) do
    made[name] = self[name]
  end
  made._inside = getpid()
  return setmetatable(made, inside)
end

-- ---- the handle ----

function methods:start()
  self:_check_new()
  self._child = native.new(self.daemon, run, inside_of(self)) -- which is there when the thread begins
  local ok, problem = pcall(self._child.start, self._child)
  if not ok then
    self._child = nil
    error(problem, 2)
  end
  self._func, self._arguments = nil, nil
  return self
end

--- Raises an error in the thread: at its next instruction; in a wait of the library at once; where it has called C code
-- that blocks otherwise, when that returns. It is an error like any other: `pcall` catches it, values to be closed are.
-- Errors that are thrown one after the other are raised so. A thread that throws into itself raises at once.
-- @function Thread:throw
-- @param err any value
-- @treturn boolean false when the thread had ended already; after true its function may still have been about to end
-- @raise when it was not started
function methods:throw(...)
  if select("#", ...) == 0 then
    error("bad argument #1 to 'throw' (value expected)", 2)
  end
  return handle.child_of(self, 2):throw((...))
end

function methods:_failure()
  return self._channel.body
end

function methods._let_go()
end

function methods:_check_end()
  if self._channel.outcome == nil then
    self:_keep_error(self._child:problem())
  end
end

thread.class = handle.class("thread", methods)

return thread
