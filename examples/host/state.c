#include "state.h"

#include <stdio.h>

#include "binding.h"

static int with_traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* Nothing here needs memory but what is called. */
int state_run(lua_State *L, lua_CFunction function, void *data) {
  int status;
  lua_pushcfunction(L, with_traceback);
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, data);
  status = lua_pcall(L, 1, 0, -3);
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "host: %s\n", message != NULL ? message : "an error without a message");
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return status == LUA_OK ? 0 : -1;
}

static int prepare(lua_State *L) {
  const char *file = (const char *)lua_touserdata(L, 1);
  luaL_openlibs(L);
  luaL_requiref(L, "remoteobj", luaopen_remoteobj, 0);
  luaL_requiref(L, "instrument", luaopen_instrument, 0);
  if (luaL_loadfile(L, file) != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 0);
  return 0;
}

lua_State *state_open(const char *file) {
  lua_State *L = luaL_newstate();
  if (L == NULL)
    fprintf(stderr, "host: no memory for a Lua state\n");
  else if (state_run(L, prepare, (void *)file) != 0) {
    lua_close(L);
    L = NULL;
  }
  return L;
}
