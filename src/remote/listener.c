#include "remote/listener.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/registry.h"
#include "base/stack.h"
#include "failure/failure.h"
#include "future/callback.h"
#include "remote/handles.h"
#include "remote/seats.h"
#include "remote/serve.h"

#define METATABLE "remoteobj.listener"

/* How long a listener that stops waits for its clients to end what they were saying, and then to take their last answers. */
#define FAREWELL (10 * RO_SECOND)

/* How long one in the foreground waits for requests where no descriptor tells of them. */
#define LOOK_AGAIN (RO_SECOND / 100)

/* ---- its end ---- */

int ro_request_is_expired(const ro_Request *request) {
  return ro_request_is_call(request) && request->head.deadline != RO_NEVER &&
         request->head.deadline <= ro_now();
}

int ro_listener_drops_late(ro_Listener *listener, const ro_Request *request) {
  int drops = request->is_late && ro_request_is_call(request);
  if (drops && request->head.flags & RO_REQUEST_ONEWAY) /* its client would take it for done */
    listener->broke_off = 1;
  return drops;
}

int ro_listener_say_farewell(ro_Listener *listener) {
  return ro_hub_flush(&listener->hub, ro_now() + FAREWELL);
}

void ro_listener_leave(ro_Listener *listener, int well) {
  ro_door_leave(&listener->proxy->door, well && !listener->broke_off);
  ro_hub_close(&listener->hub);
}

/* The registry keeps the listener, and its user value the proxy, while it answers. */
void ro_listener_retire(lua_State *L, ro_Listener *listener) {
  if (listener->phase >= RO_LISTENER_ENDED)
    return;
  listener->phase = RO_LISTENER_ENDED;
  listener->proxy->listener = NULL;
  listener->proxy->ended = listener->options.background ? listener : NULL;
  listener->proxy->counters.references = 0;
  ro_handles_forget(L, &listener->hub);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, listener);
}

/*
** Serves, or with `refuse` refuses, the next request on the calling thread. Returns -1 when
** there is none, else how many requests it was: 0 or 1.
*/
static int process_next(lua_State *L, ro_Listener *listener, int refuse) {
  ro_Request request;
  ro_Buffer answer;
  ro_Service service = {
      .proxy = listener->proxy, .hub = &listener->hub, .request = &request, .answer = &answer};
  int counts, expired;
  memset(&request, 0, sizeof request);
  ro_buffer_init(&answer);
  if (!ro_hub_next(&listener->hub, &request, 0))
    return -1;
  expired = ro_request_is_expired(&request);
  counts = ro_request_is_call(&request) && !expired;
  if (counts && (ro_listener_drops_late(listener, &request) || refuse))
    ro_refuse(&request, &answer);
  else if (!expired) {
    ro_push_proxy(L, listener->proxy);
    ro_serve(L, &service);
    lua_pop(L, 1);
  }
  if (ro_pid() == listener->home) /* not in a fork that the request has made */
    ro_hub_done(&listener->hub, &request, &answer);
  ro_buffer_free(&answer);
  ro_buffer_free(&request.bytes);
  return counts;
}

static void end_in_foreground(lua_State *L, ro_Listener *listener) {
  int refuse = !listener->proxy->fulfill_final, well = 0;
  listener->depth++;
  do {
    while (process_next(L, listener, refuse) >= 0) {
    }
  } while (ro_pid() == listener->home && (well = ro_listener_say_farewell(listener)) < 0);
  listener->depth--;
  if (ro_pid() != listener->home)
    return;
  ro_listener_leave(listener, well);
  ro_listener_retire(L, listener);
}

static void begin_end(ro_Listener *listener) {
  if (listener->phase != RO_LISTENER_OPEN)
    return;
  listener->phase = RO_LISTENER_STOPPING;
  ro_door_shut(&listener->proxy->door);
  ro_hub_shut(&listener->hub, ro_now() + FAREWELL);
  if (listener->options.background)
    ro_seats_stop(listener);
}

/* Once: the threads have gone home, or are on their way. */
static void free_threads(ro_Listener *listener) {
  if (listener->phase == RO_LISTENER_FREED || listener->home != ro_pid())
    return;
  listener->phase = RO_LISTENER_FREED;
  if (listener->proxy->ended == listener)
    listener->proxy->ended = NULL;
  ro_seats_close(listener);
}

/* It may be garbage, but then it has not been finalized yet. Its threads don't want the state any more. */
void ro_listener_clear_up(ro_Proxy *proxy) {
  if (proxy->ended != NULL && proxy->ended->waiting == 0)
    free_threads(proxy->ended);
}

/* Waits for the threads to end; the last who waits clears up. */
static void await_threads(lua_State *L, ro_Listener *listener) {
  struct pollfd done = {.fd = listener->done.fd, .events = POLLIN};
  int ready = 0;
  listener->waiting++;
  while (ready == 0)
    ready = ro_wait_poll_try(L, &done, 1, RO_NEVER);
  if (--listener->waiting == 0 && ready > 0)
    free_threads(listener);
  if (ready < 0)
    lua_error(L);
}

/* The same in a finalizer, where nothing may raise. */
static void await_threads_at_end(ro_Listener *listener) {
  struct pollfd done = {.fd = listener->done.fd, .events = POLLIN};
  ro_wait_begin(listener->lock);
  while (poll(&done, 1, -1) < 0 && errno == EINTR) {
  }
  ro_wait_end(listener->lock);
  free_threads(listener);
}

int ro_listener_stops(const ro_Proxy *proxy) {
  return proxy->listener != NULL && proxy->listener->phase == RO_LISTENER_STOPPING;
}

int ro_listener_runs_caller(ro_Listener *listener) {
  return listener->options.background ? ro_seats_include_caller(listener) : listener->depth > 0;
}

void ro_listener_stop(lua_State *L, ro_Listener *listener) {
  ro_check_stack(L, 4, NULL);
  begin_end(listener);
  if (listener->phase != RO_LISTENER_STOPPING || ro_listener_runs_caller(listener))
    return;
  if (!listener->options.background) {
    end_in_foreground(L, listener);
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, listener); /* its last thread unanchors it */
  await_threads(L, listener);
  lua_pop(L, 1);
}

void ro_listener_abandon(lua_State *L, ro_Listener *listener) {
  if (listener->home != ro_pid())
    return;
  if (listener->phase == RO_LISTENER_OPEN || listener->phase == RO_LISTENER_STOPPING) {
    listener->proxy->fulfill_final = 0;
    begin_end(listener);
    if (listener->options.background)
      ro_lock_close(listener->lock);
    else
      end_in_foreground(L, listener);
    listener->proxy->listener = NULL;
  }
  if (listener->options.background && listener->phase != RO_LISTENER_FREED)
    await_threads_at_end(listener);
}

/* In a fork of the process that listens. */
static void discard(ro_Listener *listener) {
  if (listener->phase < RO_LISTENER_ENDED)
    ro_hub_discard(&listener->hub);
  if (listener->options.background && listener->phase != RO_LISTENER_FREED)
    ro_seats_discard(listener);
}

/* No finalizer waits for clients: the end of their connections tells them. */
static void hurry(ro_Listener *listener) {
  if (listener->phase != RO_LISTENER_OPEN && listener->phase != RO_LISTENER_STOPPING)
    return;
  if (listener->options.background)
    ro_seats_hurry(listener);
  else
    ro_hub_hurry(&listener->hub);
}

/* The state is being closed, or a listener that has ended is collected: its threads have nothing left to do then but to return. */
static void end_listener(lua_State *L, ro_Asset *asset) {
  ro_Listener *listener = (ro_Listener *)asset;
  if (listener->phase == RO_LISTENER_NEW)
    return;
  if (listener->home != ro_pid()) {
    discard(listener);
    return;
  }
  hurry(listener);
  ro_listener_abandon(L, listener);
}

static int listener_gc(lua_State *L) {
  ro_asset_end(L, lua_touserdata(L, 1));
  return 0;
}

/* ---- its beginning ---- */

/*
** Pushes a listener that owns nothing but, as user values, room for coroutines, the proxy at `proxy` and, popped from
** the top, the function for errors. [-1, +1, m]
*/
static ro_Listener *new_listener(lua_State *L, int proxy, ro_ListenOptions options) {
  static const luaL_Reg metamethods[] = {{"__gc", listener_gc}, {NULL, NULL}};
  ro_Listener *listener = lua_newuserdatauv(L, sizeof *listener, RO_LISTENER_USERVALUES);
  memset(listener, 0, sizeof *listener);
  listener->proxy = lua_touserdata(L, proxy);
  listener->lock = listener->proxy->lock;
  listener->options = options;
  listener->home = ro_pid();
  ro_event_init(&listener->done);
  ro_push_metatable(L, METATABLE, metamethods);
  lua_setmetatable(L, -2);
  ro_asset_enter_threads(L, &listener->asset, end_listener);
  lua_pushvalue(L, proxy);
  lua_setiuservalue(L, -2, RO_LISTENER_PROXY);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, RO_LISTENER_ON_ERROR);
  return listener;
}

/* Raises why the door was not claimed: an error, as ro_door_claim gives it. */
static void refuse_start(lua_State *L, int error, ro_DoorState state) {
  if (error != EBUSY)
    luaL_error(L, "cannot listen: %s", strerror(error));
  if (state.phase == RO_DOOR_FREE) /* who takes it just now has not written that down yet */
    luaL_error(L, "another process is listening already");
  luaL_error(L, "process %d is listening already", (int)state.pid);
}

/* Gives the door back after a start that failed. */
static void give_up(lua_State *L, ro_Listener *listener, int error) {
  ro_door_shut(&listener->proxy->door);
  ro_door_leave(&listener->proxy->door, 1);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, listener);
  luaL_error(L, "cannot listen: %s", strerror(error));
}

void ro_listener_start(lua_State *L, int index, ro_ListenOptions options) {
  ro_Proxy *proxy = lua_touserdata(L, index);
  size_t limit = ro_frame_limit(L);
  ro_DoorState state;
  ro_Listener *listener;
  int error;
  ro_check_stack(L, 8, NULL);
  if (ro_listener_stops(proxy))
    ro_listener_stop(L, proxy->listener);
  if (proxy->listener != NULL)
    luaL_error(L, "this process is listening already");
  ro_listener_clear_up(proxy);
  listener = new_listener(L, index, options);
  if (options.background && (error = ro_seats_prepare(L, listener)) != 0)
    luaL_error(L, "cannot listen: %s", strerror(error));
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, listener);
  error = ro_door_claim(&proxy->door, &state);
  if (error != 0) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, listener);
    refuse_start(L, error, state);
  }
  listener->generation = state.generation;
  error = ro_hub_open(&listener->hub, &proxy->door, state.generation, limit);
  if (error != 0)
    give_up(L, listener, error);
  if (options.background && (error = ro_seats_open(listener)) != 0) {
    ro_hub_close(&listener->hub);
    ro_seats_close(listener);
    give_up(L, listener, error);
  }
  proxy->listener = listener;
  listener->phase = RO_LISTENER_OPEN;
  ro_door_announce(&proxy->door);
  lua_pop(L, 1);
}

/* ---- errors that no client is told ---- */

/* report(listener, error) */
static int report(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
  lua_getiuservalue(L, -1, RO_LISTENER_ON_ERROR);
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, 2);
    ro_warn(L, "a oneway request");
    return 0;
  }
  lua_pushvalue(L, 2);
  ro_failure_caught(L);
  ro_failure_value(L, -1);
  ro_failure_traceback(L, -2);
  lua_remove(L, -3);
  ro_call_back(L, 2, "the function on_error");
  return 0;
}

void ro_listener_report(lua_State *L, const ro_Listener *listener) {
  lua_pushcfunction(L, report);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, (void *)listener);
  lua_insert(L, -2);
  ro_call_back(L, 2, "a oneway request");
}

/* ---- what others ask ---- */

int ro_listener_clients(ro_Listener *listener) {
  return listener->phase == RO_LISTENER_OPEN ? ro_hub_clients(&listener->hub) : 0;
}

int ro_listener_is_background(const ro_Listener *listener) {
  return listener->options.background;
}

uint64_t ro_listener_generation(const ro_Listener *listener) {
  return listener->generation;
}

int ro_listener_fileno(lua_State *L, ro_Listener *listener) {
  int fd = ro_poller_fileno(&listener->hub.poller);
  return fd >= 0 ? fd : luaL_error(L, "requests cannot be watched for: %s", strerror(errno));
}

int ro_listener_await(lua_State *L, ro_Listener *listener, int64_t deadline) {
  struct pollfd ready = {.fd = ro_poller_fileno(&listener->hub.poller), .events = POLLIN};
  int64_t soon = ro_now() + LOOK_AGAIN;
  if (ready.fd >= 0 || deadline <= soon)
    return ro_wait_poll(L, &ready, 1, deadline);
  ro_wait_poll(L, &ready, 1, soon);
  return 1;
}

lua_Integer ro_listener_process(lua_State *L, ro_Listener *listener, lua_Integer most, int refuse) {
  lua_Integer count = 0;
  listener->depth++;
  while (count < most && listener->phase == RO_LISTENER_OPEN) {
    int n = process_next(L, listener, refuse);
    if (n < 0)
      break;
    count += n;
    if (ro_pid() != listener->home)
      return count;
    if (ro_thread_is_told(
            ro_lock_holder(listener->lock))) /* what that is can't be raised before this returns */
      break;
  }
  listener->depth--;
  if (listener->depth == 0 && listener->phase == RO_LISTENER_STOPPING)
    end_in_foreground(L, listener);
  else if (listener->phase == RO_LISTENER_OPEN)
    ro_hub_remind(&listener->hub);
  return count;
}

/* ---- waits of requests for others ---- */

/* Serves all that is pending on coroutine `co`, where C calls are counted anew; until *settled. */
static void serve_on(lua_State *L, lua_State *co, ro_Listener *listener, const int *settled) {
  ro_Place here = ro_coroutine_enter(listener->lock, L, co);
  int refuse = listener->phase != RO_LISTENER_OPEN && !listener->proxy->fulfill_final;
  while (!*settled && ro_pid() == listener->home && process_next(co, listener, refuse) >= 0) {
  }
  ro_coroutine_leave(listener->lock, here);
}

/* The arguments of ro_listener_wait. */
typedef struct ForegroundWait {
  ro_Listener *listener;
  const int *settled;
  int64_t deadline;
} ForegroundWait;

static int wait_in_foreground(lua_State *L) {
  const ForegroundWait *w = lua_touserdata(L, 1);
  lua_State *co = ro_push_coroutine(L);
  ro_check_stack(L, LUA_MINSTACK, NULL);
  while (!*w->settled && ro_now() < w->deadline) {
    serve_on(L, co, w->listener, w->settled);
    if (ro_pid() != w->listener->home)
      return luaL_error(L, "this process is a fork of the one that listens");
    if (!*w->settled)
      ro_listener_await(L, w->listener, w->deadline);
  }
  return 0;
}

int ro_listener_attends(ro_Listener *listener) {
  return listener->options.background && listener->home == ro_pid() ? ro_seats_attend(listener) : 0;
}

int ro_listener_wait(lua_State *L, ro_Listener *listener, const int *settled, int64_t deadline) {
  ForegroundWait foreground = {listener, settled, deadline};
  if (!listener->options.background) {
    lua_pushcfunction(L, wait_in_foreground);
    lua_pushlightuserdata(L, &foreground);
    return lua_pcall(L, 1, 0, 0) == LUA_OK ? 0 : -1;
  }
  while (!*settled && ro_now() < deadline) {
    int error = ro_listener_attends(listener);
    if (error != 0)
      return error;
    if (ro_wait_poll_try(L, NULL, 0, deadline) < 0)
      return -1;
  }
  return 0;
}
