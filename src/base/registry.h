/* Tables that the registry of a Lua state keeps under the address of something static. */
#ifndef RO_REGISTRY_H
#define RO_REGISTRY_H

#include <lua.h>

/*
** Pushes the table kept under `key`, made at its first use; `weak` says what it holds weakly: "k"
** keys, "v" values, NULL nothing. [-0, +1, m]
*/
void ro_push_kept_table(lua_State *L, const void *key, const char *weak);

#endif
