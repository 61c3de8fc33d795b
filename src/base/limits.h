/*
** remoteobj.limits: settings of a Lua state that programs may change.
*/
#ifndef RO_LIMITS_H
#define RO_LIMITS_H

#include <stddef.h>

#include <lua.h>

/* Pushes the table, made at its first use: frame = 1 GiB. [-0, +1, m] */
void ro_push_limits(lua_State *L);

/*
** The largest payload of a frame in bytes; raises an error when `limits.frame` is no positive
** integer. [-0, +0, v]
*/
size_t ro_frame_limit(lua_State *L);

#endif
