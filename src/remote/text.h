/*
** What views look like and when they are alike; touches no wire.
*/
#ifndef RO_TEXT_H
#define RO_TEXT_H

#include <lua.h>

#include "remote/proxy.h"

/* Pushes the chain of the view at `index` in Lua syntax: `?.a[1]("x")`. [-0, +1, e] */
void ro_push_chain_text(lua_State *L, int index);

/* How long the text of an evaluation gets in messages, bytes; what follows is cut. */
#define RO_LONGEST_TEXT 200

/*
** Replaces the `count` operands on top by the text, for messages, of an evaluation of the view at `view` with that
** last operation. Long strings in it are cut. [-count, +1, e]
*/
void ro_push_evaluation_text(lua_State *L, int view, ro_Operation operation, int count);

/*
** Pushes the text of a chain that is `before`, followed by an operation whose `count` operands lie from `first` on, as
** the listener has them: that of RO_OP_REFERENCE is the object. Long strings in it are cut. [-0, +1, e]
*/
void ro_push_step_text(lua_State *L, const char *before, ro_Operation operation, int first, int count);

/* The size, at most `longest` bytes, to which a text can be cut without cutting a character of UTF-8 in two. */
size_t ro_cut_text(const char *text, size_t size, size_t longest);

/* __tostring and __eq of views; lua_CFunctions. */
int ro_view_tostring(lua_State *L);
int ro_view_eq(lua_State *L);

#endif
