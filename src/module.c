/*
** The C half alone, for the Lua half where that comes from files: `require "remoteobj.core"` finds it in remoteobj.so.
** That has the entry of the whole too (src/library.c), for a program whose package.path leads to no files.
*/

#include <lauxlib.h>
#include <lua.h>

#include "core.h"

LUAMOD_API __attribute__((visibility("default"))) int luaopen_remoteobj_core(lua_State *L) {
  luaL_checkversion(L);
  return ro_open_core(L);
}
