#include "remote/handles.h"

#include <string.h>

#include "base/registry.h"

/* The tables of all connections are kept in the registry under the hub. The last number given out is at 0. */
#define LAST 0

void ro_push_handles(lua_State *L, ro_Hub *hub, ro_Request *request) {
  ro_push_kept_table(L, hub, NULL);
  if (lua_rawgeti(L, -1, (lua_Integer)request->client) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)request->client);
    ro_hub_mark(hub, request);
  }
  lua_remove(L, -2);
}

lua_Integer ro_handle_new(lua_State *L, int handles) {
  lua_Integer handle;
  handles = lua_absindex(L, handles);
  lua_rawgeti(L, handles, LAST);
  handle = lua_tointeger(L, -1) + 1;
  lua_pop(L, 1);
  lua_pushinteger(L, handle);
  lua_rawseti(L, handles, LAST);
  return handle;
}

void ro_handles_release(lua_State *L, ro_Hub *hub, ro_Request *request) {
  ro_push_handles(L, hub, request);
  for (size_t at = request->offset; at + sizeof(int64_t) <= request->bytes.size; at += sizeof(int64_t)) {
    int64_t handle;
    memcpy(&handle, request->bytes.data + at, sizeof handle);
    if (handle == LAST)
      continue;
    lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)handle);
  }
  lua_pop(L, 1);
}

void ro_handles_forget_client(lua_State *L, const ro_Hub *hub, const ro_Request *request) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, hub) == LUA_TTABLE) {
    lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)request->client);
  }
  lua_pop(L, 1);
}

void ro_handles_forget(lua_State *L, const ro_Hub *hub) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, hub);
}
