/***
The library's own errors.
@module remoteobj
*/

#include "base/error.h"

#include <stdarg.h>
#include <string.h>

#include <lauxlib.h>

#include "base/registry.h"
#include "base/stack.h"

/***
What has gone wrong in the library: the metatable of its errors, which are tables.

`NotListening`: nobody listens; the operation was certainly not run.

`Disconnected`: the listener ended before it answered.

`Timeout`: no answer in time, or nobody listened.

`ProcessDied`: a process was killed by a signal that was not sent through its handle, or ended before it
listened.

`Unsendable`: a value can't travel; the message names its path.

`Protocol`: bytes that are no message, or too many of them.
@type Error
*/

/***
Which of these it is.
@tfield string kind
*/

/***
What it says.
@tfield string message
*/

/***
Of `Disconnected` and `Timeout`: false only when the operation certainly has not been run.
@tfield boolean may_have_run
*/

/***
Of `ProcessDied`: how the process has ended, -N after signal N.
@tfield integer exitcode
*/

/***
Of `ProcessDied`: the name of the signal.
@tfield string signal
*/

/***
Of `ProcessDied`: the id of the process.
@tfield integer pid
*/

/***
Of `ProcessDied`: the name of the process.
@tfield string process
*/

/***
The message.
@function Error:__tostring
@treturn string
*/

static const char *const kind_names[] = {"NotListening", "Disconnected", "Timeout",
                                         "ProcessDied",  "Unsendable",   "Protocol"};

static int error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "message");
  luaL_tolstring(L, -1, NULL);
  return 1;
}

void ro_push_error_metatable(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__tostring", error_tostring}, {NULL, NULL}};
  ro_push_metatable(L, RO_ERROR_METATABLE, metamethods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

static void push_error(lua_State *L, ro_ErrorKind kind, const char *format, va_list arguments) {
  lua_createtable(L, 0, 3);
  lua_pushstring(L, kind_names[kind]);
  lua_setfield(L, -2, "kind");
  lua_pushvfstring(L, format, arguments);
  lua_setfield(L, -2, "message");
  ro_push_error_metatable(L);
  lua_setmetatable(L, -2);
}

void ro_push_error(lua_State *L, ro_ErrorKind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  ro_check_stack(L, 6, NULL);
  push_error(L, kind, format, arguments);
  va_end(arguments);
}

int ro_raise(lua_State *L, ro_ErrorKind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  ro_check_stack(L, 6, NULL);
  push_error(L, kind, format, arguments);
  va_end(arguments);
  return lua_error(L);
}

/* Lua raises it with a status of its own, the library, for memory that is not Lua's, as any error. */
int ro_is_memory_error(lua_State *L, int status) {
  return status == LUA_ERRMEM ||
         (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "not enough memory") == 0);
}
