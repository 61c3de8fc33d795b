/* The entry of the whole library: the C half, and the Lua half out of memory. */

#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "core.h"
#include "embedded.h"
#include "remoteobj.h"

#define WHOLE "remoteobj"

/* Runs a file as `require` does: the loader of its module. Upvalue: the file. */
static int load_file(lua_State *L) {
  const ro_EmbeddedFile *file = lua_touserdata(L, lua_upvalueindex(1));
  if (luaL_loadbufferx(L, (const char *)file->text, file->size, file->chunk, "t") != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, file->module);
  lua_pushstring(L, file->chunk + 1);
  lua_call(L, 2, 1);
  return 1;
}

/* Makes the parts of the library known to `require`. [-0, +0, m] */
static void preload(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (const ro_EmbeddedFile *file = ro_embedded_files; file->module != NULL; file++) {
    lua_pushlightuserdata(L, (void *)file);
    lua_pushcclosure(L, load_file, 1);
    lua_setfield(L, -2, file->module);
  }
  lua_pushcfunction(L, ro_open_core);
  lua_setfield(L, -2, "remoteobj.core");
  lua_pop(L, 1);
}

/* The loader of the whole is one of those that were preloaded. [-0, +1, v] */
static void load_whole(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_getfield(L, -1, WHOLE);
  lua_remove(L, -2);
  lua_call(L, 0, 1);
}

int luaopen_remoteobj(lua_State *L) {
  luaL_checkversion(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, WHOLE) != LUA_TNIL)
    return 1;
  if (lua_getfield(L, -2, LUA_LOADLIBNAME) != LUA_TTABLE)
    return luaL_error(L, "remoteobj needs Lua's standard libraries: call luaL_openlibs first");
  lua_pop(L, 2);
  preload(L);
  load_whole(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, WHOLE);
  return 1;
}
