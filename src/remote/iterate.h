/* Iterating over a remote table, the client's side. */
#ifndef RO_ITERATE_H
#define RO_ITERATE_H

#include <lua.h>

/* __pairs of views, and the method ipairs_; lua_CFunctions. */
int ro_view_pairs(lua_State *L);
int ro_method_ipairs(lua_State *L);

#endif
