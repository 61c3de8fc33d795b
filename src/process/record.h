/* Journals as Lua sees them: records of values and of failures, each with what tells it from others. */
#ifndef RO_RECORD_H
#define RO_RECORD_H

#include <lua.h>

/* Adds journal() and the metatable of what it makes to the table on top. [-0, +0, m] */
void ro_open_record(lua_State *L);

#endif
