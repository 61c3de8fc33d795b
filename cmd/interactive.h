/* The interactive mode. */
#ifndef CMD_INTERACTIVE_H
#define CMD_INTERACTIVE_H

#include <lua.h>

/*
** Reads statements and expressions, runs them and prints what they give, until the end of the input. While it waits for a
** line, listeners of the state serve requests. [-0, +0, m]
*/
void run_interactively(lua_State *L);

#endif
