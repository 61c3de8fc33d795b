#include "base/scratch.h"

#include <stddef.h>
#include <string.h>

#include <lauxlib.h>

#include "base/estate.h"
#include "base/registry.h"
#include "base/stack.h"

#define METATABLE "remoteobj.buffer"
#define KEPT_MEMORY (size_t)(256 * 1024) /* bytes */

static const char kept_key = 0;

typedef struct Scratch {
  ro_Buffer buffer; /* first, so that it stands for the whole */
  ro_Buffer side;
  ro_Asset asset;
  int busy; /* in use; or an error passed by, and the collector may have it */
} Scratch;

/* When the state is closed it is still in the registry: nobody takes it then. */
static void end_scratch(lua_State *L, ro_Asset *asset) {
  Scratch *s = (Scratch *)((char *)asset - offsetof(Scratch, asset));
  (void)L;
  ro_buffer_free(&s->buffer);
  ro_buffer_free(&s->side);
  s->busy = 1;
}

static int scratch_gc(lua_State *L) {
  ro_asset_end(L, &((Scratch *)lua_touserdata(L, 1))->asset);
  return 0;
}

/* Pushes a new scratch and makes it the one that is kept. [-0, +1, m] */
static Scratch *new_scratch(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", scratch_gc}, {NULL, NULL}};
  Scratch *s = lua_newuserdatauv(L, sizeof *s, 0);
  memset(s, 0, sizeof *s);
  ro_push_metatable(L, METATABLE, metamethods);
  lua_setmetatable(L, -2);
  ro_asset_enter(L, &s->asset, end_scratch);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kept_key);
  return s;
}

ro_Buffer *ro_scratch_open(lua_State *L) {
  Scratch *s;
  ro_check_stack(L, 4, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
  s = lua_touserdata(L, -1);
  if (s == NULL || s->busy) {
    lua_pop(L, 1);
    s = new_scratch(L);
  }
  s->busy = 1;
  return &s->buffer;
}

ro_Buffer *ro_scratch_side(ro_Buffer *buffer) {
  return &((Scratch *)buffer)->side;
}

void ro_scratch_close(ro_Buffer *buffer) {
  Scratch *s = (Scratch *)buffer;
  ro_buffer_clear(&s->buffer, KEPT_MEMORY);
  ro_buffer_clear(&s->side, KEPT_MEMORY);
  s->busy = 0;
}
