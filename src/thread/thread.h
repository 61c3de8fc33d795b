/*
** Native threads that run a Lua function in the state that has started them: the lock lets one of them run at a time.
*/
#ifndef RO_THREAD_H
#define RO_THREAD_H

#include <lua.h>

/* Adds the table `_thread` to the module table on top: what remoteobj.thread is made of. [-0, +0, m] */
void ro_open_thread(lua_State *L);

#endif
