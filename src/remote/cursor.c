#include "remote/cursor.h"

#include <lauxlib.h>

#include "base/stack.h"

/* A chunk ends when it has this many bytes, or entries. */
#define CHUNK_BYTES (size_t)(64 * 1024)
#define CHUNK_ENTRIES 8192

/* A cursor is a list of these. */
enum {
  CURSOR_SOURCE = 1, /* the table or list; of an iterator: the function */
  CURSOR_STATE,      /* the list of a table's keys; of an iterator: its state */
  CURSOR_AT,         /* how many keys or items have been used; of an iterator: its control value */
  CURSOR_KIND
};

typedef enum CursorKind { OVER_TABLE, OVER_ITERATOR, OVER_LIST } CursorKind;

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
static void make_cursor(lua_State *L, CursorKind kind) {
  int first = lua_gettop(L) - 2;
  lua_createtable(L, CURSOR_KIND, 0);
  for (int i = CURSOR_SOURCE; i <= CURSOR_AT; i++) {
    lua_pushvalue(L, first + i - 1);
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, kind);
  lua_rawseti(L, -2, CURSOR_KIND);
  lua_insert(L, first);
  lua_settop(L, first);
}

static void push_table_cursor(lua_State *L, int table) {
  table = lua_absindex(L, table);
  lua_pushvalue(L, table);
  lua_pushvalue(L, table);
  list_keys(L);
  lua_pushinteger(L, 0);
  make_cursor(L, OVER_TABLE);
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
    make_cursor(L, OVER_ITERATOR);
  }
}

/* Pushes a cursor over the list at `index`, as ipairs would iterate. [-0, +1, m] */
static void push_list_cursor(lua_State *L, int index) {
  lua_pushvalue(L, index);
  lua_pushnil(L);
  lua_pushinteger(L, 0);
  make_cursor(L, OVER_LIST);
}

/*
** ---- using cursors: source, state and place of the cursor at `cursor` lie above it; each pushes what comes next and
** returns how many values that is, 0 at the end ----
*/

/* Remembers the value on top as the place. [-1, +0, m] */
static void set_place(lua_State *L, int cursor) {
  lua_copy(L, -1, cursor + CURSOR_AT);
  lua_rawseti(L, cursor, CURSOR_AT);
}

/* [-0, +(2|0), m] */
static int next_of_table(lua_State *L, int cursor) {
  lua_Integer at = lua_tointeger(L, cursor + CURSOR_AT);
  int base = lua_gettop(L), is_there = 0;
  while (!is_there && lua_rawgeti(L, cursor + CURSOR_STATE, ++at) != LUA_TNIL) {
    lua_pushvalue(L, -1);
    is_there = lua_rawget(L, cursor + CURSOR_SOURCE) != LUA_TNIL;
    if (!is_there)
      lua_settop(L, base);
  }
  lua_pushinteger(L, at);
  set_place(L, cursor);
  if (!is_there)
    lua_settop(L, base);
  return is_there ? 2 : 0;
}

/* [-0, +(2|0), e] */
static int next_of_iterator(lua_State *L, int cursor) {
  for (int i = CURSOR_SOURCE; i <= CURSOR_AT; i++)
    lua_pushvalue(L, cursor + i);
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2)) {
    lua_pop(L, 2);
    return 0;
  }
  lua_pushvalue(L, -2);
  set_place(L, cursor);
  return 2;
}

/* Honours __index, as ipairs does. [-0, +(1|0), e] */
static int next_of_list(lua_State *L, int cursor) {
  lua_Integer at = lua_tointeger(L, cursor + CURSOR_AT) + 1;
  lua_pushinteger(L, at);
  set_place(L, cursor);
  if (lua_geti(L, cursor + CURSOR_SOURCE, at) != LUA_TNIL)
    return 1;
  lua_pop(L, 1);
  return 0;
}

static int next_of(lua_State *L, int cursor, CursorKind kind) {
  switch (kind) {
  case OVER_TABLE:
    return next_of_table(L, cursor);
  case OVER_ITERATOR:
    return next_of_iterator(L, cursor);
  default:
    return next_of_list(L, cursor);
  }
}

/*
** Encodes keys and values, or items, of the cursor on top, and a nil at the end of all; returns whether there may be
** more. [-0, +0, e]
*/
static int encode_entries(ro_Encoder *e, ro_Writer *writer) {
  lua_State *L = ro_encoder_state(e);
  size_t start = ro_encoder_buffer(e)->size;
  int cursor = lua_gettop(L), base = cursor + CURSOR_AT, values = 1;
  CursorKind kind;
  for (int i = CURSOR_SOURCE; i <= CURSOR_KIND; i++)
    lua_rawgeti(L, cursor, i);
  kind = (CursorKind)lua_tointeger(L, -1);
  lua_settop(L, base);
  for (int entries = 0; values > 0 && !is_full(e, start, entries); entries++) {
    values = next_of(L, cursor, kind);
    for (int i = 1; i <= values; i++)
      ro_chain_put_result(e, writer, base + i, 0);
    lua_settop(L, base);
  }
  if (values == 0)
    encode_nil(e);
  lua_settop(L, cursor);
  return values > 0;
}

/* Answers with a handle for the cursor on top, which is popped, and its first chunk. */
static void answer_first(ro_Encoder *e, ro_Writer *writer, int handles) {
  lua_State *L = ro_encoder_state(e);
  lua_Integer handle = ro_handle_new(L, handles);
  lua_pushinteger(L, handle);
  ro_encode(e, lua_gettop(L), 0);
  lua_pop(L, 1);
  if (encode_entries(e, writer)) {
    lua_pushvalue(L, -1);
    lua_rawseti(L, handles, handle);
  }
  lua_pop(L, 1);
}

static void answer_next(ro_Encoder *e, ro_Writer *writer, lua_Integer handle, int handles) {
  lua_State *L = ro_encoder_state(e);
  if (handle <= 0 || lua_rawgeti(L, handles, handle) != LUA_TTABLE)
    luaL_error(L, "the listener has no loop with the handle %I", handle);
  if (!encode_entries(e, writer)) {
    lua_pushnil(L);
    lua_rawseti(L, handles, handle);
  }
  lua_pop(L, 1);
}

void ro_cursor_answer(ro_Encoder *e, ro_Writer *writer, ro_Operation operation, lua_Integer handle) {
  lua_State *L = ro_encoder_state(e);
  int handles;
  ro_check_stack(L, 20, NULL);
  ro_push_handles(L, writer->holder->hub, writer->holder->request);
  handles = lua_gettop(L);
  if (operation == RO_OP_NEXT) {
    answer_next(e, writer, handle, handles);
  } else {
    if (operation == RO_OP_PAIRS)
      push_cursor(L, -2);
    else
      push_list_cursor(L, -2);
    answer_first(e, writer, handles);
  }
  lua_pop(L, 1);
}
