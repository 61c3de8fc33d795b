/*
** Tracebacks as text, every frame of them. Functions of the library don't show, and a
** function that its caller gave no name (the one a process began with) shows the name that
** it is known by.
*/
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/registry.h"
#include "base/stack.h"
#include "failure/failure.h"

/* Frames shown at each end of a stack that is deeper than both together. */
#define SHOWN 100

/* Registry: function -> the name it shows, or false when it doesn't show; keys are weak. */
static const char names_key;

void ro_traceback_name(lua_State *L, int index, const char *name) {
  index = lua_absindex(L, index);
  ro_check_stack(L, 6, NULL);
  ro_push_kept_table(L, &names_key, "k");
  lua_pushvalue(L, index);
  if (name == NULL)
    lua_pushboolean(L, 0);
  else
    lua_pushstring(L, name);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

int ro_stack_depth(lua_State *from) {
  lua_Debug ar;
  int low = 0, high = 1;
  while (lua_getstack(from, high, &ar)) {
    low = high;
    high *= 2;
  }
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (lua_getstack(from, middle, &ar))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/*
** Pushes the name of the function on top within the loaded module at `module` (its name just
** below it). [-0, +1, m]
*/
static int push_field_name(lua_State *L, int function, int module) {
  const char *name = lua_tostring(L, module - 1);
  for (lua_pushnil(L); lua_next(L, module); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, function))
      continue;
    if (strcmp(name, LUA_GNAME) == 0)
      lua_pushvalue(L, -2);
    else
      lua_pushfstring(L, "%s.%s", name, lua_tostring(L, -2));
    lua_replace(L, -3);
    lua_pop(L, 1);
    return 1;
  }
  return 0;
}

/*
** Pushes the name under which the function at `function` is a field of a loaded module. Returns
** whether it is.
*/
static int push_loaded_name(lua_State *L, int function) {
  int top = lua_gettop(L);
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) != LUA_TTABLE) {
    lua_settop(L, top);
    return 0;
  }
  for (lua_pushnil(L); lua_next(L, top + 1); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1) || !push_field_name(L, function, lua_gettop(L)))
      continue;
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return 1;
  }
  lua_settop(L, top);
  return 0;
}

/* Pushes how a frame calls its function, which is on top. [-1, +1, m] */
static void push_function_name(lua_State *L, const lua_Debug *ar, const char *known) {
  int function = lua_gettop(L);
  if (*ar->namewhat != '\0')
    lua_pushfstring(L, "%s '%s'", ar->namewhat, ar->name);
  else if (*ar->what == 'm')
    lua_pushliteral(L, "main chunk");
  else if (known != NULL)
    lua_pushfstring(L, "function '%s'", known);
  else if (push_loaded_name(L, function))
    lua_pushfstring(L, "function '%s'", lua_tostring(L, -1));
  else if (*ar->what == 'C')
    lua_pushliteral(L, "?");
  else
    lua_pushfstring(L, "function <%s:%d>", ar->short_src, ar->linedefined);
  lua_replace(L, function);
  lua_settop(L, function);
}

/* Pushes the line of the frame at `level`, or nothing when it doesn't show. Returns whether it does. */
static int push_frame(lua_State *L, lua_State *from, int level, int names) {
  lua_Debug ar;
  const char *known;
  if (!lua_getstack(from, level, &ar))
    return 0;
  lua_getinfo(from, "Slnt", &ar);
  lua_getinfo(L, "f", &ar);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, names) == LUA_TBOOLEAN) {
    lua_pop(L, 2);
    return 0;
  }
  known = lua_tostring(L, -1);
  lua_insert(L, -2); /* the name stays anchored below the function */
  push_function_name(L, &ar, known);
  if (ar.currentline > 0)
    lua_pushfstring(L, "\n\t%s:%d: in %s%s", ar.short_src, ar.currentline, lua_tostring(L, -1),
                    ar.istailcall ? "\n\t(...tail calls...)" : "");
  else
    lua_pushfstring(L, "\n\t%s: in %s%s", ar.short_src, lua_tostring(L, -1),
                    ar.istailcall ? "\n\t(...tail calls...)" : "");
  lua_replace(L, -3);
  lua_pop(L, 1);
  return 1;
}

/* Appends the frames of the levels from `first` up to, not including, `end` to the list at `list`. */
static void add_frames(lua_State *L, lua_State *from, int first, int end, int names) {
  int list = names + 1;
  for (int level = first; level < end; level++)
    if (push_frame(L, from, level, names))
      lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* Replaces the list on top by its strings in one. [-1, +1, m] */
static void join_list(lua_State *L) {
  luaL_Buffer text;
  int list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  luaL_buffinit(L, &text);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    luaL_addvalue(&text);
  }
  luaL_pushresult(&text);
  lua_replace(L, list);
}

void ro_push_traceback(lua_State *L, lua_State *from, int level) {
  int end = ro_stack_depth(from), names;
  ro_push_kept_table(L, &names_key, "k");
  names = lua_gettop(L);
  lua_newtable(L);
  lua_pushliteral(L, "stack traceback:");
  lua_rawseti(L, -2, 1);
  if (end - level <= 2 * SHOWN) {
    add_frames(L, from, level, end, names);
  } else {
    add_frames(L, from, level, level + SHOWN, names);
    lua_pushfstring(L, "\n\t...\t(skipping %d levels)", end - level - 2 * SHOWN);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    add_frames(L, from, end - SHOWN, end, names);
  }
  join_list(L);
  lua_remove(L, names);
}
