/* The entry of the C module, for `require "remoteobj.core"`. The library for C hosts has src/library.c instead. */

#include <lauxlib.h>
#include <lua.h>

#include "core.h"

LUAMOD_API __attribute__((visibility("default"))) int luaopen_remoteobj_core(lua_State *L) {
  luaL_checkversion(L);
  return ro_open_core(L);
}
