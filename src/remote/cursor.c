#include "remote/cursor.h"

#include <lauxlib.h>

/* A chunk ends when it has this many bytes, or entries. */
#define CHUNK_BYTES (size_t)(64 * 1024)
#define CHUNK_ENTRIES 8192

/* A cursor is a list. */
enum {
  CURSOR_SOURCE = 1, /* the table; of an iterator: the function */
  CURSOR_STATE,      /* the list of keys; of an iterator: its state */
  CURSOR_AT,         /* how many keys have been used; of an iterator: its control value */
  CURSOR_IS_ITERATOR
};

/* Is a chunk that began at `start` as long as it may get. */
static int is_full(ro_Encoder *e, size_t start, int entries) {
  return entries >= CHUNK_ENTRIES || ro_encoder_buffer(e)->size - start >= CHUNK_BYTES;
}

static void encode_nil(ro_Encoder *e) {
  lua_State *L = ro_encoder_state(e);
  lua_pushnil(L);
  ro_encode(e, -1, 0);
  lua_pop(L, 1);
}

static void encode_top(ro_Encoder *e) {
  ro_encode(e, lua_gettop(ro_encoder_state(e)), 0);
}

/* ---- making cursors ---- */

/* Replaces the table on top by a list of its keys. [-1, +1, m] */
static void list_keys(lua_State *L) {
  int table = lua_gettop(L);
  lua_Integer count = 0;
  lua_newtable(L);
  lua_pushnil(L);
  while (lua_next(L, table)) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, table + 1, ++count);
  }
  lua_remove(L, table);
}

/* Pops source, state and control value, pushes a cursor of them. [-3, +1, m] */
static void make_cursor(lua_State *L, int is_iterator) {
  int first = lua_gettop(L) - 2;
  lua_createtable(L, CURSOR_IS_ITERATOR, 0);
  for (int i = CURSOR_SOURCE; i <= CURSOR_AT; i++) {
    lua_pushvalue(L, first + i - 1);
    lua_rawseti(L, -2, i);
  }
  lua_pushboolean(L, is_iterator);
  lua_rawseti(L, -2, CURSOR_IS_ITERATOR);
  lua_insert(L, first);
  lua_settop(L, first);
}

static void push_table_cursor(lua_State *L, int table) {
  table = lua_absindex(L, table);
  lua_pushvalue(L, table);
  lua_pushvalue(L, table);
  list_keys(L);
  lua_pushinteger(L, 0);
  make_cursor(L, 0);
}

static int is_next(lua_State *L, int index) {
  int same;
  lua_getglobal(L, "next");
  same = lua_rawequal(L, index, -1);
  lua_pop(L, 1);
  return same;
}

/* Pushes a cursor over the value at `index`, as pairs would iterate. [-0, +1, e] */
static void push_cursor(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (luaL_getmetafield(L, index, "__pairs") == LUA_TNIL) {
    if (!lua_istable(L, index))
      luaL_error(L, "attempt to iterate over a %s value", luaL_typename(L, index));
    push_table_cursor(L, index);
    return;
  }
  lua_pushvalue(L, index);
  lua_call(L, 1, 3);
  /* what iterates by `next` gets the same care as a plain table */
  if (is_next(L, -3) && lua_istable(L, -2) && lua_isnil(L, -1)) {
    push_table_cursor(L, -2);
    lua_insert(L, -4);
    lua_pop(L, 3);
  } else {
    make_cursor(L, 1);
  }
}

/* ---- using cursors ---- */

/* Pushes the next key and value of a table's cursor, or nothing at its end. [-0, +(2|0), -] */
static int next_of_table(lua_State *L, int cursor) {
  lua_Integer at;
  int base = lua_gettop(L);
  lua_rawgeti(L, cursor, CURSOR_SOURCE);
  lua_rawgeti(L, cursor, CURSOR_STATE);
  lua_rawgeti(L, cursor, CURSOR_AT);
  at = lua_tointeger(L, -1);
  lua_pop(L, 1);
  while (lua_rawgeti(L, base + 2, ++at) != LUA_TNIL) {
    lua_pushvalue(L, -1);
    if (lua_rawget(L, base + 1) != LUA_TNIL)
      break; /* still there */
    lua_pop(L, 2);
  }
  lua_pushinteger(L, at);
  lua_rawseti(L, cursor, CURSOR_AT);
  if (lua_gettop(L) < base + 4) {
    lua_settop(L, base);
    return 0;
  }
  lua_remove(L, base + 1);
  lua_remove(L, base + 1);
  return 1;
}

static int next_of_iterator(lua_State *L, int cursor) {
  for (int i = CURSOR_SOURCE; i <= CURSOR_AT; i++)
    lua_rawgeti(L, cursor, i);
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2)) {
    lua_pop(L, 2);
    return 0;
  }
  lua_pushvalue(L, -2);
  lua_rawseti(L, cursor, CURSOR_AT);
  return 1;
}

/* Encodes keys and values, at the end of all a nil; returns whether there may be more. */
static int encode_entries(ro_Encoder *e, int cursor) {
  lua_State *L = ro_encoder_state(e);
  size_t start = ro_encoder_buffer(e)->size;
  int is_iterator;
  lua_rawgeti(L, cursor, CURSOR_IS_ITERATOR);
  is_iterator = lua_toboolean(L, -1);
  lua_pop(L, 1);
  for (int entries = 0; !is_full(e, start, entries); entries++) {
    if (!(is_iterator ? next_of_iterator(L, cursor) : next_of_table(L, cursor))) {
      encode_nil(e);
      return 0;
    }
    ro_encode(e, lua_gettop(L) - 1, 0);
    encode_top(e);
    lua_pop(L, 2);
  }
  return 1;
}

static void answer_pairs(ro_Encoder *e, int handles) {
  lua_State *L = ro_encoder_state(e);
  lua_Integer handle;
  push_cursor(L, -1);
  lua_rawgeti(L, handles, 0);
  handle = lua_tointeger(L, -1) + 1;
  lua_pushinteger(L, handle);
  ro_encode(e, -1, 0);
  lua_rawseti(L, handles, 0); /* the last handle given out */
  lua_pop(L, 1);
  if (encode_entries(e, lua_gettop(L))) {
    lua_pushvalue(L, -1);
    lua_rawseti(L, handles, handle);
  }
  lua_pop(L, 1);
}

static void answer_next(ro_Encoder *e, lua_Integer handle, int handles) {
  lua_State *L = ro_encoder_state(e);
  if (handle <= 0 || lua_rawgeti(L, handles, handle) != LUA_TTABLE)
    luaL_error(L, "the listener has no loop with the handle %I", handle);
  if (!encode_entries(e, lua_gettop(L))) {
    lua_pushnil(L);
    lua_rawseti(L, handles, handle);
  }
  lua_pop(L, 1);
}

/* Values from `index` on, at the end of all a nil. Honours __index, as ipairs does. */
static void answer_ipairs(ro_Encoder *e, lua_Integer index) {
  lua_State *L = ro_encoder_state(e);
  size_t start = ro_encoder_buffer(e)->size;
  int value = lua_gettop(L);
  for (int entries = 0; !is_full(e, start, entries); entries++) {
    int type = lua_geti(L, value, index + entries);
    encode_top(e);
    lua_pop(L, 1);
    if (type == LUA_TNIL)
      return;
  }
}

void ro_cursor_answer(ro_Encoder *e, ro_Operation operation, lua_Integer number, int handles) {
  luaL_checkstack(ro_encoder_state(e), 12, NULL);
  if (operation == RO_OP_PAIRS)
    answer_pairs(e, handles);
  else if (operation == RO_OP_NEXT)
    answer_next(e, number, handles);
  else
    answer_ipairs(e, number);
}
