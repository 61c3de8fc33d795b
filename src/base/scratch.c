#include "base/scratch.h"

#include <lauxlib.h>

#include "base/registry.h"

#define METATABLE "remoteobj.buffer"
#define KEPT 4                           /* buffers */
#define KEPT_MEMORY (size_t)(256 * 1024) /* bytes of each */

static const char pool_key = 0;

static int buffer_gc(lua_State *L) {
  ro_buffer_free(lua_touserdata(L, 1));
  return 0;
}

static ro_Buffer *new_buffer(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", buffer_gc}, {NULL, NULL}};
  ro_Buffer *b = lua_newuserdatauv(L, sizeof *b, 0);
  ro_buffer_init(b);
  ro_push_metatable(L, METATABLE, metamethods);
  lua_setmetatable(L, -2);
  return b;
}

/* A buffer in use is not in the pool: an error that passes by leaves it to the collector. */
ro_Buffer *ro_scratch_open(lua_State *L) {
  lua_Integer count;
  luaL_checkstack(L, 4, NULL);
  ro_push_kept_table(L, &pool_key, NULL);
  count = (lua_Integer)lua_rawlen(L, -1);
  if (count == 0) {
    lua_pop(L, 1);
    return new_buffer(L);
  }
  lua_rawgeti(L, -1, count);
  lua_pushnil(L);
  lua_rawseti(L, -3, count);
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

void ro_scratch_close(lua_State *L, int index) {
  lua_Integer count;
  index = lua_absindex(L, index);
  ro_push_kept_table(L, &pool_key, NULL);
  count = (lua_Integer)lua_rawlen(L, -1);
  if (count < KEPT) {
    ro_buffer_clear(lua_touserdata(L, index), KEPT_MEMORY);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, count + 1);
  }
  lua_pop(L, 1);
}
