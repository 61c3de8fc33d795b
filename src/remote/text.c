/***
Chains as text, and their equality.
@module remoteobj
*/

#include "remote/text.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "base/stack.h"
#include "remote/proxy.h"
#include "remote/reference.h"

#define DEEPEST 100 /* levels of tables that are compared by value */

/* ---- text ---- */

/* How much of a string is shown: all of it, or what messages and traces have room for. */
#define WHOLE SIZE_MAX
#define LONGEST_STRING 100

static int is_keyword(const char *s) {
  static const char *const keywords[] = {
      "and", "break", "do",  "else", "elseif", "end",    "false",  "for",  "function", "goto",  "if",
      "in",  "local", "nil", "not",  "or",     "repeat", "return", "then", "true",     "until", "while"};
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
    if (strcmp(keywords[i], s) == 0)
      return 1;
  return 0;
}

static int is_name(lua_State *L, int index) {
  size_t size;
  const char *s;
  if (lua_type(L, index) != LUA_TSTRING)
    return 0;
  s = lua_tolstring(L, index, &size);
  if (size == 0 || isdigit((unsigned char)*s) || strlen(s) != size || is_keyword(s))
    return 0;
  for (; *s != '\0'; s++)
    if (!isalnum((unsigned char)*s) && *s != '_')
      return 0;
  return 1;
}

/* Adds the first `longest` bytes of a string. */
static void add_quoted(luaL_Buffer *b, const char *s, size_t size, size_t longest) {
  const char *end = size > longest ? "...\"" : "\"";
  size = size > longest ? longest : size;
  luaL_addchar(b, '"');
  for (; size > 0; s++, size--) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      luaL_addchar(b, '\\');
      luaL_addchar(b, *s);
    } else if (c == '\n') {
      luaL_addstring(b, "\\n");
    } else if (c < ' ' || c == 127) {
      char code[8];
      int next_is_digit = size > 1 && isdigit((unsigned char)s[1]);
      size_t n = (size_t)snprintf(code, sizeof code, next_is_digit ? "\\%03d" : "\\%d", c);
      luaL_addlstring(b, code, n);
    } else {
      luaL_addchar(b, *s);
    }
  }
  luaL_addstring(b, end);
}

/* Pushes the float at `index` so that it reads as the same number. [-0, +1, e] */
static void push_float(lua_State *L, int index) {
  lua_Number value = lua_tonumber(L, index);
  char text[48];
  if (isinf(value)) {
    lua_pushstring(L, value > 0 ? "math.huge" : "-math.huge");
  } else if (isnan(value)) {
    lua_pushliteral(L, "0/0");
  } else {
    luaL_tolstring(L, index, NULL);
    if (strtod(lua_tostring(L, -1), NULL) == value)
      return;
    lua_pop(L, 1);
    snprintf(text, sizeof text, "%.17g", value);
    lua_pushstring(L, text);
  }
}

static void push_chain_text(lua_State *L, int index, size_t longest);

/* Pushes the value at `index` as one would write it. [-0, +1, e] */
static void push_literal(lua_State *L, int index, size_t longest) {
  index = lua_absindex(L, index);
  if (lua_type(L, index) == LUA_TSTRING) {
    luaL_Buffer b;
    size_t size;
    const char *s = lua_tolstring(L, index, &size);
    luaL_buffinit(L, &b);
    add_quoted(&b, s, size, longest);
    luaL_pushresult(&b);
  } else if (ro_test_view(L, index) != NULL) {
    push_chain_text(L, index, longest);
  } else if (lua_type(L, index) == LUA_TNUMBER && !lua_isinteger(L, index)) {
    push_float(L, index);
  } else {
    luaL_tolstring(L, index, NULL);
  }
}

/* Pushes `.name` or `[key]` for the key at `index`; `separator` is "." or ":". [-0, +1, e] */
static void push_key(lua_State *L, int index, const char *separator, size_t longest) {
  if (is_name(L, index)) {
    lua_pushfstring(L, "%s%s", separator, lua_tostring(L, index));
    return;
  }
  push_literal(L, index, longest);
  lua_pushfstring(L, "%s[%s]", *separator == ':' ? ":" : "", lua_tostring(L, -1));
  lua_remove(L, -2);
}

/* Pushes `(a, b)` for the `count` values from `first` on. [-0, +1, e] */
static void push_arguments(lua_State *L, int first, int count, size_t longest) {
  lua_pushliteral(L, "(");
  for (int i = 0; i < count; i++) {
    if (i > 0) {
      lua_pushliteral(L, ", ");
      lua_concat(L, 2);
    }
    push_literal(L, first + i, longest);
    lua_concat(L, 2);
  }
  lua_pushliteral(L, ")");
  lua_concat(L, 2);
}

/* Pushes the text of an operation whose `count` operands lie from `first` on. [-0, +1, e] */
static void push_step(lua_State *L, ro_Operation operation, int first, int count, size_t longest) {
  int top = lua_gettop(L) + 1;
  ro_check_stack(L, 8, NULL);
  switch (operation) {
  case RO_OP_INDEX:
    push_key(L, first, ".", longest);
    break;
  case RO_OP_METHOD:
    push_key(L, first, ":", longest);
    push_arguments(L, first + 1, count - 1, longest);
    lua_concat(L, 2);
    break;
  case RO_OP_PASSTO:
    lua_pushliteral(L, ":passto");
    push_arguments(L, first, count, longest);
    lua_concat(L, 2);
    break;
  case RO_OP_SUPER:
    lua_pushliteral(L, ".super");
    break;
  case RO_OP_SET:
    push_key(L, first, ".", longest);
    lua_pushliteral(L, " = ");
    push_literal(L, first + 1, longest);
    lua_concat(L, 3);
    break;
  case RO_OP_CONTAINS:
    lua_pushliteral(L, ":contains_");
    push_arguments(L, first, count, longest);
    lua_concat(L, 2);
    break;
  case RO_OP_IPAIRS:
    lua_pushliteral(L, ":ipairs_()");
    break;
  case RO_OP_CALL:
    push_arguments(L, first, count, longest);
    break;
  case RO_OP_REFERENCE:
    lua_pushfstring(L, "ref_%I", (LUAI_UACINT)((ro_Claim *)lua_touserdata(L, first))->number);
    break;
  default: /* what push_applied puts around the chain */
    lua_pushliteral(L, "");
  }
  lua_insert(L, top);
  lua_settop(L, top);
}

/* As ro_push_chain_text; of strings the first `longest` bytes. */
static void push_chain_text(lua_State *L, int index, size_t longest) {
  luaL_Buffer b;
  int top, length;
  index = lua_absindex(L, index);
  top = lua_gettop(L);
  length = ro_push_chain(L, index);
  ro_check_stack(L, 12, NULL);
  luaL_buffinit(L, &b);
  if (length == 0 || ((ro_View *)lua_touserdata(L, top + length))->operation != RO_OP_REFERENCE)
    luaL_addchar(&b, '?');
  for (int i = length; i >= 1; i--) {
    int first = lua_gettop(L) + 1;
    int count = ro_push_operands(L, top + i);
    push_step(L, ((ro_View *)lua_touserdata(L, top + i))->operation, first, count, longest);
    lua_insert(L, first);
    lua_settop(L, first);
    luaL_addvalue(&b);
  }
  luaL_pushresult(&b);
  lua_insert(L, top + 1);
  lua_settop(L, top + 1);
}

void ro_push_chain_text(lua_State *L, int index) {
  push_chain_text(L, index, WHOLE);
}

/* Replaces the text of a chain on top by that of an operation that is written around it. [-1, +1, e] */
static void push_applied(lua_State *L, ro_Operation operation) {
  if (operation == RO_OP_LENGTH)
    lua_pushfstring(L, "#%s", lua_tostring(L, -1));
  else if (operation == RO_OP_PAIRS || operation == RO_OP_NEXT)
    lua_pushfstring(L, "pairs(%s)", lua_tostring(L, -1));
  else
    return;
  lua_remove(L, -2);
}

void ro_push_step_text(lua_State *L, const char *before, ro_Operation operation, int first, int count) {
  if (operation == RO_OP_REFERENCE) {
    push_literal(L, first, LONGEST_STRING);
    lua_pushfstring(L, "ref(%s)", lua_tostring(L, -1));
    lua_remove(L, -2);
    return;
  }
  lua_pushstring(L, before);
  push_step(L, operation, first, count, LONGEST_STRING);
  lua_concat(L, 2);
  push_applied(L, operation);
}

size_t ro_cut_text(const char *text, size_t size, size_t longest) {
  if (size <= longest)
    return size;
  while (longest > 0 && ((unsigned char)text[longest] & 0xc0) == 0x80) /* amid a character */
    longest--;
  return longest;
}

void ro_push_evaluation_text(lua_State *L, int view, ro_Operation operation, int count) {
  int first = lua_gettop(L) - count + 1;
  size_t size;
  view = lua_absindex(L, view);
  push_chain_text(L, view, LONGEST_STRING);
  if (operation != RO_OP_ROOT) {
    ro_push_step_text(L, lua_tostring(L, -1), operation, first, count);
    lua_remove(L, -2);
  }
  size = lua_rawlen(L, -1);
  if (size > RO_LONGEST_TEXT) {
    lua_pushlstring(L, lua_tostring(L, -1), ro_cut_text(lua_tostring(L, -1), size, RO_LONGEST_TEXT));
    lua_pushfstring(L, "%s...", lua_tostring(L, -1));
  }
  lua_insert(L, first);
  lua_settop(L, first);
}

/***
@type Proxy
*/

/***
The chain in Lua syntax, as `<Remote NAME : (?.a[1]("x"))>`. NAME is what `tostring` gives of the object here.
Nothing is sent.
@function Proxy:__tostring
@treturn string text for messages
*/
int ro_view_tostring(lua_State *L) {
  const ro_View *view = ro_check_view(L, 1);
  const char *name, *chain;
  ro_push_object(L, view->proxy);
  name = luaL_tolstring(L, -1, NULL);
  ro_push_chain_text(L, 1);
  chain = lua_tostring(L, -1);
  lua_pushfstring(L, "<Remote %s : (%s)>", name, chain);
  return 1;
}

/* ---- equality ---- */

static int same_view(lua_State *L, int a, int b, int depth);

static int is_plain_table(lua_State *L, int index) {
  if (!lua_istable(L, index))
    return 0;
  if (!lua_getmetatable(L, index))
    return 1;
  lua_pop(L, 1);
  return 0;
}

static int same_value(lua_State *L, int a, int b, int depth);

/* Has the table at `b` all entries of the table at `a`. */
static int holds_entries(lua_State *L, int a, int b, int depth) {
  int top = lua_gettop(L);
  ro_check_stack(L, 8, NULL);
  lua_pushnil(L);
  while (lua_next(L, a)) {
    lua_pushvalue(L, -2);
    lua_rawget(L, b);
    if (!same_value(L, top + 2, top + 3, depth)) {
      lua_settop(L, top);
      return 0;
    }
    lua_settop(L, top + 1);
  }
  return 1;
}

static int same_value(lua_State *L, int a, int b, int depth) {
  if (lua_rawequal(L, a, b))
    return 1;
  if (depth > DEEPEST)
    return 0;
  if (ro_test_view(L, a) != NULL && ro_test_view(L, b) != NULL)
    return same_view(L, a, b, depth + 1);
  if (!is_plain_table(L, a) || !is_plain_table(L, b))
    return 0;
  return holds_entries(L, a, b, depth + 1) && holds_entries(L, b, a, depth + 1);
}

/* Have the views the same operation with the same operands. */
static int same_step(lua_State *L, int a, int b, int depth) {
  const ro_View *left = lua_touserdata(L, a), *right = lua_touserdata(L, b);
  int top = lua_gettop(L), count, same;
  if (left->operation != right->operation)
    return 0;
  ro_check_stack(L, 4, NULL);
  count = ro_push_operands(L, a);
  same = count == ro_push_operands(L, b);
  for (int i = 1; same && i <= count; i++)
    same = same_value(L, top + i, top + count + i, depth);
  lua_settop(L, top);
  return same;
}

static int same_view(lua_State *L, int a, int b, int depth) {
  const ro_View *left = lua_touserdata(L, a), *right = lua_touserdata(L, b);
  int top = lua_gettop(L), same = 1;
  if (left->proxy != right->proxy)
    return 0;
  ro_check_stack(L, 6, NULL);
  lua_pushvalue(L, a);
  lua_pushvalue(L, b);
  while (same && !lua_rawequal(L, top + 1, top + 2)) {
    if (ro_is_root(L, top + 1) || ro_is_root(L, top + 2)) {
      same = ro_is_root(L, top + 1) && ro_is_root(L, top + 2);
      break;
    }
    same = same_step(L, top + 1, top + 2, depth);
    for (int i = 1; i <= 2; i++) {
      lua_getiuservalue(L, top + i, RO_VIEW_PARENT);
      lua_replace(L, top + i);
    }
  }
  lua_settop(L, top);
  return same;
}

/***
Do both stand for the same chain on the same object, options apart? Nothing is sent.
@function Proxy:__eq
@tparam Proxy other another view
@treturn boolean
*/
int ro_view_eq(lua_State *L) {
  int are_views = ro_test_view(L, 1) != NULL && ro_test_view(L, 2) != NULL;
  lua_pushboolean(L, are_views && same_view(L, 1, 2, 0));
  return 1;
}
