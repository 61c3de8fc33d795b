/***
Seeing operations as they happen.
@module remoteobj
*/

#include "remote/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/stack.h"
#include "failure/failure.h"
#include "remote/watch.h"
#include "sys/line.h"

#define VARIABLE "REMOTEOBJ_TRACE"

/* How much of names and errors a line has room for, bytes. */
#define LONGEST_NAME 60
#define LONGEST_ERROR 200

/* How long a line waits for room at most, milliseconds: once; after that lines are lost until one fits. */
#define PATIENCE 1000

/* A thread that tells of an operation. What it does for that, be it by the program's function, is not told. */
typedef struct ro_Telling {
  struct ro_Telling *next;
  const ro_Thread *thread;
} ro_Telling;

static int is_telling(const ro_Proxy *proxy) {
  const ro_Thread *thread = ro_lock_holder(proxy->lock);
  const ro_Telling *telling = proxy->watch->telling;
  while (telling != NULL && telling->thread != thread)
    telling = telling->next;
  return telling != NULL;
}

static void begin_telling(const ro_Proxy *proxy, ro_Telling *telling) {
  telling->thread = ro_lock_holder(proxy->lock);
  telling->next = proxy->watch->telling;
  proxy->watch->telling = telling;
}

/* In a fork that was made meanwhile, it is not in the list. */
static void end_telling(ro_Watch *watch, const ro_Telling *telling) {
  ro_Telling **at = &watch->telling;
  while (*at != NULL && *at != telling)
    at = &(*at)->next;
  if (*at != NULL)
    *at = telling->next;
}

/*
** Calls the function below its `count` arguments as a part of telling, without results. Its error becomes a warning:
** the operation has nothing to do with it. [-(count + 1), +0, -]
*/
static void call_telling(lua_State *L, const ro_Proxy *proxy, int count) {
  ro_Telling telling;
  int status;
  begin_telling(proxy, &telling);
  status = ro_pcall_aside(L, count, 0, 0);
  if (status != LUA_OK && status != RO_THROWN) {
    lua_warning(L, "remoteobj.trace: ", 1);
    lua_warning(L, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1), 0);
  }
  if (status != LUA_OK)
    lua_pop(L, 1);
  end_telling(proxy->watch, &telling);
}

/* ---- lines ---- */

typedef struct Line {
  char text[RO_LONGEST_TEXT + LONGEST_NAME + LONGEST_ERROR + 200];
  size_t size;
} Line;

/* Adds a text without line breaks, what is longer cut. */
static void add_text(Line *line, const char *text, size_t size, size_t longest) {
  size_t shown = ro_cut_text(text, size, longest);
  for (size_t i = 0; i < shown; i++)
    line->text[line->size++] = (unsigned char)text[i] < ' ' || text[i] == 127 ? ' ' : text[i];
  if (shown < size) {
    memcpy(line->text + line->size, "...", 3);
    line->size += 3;
  }
}

static void add_string(Line *line, const char *text) {
  add_text(line, text, strlen(text), sizeof line->text);
}

/* The name is at 3, the error's text at 4. */
static void compose(lua_State *L, Line *line, const ro_Trace *trace) {
  const char *text = lua_tostring(L, 3);
  line->size = (size_t)snprintf(line->text, sizeof line->text,
                                "remoteobj[%d] %.6f %-6s %5zu+%-5zu B %9.1f us  ", ro_pid(), trace->end,
                                trace->direction, trace->request, trace->answer, (double)trace->time / 1000);
  add_text(line, text, lua_rawlen(L, 3), LONGEST_NAME);
  add_string(line, "  ");
  add_string(line, trace->text);
  text = lua_tostring(L, 4);
  if (text != NULL) {
    add_string(line, "  -- ");
    add_text(line, text, strcspn(text, "\n"), LONGEST_ERROR);
  }
  line->text[line->size++] = '\n';
}

/* Waits a moment, in which others may run, unless lines are being lost already. */
static int has_room(ro_Watch *watch, ro_Lock *lock) {
  int fd = watch->fd;
  int fits = ro_line_fits(fd, 0);
  if (fits == 0 && watch->lost == 0) {
    ro_wait_begin(lock);
    fits = ro_line_fits(fd, PATIENCE);
    ro_wait_end(lock);
  }
  return fits > 0 && watch->fd == fd;
}

static void write_line(ro_Watch *watch, ro_Lock *lock, const Line *line) {
  char lost[80];
  if (!has_room(watch, lock)) {
    watch->lost++;
    return;
  }
  if (watch->lost > 0) {
    int size =
        snprintf(lost, sizeof lost, "remoteobj[%d] %lld lines lost\n", ro_pid(), (long long)watch->lost);
    ro_line_write(watch->fd, lost, (size_t)size);
    watch->lost = 0;
  }
  if (!ro_line_write(watch->fd, line->text, line->size))
    watch->lost++;
}

/* ---- the program's function ---- */

/* The name is at 3, the error's text at 4. */
static void call_function(lua_State *L, const ro_Trace *trace) {
  ro_push_watch(L);
  lua_getiuservalue(L, -1, 1);
  lua_createtable(L, 0, 9);
  lua_pushnumber(L, trace->end);
  lua_setfield(L, -2, "time");
  lua_pushinteger(L, ro_pid());
  lua_setfield(L, -2, "pid");
  lua_pushstring(L, trace->direction);
  lua_setfield(L, -2, "direction");
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, trace->text);
  lua_setfield(L, -2, "text");
  lua_pushinteger(L, (lua_Integer)trace->request);
  lua_setfield(L, -2, "request_bytes");
  lua_pushinteger(L, (lua_Integer)trace->answer);
  lua_setfield(L, -2, "answer_bytes");
  lua_pushnumber(L, (lua_Number)trace->time / (lua_Number)RO_SECOND);
  lua_setfield(L, -2, "seconds");
  lua_pushvalue(L, 4);
  lua_setfield(L, -2, "error");
  lua_call(L, 1, 0);
}

static int shown_protected(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

static int message_protected(lua_State *L) {
  ro_push_error_message(L, 1);
  return 1;
}

/* Pushes the text that the function makes of the value at `index`, the name of its type where that fails. */
static void push_protected(lua_State *L, lua_CFunction function, int index) {
  index = lua_absindex(L, index);
  lua_pushcfunction(L, function);
  lua_pushvalue(L, index);
  if (ro_pcall_aside(L, 1, 1, 0) == LUA_OK)
    return;
  lua_pop(L, 1);
  lua_pushstring(L, luaL_typename(L, index));
}

void ro_push_shown(lua_State *L, int index) {
  push_protected(L, shown_protected, index);
}

/* tell(trace, error value or nil) */
static int tell_protected(lua_State *L) {
  const ro_Trace *trace = lua_touserdata(L, 1);
  Line line;
  ro_push_object(L, trace->proxy);
  ro_push_shown(L, 3);
  lua_replace(L, 3);
  if (lua_isnil(L, 2))
    lua_pushnil(L);
  else
    push_protected(L, message_protected, 2);
  if (trace->proxy->watch->fd < 0) {
    call_function(L, trace);
  } else {
    compose(L, &line, trace);
    write_line(trace->proxy->watch, trace->proxy->lock, &line);
  }
  return 0;
}

/* It is over; with `failed`, its error value is on top. [-0, +0, -] */
static void tell(lua_State *L, ro_Trace *trace, int failed) {
  struct timespec now;
  trace->time = ro_now() - trace->since;
  if (!trace->proxy->watch->traced || !lua_checkstack(L, 4)) /* it may have switched the trace off */
    return;
  clock_gettime(CLOCK_REALTIME, &now);
  trace->end = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
  lua_pushcfunction(L, tell_protected);
  lua_pushlightuserdata(L, trace);
  if (failed)
    lua_pushvalue(L, -3);
  else
    lua_pushnil(L);
  call_telling(L, trace->proxy, 2);
}

static void begin(ro_Trace *trace, const ro_Proxy *proxy, const char *direction, size_t request) {
  trace->proxy = proxy;
  trace->direction = direction;
  trace->request = request;
  trace->answer = 0;
  trace->since = ro_now();
  memcpy(trace->text, "?", 2);
}

/* Takes the string on top for the text. [-1, +0, -] */
static void set_text(lua_State *L, ro_Trace *trace) {
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  size_t shown = ro_cut_text(text, size, RO_LONGEST_TEXT + 3);
  memcpy(trace->text, text, shown);
  snprintf(trace->text + shown, sizeof trace->text - shown, "%s", shown < size ? "..." : "");
  lua_pop(L, 1);
}

/* ---- the client ---- */

typedef struct Evaluation {
  ro_Trace trace;
  ro_Operation operation;
  ro_Evaluator evaluate;
  ro_Pending pending;
} Evaluation;

/* describe(evaluation, view, operands...) */
static int describe_protected(lua_State *L) {
  Evaluation *e = lua_touserdata(L, 1);
  ro_push_evaluation_text(L, 2, e->operation, lua_gettop(L) - 2);
  set_text(L, &e->trace);
  return 0;
}

/* evaluate(evaluation, view, operands...) */
static int evaluate_protected(lua_State *L) {
  Evaluation *e = lua_touserdata(L, 1);
  return e->evaluate(L, 2, e->operation, lua_gettop(L) - 2, &e->pending);
}

/* Pushes the function, and its arguments: the evaluation, the view and copies of the operands. [-0, +n, -] */
static void push_call(lua_State *L, lua_CFunction function, Evaluation *e, int view, int count) {
  int first = lua_gettop(L) - count + 1;
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, e);
  lua_pushvalue(L, view);
  for (int i = 0; i < count; i++)
    lua_pushvalue(L, first + i);
}

int ro_trace_evaluation(lua_State *L, int view, ro_Operation operation, int count, ro_Evaluator evaluate) {
  const ro_Proxy *proxy = ((ro_View *)lua_touserdata(L, view))->proxy;
  int base = lua_gettop(L) - count, status;
  Evaluation e = {.operation = operation, .evaluate = evaluate};
  if (is_telling(proxy))
    return evaluate(L, view, operation, count, &e.pending);
  ro_check_stack(L, count + 8, "too many arguments");
  begin(&e.trace, proxy, RO_SENT, 0);
  push_call(L, describe_protected, &e, view, count);
  call_telling(L, proxy, count + 2);
  push_call(L, evaluate_protected, &e, view, count);
  e.trace.since = ro_now();
  status = lua_pcall(L, count + 2, LUA_MULTRET, 0);
  e.trace.request = e.pending.sent;
  e.trace.answer = e.pending.received;
  tell(L, &e.trace, status != LUA_OK);
  if (status != LUA_OK)
    return lua_error(L);
  lua_rotate(L, base + 1, lua_gettop(L) - base - count);
  lua_pop(L, count);
  return lua_gettop(L) - base;
}

/* ---- what others carry out: the listener its requests, both sides callbacks ---- */

ro_Trace *ro_trace_begin(ro_Trace *trace, const ro_Proxy *proxy, const char *direction, size_t request) {
  if (!proxy->watch->traced || is_telling(proxy))
    return NULL;
  begin(trace, proxy, direction, request);
  return trace;
}

/* step(trace, operation, operands...) */
static int step_protected(lua_State *L) {
  ro_Trace *trace = lua_touserdata(L, 1);
  ro_push_step_text(L, trace->text, (ro_Operation)lua_tointeger(L, 2), 3, lua_gettop(L) - 2);
  set_text(L, trace);
  return 0;
}

void ro_trace_step(lua_State *L, ro_Trace *trace, ro_Operation operation, int count) {
  int64_t before = ro_now();
  int first = lua_gettop(L) - count + 1;
  if (!lua_checkstack(L, count + 4) || strlen(trace->text) > RO_LONGEST_TEXT)
    return;
  lua_pushcfunction(L, step_protected);
  lua_pushlightuserdata(L, trace);
  lua_pushinteger(L, operation);
  for (int i = 0; i < count; i++)
    lua_pushvalue(L, first + i);
  call_telling(L, trace->proxy, count + 2);
  trace->since += ro_now() - before; /* that was no part of it */
}

void ro_trace_callback(lua_State *L, ro_Trace *trace, lua_Integer number, int count) {
  snprintf(trace->text, sizeof trace->text, "callback_%lld", (long long)number);
  ro_trace_step(L, trace, RO_OP_CALL, count);
}

void ro_trace_end(lua_State *L, ro_Trace *trace, size_t answer, int failed) {
  trace->answer = answer;
  tell(L, trace, failed);
}

/* ---- switching it ---- */

/* Has lines written to the descriptor. */
static void trace_to(ro_Watch *watch, int fd, int owns_fd) {
  watch->fd = fd;
  watch->owns_fd = owns_fd;
  watch->lost = 0;
  watch->traced = watch->watched = 1;
}

/***
Tells of each operation that this process sends or serves from now on, and of those of processes that are forked later:
in a line each, or by calling a function. Evaluations in the listener's own process are not told of. Of a callback (see `callback`) the listener
tells as `sent`, and the client, which runs it, as `served`.

A line has the process id, the time (seconds, as `os.time` gives them), the direction (`sent` by a client, `served` by a listener), the bytes of request and answer,
the microseconds, what `tostring` gives of the object, the operation in Lua syntax with `?` for the object, and, after
`--`, the error that it raised. It is written by one write, so that those of several processes don't mix. Where whoever
reads standard error or a pipe doesn't keep up, a line waits for a second; then lines are lost, and counted by the next that
is not.

The function is called where the operation ran, after it, by whichever thread did. An error that it raises becomes a warning (see
`warn`), and operations of its own are not told of.

The environment variable `REMOTEOBJ_TRACE` does the same from the start: `1` is standard error, empty or `0` is nothing, all else
is the name of a file.
@function trace
@param to a function, which is called with an `Operation`; the name of a file, to whose end lines are
 written; true for lines to standard error; nil or false for nothing any more
@raise when the file can't be opened
@usage
remoteobj.trace(function(operation)
  if operation.seconds > 0.1 then print(operation.text, operation.seconds) end
end)
*/
static int l_trace(lua_State *L) {
  ro_Watch *watch;
  int type = lua_type(L, 1), fd = -1;
  if (type > LUA_TNIL && type != LUA_TBOOLEAN && type != LUA_TFUNCTION && type != LUA_TSTRING)
    return luaL_typeerror(L, 1, "function, file name, boolean or nil");
  if (type == LUA_TSTRING && (fd = ro_line_open(lua_tostring(L, 1))) < 0)
    return luaL_error(L, "cannot open '%s' for the trace: %s", lua_tostring(L, 1), strerror(errno));
  lua_settop(L, 1);
  ro_push_watch(L);
  watch = lua_touserdata(L, -1);
  ro_watch_untrace(watch);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 2, 1);
  if (type == LUA_TSTRING)
    trace_to(watch, fd, 1);
  else if (lua_toboolean(L, 1))
    trace_to(watch, type == LUA_TFUNCTION ? -1 : STDERR_FILENO, 0);
  return 0;
}

/* A program that runs with rights that its user lacks must not write files for that user. */
static const char *variable(void) {
  return getuid() == geteuid() && getgid() == getegid() ? getenv(VARIABLE) : NULL;
}

/* Who is mistaken about a file for traces still wants the program to run. */
static void read_variable(lua_State *L) {
  const char *value = variable();
  if (value == NULL || *value == '\0' || strcmp(value, "0") == 0)
    return;
  lua_pushcfunction(L, l_trace);
  if (strcmp(value, "1") == 0)
    lua_pushboolean(L, 1);
  else
    lua_pushstring(L, value);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    fprintf(stderr, "remoteobj: " VARIABLE ": %s\n", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
}

void ro_open_trace(lua_State *L) {
  lua_pushcfunction(L, l_trace);
  lua_setfield(L, -2, "trace");
  read_variable(L);
}

/***
What a function that traces is given: an operation that is over.
@type Operation
*/

/***
The process that tells of it.
@tfield integer pid
*/

/***
When it was over: seconds, as `os.time` gives them, with their fractions.
@tfield number time
*/

/***
`"sent"` by a client that has its answer, or knows that there is none; `"served"` by the listener. Of a callback the listener
tells as `"sent"`, the client as `"served"`.
@tfield string direction
*/

/***
What `tostring` gives of the object here.
@tfield string name
*/

/***
The operation in Lua syntax, the object being `?`; cut where it is long. In the listener arguments that stand for
values there are shown as these, and an operation that has failed ends where it failed. `callback_1(...)` is a call of the
first of the callbacks that a request took along.
@tfield string text
*/

/***
Bytes of the request; 0 if it was not sent.
@tfield integer request_bytes
*/

/***
Bytes of the answer; 0 if there was none.
@tfield integer answer_bytes
*/

/***
How long it took: the whole evaluation, or its execution by who has served it.
@tfield number seconds
*/

/***
The message of the error that it raised; nil if it raised none.
@tfield string error
*/
