/* Lua's stack: room on it, and what is called there. */
#ifndef RO_STACK_H
#define RO_STACK_H

#include <lua.h>

/*
** Makes room for `slots` more values. Returns NULL, or what it lacks: "stack overflow", or "not enough memory", of which
** there may be some the next time. [-0, +0, -]
*/
const char *ro_stack_lacks(lua_State *L, int slots);

/* As luaL_checkstack, which does not tell the two apart. `what` is part of the message, or NULL. [-0, +0, v] */
void ro_check_stack(lua_State *L, int slots, const char *what);

/* Is the function that lua_getstack has put into `ar` a finalizer which Lua has called. [-0, +0, -] */
int ro_stack_is_finalizer(lua_State *L, lua_Debug *ar);

#endif
