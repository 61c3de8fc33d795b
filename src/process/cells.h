/* Numbers that a process shares with its forks. */
#ifndef RO_CELLS_H
#define RO_CELLS_H

#include <lua.h>

/* Adds cells() and the metatable of what it makes to the table on top. [-0, +0, m] */
void ro_open_cells(lua_State *L);

#endif
