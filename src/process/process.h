/* Processes as Lua sees them: the only fork, and handles of the children. */
#ifndef RO_PROCESS_H
#define RO_PROCESS_H

#include <lua.h>

/*
** Adds the table `_process` to the module table on top: what the Lua layer of processes and
** of Except is built on (fork, journal, guard and so on). [-0, +0, m]
*/
void ro_open_process(lua_State *L);

#endif
