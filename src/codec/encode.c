/* Sessions of the encoder, and the walk through plain tables. */
#include "codec/encoder.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/registry.h"
#include "base/stack.h"
#include "codec/names.h"
#include "codec/put.h"

#define FIXMAP_MOST 15
#define KEEP_OUTPUT ((size_t)64 << 10)
#define KEEP_MOST ((size_t)32 << 20)

/* A map's header: is it wide enough for whatever follows. */
enum { MAP_OPEN, MAP_SETTLED, MAP_WIDE };

static const char cache_key;

/* ---- values without parts ---- */

static void put_text(ro_Encoder *e, const char *bytes, size_t size) {
  if (size > UINT32_MAX)
    ro_unsendable(e, "string of %I bytes", (LUAI_UACINT)size);
  if (size > e->stop - e->out->size)
    ro_too_large(e);
  if (e->rules->text)
    ro_put_text(e->out, bytes, size);
  else
    ro_put_string(e->out, bytes, size);
}

/* The inline core of ro_encode_plain. */
static inline int put_plain(ro_Encoder *e, int index, int type) {
  lua_State *L = e->walk.L;
  size_t size;
  const char *bytes;
  switch (type) {
  case LUA_TNUMBER:
    if (!lua_isinteger(L, index)) {
      ro_put_float(e->out, lua_tonumber(L, index));
    } else {
      lua_Integer value = lua_tointeger(L, index);
      if (value >= 0 && value <= 0x7f)
        ro_put_byte(e->out, (unsigned)value);
      else
        ro_put_integer(e->out, value);
    }
    return 1;
  case LUA_TSTRING:
    bytes = lua_tolstring(L, index, &size);
    put_text(e, bytes, size);
    return 1;
  case LUA_TBOOLEAN:
    ro_put_byte(e->out, lua_toboolean(L, index) ? 0xc3 : 0xc2);
    return 1;
  case LUA_TNIL:
    ro_put_byte(e->out, 0xc0);
    return 1;
  default:
    return 0;
  }
}

int ro_encode_plain(ro_Encoder *e, int index, int type) {
  return put_plain(e, index, type);
}

static inline void check_size(ro_Encoder *e) {
  if (e->out->size > e->stop)
    ro_too_large(e);
  if (e->out->failed)
    luaL_error(e->walk.L, "not enough memory");
}

/* ---- tables ---- */

/* Has the topmost table exactly the keys 1 to n; in whatever order it hands them out. */
static int has_keys_to(lua_State *L, size_t n) {
  size_t count = 0;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || (size_t)lua_tointeger(L, -1) > n) {
      lua_pop(L, 1);
      return 0;
    }
    count++;
  }
  return count == n;
}

/*
** Writes the elements of the topmost table, which may be an array of n, up to the first
** that has parts, and looks at the keys of the others. Returns how many were written, or -1
** when the keys did not come as 1, 2 ... n. One pass does for arrays of plain values.
*/
static lua_Integer put_leading(ro_Encoder *e, lua_Integer n) {
  lua_State *L = e->walk.L;
  lua_Integer i = 0, written = -1;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != i + 1) {
      lua_pop(L, 2);
      return -1;
    }
    if (written < 0 && !put_plain(e, -1, lua_type(L, -1)))
      written = i;
    lua_pop(L, 1);
    i++;
    if (e->out->size > e->stop)
      ro_too_large(e);
  }
  if (i != n)
    return -1;
  return written < 0 ? n : written;
}

/* Is there a key after n in the order of traversal; then the table is hardly an array. */
static int has_more(lua_State *L, lua_Integer n) {
  lua_pushinteger(L, n);
  if (!lua_next(L, -2))
    return 0;
  lua_pop(L, 2);
  return 1;
}

static void end_level(ro_Encoder *e, const ro_Frame *f) {
  if (f->extra != 0)
    ro_ext_end(e->out, f->extra);
  lua_pop(e->walk.L, 1);
  ro_walk_pop(&e->walk);
  check_size(e);
}

/* Begins the topmost table as an array of n, which is not 0, if it is one; else returns 0. */
static int open_array(ro_Encoder *e, size_t n, size_t ext) {
  lua_State *L = e->walk.L;
  size_t mark = e->out->size;
  lua_Integer written = -1;
  ro_Frame *f;
  if (n > UINT32_MAX)
    ro_unsendable(e, "table of %I elements", (LUAI_UACINT)n);
  if (!has_more(L, (lua_Integer)n)) {
    ro_put_array(e->out, (uint32_t)n);
    written = put_leading(e, (lua_Integer)n);
  }
  if (written < 0) {
    e->out->size = mark;
    if (!has_keys_to(L, n))
      return 0;
    ro_put_array(e->out, (uint32_t)n);
    written = 0;
  }
  f = ro_walk_push(&e->walk, RO_E_ARRAY, 1);
  f->i = (uint32_t)written;
  f->n = (uint32_t)n;
  f->extra = ext;
  return 1;
}

/* Begins the topmost table as a map; its first entry is above it. */
static void open_map(ro_Encoder *e, size_t ext) {
  ro_Frame *f = ro_walk_push(&e->walk, RO_E_FIRST, 3);
  f->mark = e->out->size;
  f->extra = ext;
  ro_put_byte(e->out, 0x80);
}

static void put_empty(ro_Encoder *e, size_t ext) {
  ro_put_array(e->out, 0);
  if (ext != 0)
    ro_ext_end(e->out, ext);
  lua_pop(e->walk.L, 1);
  check_size(e);
}

void ro_encode_content(ro_Encoder *e, size_t ext) {
  lua_State *L = e->walk.L;
  size_t n = lua_rawlen(L, -1);
  if (n > 0 && open_array(e, n, ext))
    return;
  lua_pushnil(L);
  if (lua_next(L, -2))
    open_map(e, ext);
  else
    put_empty(e, ext);
}

/* Goes on with an array, or with what __pack gave. */
static void step_array(ro_Encoder *e, ro_Frame *f) {
  lua_State *L = e->walk.L;
  while (f->i < f->n) {
    int type = lua_rawgeti(L, -1, (lua_Integer)++f->i);
    if (!put_plain(e, -1, type)) {
      ro_encode_open(e);
      return;
    }
    lua_pop(L, 1);
    if (e->out->size > e->stop)
      ro_too_large(e);
  }
  if (f->kind == RO_E_PACKED) {
    lua_pop(L, 1);
    *ro_encoder_seen(e, RO_KEY_OBJECT(lua_topointer(L, -1))) &= ~RO_SEEN_OPEN;
  }
  end_level(e, f);
}

/* Makes the header of a map one with 32 bits, which is set when the map is done. */
static void widen(ro_Encoder *e, ro_Frame *f) {
  uint8_t *from;
  if (f->state == MAP_WIDE)
    return;
  f->state = MAP_WIDE;
  if (ro_put_room(e->out, 4) == NULL)
    return;
  from = (uint8_t *)e->out->data + f->mark + 1;
  memmove(from + 4, from, e->out->size - f->mark - 1);
  e->out->size += 4;
}

/*
** Before something of unknown size is written into a map: finds out now whether its header
** must be wide, so that never more than a few plain entries are moved for it. The stack
** holds table, key, value.
*/
static void settle(ro_Encoder *e, ro_Frame *f) {
  lua_State *L = e->walk.L;
  uint32_t count = f->i;
  if (f->state != MAP_OPEN)
    return;
  f->state = MAP_SETTLED;
  lua_pushvalue(L, -2);
  while (count <= FIXMAP_MOST && lua_next(L, -4)) {
    lua_pop(L, 1);
    count++;
  }
  if (count <= FIXMAP_MOST)
    return; /* lua_next has popped the key */
  lua_pop(L, 1);
  widen(e, f);
}

static void end_map(ro_Encoder *e, ro_Frame *f) {
  if (!e->out->failed) {
    uint8_t *header = (uint8_t *)e->out->data + f->mark;
    *header = (uint8_t)(f->state == MAP_WIDE ? 0xdf : 0x80 | f->i);
    if (f->state == MAP_WIDE)
      ro_store32(header + 1, f->i);
  }
  end_level(e, f);
}

/*
** Writes the value of an entry, whose key is done; returns 0 when that has opened a level.
** Stack: table, key, value.
*/
static int put_entry_value(ro_Encoder *e, ro_Frame *f) {
  lua_State *L = e->walk.L;
  if (put_plain(e, -1, lua_type(L, -1))) {
    lua_pop(L, 1);
    if (e->out->size > e->stop)
      ro_too_large(e);
    return 1;
  }
  settle(e, f);
  ro_encode_open(e);
  return 0;
}

/* The same for a whole entry. */
static inline int put_entry(ro_Encoder *e, ro_Frame *f) {
  lua_State *L = e->walk.L;
  if (++f->i > FIXMAP_MOST)
    widen(e, f);
  if (put_plain(e, -2, lua_type(L, -2)))
    return put_entry_value(e, f);
  settle(e, f);
  f->kind = RO_E_KEY;
  f->slots = 3;
  lua_pushvalue(L, -2);
  ro_encode_open(e);
  return 0;
}

static void step_map(ro_Encoder *e, ro_Frame *f) {
  int kind = f->kind, goes_on = 1;
  f->kind = RO_E_MAP;
  f->slots = 2;
  if (kind == RO_E_FIRST)
    goes_on = put_entry(e, f);
  else if (kind == RO_E_KEY) /* the key has been written */
    goes_on = put_entry_value(e, f);
  while (goes_on && lua_next(e->walk.L, -2))
    goes_on = put_entry(e, f);
  if (goes_on)
    end_map(e, f);
}

void ro_encode_step(ro_Encoder *e) {
  ro_Frame *f = ro_walk_top(&e->walk);
  switch (f->kind) {
  case RO_E_ARRAY:
  case RO_E_PACKED:
    step_array(e, f);
    break;
  case RO_E_FIRST:
  case RO_E_MAP:
  case RO_E_KEY:
    step_map(e, f);
    break;
  default:
    if (f->i < f->n)
      ro_encode_upvalue(e, f);
    else
      end_level(e, f);
  }
}

/* ---- sessions ---- */

/* When the state is closed it is still the one that is kept: nobody takes it then. */
static void end_encoder(lua_State *L, ro_Asset *asset) {
  ro_Encoder *e = (ro_Encoder *)((char *)asset - offsetof(ro_Encoder, asset));
  ro_walk_free(&e->walk, L);
  ro_seen_free(&e->seen);
  ro_buffer_free(&e->own);
  free(e->classes);
  e->classes = NULL;
  e->class_capacity = 0;
  e->busy = 1;
}

static int collect(lua_State *L) {
  ro_asset_end(L, &((ro_Encoder *)lua_touserdata(L, 1))->asset);
  return 0;
}

/* Pushes a new session and makes it the one that is kept. */
static ro_Encoder *new_encoder(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", collect}, {NULL, NULL}};
  ro_Encoder *e = lua_newuserdatauv(L, sizeof *e, 0);
  memset(e, 0, sizeof *e);
  ro_push_metatable(L, "remoteobj.encoder", metamethods);
  lua_setmetatable(L, -2);
  ro_asset_enter(L, &e->asset, end_encoder);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &cache_key);
  return e;
}

static void begin(ro_Encoder *e) {
  ro_walk_reset(&e->walk, e->walk.L);
  ro_seen_clear(&e->seen);
  e->start = e->out->size;
  e->stop =
      e->rules->limit != 0 && e->rules->limit < SIZE_MAX - e->start ? e->start + e->rules->limit : SIZE_MAX;
  e->objects = e->upvalues = e->class_count = 0;
  e->references = 0;
  e->scanned = 0;
  e->number = 0;
  e->known = -1;
}

/*
** Empties the session's own buffer. Its memory is kept while it is needed: by the next
** session as large as the last.
*/
static void clear_own(ro_Encoder *e) {
  size_t keep = 2 * e->own.size;
  if (keep < KEEP_OUTPUT)
    keep = KEEP_OUTPUT;
  ro_buffer_clear(&e->own, keep < KEEP_MOST ? keep : KEEP_MOST);
}

ro_Encoder *ro_encoder_open(lua_State *L, ro_Buffer *out, const ro_EncodeRules *rules) {
  ro_Encoder *e;
  ro_check_stack(L, LUA_MINSTACK, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key);
  e = lua_touserdata(L, -1);
  if (e == NULL || e->busy) {
    lua_pop(L, 1);
    e = new_encoder(L);
  }
  if (out == NULL)
    clear_own(e);
  e->walk.L = L;
  e->out = out != NULL ? out : &e->own;
  e->rules = rules;
  e->busy = 1;
  e->globals = NULL;
  begin(e);
  return e;
}

void ro_encode(ro_Encoder *e, int index, int number) {
  lua_State *L = e->walk.L;
  ro_Run run;
  if (e->walk.nesting == 0)
    e->number = number;
  if (put_plain(e, index, lua_type(L, index))) {
    check_size(e);
    return;
  }
  if (e->walk.nesting == RO_MOST_NESTING)
    ro_unsendable(e, "proxies nested too deeply");
  ro_check_stack(L, LUA_MINSTACK, "value");
  lua_pushvalue(L, index);
  ro_walk_enter(&e->walk, &run, 1);
  ro_encode_open(e);
  while (e->walk.depth > run.base)
    ro_encode_step(e);
  ro_walk_leave(&e->walk);
  check_size(e);
}

/* Puts the number of objects before the session, which has references to them. */
static void put_graph(ro_Encoder *e) {
  uint8_t *from;
  if (!e->references || ro_put_room(e->out, 6) == NULL)
    return;
  from = (uint8_t *)e->out->data + e->start;
  memmove(from + 6, from, e->out->size - e->start);
  from[0] = 0xd6;
  from[1] = RO_EXT_GRAPH;
  ro_store32(from + 2, e->objects);
  e->out->size += 6;
}

void ro_encoder_next(ro_Encoder *e) {
  put_graph(e);
  check_size(e);
  begin(e);
}

void ro_encoder_release(ro_Encoder *e) {
  ro_walk_end(&e->walk);
  ro_seen_clear(&e->seen);
  e->busy = 0;
}

void ro_encoder_finish(ro_Encoder *e) {
  put_graph(e);
  check_size(e);
  ro_encoder_release(e);
}

lua_State *ro_encoder_state(ro_Encoder *e) {
  return e->walk.L;
}

ro_Buffer *ro_encoder_buffer(ro_Encoder *e) {
  return e->out;
}

uint32_t *ro_encoder_seen(ro_Encoder *e, uintptr_t key) {
  uint32_t *number = ro_seen_at(&e->seen, key);
  if (number == NULL)
    luaL_error(e->walk.L, "not enough memory");
  return number;
}
