/*
** Buffers owned by userdata, so that a Lua error can't lose them; a few are kept per state
** for the next time.
*/
#ifndef RO_SCRATCH_H
#define RO_SCRATCH_H

#include <lua.h>

#include "base/buffer.h"

/* Pushes an empty buffer, which must stay on the stack while it is used. [-0, +1, m] */
ro_Buffer *ro_scratch_open(lua_State *L);

/* Hands the buffer at `index` back for reuse; the slot keeps a value without meaning. [-0, +0, m] */
void ro_scratch_close(lua_State *L, int index);

#endif
