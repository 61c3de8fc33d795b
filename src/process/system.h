/* What the Lua layer asks of the system besides processes: a line in one piece, a crash, how large the machine is. */
#ifndef RO_SYSTEM_H
#define RO_SYSTEM_H

#include <lua.h>

/* Adds print, segfault, processors and columns to the table on top. [-0, +0, m] */
void ro_system_functions(lua_State *L);

#endif
