/*
** A program that gives its scripts so much memory and no more.
**
** Usage: limited KIBIBYTES script.lua ...
** Runs the scripts one after the other in one Lua state. One that wants too much gets an error, and the next one
** finds the state in order. Ends with 0; with 1 when a script has failed; with 2 when the library itself does not fit.
*/
#ifdef __cplusplus
extern "C" {
#endif
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#ifdef __cplusplus
}
#endif

#include <remoteobj.h>

#include <stdio.h>
#include <stdlib.h>

#include "budget.h"

static int open_libraries(lua_State *L) {
  luaL_openlibs(L);
  luaL_requiref(L, "remoteobj", luaopen_remoteobj, 0);
  return 0;
}

static int run_script(lua_State *L) {
  const char *file = (const char *)lua_touserdata(L, 1);
  if (luaL_loadfile(L, file) != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 0);
  return 0;
}

/* Calls the function where errors are caught, and says what came of it. */
static int run(lua_State *L, const char *what, lua_CFunction function) {
  int status;
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, (void *)what);
  status = lua_pcall(L, 1, 0, 0);
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    printf("limited: %s: %s\n", what, message != NULL ? message : "an error without a message");
    lua_pop(L, 1);
  }
  lua_gc(L, LUA_GCCOLLECT);
  return status == LUA_OK ? 0 : -1;
}

static int run_all(lua_State *L, char **scripts) {
  int code = 0;
  if (run(L, "the library", open_libraries) != 0)
    return 2;
  for (; *scripts != NULL; scripts++)
    if (run(L, *scripts, run_script) != 0)
      code = 1;
  return code;
}

int main(int argc, char **argv) {
  Budget budget = {0, argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) * 1024 : 0, 0};
  lua_State *L;
  int code = 2;
  if (argc < 3) {
    fprintf(stderr, "usage: limited KIBIBYTES script.lua ...\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  L = lua_newstate(budget_allocate, &budget);
  if (L != NULL) {
    code = run_all(L, argv + 2);
    lua_close(L);
  }
  printf("limited: %zu times too much, %zu bytes left behind\n", budget.refused, budget.used);
  return code;
}
