#include "future/callback.h"

#include <limits.h>

#include <lauxlib.h>

#include "base/registry.h"
#include "lock/lock.h"
#include "sys/descriptor.h"

#define METATABLE "remoteobj.watch"

/* warn(what, error): for a protected call, since it takes memory. */
static int warn_of(lua_State *L) {
  const char *text = luaL_tolstring(L, 2, NULL);
  lua_warning(L, "error in ", 1);
  lua_warning(L, lua_touserdata(L, 1), 1);
  lua_warning(L, ": ", 1);
  lua_warning(L, text, 0);
  return 0;
}

void ro_warn(lua_State *L, const char *what) {
  lua_pushcfunction(L, warn_of);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, (void *)what);
  lua_insert(L, -2);
  if (ro_pcall_aside(L, 2, 0, 0) != LUA_OK)
    lua_pop(L, 1);
}

void ro_call_back(lua_State *L, int count, const char *what) {
  ro_Lock *lock = ro_lock_of(L);
  int kept = ro_lock_keep_turn(lock, 0);
  int status = ro_pcall_aside(L, count, 0, 0);
  if (status == RO_THROWN)
    lua_pop(L, 1);
  else if (status != LUA_OK)
    ro_warn(L, what);
  ro_lock_keep_turn(lock, kept);
}

/* ---- descriptors that are watched for Lua ---- */

/* Keeps the watches that are open, by their addresses. */
static const char open_key = 0;

/* Its user value is the function. */
typedef struct Watch {
  ro_Interest interest; /* first, so that it stands for the whole */
  ro_Lock *lock;
  int fd;
  int is_open;
  int calls; /* its function is being called */
} Watch;

static nfds_t watch_watch(ro_Interest *interest, struct pollfd *fds, int64_t *until) {
  const Watch *w = (Watch *)interest;
  (void)until;
  fds[0] = (struct pollfd){.fd = w->fd, .events = POLLIN};
  return w->calls ? 0 : 1;
}

static void watch_attend(lua_State *L, ro_Interest *interest) {
  Watch *w = (Watch *)interest;
  int base = lua_gettop(L);
  if (w->calls || !lua_checkstack(L, 10))
    return;
  if (ro_descriptor_look(w->fd) == 0) /* another thread that was told of it, too, was first */
    return;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &open_key) == LUA_TTABLE && lua_rawgetp(L, -1, w) == LUA_TUSERDATA) {
    w->calls = 1;
    lua_getiuservalue(L, -1, 1);
    ro_call_back(L, 0, "a function that watches a descriptor");
    w->calls = 0;
    ro_interest_changed(w->lock, interest); /* who began to wait meanwhile did not watch it */
  }
  lua_settop(L, base);
}

static int watch_close(lua_State *L) {
  Watch *w = luaL_checkudata(L, 1, METATABLE);
  if (!w->is_open)
    return 0;
  w->is_open = 0;
  ro_interest_drop(w->lock, &w->interest);
  ro_push_kept_table(L, &open_key, NULL);
  lua_pushnil(L);
  lua_rawsetp(L, -2, w);
  return 0;
}

static void push_metatable(lua_State *L) {
  static const luaL_Reg functions[] = {{"close", watch_close}, {"__close", watch_close}, {NULL, NULL}};
  ro_push_metatable(L, METATABLE, functions);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

int ro_watch_new(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  Watch *w;
  luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 1, "a descriptor expected");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  w = lua_newuserdatauv(L, sizeof *w, 1);
  *w = (Watch){
      .interest = {.watch = watch_watch, .attend = watch_attend}, .lock = ro_lock_of(L), .fd = (int)fd};
  push_metatable(L);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  ro_push_kept_table(L, &open_key, NULL);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, w);
  lua_pop(L, 1);
  w->is_open = 1;
  ro_interest_use(w->lock, &w->interest);
  return 1;
}
