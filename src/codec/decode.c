/* Sessions of the decoder, and the walk through plain tables. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/registry.h"
#include "base/stack.h"
#include "codec/decoder.h"

#define NIL 0xc0 /* the tag */

static const char cache_key;

/* ---- levels ---- */

/* How many items of the level are still to come, when the one that is being read is left out. */
static size_t remaining(const ro_Frame *f) {
  switch (f->kind) {
  case RO_D_MAP:
    return 2 * (size_t)(f->n - f->i) + (f->state ? 0 : 1);
  case RO_D_INSTANCE:
    return 0;
  default:
    return f->n - f->i;
  }
}

/* The innermost level of the run, or NULL outside of all. */
static ro_Frame *innermost(const ro_Decoder *d) {
  return d->walk.depth > d->walk.run->base ? ro_walk_top(&d->walk) : NULL;
}

void ro_decode_promise(ro_Decoder *d, size_t items) {
  size_t left = d->stop - d->position;
  const ro_Frame *f = innermost(d);
  size_t promised = d->promised + (f != NULL ? remaining(f) : 0);
  if (items > left || promised > left - items)
    ro_damaged(d, d->position, "expected %I items and %I more around them, found %I bytes",
               (LUAI_UACINT)items, (LUAI_UACINT)promised, (LUAI_UACINT)left);
}

ro_Frame *ro_decode_push(ro_Decoder *d, int kind, int slots, uint32_t count) {
  ro_Frame *f = innermost(d);
  if (f != NULL)
    d->promised += remaining(f);
  f = ro_walk_push(&d->walk, kind, slots);
  f->n = count;
  return f;
}

void ro_decode_pop(ro_Decoder *d) {
  const ro_Frame *f;
  ro_walk_pop(&d->walk);
  f = innermost(d);
  if (f != NULL)
    d->promised -= remaining(f);
}

uint32_t ro_decode_number(ro_Decoder *d) {
  return ++d->objects;
}

void ro_decode_keep(ro_Decoder *d, uint32_t number) {
  if (!d->graph)
    return;
  lua_pushvalue(d->walk.L, -1);
  lua_rawseti(d->walk.L, d->kept, number);
}

void ro_decode_table(ro_Decoder *d, int kind, uint32_t count) {
  ro_decode_promise(d, kind == RO_D_MAP ? 2 * (size_t)count : count);
  if (kind == RO_D_MAP)
    lua_createtable(d->walk.L, 0, count > INT32_MAX ? INT32_MAX : (int)count);
  else
    lua_createtable(d->walk.L, count > INT32_MAX ? INT32_MAX : (int)count, 0);
  ro_decode_keep(d, ro_decode_number(d));
  ro_decode_push(d, kind, 1, count);
}

/*
** Begins to read a value that has parts. Returns 1 when it is complete and on top, 0 when a
** level was begun for it.
*/
static int open_value(ro_Decoder *d) {
  uint32_t count;
  ro_Extent extent;
  if (ro_get_map_header(d, &count)) {
    ro_decode_table(d, RO_D_MAP, count);
    return 0;
  }
  if (ro_get_array_header(d, &count)) {
    ro_decode_table(d, RO_D_ARRAY, count);
    return 0;
  }
  if (!ro_get_extension(d, &extent))
    ro_damaged(d, d->position, "expected a value, found %s", ro_get_what(d));
  return ro_decode_extension(d, extent);
}

void ro_decode_value(ro_Decoder *d) {
  if (ro_get_plain(d) || open_value(d))
    ro_decode_deliver(d);
}

static void step_array(ro_Decoder *d, ro_Frame *f) {
  lua_State *L = d->walk.L;
  while (f->i < f->n) {
    f->i++;
    if (!ro_get_plain(d)) {
      if (open_value(d))
        ro_decode_deliver(d);
      return;
    }
    lua_rawseti(L, -2, f->i);
  }
  ro_decode_pop(d);
  ro_decode_deliver(d);
}

/* Raises unless the topmost value can be a key. */
static void check_key(ro_Decoder *d, size_t position) {
  lua_State *L = d->walk.L;
  if (lua_isnil(L, -1))
    ro_damaged(d, position, "expected a key, found nil");
  if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1))
    ro_damaged(d, position, "expected a key, found NaN");
}

/* Stores the entry whose key and value are on top; nil means that there is none. */
static void set_entry(lua_State *L) {
  if (lua_isnil(L, -1))
    lua_pop(L, 2);
  else
    lua_rawset(L, -3);
}

/* Is it the tag of a short string or a small natural number, as most keys are. */
static int is_simple_key(uint8_t tag) {
  return tag <= 0x7f || (tag >= 0xa0 && tag <= 0xbf);
}

static void step_map(ro_Decoder *d, ro_Frame *f) {
  while (f->state || f->i < f->n) {
    size_t position = d->position;
    if (!f->state)
      f->i++;
    f->slots = f->state ? 2 : 1;
    if (!ro_get_plain(d)) {
      if (open_value(d))
        ro_decode_deliver(d);
      return;
    }
    if (f->state && d->data[position] != NIL)
      lua_rawset(d->walk.L, -3);
    else if (f->state)
      lua_pop(d->walk.L, 2);
    else if (!is_simple_key(d->data[position]))
      check_key(d, position);
    f->state = !f->state;
  }
  ro_decode_pop(d);
  ro_decode_deliver(d);
}

/*
** Ends an instance: its table, which is on top, gets its metatable, now that it is whole. Stack:
** metatable, table.
*/
static void end_instance(ro_Decoder *d, const ro_Frame *f) {
  if (d->position != f->mark)
    ro_damaged(d, d->position, "expected the end of an instance");
  lua_insert(d->walk.L, -2);
  lua_setmetatable(d->walk.L, -2);
  ro_decode_pop(d);
}

void ro_decode_deliver(ro_Decoder *d) {
  lua_State *L = d->walk.L;
  ro_Frame *f;
  while ((f = innermost(d)) != NULL && f->kind == RO_D_INSTANCE)
    end_instance(d, f);
  if (f == NULL)
    return;
  switch (f->kind) {
  case RO_D_MAP:
    if (f->state)
      set_entry(L);
    else
      check_key(d, d->position);
    f->state = !f->state;
    break;
  case RO_D_FUNCTION:
    lua_setupvalue(L, -2, (int)f->i);
    break;
  default:
    lua_rawseti(L, -2, f->i);
  }
}

static void step(ro_Decoder *d) {
  ro_Frame *f = ro_walk_top(&d->walk);
  switch (f->kind) {
  case RO_D_ARRAY:
    step_array(d, f);
    break;
  case RO_D_MAP:
    step_map(d, f);
    break;
  case RO_D_PACKED:
    ro_decode_step_packed(d, f);
    break;
  default:
    ro_decode_step_function(d, f);
  }
}

/* ---- sessions ---- */

/* When the state is closed it is still the one that is kept: nobody takes it then. */
static void end_decoder(lua_State *L, ro_Asset *asset) {
  ro_Decoder *d = (ro_Decoder *)((char *)asset - offsetof(ro_Decoder, asset));
  ro_walk_free(&d->walk, L);
  d->busy = 1;
}

static int collect(lua_State *L) {
  ro_asset_end(L, &((ro_Decoder *)lua_touserdata(L, 1))->asset);
  return 0;
}

/* Pushes a new session and makes it the one that is kept. */
static ro_Decoder *new_decoder(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", collect}, {NULL, NULL}};
  ro_Decoder *d = lua_newuserdatauv(L, sizeof *d, 0);
  memset(d, 0, sizeof *d);
  ro_push_metatable(L, "remoteobj.decoder", metamethods);
  lua_setmetatable(L, -2);
  ro_asset_enter(L, &d->asset, end_decoder);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &cache_key);
  return d;
}

ro_Decoder *ro_decoder_open(lua_State *L, const char *data, size_t size, const ro_DecodeRules *rules) {
  ro_Decoder *d;
  ro_check_stack(L, LUA_MINSTACK, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key);
  d = lua_touserdata(L, -1);
  if (d == NULL || d->busy) {
    lua_pop(L, 1);
    d = new_decoder(L);
  }
  ro_walk_reset(&d->walk, L);
  d->data = (const uint8_t *)data;
  d->size = d->stop = size;
  d->position = 0;
  d->promised = 0;
  d->rules = rules;
  d->busy = 1;
  d->graph = 0;
  d->objects = d->upvalues = 0;
  return d;
}

void ro_decoder_close(ro_Decoder *d) {
  ro_walk_end(&d->walk);
  d->busy = 0;
}

int ro_get_graph(ro_Decoder *d) {
  size_t position = d->position;
  if (d->walk.nesting > 0 || d->stop - position < 6 || d->data[position] != 0xd6 ||
      d->data[position + 1] != RO_EXT_GRAPH)
    return 0;
  d->position += 2;
  if (ro_get_unsigned(d, 4) > d->stop - d->position)
    ro_damaged(d, position, "expected fewer objects than bytes");
  d->graph = 1;
  d->objects = d->upvalues = 0;
  ro_walk_store(&d->walk);
  lua_newtable(d->walk.L);
  lua_setfield(d->walk.L, -2, RO_D_OBJECTS);
  lua_pop(d->walk.L, 1);
  return 1;
}

/* Puts the table of numbered objects where the run finds it. */
static void push_kept(ro_Decoder *d) {
  ro_walk_store(&d->walk);
  lua_getfield(d->walk.L, -1, RO_D_OBJECTS);
  lua_replace(d->walk.L, -2);
  d->kept = lua_gettop(d->walk.L);
}

void ro_decode(ro_Decoder *d) {
  ro_Run run;
  int kept = d->kept, graph;
  if (ro_get_plain(d))
    return;
  if (d->walk.nesting == RO_MOST_NESTING)
    ro_damaged(d, d->position, "proxies nested too deeply");
  ro_check_stack(d->walk.L, LUA_MINSTACK, "value");
  ro_get_graph(d);
  graph = d->graph;
  if (graph)
    push_kept(d);
  ro_walk_enter(&d->walk, &run, 0);
  if (!ro_get_plain(d))
    open_value(d);
  while (d->walk.depth > run.base)
    step(d);
  ro_walk_leave(&d->walk);
  if (graph)
    lua_remove(d->walk.L, d->kept);
  d->kept = kept;
}

int ro_decoder_more(const ro_Decoder *d) {
  return d->position < d->stop;
}

lua_State *ro_decoder_state(ro_Decoder *d) {
  return d->walk.L;
}
