/* The instrument for Lua: the module `instrument`. */
#ifndef BINDING_H
#define BINDING_H

#include "lua_headers.h"

/* A lua_CFunction. */
int luaopen_instrument(lua_State *L);

/* Pushes a list of `count` samples. [-0, +1, m] */
void push_samples(lua_State *L, const double *samples, int count);

#endif
