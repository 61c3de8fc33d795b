#include "remote/results.h"

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/registry.h"
#include "base/stack.h"
#include "remote/handles.h"

#define FAILED_METATABLE "remoteobj.failed"

/* Its address stands for a result that is nil. */
static const char nil_mark = 0;

/* ---- results in the table of handles: nil and failures in disguise ---- */

/* Pushes what is kept of the result at `index`. [-0, +1, m] */
static void push_kept(lua_State *L, int index, int failed) {
  static const luaL_Reg nothing[] = {{NULL, NULL}};
  if (failed) {
    lua_newuserdatauv(L, 0, 1);
    ro_push_metatable(L, FAILED_METATABLE, nothing);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, 1);
  } else if (lua_isnil(L, index)) {
    lua_pushlightuserdata(L, (void *)&nil_mark);
  } else {
    lua_pushvalue(L, index);
  }
}

/* Replaces what was kept, on top, by the result and returns 1, or by the failure and returns 0. [-1, +1, -] */
static int uncover(lua_State *L) {
  if (lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == &nil_mark) {
    lua_pop(L, 1);
    lua_pushnil(L);
  } else if (lua_isuserdata(L, -1) && luaL_testudata(L, -1, FAILED_METATABLE) != NULL) {
    lua_getiuservalue(L, -1, 1);
    lua_remove(L, -2);
    return 0;
  }
  return 1;
}

/* ---- requests under way ---- */

static ro_UnderWay *find(const ro_Hub *hub, uint64_t client, uint64_t id) {
  ro_UnderWay *u = hub->under_way;
  while (u != NULL && (u->client != client || u->id != id))
    u = u->next;
  return u;
}

void ro_result_begin(ro_UnderWay *u, ro_Lock *lock, ro_Hub *hub, const ro_Request *request) {
  *u = (ro_UnderWay){.next = hub->under_way,
                     .lock = lock,
                     .thread = ro_lock_holder(lock),
                     .client = request->client,
                     .id = request->head.id};
  hub->under_way = u;
}

/* Who waits gets it under the address of its own record: the request's may be let go meanwhile. */
void ro_result_keep(lua_State *L, const ro_UnderWay *u, ro_Hub *hub, ro_Request *request, int index,
                    int failed) {
  index = lua_absindex(L, index);
  ro_check_stack(L, 8, NULL);
  ro_push_handles(L, hub, request);
  push_kept(L, index, failed);
  for (const ro_Waiter *w = u->waiters; w != NULL; w = w->next) {
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, w);
  }
  if (u->released)
    lua_pop(L, 1);
  else
    lua_rawseti(L, -2, -(lua_Integer)u->id);
  lua_pop(L, 1);
}

void ro_result_end(ro_UnderWay *u, ro_Hub *hub) {
  ro_UnderWay **link = &hub->under_way;
  while (*link != u)
    link = &(*link)->next;
  *link = u->next;
  for (ro_Waiter *w = u->waiters; w != NULL; w = w->next) {
    w->done = 1;
    ro_thread_wake(w->thread);
  }
}

void ro_result_release(const ro_Hub *hub, uint64_t client, uint64_t id) {
  ro_UnderWay *u = find(hub, client, id);
  if (u != NULL)
    u->released = 1;
}

/* ---- naming ---- */

static void leave(ro_UnderWay *u, const ro_Waiter *waiter) {
  ro_Waiter **link = &u->waiters;
  while (*link != waiter)
    link = &(*link)->next;
  *link = waiter->next;
}

/* Waits for the end of a request under way; pushes what is kept of its result, or nil. [-0, +1, e] */
static void await(lua_State *L, ro_UnderWay *u, int handles, int64_t deadline) {
  ro_Waiter waiter = {.next = u->waiters, .thread = ro_lock_holder(u->lock)};
  if (u->thread == waiter.thread)
    luaL_error(L, "an argument is the result of a request that cannot end before this one");
  u->waiters = &waiter;
  while (!waiter.done) {
    int r = ro_wait_poll_try(L, NULL, 0, deadline);
    if (!waiter.done && (r < 0 || ro_now() >= deadline)) {
      leave(u, &waiter);
      if (r < 0)
        lua_error(L);
      ro_raise(L, RO_TIMEOUT, "an argument is the result of a request that did not end in time");
    }
    if (r < 0)
      lua_pop(L, 1); /* the wait is over all the same */
  }
  lua_rawgetp(L, handles, &waiter);
  lua_pushnil(L);
  lua_rawsetp(L, handles, &waiter);
}

int ro_result_push(lua_State *L, ro_Hub *hub, ro_Request *request, uint64_t id) {
  ro_UnderWay *u = find(hub, request->client, id);
  int handles;
  ro_check_stack(L, 12, NULL);
  ro_push_handles(L, hub, request);
  handles = lua_gettop(L);
  if (u != NULL)
    await(L, u, handles, request->head.deadline);
  else
    lua_rawgeti(L, handles, -(lua_Integer)id);
  lua_remove(L, handles);
  if (lua_isnil(L, -1))
    ro_raise(L, RO_TIMEOUT, "an argument is the result of a request that was not run");
  return uncover(L);
}
