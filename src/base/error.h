/*
** The library's own errors: tables with metatable remoteobj.Error and the fields `kind`,
** `message` and, for some kinds, `may_have_run`.
*/
#ifndef RO_ERROR_H
#define RO_ERROR_H

#include <lua.h>

#define RO_ERROR_METATABLE "remoteobj.Error"

typedef enum ro_ErrorKind {
  RO_NOT_LISTENING,
  RO_DISCONNECTED,
  RO_TIMEOUT,
  RO_PROCESS_DIED,
  RO_UNSENDABLE,
  RO_PROTOCOL
} ro_ErrorKind;

/* Pushes an error whose message is formatted as by lua_pushfstring. [-0, +1, m] */
void ro_push_error(lua_State *L, ro_ErrorKind kind, const char *format, ...);

/* Pushes such an error and raises it; never returns. [-0, +1, v] */
int ro_raise(lua_State *L, ro_ErrorKind kind, const char *format, ...);

/* Is the error on top, with which a protected call has ended in `status`, that there is no memory; then there may be some the next time. [-0, +0, -] */
int ro_is_memory_error(lua_State *L, int status);

/* Pushes the metatable of the library's errors, made at its first use. [-0, +1, m] */
void ro_push_error_metatable(lua_State *L);

#endif
