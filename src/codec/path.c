/* Where in a value the walk is, for errors. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/stack.h"
#include "codec/encoder.h"

#define SHOWN_STEPS 20 /* of a longer path, so many steps at either end */
#define SHOWN_KEY 60   /* bytes of a string key */

static const char *const reserved[] = {"and",      "break",  "do",   "else", "elseif", "end",  "false", "for",
                                       "function", "goto",   "if",   "in",   "local",  "nil",  "not",   "or",
                                       "repeat",   "return", "then", "true", "until",  "while"};

static int is_name(const char *s, size_t size) {
  if (size == 0 || size > SHOWN_KEY || isdigit((unsigned char)s[0]))
    return 0;
  for (size_t i = 0; i < size; i++)
    if (s[i] != '_' && !(s[i] > 0 && isalnum((unsigned char)s[i])))
      return 0;
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (strcmp(s, reserved[i]) == 0)
      return 0;
  return 1;
}

/* Replaces the string on top by how Lua would index with it. */
static void string_step(lua_State *L) {
  size_t size;
  const char *s = lua_tolstring(L, -1, &size);
  luaL_Buffer b;
  if (is_name(s, size)) {
    lua_pushfstring(L, ".%s", s);
    lua_remove(L, -2);
    return;
  }
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "[\"");
  for (size_t i = 0; i < size && i < SHOWN_KEY; i++) {
    char escape[8];
    if (s[i] == '"' || s[i] == '\\')
      snprintf(escape, sizeof escape, "\\%c", s[i]);
    else if (iscntrl((unsigned char)s[i]))
      snprintf(escape, sizeof escape, "\\%03d", (unsigned char)s[i]);
    else
      snprintf(escape, sizeof escape, "%c", s[i]);
    luaL_addstring(&b, escape);
  }
  luaL_addstring(&b, size > SHOWN_KEY ? "...\"]" : "\"]");
  luaL_pushresult(&b);
  lua_remove(L, -2);
}

/* Replaces the key on top by the step of a path that it makes. */
static void key_step(lua_State *L) {
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    string_step(L);
    return;
  case LUA_TNUMBER:
  case LUA_TBOOLEAN:
    luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "[%s]", lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
    return;
  default:
    lua_pushfstring(L, "[%s]", luaL_typename(L, -1));
    lua_remove(L, -2);
  }
}

/* Pushes the step that the walk takes from level `level` on. */
static void push_step(ro_Encoder *e, size_t level) {
  lua_State *L = e->walk.L;
  const ro_Frame *f = &e->walk.frames[level];
  const char *name;
  switch (f->kind) {
  case RO_E_ARRAY:
    lua_pushfstring(L, "[%I]", (LUAI_UACINT)f->i);
    break;
  case RO_E_MAP:
    ro_walk_slot(&e->walk, level, 1);
    key_step(L);
    break;
  case RO_E_KEY:
    lua_pushliteral(L, "[key]");
    break;
  case RO_E_PACKED:
    lua_pushfstring(L, ".__pack()[%I]", (LUAI_UACINT)f->i);
    break;
  default:
    ro_walk_slot(&e->walk, level, 0);
    name = lua_getupvalue(L, -1, (int)f->i);
    lua_pushfstring(L, ".upvalue(%s)", name != NULL ? name : "?");
    lua_replace(L, -3);
    lua_pop(L, name != NULL ? 1 : 0);
  }
}

/* Pushes the whole path to where the walk is. */
static void push_path(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  size_t depth = e->walk.depth;
  int pieces = 1;
  ro_check_stack(L, 2 * SHOWN_STEPS + LUA_MINSTACK, NULL);
  if (e->number > 0)
    lua_pushfstring(L, "%s %d", e->rules->label, e->number);
  else
    lua_pushstring(L, e->rules->label);
  for (size_t level = 0; level < depth; level++) {
    if (depth > 2 * SHOWN_STEPS && level == SHOWN_STEPS) {
      level = depth - SHOWN_STEPS;
      lua_pushfstring(L, " ... (%I steps) ... ", (LUAI_UACINT)(depth - 2 * SHOWN_STEPS));
      pieces++;
    }
    push_step(e, level);
    pieces++;
  }
  lua_concat(L, pieces);
}

/* Gives up the session: the output is as before it. */
static void abandon(ro_Encoder *e) {
  e->out->size = e->start;
  ro_encoder_release(e);
}

_Noreturn void ro_unsendable(ro_Encoder *e, const char *format, ...) {
  lua_State *L = e->walk.L;
  va_list arguments;
  ro_check_stack(L, 2 * LUA_MINSTACK, NULL);
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  push_path(e);
  abandon(e);
  ro_raise(L, RO_UNSENDABLE, "cannot send %s: %s", lua_tostring(L, -1), lua_tostring(L, -2));
  abort(); /* not reached */
}

_Noreturn void ro_too_large(ro_Encoder *e) {
  ro_unsendable(e, "larger than remoteobj.limits.frame (%I bytes)", (LUAI_UACINT)e->rules->limit);
}
