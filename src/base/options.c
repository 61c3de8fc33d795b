#include "base/options.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>

/* Raises the argument error for the key at -2, listing what is known. */
static int unknown_option(lua_State *L, int argument, const char *const names[], unsigned allowed) {
  const char *given = luaL_tolstring(L, -2, NULL);
  luaL_Buffer list;
  int count = 0;
  luaL_buffinit(L, &list);
  for (int i = 0; names[i] != NULL; i++) {
    if ((allowed & 1u << i) == 0)
      continue;
    if (count++ > 0)
      luaL_addstring(&list, ", ");
    luaL_addstring(&list, names[i]);
  }
  luaL_pushresult(&list);
  return luaL_argerror(L, argument,
                       lua_pushfstring(L, "unknown option '%s' (there are %s)", given, lua_tostring(L, -1)));
}

int ro_check_option(lua_State *L, int argument, const char *const names[], unsigned allowed) {
  if (lua_type(L, -2) == LUA_TSTRING) {
    for (int i = 0; names[i] != NULL; i++)
      if ((allowed & 1u << i) != 0 && strcmp(names[i], lua_tostring(L, -2)) == 0)
        return i;
  }
  return unknown_option(L, argument, names, allowed);
}

int ro_check_flag(lua_State *L, int argument, const char *name) {
  if (!lua_isboolean(L, -1))
    luaL_argerror(L, argument,
                  lua_pushfstring(L, "option '%s' must be a boolean, not %s", name, luaL_typename(L, -1)));
  return lua_toboolean(L, -1);
}

double ro_check_seconds(lua_State *L, int argument, const char *name) {
  double seconds = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || isnan(seconds) || seconds < 0) {
    const char *got = luaL_tolstring(L, -1, NULL);
    luaL_argerror(L, argument,
                  lua_pushfstring(L, "option '%s' must be a number of seconds, not %s", name, got));
  }
  return seconds;
}
