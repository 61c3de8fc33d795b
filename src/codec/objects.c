/* Encoding of what has an identity, a class or a name: the first look at a value with parts. */
#include "codec/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/stack.h"
#include "codec/names.h"
#include "codec/put.h"

#define UNFILTERED 16 /* tables of a session that are looked for among the known classes without a filter */

/* Writes a reference to the topmost value if it was opened before in this session. */
static int put_reference(ro_Encoder *e, uint32_t number) {
  if (number == 0)
    return 0;
  if (number & RO_SEEN_OPEN)
    ro_unsendable(e, "contains itself by way of its __pack");
  ro_put_reference(e->out, number);
  e->references = 1;
  lua_pop(e->walk.L, 1);
  return 1;
}

void ro_encode_named(ro_Encoder *e, const char *what) {
  size_t size;
  const char *name = lua_tolstring(e->walk.L, -1, &size);
  size_t mark = ro_ext_begin(e->out, RO_EXT_NAMED);
  ro_put_string(e->out, what, strlen(what));
  ro_put_string(e->out, name, size);
  ro_ext_end(e->out, mark);
  lua_pop(e->walk.L, 1);
}

static void put_empty_ext(ro_Encoder *e, unsigned type) {
  ro_put_byte(e->out, 0xc7);
  ro_put_byte(e->out, 0);
  ro_put_byte(e->out, type);
  lua_pop(e->walk.L, 1);
}

void ro_encode_globals(ro_Encoder *e) {
  put_empty_ext(e, RO_EXT_GLOBALS);
}

static int is_globals(ro_Encoder *e, const void *address) {
  if (e->globals == NULL) {
    lua_rawgeti(e->walk.L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    e->globals = lua_topointer(e->walk.L, -1);
    lua_pop(e->walk.L, 1);
  }
  return address == e->globals;
}

/* ---- classes ---- */

/* Adds a class; its name and __pack (or nil) are the two topmost values. Returns its number. */
static uint32_t add_class(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  ro_Class *class;
  if (e->class_count == e->class_capacity) {
    uint32_t capacity = e->class_capacity == 0 ? 8 : 2 * e->class_capacity;
    ro_Class *classes = realloc(e->classes, capacity * sizeof *classes);
    if (classes == NULL)
      return (uint32_t)luaL_error(L, "not enough memory");
    e->classes = classes;
    e->class_capacity = capacity;
  }
  class = &e->classes[e->class_count];
  class->pack = lua_toboolean(L, -1) ? ro_walk_anchor(&e->walk) : (lua_pop(L, 1), 0);
  class->name = lua_tolstring(L, -1, &class->size);
  ro_walk_anchor(&e->walk);
  return ++e->class_count;
}

/*
** The number of the class whose instances have the topmost metatable, which is popped; or 0,
** and the reason why there is none is pushed instead.
*/
static uint32_t class_of_metatable(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  const void *metatable = lua_topointer(L, -1);
  const void *class;
  uint32_t number = ro_seen_get(&e->seen, RO_KEY_METATABLE(metatable));
  if (number != 0) {
    lua_pop(L, 1);
    return number;
  }
  ro_names_call(L, "describe", 1, 3); /* name, __pack, class; or nil, reason */
  class = lua_topointer(L, -1);
  lua_pop(L, 1);
  if (lua_isnil(L, -2)) {
    lua_remove(L, -2);
    return 0;
  }
  number = add_class(e);
  *ro_encoder_seen(e, RO_KEY_METATABLE(metatable)) = number;
  *ro_encoder_seen(e, RO_KEY_CLASS(class)) = number;
  e->known = -1; /* its parents may have become known with it */
  return number;
}

/*
** May the table at that address be a class known by name? The filter answers for most; it is made when there are enough
** tables for that to pay.
*/
static int may_be_known(ro_Encoder *e, const void *address) {
  lua_State *L = e->walk.L;
  if (e->known < 0) {
    e->known = ro_names_any_known(L);
    e->lookups = 0;
  }
  if (!e->known)
    return 0;
  if (e->lookups < UNFILTERED && ++e->lookups == UNFILTERED)
    ro_names_filter(L, &e->filter);
  return e->lookups < UNFILTERED || ro_names_may_be_known(&e->filter, address);
}

/* Is the topmost table, which is at `address`, a class that travels by name; pushes the name then. */
static int named_class(ro_Encoder *e, const void *address) {
  lua_State *L = e->walk.L;
  uint32_t number;
  if (may_be_known(e, address) && ro_names_known(L, -1))
    return 1;
  if (e->class_count == 0)
    return 0;
  number = ro_seen_get(&e->seen, RO_KEY_CLASS(address));
  if (number == 0)
    return 0;
  lua_pushlstring(L, e->classes[number - 1].name, e->classes[number - 1].size);
  return 1;
}

/*
** Writes the topmost table, which is at `address`, by name and returns 1 if it is a class that travels so; else
** returns 0. [-(0|1), +0, v]
*/
static int put_class(ro_Encoder *e, const void *address) {
  if (!named_class(e, address))
    return 0;
  ro_encode_named(e, RO_NAMED_CLASS);
  lua_pop(e->walk.L, 1);
  return 1;
}

/* A table whose metatable is unknown may still be a class that a loaded module has. Stack: table, reason. */
static void put_unknown(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  lua_pushvalue(L, -2);
  ro_names_call(L, "class_value_name", 1, 1);
  if (lua_isnil(L, -1))
    ro_unsendable(e, "table: %s", lua_tostring(L, -2));
  ro_encode_named(e, RO_NAMED_CLASS);
  lua_pop(L, 2);
}

/* Calls __pack of the topmost object; what it gives lies in a table above it then. Returns how many values.
 */
static uint32_t call_pack(ro_Encoder *e, const ro_Class *class) {
  lua_State *L = e->walk.L;
  int top = lua_gettop(L);
  int n;
  ro_walk_anchored(&e->walk, class->pack);
  lua_pushvalue(L, top);
  lua_call(L, 1, LUA_MULTRET);
  e->known = -1; /* it may have made classes known */
  n = lua_gettop(L) - top;
  ro_check_stack(L, LUA_MINSTACK, "values of __pack");
  lua_createtable(L, n, 0);
  lua_insert(L, top + 1);
  for (int i = n; i >= 1; i--)
    lua_rawseti(L, top + 1, i);
  lua_pushvalue(L, top + 1); /* kept: addresses of what is gone could be used again */
  ro_walk_anchor(&e->walk);
  return (uint32_t)n;
}

static void open_packed(ro_Encoder *e, uint32_t number) {
  uintptr_t key = RO_KEY_OBJECT(lua_topointer(e->walk.L, -1));
  ro_Frame *f;
  uint32_t n;
  size_t mark;
  *ro_encoder_seen(e, key) = ++e->objects | RO_SEEN_OPEN;
  n = call_pack(e, &e->classes[number - 1]);
  mark = ro_ext_begin(e->out, RO_EXT_PACKED);
  ro_put_string(e->out, e->classes[number - 1].name, e->classes[number - 1].size);
  ro_put_array(e->out, n);
  f = ro_walk_push(&e->walk, RO_E_PACKED, 2);
  f->n = n;
  f->extra = mark;
}

void ro_encode_instance(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  uint32_t number = class_of_metatable(e);
  size_t mark;
  if (number == 0) {
    put_unknown(e);
    return;
  }
  if (e->classes[number - 1].pack != 0) {
    open_packed(e, number);
    return;
  }
  *ro_encoder_seen(e, RO_KEY_OBJECT(lua_topointer(L, -1))) = ++e->objects;
  mark = ro_ext_begin(e->out, RO_EXT_INSTANCE);
  ro_put_string(e->out, e->classes[number - 1].name, e->classes[number - 1].size);
  ro_encode_content(e, mark);
}

/* ---- the first look ---- */

static void open_table(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  const void *address = lua_topointer(L, -1);
  uint32_t *number = ro_encoder_seen(e, RO_KEY_OBJECT(address));
  if (put_reference(e, *number))
    return;
  if (is_globals(e, address)) {
    ro_encode_globals(e);
    return;
  }
  if ((e->known != 0 || e->class_count != 0) && put_class(e, address))
    return;
  if (lua_getmetatable(L, -1)) {
    ro_encode_instance(e);
    return;
  }
  *number = ++e->objects; /* nothing was added to the set meanwhile */
  ro_encode_content(e, 0);
}

/* Has the value below the topmost one a __pack, so that it was meant to travel. */
static int packs(lua_State *L) {
  int yes;
  lua_getmetatable(L, -2);
  lua_pushliteral(L, "__pack");
  yes = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return yes;
}

void ro_encode_userdata(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  const char *name = "";
  ro_check_stack(L, LUA_MINSTACK, "value");
  if (e->rules->userdata != NULL && e->rules->userdata(e, lua_gettop(L), e->rules->context)) {
    lua_pop(L, 1);
    return;
  }
  if (put_reference(e, *ro_encoder_seen(e, RO_KEY_OBJECT(lua_topointer(L, -1)))))
    return;
  if (lua_getmetatable(L, -1)) {
    uint32_t number = class_of_metatable(e);
    if (number != 0 && e->classes[number - 1].pack != 0) {
      open_packed(e, number);
      return;
    }
    if (number == 0 && packs(L))
      ro_unsendable(e, "userdata: %s", lua_tostring(L, -1));
    if (number == 0)
      lua_pop(L, 1);
    lua_getmetatable(L, -1);
    lua_pushliteral(L, "__name");
    if (lua_rawget(L, -2) == LUA_TSTRING)
      name = lua_tostring(L, -1);
  }
  ro_unsendable(e, "userdata%s%s", *name != '\0' ? " " : "", name);
}

void ro_encode_open(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  int type = lua_type(L, -1);
  if (ro_encode_plain(e, -1, type)) {
    lua_pop(L, 1);
    return;
  }
  if (e->rules->object != NULL && lua_topointer(L, -1) == e->rules->object) {
    put_empty_ext(e, RO_EXT_OBJECT);
    return;
  }
  if (e->rules->known != NULL && lua_topointer(L, -1) == e->rules->known) {
    e->rules->put_known(e, e->rules->context);
    lua_pop(L, 1);
    return;
  }
  switch (type) {
  case LUA_TTABLE:
    open_table(e);
    break;
  case LUA_TFUNCTION:
    if (!put_reference(e, *ro_encoder_seen(e, RO_KEY_OBJECT(lua_topointer(L, -1)))))
      ro_encode_function(e);
    break;
  case LUA_TUSERDATA:
    ro_encode_userdata(e);
    break;
  default:
    ro_unsendable(e, "%s", type == LUA_TLIGHTUSERDATA ? "light userdata" : lua_typename(L, type));
  }
}
