/* Decoding of the extension types. */
#include <string.h>

#include "base/error.h"
#include "base/stack.h"
#include "codec/decoder.h"
#include "codec/names.h"

/* Raises unless functions may be handed out and __unpack may run. */
static void need_code(const ro_Decoder *d, const char *what) {
  if (!d->rules->code)
    ro_raise(d->walk.L, RO_PROTOCOL, "%s at offset %I: only unpack(s, {code = true}) takes code", what,
             (LUAI_UACINT)d->position);
}

/* Raises unless the position is where the extension ends. */
static void check_end(const ro_Decoder *d, size_t end) {
  if (d->position != end)
    ro_damaged(d, d->position, "expected the end of an extension at offset %I", (LUAI_UACINT)end);
}

/* Pushes the table `field` of the walk's store. */
static void push_stored(ro_Decoder *d, const char *field) {
  lua_State *L = d->walk.L;
  ro_walk_store(&d->walk);
  if (lua_getfield(L, -1, field) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, field);
  }
  lua_replace(L, -2);
}

/* ---- references and names ---- */

static int get_reference(ro_Decoder *d, size_t end) {
  size_t position = d->position;
  size_t size = end - position;
  uint64_t number;
  if (size != 1 && size != 2 && size != 4)
    ro_damaged(d, position, "expected a reference of 1, 2 or 4 bytes, found %I", (LUAI_UACINT)size);
  number = ro_get_unsigned(d, size);
  if (!d->graph || number == 0 || number > d->objects)
    ro_damaged(d, position, "expected the number of an object, found %I", (LUAI_UACINT)number);
  if (lua_rawgeti(d->walk.L, d->kept, (lua_Integer)number) == LUA_TNIL)
    ro_damaged(d, position, "expected an object that is whole, found %I", (LUAI_UACINT)number);
  return 1;
}

static int unknown(ro_Decoder *d, const char *what, const char *hint) {
  return ro_raise(d->walk.L, RO_PROTOCOL, "%s %s is not known here%s", what, lua_tostring(d->walk.L, -1),
                  hint);
}

static int is_word(const char *bytes, size_t size, const char *word) {
  return size == strlen(word) && memcmp(bytes, word, size) == 0;
}

static int get_named(ro_Decoder *d, size_t end) {
  lua_State *L = d->walk.L;
  size_t position = d->position;
  size_t what_size, size;
  const char *what = ro_get_string(d, &what_size);
  const char *name = ro_get_string(d, &size);
  check_end(d, end);
  lua_pushlstring(L, name, size);
  lua_pushvalue(L, -1);
  if (is_word(what, what_size, RO_NAMED_CLASS)) {
    ro_names_call(L, "find_class", 1, 1);
    what = RO_NAMED_CLASS;
  } else if (is_word(what, what_size, RO_NAMED_FUNCTION)) {
    need_code(d, RO_NAMED_FUNCTION);
    ro_names_call(L, "find_function", 1, 1);
    what = RO_NAMED_FUNCTION;
  } else if (is_word(what, what_size, RO_NAMED_MODULE)) {
    need_code(d, RO_NAMED_MODULE);
    ro_names_call(L, "find_module", 1, 1);
    what = RO_NAMED_MODULE;
  } else {
    ro_damaged(d, position, "expected \"function\", \"module\" or \"class\"");
  }
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    unknown(d, what, "");
  }
  lua_replace(L, -2);
  return 1;
}

/* ---- instances ---- */

/* Pushes the metatable of the class that is named next, and its __unpack if that is wanted. */
static void push_class(ro_Decoder *d, int packed) {
  lua_State *L = d->walk.L;
  size_t size;
  const char *name = ro_get_string(d, &size);
  int gc;
  lua_pushlstring(L, name, size);
  lua_pushvalue(L, -1);
  ro_names_call(L, "find_metatable", 1, 3); /* metatable, __unpack, has it __gc */
  gc = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (lua_isnil(L, -2)) {
    lua_pop(L, 2);
    unknown(d, RO_NAMED_CLASS, ": remoteobj.register makes it known");
  }
  if (packed && lua_isnil(L, -1)) {
    lua_pop(L, 2);
    ro_raise(L, RO_PROTOCOL, "class %s has no __unpack here", lua_tostring(L, -1));
  }
  if (gc && !packed)
    need_code(d, "instance of a class with __gc");
  if (packed)
    lua_replace(L, -3);
  else
    lua_pop(L, 1);
}

/* Pushes the metatable for instances of the class that is named next; found once a session. */
static void push_metatable(ro_Decoder *d) {
  lua_State *L = d->walk.L;
  size_t before = d->position;
  size_t size;
  const char *name = ro_get_string(d, &size);
  push_stored(d, RO_D_CLASSES);
  lua_pushlstring(L, name, size);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) == LUA_TNIL) { /* classes, name, nil */
    lua_pop(L, 1);
    d->position = before;
    push_class(d, 0); /* classes, name, name, metatable */
    lua_replace(L, -2);
    lua_pushvalue(L, -1);
    lua_insert(L, -3);
    lua_rawset(L, -4); /* classes, metatable */
    lua_replace(L, -2);
    return;
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
}

static int open_instance(ro_Decoder *d, size_t end) {
  uint32_t count;
  push_metatable(d);
  ro_decode_push(d, RO_D_INSTANCE, 1, 1)->mark = end;
  if (ro_get_map_header(d, &count))
    ro_decode_table(d, RO_D_MAP, count);
  else if (ro_get_array_header(d, &count))
    ro_decode_table(d, RO_D_ARRAY, count);
  else
    ro_damaged(d, d->position, "expected the table of an instance, found %s", ro_get_what(d));
  return 0;
}

static int open_packed(ro_Decoder *d, size_t end) {
  uint32_t number = ro_decode_number(d);
  ro_Frame *f;
  uint32_t count;
  need_code(d, "instance of a class with __unpack");
  push_class(d, 1); /* __unpack, metatable */
  lua_pop(d->walk.L, 1);
  count = ro_get_array(d);
  ro_decode_promise(d, count);
  lua_createtable(d->walk.L, count > INT32_MAX ? INT32_MAX : (int)count, 0);
  f = ro_decode_push(d, RO_D_PACKED, 2, count);
  f->mark = end;
  f->extra = number;
  return 0;
}

void ro_decode_step_packed(ro_Decoder *d, ro_Frame *f) {
  lua_State *L = d->walk.L;
  uint32_t number = (uint32_t)f->extra;
  int table;
  if (f->i < f->n) {
    f->i++;
    ro_decode_value(d);
    return;
  }
  check_end(d, f->mark);
  table = lua_gettop(L);
  if (f->n > INT32_MAX - LUA_MINSTACK)
    luaL_error(L, "too many values for __unpack");
  ro_check_stack(L, (int)f->n + LUA_MINSTACK, "too many values for __unpack");
  lua_pushvalue(L, table - 1);
  for (uint32_t i = 1; i <= f->n; i++)
    lua_rawgeti(L, table, i);
  lua_call(L, (int)f->n, 1);
  lua_replace(L, table - 1);
  lua_settop(L, table - 1);
  ro_decode_keep(d, number);
  ro_decode_pop(d);
  ro_decode_deliver(d);
}

/* ---- functions ---- */

/* Pushes the function whose code comes next. */
static void push_code(ro_Decoder *d) {
  size_t position = d->position;
  size_t size;
  const char *code = ro_get_string(d, &size);
  if (luaL_loadbufferx(d->walk.L, code, size, "=?", "b") != LUA_OK)
    ro_damaged(d, position, "expected the code of a function, %s", lua_tostring(d->walk.L, -1));
}

static int open_function(ro_Decoder *d, size_t end) {
  lua_State *L = d->walk.L;
  lua_Debug info;
  uint32_t count;
  ro_Frame *f;
  need_code(d, RO_NAMED_FUNCTION);
  push_code(d);
  ro_decode_keep(d, ro_decode_number(d));
  count = ro_get_array(d);
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">u", &info);
  if (count != info.nups)
    ro_damaged(d, d->position, "expected %d upvalues, found %I", (int)info.nups, (LUAI_UACINT)count);
  f = ro_decode_push(d, RO_D_FUNCTION, 1, count);
  f->mark = end;
  return 0;
}

/* Makes upvalue i of the topmost function the one that has been numbered so. */
static void join_upvalue(ro_Decoder *d, int i, lua_Integer number) {
  lua_State *L = d->walk.L;
  int other;
  if (!d->graph || number < 1 || number > (lua_Integer)d->upvalues)
    ro_damaged(d, d->position, "expected the number of an upvalue, found %I", (LUAI_UACINT)number);
  push_stored(d, RO_D_UPVALUES);
  lua_rawgeti(L, -1, 2 * number - 1);
  lua_rawgeti(L, -2, 2 * number);
  other = (int)lua_tointeger(L, -1);
  lua_upvaluejoin(L, -4, i, -2, other);
  lua_pop(L, 3);
}

/* Gives upvalue i of the topmost function the next number. */
static void number_upvalue(ro_Decoder *d, int i) {
  lua_State *L = d->walk.L;
  lua_Integer number = ++d->upvalues;
  if (!d->graph)
    return;
  push_stored(d, RO_D_UPVALUES);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, 2 * number - 1);
  lua_pushinteger(L, i);
  lua_rawseti(L, -2, 2 * number);
  lua_pop(L, 1);
}

void ro_decode_step_function(ro_Decoder *d, ro_Frame *f) {
  uint32_t count;
  if (f->i == f->n) {
    check_end(d, f->mark);
    ro_decode_pop(d);
    ro_decode_deliver(d);
    return;
  }
  f->i++;
  if (!ro_get_array_header(d, &count)) {
    join_upvalue(d, (int)f->i, ro_get_integer(d));
    return;
  }
  if (count != 1)
    ro_damaged(d, d->position, "expected one value of an upvalue, found %I", (LUAI_UACINT)count);
  number_upvalue(d, (int)f->i);
  ro_decode_value(d);
}

/* ---- which it is ---- */

/* Lets the caller's reader read the payload. */
static int get_special(ro_Decoder *d, ro_Extent extent) {
  lua_State *L = d->walk.L;
  size_t stop = d->stop, promised = d->promised;
  int top = lua_gettop(L);
  ro_check_stack(L, 2 * LUA_MINSTACK, "value");
  d->stop = extent.end;
  d->promised = 0;
  d->rules->special(d, extent.type, extent.end - d->position, d->rules->context);
  if (lua_gettop(L) != top + 1)
    luaL_error(L, "a reader of extension %d left %d values", extent.type, lua_gettop(L) - top);
  check_end(d, extent.end);
  d->stop = stop;
  d->promised = promised;
  return 1;
}

static int get_globals(ro_Decoder *d, size_t end) {
  need_code(d, "table of globals");
  check_end(d, end);
  lua_rawgeti(d->walk.L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  return 1;
}

int ro_decode_extension(ro_Decoder *d, ro_Extent extent) {
  switch (extent.type) {
  case -1:
    ro_get_timestamp(d, extent.end);
    return 1;
  case RO_EXT_REFERENCE:
    return get_reference(d, extent.end);
  case RO_EXT_INSTANCE:
    return open_instance(d, extent.end);
  case RO_EXT_PACKED:
    return open_packed(d, extent.end);
  case RO_EXT_NAMED:
    return get_named(d, extent.end);
  case RO_EXT_FUNCTION:
    return open_function(d, extent.end);
  case RO_EXT_GLOBALS:
    return get_globals(d, extent.end);
  default:
    if (extent.type < RO_EXT_OBJECT || d->rules->special == NULL)
      ro_damaged(d, d->position, "extension type %d is not known here", extent.type);
    return get_special(d, extent);
  }
}
