#include "base/error.h"

#include <stdarg.h>

#include <lauxlib.h>

static const char *const kind_names[] = {"NotListening", "Disconnected", "Timeout",
                                         "ProcessDied",  "Unsendable",   "Protocol"};

static int error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "message");
  luaL_tolstring(L, -1, NULL);
  return 1;
}

void ro_push_error_metatable(lua_State *L) {
  if (luaL_newmetatable(L, RO_ERROR_METATABLE)) {
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
  }
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
  luaL_checkstack(L, 6, NULL);
  push_error(L, kind, format, arguments);
  va_end(arguments);
}

int ro_raise(lua_State *L, ro_ErrorKind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  luaL_checkstack(L, 6, NULL);
  push_error(L, kind, format, arguments);
  va_end(arguments);
  return lua_error(L);
}
