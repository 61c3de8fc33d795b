/* A program with a Lua of its own that runs one script: `script_host FILE [ARGUMENTS]`. */

#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static void set_arguments(lua_State *L, int count, char **arguments) {
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushstring(L, arguments[i]);
    lua_rawseti(L, -2, i);
  }
  lua_setglobal(L, "arg");
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (L == NULL || argc < 2)
    return 2;
  luaL_openlibs(L);
  set_arguments(L, argc - 1, argv + 1);
  int failed = luaL_dofile(L, argv[1]);
  if (failed)
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  return failed != 0;
}
