/* What proxies and views do in expressions, and their methods. */
#ifndef RO_METAMETHODS_H
#define RO_METAMETHODS_H

#include <lua.h>

/* Puts the metamethods into the table on top of the stack. [-0, +0, m] */
void ro_set_metamethods(lua_State *L);

/* __call of `p:passto`; a lua_CFunction. */
int ro_method_passto(lua_State *L);

/* Pushes the table of proxy methods by name. [-0, +1, m] */
void ro_push_methods(lua_State *L);

#endif
