/***
Settings that programs may change.
@module remoteobj
*/

#include "base/limits.h"

#include <lauxlib.h>

#define DEFAULT_FRAME (lua_Integer)(1 << 30)

/***
Settings of this Lua state, which programs may change.
@table limits
@tfield integer frame bytes that one message over a proxy may have, 1 GiB at first
@tfield integer signal the number of the signal that announces requests to a program in a blocking call, at
 first SIGURG; read when the first listener in the background begins
*/
static const char limits_key = 0;

void ro_push_limits(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &limits_key) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, DEFAULT_FRAME);
  lua_setfield(L, -2, "frame");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &limits_key);
}

size_t ro_frame_limit(lua_State *L) {
  lua_Integer limit;
  int is_integer;
  ro_push_limits(L);
  lua_getfield(L, -1, "frame");
  limit = lua_tointegerx(L, -1, &is_integer);
  if (!is_integer || limit <= 0)
    luaL_error(L, "remoteobj.limits.frame must be a positive integer, not %s", luaL_tolstring(L, -1, NULL));
  lua_pop(L, 2);
  return (size_t)limit;
}
