/* Lua states with the library and the instrument inside. */
#ifndef STATE_H
#define STATE_H

#include "lua_headers.h"

/*
** A new state that has run the script `file`, which may `require "remoteobj"` and `require "instrument"`. NULL, after a
** message, when that has failed.
*/
lua_State *state_open(const char *file);

/*
** Calls function(L), which has `data` as its only argument (a light userdata) and gives no results. All that the host does
** in a state it does so: whatever goes wrong, be it that memory is short, is printed and makes this return -1.
*/
int state_run(lua_State *L, lua_CFunction function, void *data);

#endif
