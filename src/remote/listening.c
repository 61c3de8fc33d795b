/***
The methods that have to do with listening.
@module remoteobj
*/

#include <math.h>
#include <poll.h>
#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/options.h"
#include "base/registry.h"
#include "remote/listener.h"
#include "remote/proxy.h"

#define HANDLE_METATABLE "remoteobj.listening"

/*
** How often a wait for a listener looks by itself, against the death of the process that should
** have woken it.
*/
#define LOOK_AGAIN (RO_SECOND / 2)
#define LOOK_SOON (RO_SECOND / 1000) /* when the process watched is about to have ended */

/* ---- the handle of listen_ ---- */

typedef struct Handle {
  ro_Proxy *proxy;
  uint64_t generation;
} Handle;

/***
What `Proxy:listen_` gives, for `<close>`. Dropping it changes nothing: the listener goes on.
@type Listening
*/

/***
Stops the listener, as `Proxy:stop_listen_` does. Does nothing in a fork of the listening process, or when the
listener that the handle came with has stopped.
@function Listening:__close
*/
static int handle_close(lua_State *L) {
  const Handle *handle = luaL_checkudata(L, 1, HANDLE_METATABLE);
  ro_Listener *listener = handle->proxy->listener;
  ro_listener_clear_up(handle->proxy);
  if (listener != NULL && ro_listener_generation(listener) == handle->generation)
    ro_listener_stop(L, listener);
  return 0;
}

/***
Tells whether the listener goes on.
@function Listening:__tostring
@treturn string text for messages
*/
static int handle_tostring(lua_State *L) {
  const Handle *handle = luaL_checkudata(L, 1, HANDLE_METATABLE);
  const ro_Listener *listener = handle->proxy->listener;
  int listens = listener != NULL && ro_listener_generation(listener) == handle->generation;
  lua_pushfstring(L, "<Listener %I (%s)>", (lua_Integer)handle->generation,
                  listens ? "listening" : "stopped");
  return 1;
}

/* Pushes a handle of no listener yet. */
static Handle *push_handle(lua_State *L, ro_Proxy *proxy) {
  static const luaL_Reg metamethods[] = {
      {"__close", handle_close}, {"__tostring", handle_tostring}, {NULL, NULL}};
  Handle *handle = lua_newuserdatauv(L, sizeof *handle, 1);
  handle->proxy = proxy;
  handle->generation = 0;
  ro_push_proxy(L, proxy);
  lua_setiuservalue(L, -2, 1);
  ro_push_metatable(L, HANDLE_METATABLE, metamethods);
  lua_setmetatable(L, -2);
  return handle;
}

/* ---- starting and stopping ---- */

/***
@type Proxy
*/

/* Reads the options at index 2 and pushes the function for errors, or nil. [-0, +1, v] */
static ro_ListenOptions listen_options(lua_State *L) {
  enum { BACKGROUND, PREEMPT, ON_ERROR };
  static const char *const names[] = {"bg", "preempt", "on_error", NULL};
  ro_ListenOptions options = {1, 1};
  lua_settop(L, 2);
  lua_pushnil(L);
  if (lua_isnil(L, 2))
    return options;
  luaL_checktype(L, 2, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    int option = ro_check_option(L, 2, names, RO_ALL_OPTIONS);
    if (option == BACKGROUND)
      options.background = ro_check_flag(L, 2, names[option]);
    else if (option == PREEMPT)
      options.preempt = ro_check_flag(L, 2, names[option]);
    else if (lua_isfunction(L, -1))
      lua_copy(L, -1, 3);
    else
      luaL_argerror(L, 2,
                    lua_pushfstring(L, "option 'on_error' must be a function, not %s", luaL_typename(L, -1)));
  }
  return options;
}

/***
Begins to answer for the object, in this process.
@function Proxy:listen_
@tparam[opt] table options how requests are served
@tparam[opt=true] boolean options.bg serve in the background, else only in `process_requests` and `poll`
@tparam[opt=true] boolean options.preempt let requests in between two instructions of the program, else only
 while it waits inside the library
@tparam[opt] function options.on_error gets the errors of evaluations with `oneway`, which no client is told: called
 with the error and its traceback, where there is one. Without it they become warnings (see Lua's `warn`)
@treturn Listening a handle for `<close>`, which stops the listener
@raise when somebody listens already
@usage local _ <close> = remote:listen_()
*/
static int method_listen(lua_State *L) {
  ro_Proxy *proxy = ro_check_proxy(L, 1);
  ro_ListenOptions options = listen_options(L);
  Handle *handle = push_handle(L, proxy);
  int top = lua_gettop(L);
  ro_push_proxy(L, proxy);
  lua_pushvalue(L, 3);
  ro_listener_start(L, top + 1, options);
  handle->generation = ro_listener_generation(proxy->listener);
  lua_settop(L, top);
  return 1;
}

/***
Stops listening; safe to call twice. Requests that have been sent are served first, or refused with
`fulfill_final = false`. Does nothing in a process that doesn't listen.
@function Proxy:stop_listen_
*/
static int method_stop_listen(lua_State *L) {
  ro_Proxy *proxy = ro_check_proxy(L, 1);
  ro_listener_clear_up(proxy);
  if (proxy->listener != NULL)
    ro_listener_stop(L, proxy->listener);
  return 0;
}

/* ---- serving when the program says so ---- */

/* This process's listener for the proxy at `index`, or an error. [-0, +0, v] */
static ro_Listener *check_listener(lua_State *L, int index) {
  const ro_Proxy *proxy = ro_check_proxy(L, index);
  if (proxy->listener == NULL)
    luaL_error(L, "this process is not listening: call p:listen_{bg = false} first");
  return proxy->listener;
}

lua_Integer ro_process_requests(lua_State *L, int index, lua_Integer most) {
  ro_Listener *listener = check_listener(L, index);
  return ro_listener_is_background(listener) ? 0 : ro_listener_process(L, listener, most, 0);
}

/***
Serves what is pending, without blocking. A listener in the background leaves nothing to do.
@function Proxy:process_requests
@tparam[opt] integer max how many at most
@treturn integer how many were served
@raise when this process doesn't listen
*/
static int method_process_requests(lua_State *L) {
  lua_Integer most = luaL_optinteger(L, 2, LUA_MAXINTEGER);
  luaL_argcheck(L, most >= 0, 2, "a number of requests must not be negative");
  lua_settop(L, 1);
  lua_pushinteger(L, ro_process_requests(L, 1, most));
  return 1;
}

/***
Refuses what is pending: its clients get their default or `NotListening`.
@function Proxy:cancel_requests
@treturn integer how many were refused
@raise when this process doesn't listen
*/
static int method_cancel_requests(lua_State *L) {
  ro_Listener *listener = check_listener(L, 1);
  lua_settop(L, 1);
  lua_pushinteger(
      L, ro_listener_is_background(listener) ? 0 : ro_listener_process(L, listener, LUA_MAXINTEGER, 1));
  return 1;
}

static double check_seconds(lua_State *L, int argument, double otherwise) {
  double seconds = luaL_optnumber(L, argument, otherwise);
  luaL_argcheck(L, !isnan(seconds), argument, "a number of seconds expected, got nan");
  return seconds;
}

/***
Serves at most one request.
@function Proxy:poll
@tparam[opt=0] number timeout seconds to wait for it
@treturn boolean whether one was served
@raise when this process doesn't listen
*/
static int method_poll(lua_State *L) {
  ro_Listener *listener = check_listener(L, 1);
  ro_Proxy *proxy = ro_check_proxy(L, 1);
  int64_t deadline = ro_deadline(check_seconds(L, 2, 0));
  int served = 0;
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, listener); /* others may stop it meanwhile */
  if (ro_listener_is_background(listener))
    do
      ro_wait_poll(L, NULL, 0, deadline);
    while (ro_now() < deadline);
  else
    do
      served = ro_listener_process(L, listener, 1, 0) > 0;
    while (!served && proxy->listener == listener &&
           (ro_listener_await(L, listener, deadline) > 0 || ro_now() < deadline));
  lua_pushboolean(L, served);
  return 1;
}

int ro_fileno(lua_State *L, int index) {
  ro_Listener *listener = check_listener(L, index);
  if (ro_listener_is_background(listener))
    luaL_error(L, "a listener in the background serves by itself: use p:listen_{bg = false}");
  return ro_listener_fileno(L, listener);
}

/***
A descriptor that is readable when requests are pending, for event loops. It may be readable with nothing to
serve; once `process_requests` has returned 0 it is quiet.
@function Proxy:fileno_
@treturn integer the descriptor
@raise unless this process listens with `bg = false`
*/
static int method_fileno(lua_State *L) {
  lua_pushinteger(L, ro_fileno(L, 1));
  return 1;
}

/* ---- waiting for a listener ---- */

int ro_somebody_listens(lua_State *L, ro_Proxy *proxy) {
  int error;
  if (!ro_door_is_open(&proxy->door, NULL))
    return 0;
  error = ro_door_doubt(&proxy->door);
  if (error != 0)
    luaL_error(L, "cannot tell whether the listener lives: %s", strerror(error));
  return 1;
}

typedef struct Wait {
  int process; /* stack index of the process to watch, or 0 */
  int fails;   /* raise instead of returning false */
  int64_t deadline;
  double timeout;
} Wait;

static void read_wait_options(lua_State *L, int index, Wait *wait) {
  static const char *const names[] = {"fail", "timeout", NULL};
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int option = ro_check_option(L, index, names, RO_ALL_OPTIONS);
    if (option == 0) {
      wait->fails = ro_check_flag(L, index, names[option]);
    } else {
      wait->timeout = ro_check_seconds(L, index, names[option]);
      wait->deadline = ro_deadline(wait->timeout);
    }
  }
}

/* A process has a `sentinel`, also before it is started (then nil, but a metatable). */
static int is_process(lua_State *L, int index) {
  if (luaL_getmetafield(L, index, "__index") == LUA_TNIL)
    return 0;
  lua_pop(L, 1);
  return 1;
}

static Wait wait_arguments(lua_State *L) {
  Wait wait = {0, 1, RO_NEVER, 0};
  lua_settop(L, 3);
  for (int i = 2; i <= 3; i++) {
    if (lua_isnil(L, i))
      continue;
    if (is_process(L, i) && wait.process == 0)
      wait.process = i;
    else if (lua_istable(L, i))
      read_wait_options(L, i, &wait);
    else
      luaL_typeerror(L, i, "process or table of options");
  }
  return wait;
}

/*
** The descriptor that tells the end of the process at `index`; -1 when it has ended, an error
** when it has not begun.
*/
static int sentinel_of(lua_State *L, int index) {
  int fd = -1;
  if (lua_getfield(L, index, "exitcode") == LUA_TNIL) {
    if (lua_getfield(L, index, "_life") == LUA_TFUNCTION) {
      lua_pushvalue(L, index);
      lua_call(L, 1, 1);
    }
    if (!lua_isinteger(L, -1))
      luaL_argerror(L, index, "the process has not been started");
    fd = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return fd;
}

/*
** Has the process at `index`, whose descriptor has told its end, ended: another process's child has; our own is ended
** once its exit code is known, which may take a moment.
*/
static int has_ended(lua_State *L, int index) {
  int ended;
  lua_getfield(L, index, "is_alive");
  lua_pushvalue(L, index);
  lua_call(L, 1, 1);
  ended = !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return ended;
}

static int wait_failed(lua_State *L, const Wait *wait, ro_ErrorKind kind) {
  const char *name = "";
  if (!wait->fails) {
    lua_pushboolean(L, 0);
    return 1;
  }
  if (kind == RO_TIMEOUT)
    return ro_raise(L, kind, "nobody listened within %f seconds", wait->timeout);
  if (lua_getfield(L, wait->process, "name") == LUA_TSTRING)
    name = lua_tostring(L, -1);
  if (lua_getfield(L, wait->process, "exitcode") ==
      LUA_TNIL) /* only the process that has started it is told */
    ro_push_error(L, kind, "process '%s' ended before anybody listened", name);
  else
    ro_push_error(L, kind, "process '%s' ended before anybody listened (exit code %s)", name,
                  luaL_tolstring(L, -1, NULL));
  lua_getfield(L, wait->process, "exitcode");
  lua_setfield(L, -2, "exitcode");
  return lua_error(L);
}

/***
Waits until somebody listens.
@function Proxy:wait_until_listening
@tparam[opt] Process process whose end ends the wait
@tparam[opt] table options how to wait; they may also stand first
@tparam[opt] number options.timeout seconds, without end if not given
@tparam[opt=true] boolean options.fail raise instead of returning false
@treturn boolean true when somebody listens
@raise `Timeout`, or `ProcessDied` when the process ends first; where the system does not tell whether a listener lives
@usage remote:wait_until_listening(process, { timeout = 10 })
*/
static int method_wait_until_listening(lua_State *L) {
  ro_Proxy *proxy = ro_check_view(L, 1)->proxy;
  Wait wait = wait_arguments(L);
  int ended = 0; /* the process's descriptor has told so, be it a moment before the process ends */
  for (;;) {
    struct pollfd fds[2];
    int sentinel = wait.process != 0 ? sentinel_of(L, wait.process) : -1;
    int64_t now, look;
    if (ro_somebody_listens(L, proxy)) {
      lua_pushboolean(L, 1);
      return 1;
    }
    if (wait.process != 0 && (sentinel < 0 || (ended && has_ended(L, wait.process))))
      return wait_failed(L, &wait, RO_PROCESS_DIED);
    now = ro_now();
    if (now >= wait.deadline)
      return wait_failed(L, &wait, RO_TIMEOUT);
    fds[0] = (struct pollfd){.fd = proxy->door.gate.fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = ended ? -1 : sentinel, .events = POLLIN};
    look = now + (ended ? LOOK_SOON : LOOK_AGAIN);
    ro_wait_poll(L, fds, 2, look < wait.deadline ? look : wait.deadline);
    ended |= fds[1].revents != 0;
    if (fds[0].revents != 0 && !ro_door_is_open(&proxy->door, NULL))
      ro_door_mend_gate(&proxy->door);
  }
}

void ro_set_listening_methods(lua_State *L) {
  static const luaL_Reg methods[] = {{"listen_", method_listen},
                                     {"stop_listen_", method_stop_listen},
                                     {"process_requests", method_process_requests},
                                     {"cancel_requests", method_cancel_requests},
                                     {"poll", method_poll},
                                     {"fileno_", method_fileno},
                                     {"wait_until_listening", method_wait_until_listening},
                                     {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
