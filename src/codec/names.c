#include "codec/names.h"

#include <string.h>

#include <lauxlib.h>

#include "base/stack.h"
#include "codec/codec.h"

/* Their addresses are keys in the registry. */
static const char module_key, known_key;

void ro_names_open(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, LUA_GNAME);
  lua_getfield(L, -1, "require");
  lua_pushliteral(L, "remoteobj.names");
  lua_call(L, 1, 1);
  lua_replace(L, -3);
  lua_pop(L, 1);
  luaL_checktype(L, -1, LUA_TTABLE);
  lua_getfield(L, -1, "known");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &known_key);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
}

void ro_names_call(lua_State *L, const char *name, int arguments, int results) {
  ro_check_stack(L, LUA_MINSTACK, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key);
  lua_getfield(L, -1, name);
  lua_replace(L, -2);
  lua_insert(L, -1 - arguments);
  lua_call(L, arguments, results);
}

int ro_names_any_known(lua_State *L) {
  int any;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key);
  lua_pushnil(L);
  any = lua_next(L, -2);
  lua_pop(L, any ? 3 : 1);
  return any;
}

void ro_names_filter(lua_State *L, ro_NamesFilter *filter) {
  memset(filter, 0, sizeof *filter);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    unsigned bit = ro_names_bit(lua_topointer(L, -2));
    filter->words[bit / 64] |= UINT64_C(1) << bit % 64;
  }
  lua_pop(L, 1);
}

int ro_names_known(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key);
  lua_pushvalue(L, index);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 2);
    return 0;
  }
  lua_replace(L, -2);
  return 1;
}

void ro_codec_name_class(lua_State *L, int index, const char *name) {
  index = lua_absindex(L, index);
  ro_check_stack(L, LUA_MINSTACK, NULL);
  lua_pushvalue(L, index);
  lua_pushstring(L, name);
  ro_names_call(L, "name_class", 2, 0);
}

typedef struct Visit {
  void (*visit)(void *context, const void *function);
  void *context;
} Visit;

/* Visits the Lua functions in the topmost value, going into tables `levels` deep. */
static void visit_functions(lua_State *L, const Visit *v, int levels) {
  int type = lua_type(L, -1);
  if (type == LUA_TFUNCTION && !lua_iscfunction(L, -1))
    v->visit(v->context, lua_topointer(L, -1));
  if (type != LUA_TTABLE || levels == 0)
    return;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_type(L, -2) == LUA_TSTRING)
      visit_functions(L, v, levels - 1);
    lua_pop(L, 1);
  }
}

void ro_names_visit_functions(lua_State *L, void (*visit)(void *context, const void *function),
                              void *context) {
  Visit v = {visit, context};
  ro_check_stack(L, LUA_MINSTACK, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  visit_functions(L, &v, 3);
  lua_pop(L, 1);
}
