/*
** Errors that cross processes. A failure is what a message handler makes of an error: the
** error value together with the traceback of where it was raised.
*/
#ifndef RO_FAILURE_H
#define RO_FAILURE_H

#include <lua.h>

#include "codec/codec.h"

/*
** Pushes the traceback of `from`, beginning at `level`: every frame, or of stacks deeper
** than 200 the innermost and the outermost hundred. [-0, +1, m]
*/
void ro_push_traceback(lua_State *L, lua_State *from, int level);

/* Message handler for lua_pcall: error value -> failure. A lua_CFunction. */
int ro_failure_handler(lua_State *L);

/* Pushes a failure of the error value on top, raised in coroutine `from`. [-1, +1, m] */
void ro_failure_of(lua_State *L, lua_State *from);

/* Pushes the error value of the failure at `index` (anything else: the value itself). [-0, +1, -] */
void ro_failure_value(lua_State *L, int index);

/*
** Encodes the failure at `index` for another process, as the wire format lays down;
** never raises Unsendable: what can't be sent travels as text. `rules` are those of values. [-0, +0, m]
*/
void ro_failure_encode(lua_State *L, int index, ro_Buffer *out, const ro_EncodeRules *rules);

/* Pushes the error value that is to be raised here for an encoded failure. [-0, +1, v] */
void ro_failure_decode(lua_State *L, const char *data, size_t size, const ro_DecodeRules *rules);

/* The name of this process, as RemoteError shows it; "main" where nobody has named it. [-0, +1, m] */
void ro_push_process_name(lua_State *L);

/* Adds Error, RemoteError and traceback to the module table on top of the stack. [-0, +0, m] */
void ro_open_failure(lua_State *L);

#endif
