#include "base/estate.h"

#include <stddef.h>

#include <lauxlib.h>

#include "base/registry.h"
#include "base/stack.h"

#define METATABLE "remoteobj.estate"

static const char estate_key = 0; /* in the registry: the userdata with the state's estate */
static const char end_key = 0;    /* what has it ended */

typedef struct Estate {
  ro_Asset *threads, *others;
  int is_over;
} Estate;

static Estate *estate_of(lua_State *L) {
  Estate *estate;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &estate_key);
  estate = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (estate != NULL)
    return estate;
  estate = lua_newuserdatauv(L, sizeof *estate, 0);
  *estate = (Estate){NULL, NULL, 0};
  lua_rawsetp(L, LUA_REGISTRYINDEX, &estate_key);
  return estate;
}

static void enter(ro_Asset **list, ro_Asset *asset) {
  asset->list = list;
  asset->previous = NULL;
  asset->next = *list;
  if (*list != NULL)
    (*list)->previous = asset;
  *list = asset;
}

/* The state's estate, if it is not over. [-0, +0, v] */
static Estate *check_estate(lua_State *L) {
  Estate *estate;
  ro_check_stack(L, 2, NULL);
  estate = estate_of(L);
  if (estate->is_over)
    luaL_error(L, "the Lua state is being closed");
  return estate;
}

void ro_asset_enter(lua_State *L, ro_Asset *asset, void (*end)(lua_State *L, ro_Asset *asset)) {
  Estate *estate = check_estate(L);
  asset->end = end;
  enter(&estate->others, asset);
}

void ro_asset_enter_threads(lua_State *L, ro_Asset *asset, void (*end)(lua_State *L, ro_Asset *asset)) {
  Estate *estate = check_estate(L);
  asset->end = end;
  enter(&estate->threads, asset);
}

void ro_asset_end(lua_State *L, ro_Asset *asset) {
  if (asset->list == NULL)
    return;
  if (asset->previous != NULL)
    asset->previous->next = asset->next;
  else
    *asset->list = asset->next;
  if (asset->next != NULL)
    asset->next->previous = asset->previous;
  asset->list = NULL;
  asset->end(L, asset);
}

/* The youngest first, as Lua does it. */
static int end_all(lua_State *L) {
  Estate *estate = estate_of(L);
  estate->is_over = 1;
  while (estate->threads != NULL)
    ro_asset_end(L, estate->threads);
  while (estate->others != NULL)
    ro_asset_end(L, estate->others);
  return 0;
}

void ro_open_estate(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", end_all}, {NULL, NULL}};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &end_key) == LUA_TNIL) { /* a program may open the library anew */
    estate_of(L);
    lua_newuserdatauv(L, 0, 0);
    ro_push_metatable(L, METATABLE, metamethods);
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &end_key);
  }
  lua_pop(L, 1);
}
