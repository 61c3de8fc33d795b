/* Encoding of functions: by name where both sides know them, else as code and upvalues. */
#include "codec/encoder.h"

#include <string.h>

#include "codec/names.h"
#include "codec/put.h"

/* lua_Writer into the session's buffer. */
static int write_code(lua_State *L, const void *bytes, size_t size, void *context) {
  ro_Encoder *e = context;
  (void)L;
  ro_buffer_add(e->out, bytes, size);
  return e->out->failed;
}

static void put_code(ro_Encoder *e) {
  size_t mark = ro_binary_begin(e->out);
  if (lua_dump(e->walk.L, write_code, e, 0) != 0)
    luaL_error(e->walk.L, "not enough memory");
  ro_binary_end(e->out, mark);
}

static uint8_t count_upvalues(lua_State *L) {
  lua_Debug info;
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">u", &info);
  return info.nups;
}

static void note_named(void *context, const void *function) {
  *ro_encoder_seen(context, RO_KEY_NAMED(function)) = 1;
}

/*
** Has the topmost function, which is a Lua one, perhaps a name. A look at all that do is needed to know, one for a
** session.
*/
static int may_have_name(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  if (!e->scanned)
    ro_names_visit_functions(L, note_named, e);
  e->scanned = 1;
  return ro_seen_get(&e->seen, RO_KEY_NAMED(lua_topointer(L, -1))) != 0;
}

/* Pushes the name of the topmost function and returns 1, if it has one. Most Lua functions that come here have none. */
static int push_name(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  int is_lua = !lua_iscfunction(L, -1), nameless;
  lua_pushvalue(L, -1);
  ro_names_call(L, "last_function_name", 1, 1);
  if (lua_isstring(L, -1))
    return 1;
  nameless = is_lua && lua_isboolean(L, -1);
  lua_pop(L, 1);
  if (nameless)
    return 0;
  if (!is_lua || may_have_name(e)) {
    lua_pushvalue(L, -1);
    ro_names_call(L, "function_name", 1, 1);
    if (!lua_isnil(L, -1))
      return 1;
    lua_pop(L, 1);
  }
  if (is_lua) {
    lua_pushvalue(L, -1);
    ro_names_call(L, "note_nameless", 1, 0);
  }
  return 0;
}

void ro_encode_function(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  ro_Frame *f;
  size_t mark;
  uint8_t upvalues;
  if (push_name(e)) {
    ro_encode_named(e, RO_NAMED_FUNCTION);
    lua_pop(L, 1);
    return;
  }
  if (lua_iscfunction(L, -1))
    ro_unsendable(e, "C function that no loaded module and no global holds");
  *ro_encoder_seen(e, RO_KEY_OBJECT(lua_topointer(L, -1))) = ++e->objects;
  upvalues = count_upvalues(L);
  mark = ro_ext_begin(e->out, RO_EXT_FUNCTION);
  put_code(e);
  ro_put_array(e->out, upvalues);
  f = ro_walk_push(&e->walk, RO_E_FUNCTION, 1);
  f->n = upvalues;
  f->extra = mark;
}

/* Writes the topmost value by name if it is a loaded module. */
static int put_module(ro_Encoder *e) {
  lua_State *L = e->walk.L;
  if (!lua_istable(L, -1) || lua_topointer(L, -1) == e->rules->object)
    return 0;
  lua_pushvalue(L, -1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  if (lua_rawequal(L, -1, -2)) { /* has a form of its own */
    lua_pop(L, 2);
    return 0;
  }
  lua_pop(L, 1);
  ro_names_call(L, "module_name", 1, 1);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return 0;
  }
  ro_encode_named(e, RO_NAMED_MODULE);
  lua_pop(L, 1);
  return 1;
}

void ro_encode_upvalue(ro_Encoder *e, ro_Frame *f) {
  lua_State *L = e->walk.L;
  int i = (int)++f->i;
  uint32_t *number = ro_encoder_seen(e, RO_KEY_UPVALUE(lua_upvalueid(L, -1, i)));
  if (*number != 0) {
    ro_put_integer(e->out, *number);
    e->references = 1; /* numbers begin anew in each session, so its beginning must be marked */
    return;
  }
  *number = ++e->upvalues;
  ro_put_array(e->out, 1);
  if (strcmp(lua_getupvalue(L, -1, i), "_ENV") == 0)
    ro_encode_globals(e); /* whatever it is here: the receiver's globals there */
  else if (!put_module(e))
    ro_encode_open(e);
}

int ro_encoder_in_function(const ro_Encoder *e) {
  for (size_t i = e->walk.depth; i > 0; i--)
    if (e->walk.frames[i - 1].kind == RO_E_FUNCTION)
      return 1;
  return 0;
}
