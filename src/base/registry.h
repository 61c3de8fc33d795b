/* Tables that the registry of a Lua state keeps. */
#ifndef RO_REGISTRY_H
#define RO_REGISTRY_H

#include <lauxlib.h>
#include <lua.h>

/*
** Pushes the table kept under `key`, the address of something static, made at its first use; `weak` says what it holds weakly: "k"
** keys, "v" values, NULL nothing. [-0, +1, m]
*/
void ro_push_kept_table(lua_State *L, const void *key, const char *weak);

/*
** Pushes the metatable called `name`, made with `functions` at its first use: whole, or, when memory is short, not at
** all, so that it may be tried again. [-0, +1, m]
*/
void ro_push_metatable(lua_State *L, const char *name, const luaL_Reg *functions);

#endif
