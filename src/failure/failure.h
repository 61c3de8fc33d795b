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

/*
** Pushes the remote traceback that is known of the error value at `index`: that of a
** RemoteError, or of a table that came from another process; nil otherwise. [-0, +1, m]
*/
void ro_push_known_traceback(lua_State *L, int index);

/* Pushes the message of the error value at `index`, without a traceback. [-0, +1, e] */
void ro_push_error_message(lua_State *L, int index);

/* Keeps the string on top as the remote traceback of the table at `index`. [-1, +0, m] */
void ro_keep_traceback(lua_State *L, int index);

/*
** Appends to the remote traceback of the error value at `index`, if one is known, where it passes through this process: the
** traceback of `from`, beginning at `level`. [-0, +0, m]
*/
void ro_extend_traceback(lua_State *L, int index, lua_State *from, int level);

/*
** Says how tracebacks show the function at `index`: under `name` where its caller gives it
** none, or, with NULL, not at all (the library's own frames). [-0, +0, m]
*/
void ro_traceback_name(lua_State *L, int index, const char *name);

/* How many frames the coroutine has. [-0, +0, -] */
int ro_stack_depth(lua_State *from);

/*
** Message handler for lua_pcall: makes the failure. The error value stays as it is, for the
** values to be closed that see it; ro_failure_caught finds the failure again. A lua_CFunction.
*/
int ro_failure_handler(lua_State *L);

/*
** Replaces the error value on top, caught just now by lua_pcall with the handler above, by its
** failure. [-1, +1, m]
*/
void ro_failure_caught(lua_State *L);

/* Replaces the error value on top, which has ended coroutine `from`, by its failure. [-1, +1, m] */
void ro_failure_of(lua_State *L, lua_State *from);

/* Pushes the error value of the failure at `index` (anything else: the value itself). [-0, +1, -] */
void ro_failure_value(lua_State *L, int index);

/* Pushes the traceback of the failure at `index`, nil for anything else. [-0, +1, -] */
void ro_failure_traceback(lua_State *L, int index);

/*
** Encodes the failure at `index`, or that of the error value there if it was caught just now, for another
*process, as the wire format lays down;
** never raises Unsendable: what can't be sent travels as text. `rules` are those of values. [-0, +0, m]
*/
void ro_failure_encode(lua_State *L, int index, ro_Buffer *out, const ro_EncodeRules *rules);

/* Pushes the error value that is to be raised here for an encoded failure. [-0, +1, v] */
void ro_failure_decode(lua_State *L, const char *data, size_t size, const ro_DecodeRules *rules);

/* The name of this process, as RemoteError shows it; "main" where nobody has named it. [-0, +1, m] */
void ro_push_process_name(lua_State *L);

/* Names this process from the string at `index`. [-0, +0, m] */
void ro_set_process_name(lua_State *L, int index);

/* The metatable of RemoteError, made at its first use. [-0, +1, m] */
void ro_push_remote_error_metatable(lua_State *L);

/*
** Adds the functions with which the Lua layer raises and catches failures to the table on
** top: guard, rethrow, failure_of, failure_with, value_of,
** traceback_of, keep_traceback, marks_of, flying, depth, name_function, name_process. [-0, +0, m]
*/
void ro_failure_functions(lua_State *L);

/* Adds Error, RemoteError and traceback to the module table on top of the stack. [-0, +0, m] */
void ro_open_failure(lua_State *L);

#endif
