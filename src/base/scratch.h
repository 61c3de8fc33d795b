/*
** Buffers owned by userdata, so that a Lua error can't lose them; one is kept per state for the
** next time.
*/
#ifndef RO_SCRATCH_H
#define RO_SCRATCH_H

#include <lua.h>

#include "base/buffer.h"

/* Pushes an empty buffer, which must stay on the stack while it is used. [-0, +1, m] */
ro_Buffer *ro_scratch_open(lua_State *L);

/* A second buffer of the same userdata, empty at ro_scratch_open. */
ro_Buffer *ro_scratch_side(ro_Buffer *buffer);

/* Hands the buffer back for reuse; its slot keeps a value without meaning. */
void ro_scratch_close(ro_Buffer *buffer);

#endif
