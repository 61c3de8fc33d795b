/*
** What views look like and when they are alike; touches no wire.
*/
#ifndef RO_TEXT_H
#define RO_TEXT_H

#include <lua.h>

#include "remote/proxy.h"

/* Pushes the chain of the view at `index` in Lua syntax: `?.a[1]("x")`. [-0, +1, e] */
void ro_push_chain_text(lua_State *L, int index);

/*
** Pushes, for messages, the text of an evaluation of the view at `view` with that last operation,
** whose `count` operands lie on top. Leaves more than that on the stack. [-count, +n, e]
*/
void ro_push_evaluation_text(lua_State *L, int view, ro_Operation operation, int count);

/* __tostring and __eq of views; lua_CFunctions. */
int ro_view_tostring(lua_State *L);
int ro_view_eq(lua_State *L);

#endif
