/* The C half of the library as a whole. */
#ifndef RO_CORE_H
#define RO_CORE_H

#include <lua.h>

/* A lua_CFunction: gives the table that remoteobj/init.lua completes. [-0, +1, v] */
int ro_open_core(lua_State *L);

#endif
