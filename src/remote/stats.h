/* Counters as tables. */
#ifndef RO_STATS_H
#define RO_STATS_H

#include <lua.h>

/* stats_ of proxies; a lua_CFunction. */
int ro_method_stats(lua_State *L);

/* Adds stats to the module table on top. [-0, +0, m] */
void ro_open_stats(lua_State *L);

#endif
