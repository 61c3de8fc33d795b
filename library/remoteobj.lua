---@meta remoteobj

-- What editors know of remoteobj: definitions for lua-language-server and others that read LuaCATS annotations.
-- Never run by a program. The reference (`make doc`) says more of everything.

---Remote objects: an object that lives in another process is used as if it were here.
---@class remoteobj
local remoteobj = {}

---What no value is: editors tell of options that are not there, which would have to be of this type.
---@class remoteobj.UnknownOption

-- ---- proxies and views ----

---What holds for the evaluations of a view.
---@class remoteobj.GetOptions
---@field default? any What takes the place of an answer that can't be had; a function is called to give it.
---@field timeout? number Seconds that an evaluation may take.
---@field [string] remoteobj.UnknownOption

---@class remoteobj.WithOptions : remoteobj.GetOptions
---@field proxy? boolean The next call gives a view (true), or is evaluated (false).
---@field ref? boolean Results stay in the listener, and references to them come.
---@field async? boolean Evaluations are sent and give a `remoteobj.Future` at once.
---@field oneway? boolean Evaluations are sent and give nothing: errors go to the listener's `on_error`.

---@class remoteobj.ProxyOptions : remoteobj.GetOptions
---@field eager_proxy? boolean Calls give views instead of being evaluated (default false).
---@field fulfill_final? boolean A listener that stops serves first what has been sent (default true).

---@class remoteobj.ListenOptions
---@field bg? boolean Serve in the background (default), else in `process_requests` and `poll` only.
---@field preempt? boolean Let requests in between two instructions of the program (default true).
---@field on_error? fun(err: any, traceback?: string) Gets the errors of evaluations with `oneway`.
---@field [string] remoteobj.UnknownOption

---@class remoteobj.WaitOptions
---@field timeout? number Seconds, without end if not given.
---@field fail? boolean Raise instead of returning false (default true).
---@field [string] remoteobj.UnknownOption

---How long things took, in seconds; all 0 where there was nothing.
---@class remoteobj.Times
---@field count integer How many.
---@field mean number
---@field median number Right within an eighth.
---@field p99 number What 99 of 100 took at most, right within an eighth.
---@field max number

---What this process has counted for a proxy, or for all.
---@class remoteobj.Stats
---@field name? string What `tostring` gives of the object here; nil in the total.
---@field id? integer The same in all processes that share the proxy; nil in the total.
---@field listening? boolean Does this process listen; nil in the total.
---@field requests integer Sent.
---@field replies integer Received.
---@field bytes_sent integer Of requests and replies.
---@field bytes_received integer Of requests and replies.
---@field late_replies integer Answers that nobody waited for any more.
---@field served integer Requests executed here, failed ones included.
---@field errors integer How many of those failed.
---@field clients integer Connected now.
---@field references integer To objects in the listener: this process's, or, in the listener, those of all clients.
---@field round_trips remoteobj.Times From sending a request to having its answer.
---@field executions remoteobj.Times Of requests served.

---A proxy with a chain of operations that are not carried out yet. Fields are views, calls are evaluated.
---@class remoteobj.View
---@field __ any The value of the view: evaluates it.
---@field super remoteobj.View The same object, names looked up from the parent of its class on.
---@field listening_ boolean Does anybody listen now?
---@field [any] remoteobj.View | any A view of the field; assigning evaluates.
---@operator len: integer
---@overload fun(...: any): ...: any
local View = {}

---Evaluates the view.
---@param options? remoteobj.GetOptions
---@return any ... all results
function View:get_(options) end

---The same view with options, for all that is built on it.
---@param options remoteobj.WithOptions
---@return remoteobj.View
function View:with_(options) end

---Evaluates the view; the results stay in the listener, and references to them come.
---@return any ... a reference for each result but numbers, strings, booleans and nil
function View:ref_() end

---Is `object[key]` there?
---@param key any
---@return boolean
function View:contains_(key) end

---The view of a key, whatever its name.
---@param key any
---@return remoteobj.View
function View:item_(key) end

---Assigns, whatever the key's name; nil deletes.
---@param key any
---@param value any
---@return remoteobj.Future? future with `async`
function View:set_(key, value) end

---Deletes a key, whatever its name.
---@param key any
---@return remoteobj.Future? future with `async`
function View:del_(key) end

---The view of a path: `p:attrs_("a.b", "c")` is `p.a.b.c`.
---@param ... string
---@return remoteobj.View
function View:attrs_(...) end

---What this process has counted for the proxy.
---@return remoteobj.Stats
function View:stats_() end

---Calls `func(object, ...)` in the listener.
---@param func fun(object: any, ...: any): ...: any
---@param ... any
---@return any ... all its results
function View:passto(func, ...) end

---Iterates over the values 1, 2, ... of a remote list.
---@return fun(state?: any, index?: integer): integer, any
---@return nil
---@return integer?
function View:ipairs_() end

---Waits until somebody listens. The options may come first.
---@param process? remoteobj.Process whose end ends the wait
---@param options? remoteobj.WaitOptions
---@return boolean listening
---@overload fun(self: remoteobj.View, options: remoteobj.WaitOptions, process?: remoteobj.Process): boolean
function View:wait_until_listening(process, options) end

---What `listen_` gives, for `<close>`: stops the listener at the end of the block.
---@class remoteobj.Listening

---A proxy itself, of which views are made.
---@class remoteobj.Proxy : remoteobj.View
---@overload fun(...: any): ...: any
local Proxy = {}

---Begins to answer for the object, in this process.
---@param options? remoteobj.ListenOptions
---@return remoteobj.Listening handle for `<close>`
function Proxy:listen_(options) end

---Stops listening; safe to call twice.
function Proxy:stop_listen_() end

---Serves what is pending, without blocking.
---@param max? integer how many at most
---@return integer served
function Proxy:process_requests(max) end

---Refuses what is pending.
---@return integer refused
function Proxy:cancel_requests() end

---Serves at most one request.
---@param timeout? number seconds to wait for it (default 0)
---@return boolean served
function Proxy:poll(timeout) end

---A descriptor that is readable when requests are pending, with `bg = false`.
---@return integer
function Proxy:fileno_() end

---Makes a proxy of an object, for every process that is forked later.
---@param object any
---@param options? remoteobj.ProxyOptions
---@return remoteobj.Proxy
function remoteobj.Proxy(object, options) end

---Evaluates a view, as its `get_` does.
---@param view remoteobj.View
---@param options? remoteobj.GetOptions
---@return any ... all results
function remoteobj.get(view, options) end

-- ---- seeing inside ----

---An operation that is over, as a function that traces is given it.
---@class remoteobj.Operation
---@field pid integer The process that tells of it.
---@field time number When it was over: seconds, as `os.time` gives them.
---@field direction "sent" | "served" By a client; by the listener. Of a callback the other way round.
---@field name string What `tostring` gives of the object here.
---@field text string The operation in Lua syntax, the object being `?`.
---@field request_bytes integer 0 if it was not sent.
---@field answer_bytes integer 0 if there was no answer.
---@field seconds number How long it took.
---@field error? string The message of the error that it raised.

---Tells of each operation, here and in processes that are forked later: a function, the name of a file for lines, true
---for lines to standard error; nil or false for nothing any more.
---@param to? fun(operation: remoteobj.Operation) | string | boolean
function remoteobj.trace(to) end

---What a process has sent and served.
---@class remoteobj.ProcessStats
---@field pid integer
---@field total remoteobj.Stats Proxies that are gone included.
---@field proxies remoteobj.Stats[] The oldest first.

---What this process has sent and served. Times are taken from the first call on.
---@return remoteobj.ProcessStats
function remoteobj.stats() end

---What `callback` gives: as an argument it arrives in the listener as a function.
---@class remoteobj.Callback
---@overload fun(...: any): ...: any

---Lets the listener call the function here, until the call that it is an argument of is answered.
---@param func fun(...: any): ...: any
---@return remoteobj.Callback
function remoteobj.callback(func) end

-- ---- processes ----

---The function, its arguments and the options of a process or a thread in one table.
---@class remoteobj.ChildOptions
---@field [1] function What is run.
---@field [integer] any Its arguments.
---@field name_? string By default the function's name and a number.
---@field group_? any The group of its errors in `exc`.
---@field daemon_? boolean It never outlives its parent; a thread is ended when the state is closed (default true).
---@field timeout_? number Seconds that `join` waits.
---@field raises_? boolean `join` raises the error that has ended it (default true).
---@field results_? boolean Send what it returns and yields (default true).
---@field exc_? remoteobj.Except Records its errors; that of a thread may be a LocalExcept.
---@field close_? function Called before joining.
---@field [string] remoteobj.UnknownOption

---The options of a job.
---@class remoteobj.JobOptions: remoteobj.ChildOptions
---@field threaded_? boolean A thread, not a process (default false).

---What processes and threads have in common. A `<close>` variable of it joins at the end of the block.
---@class remoteobj.Job
---@field name string
---@field group any
---@field daemon boolean
---@field pid? integer nil before `start`.
---@field sentinel? integer A descriptor that is readable once it has ended.
---@field exitcode? integer nil while it runs, -N after signal N.
---@field exc remoteobj.Except
---@field result any The first value returned, or the iterator of what it has yielded.
local Job = {}

---Waits for the end; raises the error that has ended it.
---@param timeout? number seconds
---@return boolean ended
function Job:join(timeout) end

---Has it been started and not ended yet?
---@return boolean
function Job:is_alive() end

---Raises the error that has ended it, else the last in `exc`; or the last of a group.
---@param name? any
function Job:raise_any(name) end

---All that the function has returned; nothing until then.
---@return any ...
function Job:results() end

---Iterates over what it yields, waiting for each.
---@return fun(): ...: any
function Job:iter() end

---A process that runs a function.
---@class remoteobj.Process: remoteobj.Job
local Process = {}

---Starts the process.
---@return remoteobj.Process self
function Process:start() end

---Asks it to end (SIGTERM).
---@return boolean sent false when it had ended already
function Process:terminate() end

---Ends it (SIGKILL).
---@return boolean sent false when it had ended already
function Process:kill() end

---Raises an error in its function, also while it waits.
---@param err any
---@return boolean thrown false when it had ended already
function Process:throw(err) end

---A thread that runs a function in this Lua state.
---@class remoteobj.Thread: remoteobj.Job
local Thread = {}

---Starts the thread.
---@return remoteobj.Thread self
function Thread:start() end

---Raises an error in it, also while it waits.
---@param err any
---@return boolean thrown false when it had ended already
function Thread:throw(err) end

---A process that is to run `func(...)`; its `start` starts it.
---@param func function
---@param ... any
---@return remoteobj.Process
---@overload fun(options: remoteobj.ChildOptions): remoteobj.Process
function remoteobj.process(func, ...) end

---A thread that is to run `func(...)` in this Lua state; its `start` starts it.
---@param func function
---@param ... any
---@return remoteobj.Thread
---@overload fun(options: remoteobj.ChildOptions): remoteobj.Thread
function remoteobj.thread(func, ...) end

---A process or, with `threaded_ = true`, a thread.
---@param func function
---@param ... any
---@return remoteobj.Process | remoteobj.Thread
---@overload fun(options: remoteobj.JobOptions): remoteobj.Process | remoteobj.Thread
function remoteobj.job(func, ...) end

---The names of the original's module of utilities.
---@class remoteobj.util
remoteobj.util = {}

remoteobj.util.process = remoteobj.process
remoteobj.util.thread = remoteobj.thread
remoteobj.util.job = remoteobj.job

---@class remoteobj.ListenerOptions
---@field callback? fun(object: any) Called there again and again.
---@field bg? boolean Serve in the background (default: with a callback only), else between the calls of the callback.
---@field delay? number Seconds between two calls of the callback (default 0).
---@field wait? boolean Return when it listens (default true).
---@field wait_timeout? number Seconds that this may take.
---@field name_? string
---@field group_? any
---@field daemon_? boolean
---@field timeout_? number
---@field raises_? boolean
---@field results_? boolean
---@field exc_? remoteobj.Except
---@field [string] remoteobj.UnknownOption

---A started process that listens for an object; the end of the `<close>` variable's block stops and joins it.
---@param object any
---@param options? remoteobj.ListenerOptions
---@return remoteobj.Process
---@return remoteobj.Proxy
function remoteobj.util.listener(object, options) end

---Makes of a function one that gives listeners whose callback it is.
---@param func fun(object: any, ...: any)
---@param ... any its further arguments
---@return fun(object: any, options?: remoteobj.ListenerOptions): remoteobj.Process, remoteobj.Proxy
function remoteobj.util.listener_func(func, ...) end

---Prints as `print` does, in one write.
---@param ... any
function remoteobj.util.mprint(...) end

---Ends the process by SIGSEGV.
function remoteobj.util.segfault() end

-- ---- pools ----

---@class remoteobj.PoolOptions
---@field init? function | any[] Called in each new worker; or a list of it and its arguments.
---@field object? function | any[] Called after that: what it returns is the first argument of every task there.
---@field retries? integer How often a task is tried again whose worker has died of it (default 0).
---@field name? string By default "pool" and a number.
---@field [string] remoteobj.UnknownOption

---@class remoteobj.MapOptions
---@field chunk? integer How many items travel together, by default as many as take 2 ms.
---@field progress? boolean | string Show how far it is on a terminal; a string is a label.
---@field [string] remoteobj.UnknownOption

---@class remoteobj.ImapOptions
---@field chunk? integer How many items travel together (default 1).
---@field window? integer How many items are taken before their turn, at most.
---@field progress? boolean | string Show how far it is on a terminal; a string is a label.
---@field [string] remoteobj.UnknownOption

---Several processes that carry out tasks.
---@class remoteobj.Pool
---@field name string
---@operator len: integer
local Pool = {}

---Calls a function with each item of a list, in the workers.
---@param func function
---@param list any[] | fun(): any
---@param options? remoteobj.MapOptions
---@return any[] results the first of each, in the order of the list
---@return integer count
function Pool:map(func, list, options) end

---Gives the results of each item one after the other, in order; to several threads, if they share what it gives.
---@param func function
---@param list any[] | fun(): any
---@param options? remoteobj.ImapOptions
---@return fun(): ...: any
function Pool:imap(func, list, options) end

---Has a function called by a worker.
---@param func function
---@param ... any its arguments
---@return remoteobj.Future
function Pool:submit(func, ...) end

---Takes back what was submitted, unless a worker has it already.
---@param future remoteobj.Future
---@return boolean cancelled
function Pool:cancel(future) end

---Waits until all that was submitted is finished, then ends the workers.
function Pool:close() end

---Ends the workers at once.
function Pool:kill() end

---Makes a pool of workers, by default as many as there are processors.
---@param n? integer
---@param options? remoteobj.PoolOptions
---@return remoteobj.Pool
function remoteobj.pool(n, options) end

-- ---- errors ----

---A class, a predicate or a pattern.
---@alias remoteobj.ExceptType table | string | fun(err: any): any

---@class remoteobj.ExceptOptions
---@field types? remoteobj.ExceptType[] What to catch, by default everything.
---@field raises? boolean Raise again what was recorded (default true).
---@field catch_once? boolean Outer contexts don't record again what an inner one has (default true).
---@field log? fun(err: any, group: any, traceback?: string) Called when an error is recorded.
---@field [string] remoteobj.UnknownOption

---Where errors are caught: call it with a function, or keep it in a `<close>` variable.
---@class remoteobj.Context
---@overload fun(func: function, ...: any): ...: any

---Errors recorded under names.
---@class remoteobj.Except
---@field first any The first error, nil when there is none.
---@field last any The last error, nil when there is none.
---@operator len: integer
---@overload fun(name?: any, options?: remoteobj.ExceptOptions): remoteobj.Context
---@overload fun(options: remoteobj.ExceptOptions): remoteobj.Context
---@overload fun(func: function, ...: any): ...: any
local Except = {}

---Takes in what other processes have recorded. All that reads does so by itself.
function Except:pull() end

---The last error of a group; nil is the group without a name.
---@param name? any
---@return any err
function Except:get(name) end

---All errors of a group; nil is the group without a name.
---@param name? any
---@return any[]
function Except:group(name) end

---All errors, in the order in which they were raised.
---@return any[]
function Except:all() end

---Iterates over the errors that are there now.
---@return fun(): any
function Except:iter() end

---Raises the last error, or the last of a group; nothing when there is none.
---@param name? any
function Except:raise_any(name) end

---Forgets the errors and the result that this process knows of.
function Except:clear() end

---A function that does what `func` does, but records and swallows errors and keeps the results.
---@generic F: function
---@param func F
---@return F
function Except:wrap(func) end

---Keeps results.
---@param ... any
function Except:set_result(...) end

---The results kept last.
---@return any ...
function Except:get_result() end

---Forgets the results kept last.
function Except:clear_result() end

---The results kept last, which are then forgotten.
---@return any ...
function Except:pop_result() end

---A book of errors that every process forked later shares. Given options, or types to catch.
---@param ... remoteobj.ExceptType
---@return remoteobj.Except
---@overload fun(options: remoteobj.ExceptOptions): remoteobj.Except
function remoteobj.Except(...) end

---A book of errors of this process alone.
---@param ... remoteobj.ExceptType
---@return remoteobj.Except
---@overload fun(options: remoteobj.ExceptOptions): remoteobj.Except
function remoteobj.LocalExcept(...) end

---@alias remoteobj.ErrorKind
---| "NotListening" # nobody listens; certainly not run
---| "Disconnected" # the listener ended before it answered
---| "Timeout" # no answer in time
---| "ProcessDied" # killed by a foreign signal, or ended before it listened
---| "Unsendable" # a value can't travel
---| "Protocol" # bytes that are no message

---What has gone wrong in the library.
---@class remoteobj.Error
---@field kind remoteobj.ErrorKind
---@field message string
---@field may_have_run? boolean Of `Disconnected` and `Timeout`.
---@field exitcode? integer Of `ProcessDied`.
---@field signal? string Of `ProcessDied`.
---@field pid? integer Of `ProcessDied`.
---@field process? string Of `ProcessDied`.
remoteobj.Error = {}

---An error of another process that was no table. The methods of strings work on its message.
---@class remoteobj.RemoteError : string
---@field value any What was raised, nil if it can't be sent.
---@field message string
---@field traceback string
---@field pid integer
---@field process string
---@operator len: integer
---@operator concat(any): string
remoteobj.RemoteError = {}

---The traceback of the process in which an error was raised, nil for one of this process.
---@param err any
---@return string?
function remoteobj.traceback(err) end

-- ---- waiting ----

---Sleeps and lets requests run meanwhile.
---@param seconds number
function remoteobj.sleep(seconds) end

---What is still to come: what an evaluation with `async = true` gives at once.
---@class remoteobj.Future
local Future = {}

---Waits for the results; gives the same again each time.
---@param timeout? number seconds, without end if not given; nothing is cancelled when they have passed
---@return any ... all results
function Future:get(timeout) end

---Is there a result, or an error? Doesn't wait.
---@return boolean
function Future:done() end

---Calls a function once the future is done: at once, or while this process waits inside the library.
---@param func fun(future: remoteobj.Future)
function Future:on_done(func) end

---@class remoteobj.WaitForOptions
---@field all? boolean Wait for all of them (default), else for any one.
---@field timeout? number Seconds, without end if not given.
---@field [string] remoteobj.UnknownOption

---Waits for futures, whatever they come from.
---@param futures remoteobj.Future[]
---@param options? remoteobj.WaitForOptions
---@return remoteobj.Future[] done in the given order
---@return remoteobj.Future[] others
function remoteobj.wait(futures, options) end

---@class remoteobj.PollEvents
---@field IN? boolean
---@field PRI? boolean
---@field OUT? boolean
---@field ERR? boolean
---@field HUP? boolean
---@field NVAL? boolean

---@class remoteobj.PollEntry
---@field events remoteobj.PollEvents
---@field revents? remoteobj.PollEvents Set by `poll`.

---Waits for descriptors and lets requests run meanwhile.
---@param fds table<integer, remoteobj.PollEntry> by descriptor
---@param timeout? number seconds, without end if not given
---@return integer ready
function remoteobj.poll(fds, timeout) end

---Lets requests run while functions of luaposix and LuaSocket sleep, poll, wait and read.
function remoteobj.patch_blocking() end

-- ---- values ----

---@class remoteobj.UnpackOptions
---@field code? boolean Allow functions, and classes with `__unpack` (default false).
---@field [string] remoteobj.UnknownOption

---The encodings of values, one after the other.
---@param ... any
---@return string
function remoteobj.pack(...) end

---The values that a string encodes.
---@param bytes string
---@param options? remoteobj.UnpackOptions
---@return any ...
function remoteobj.unpack(bytes, options) end

---Makes a class known, so that its instances travel.
---@generic T: table
---@param class T
---@param name? string by default its `__name`
---@return T class
function remoteobj.register(class, name) end

---Settings of this Lua state, which programs may change.
---@class remoteobj.limits
---@field frame integer Bytes that one message over a proxy may have.
---@field signal integer The number of the signal that announces requests.
remoteobj.limits = {}

return remoteobj
