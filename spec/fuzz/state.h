/* Lua states for bytes from elsewhere: with little memory and nothing that could do harm. */
#ifndef FUZZ_STATE_H
#define FUZZ_STATE_H

#include <lua.h>

/* A state with the library open; `package.loaded` and the globals have only harmless functions. Ends the program
   where that can't be made. */
lua_State *fuzz_state(void);

/* Collects all garbage now and then. */
void fuzz_collect(lua_State *L);

#endif
