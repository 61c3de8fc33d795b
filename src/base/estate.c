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
  int due; /* how many of the others have been finalized, but not ended */
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
  *estate = (Estate){NULL, NULL, 0, 0};
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

/* ---- in use until the threads have ended ---- */

/*
** Lua closes a state on its main coroutine, where nothing is called by then but the finalizers. So it also collects garbage
** where a C host has it do so outside of all functions.
*/
static int is_finalized_at_base(lua_State *L) {
  lua_Debug ar;
  int is_main = lua_pushthread(L);
  lua_pop(L, 1);
  return is_main && lua_getstack(L, 1, &ar) == 0;
}

/* May the state be being closed: is a finalizer the first function that is called in it. */
static int may_be_closing(lua_State *L) {
  lua_Debug ar;
  lua_State *main;
  int level = 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  main = lua_tothread(L, -1);
  lua_pop(L, 1);
  while (lua_getstack(main, level, &ar))
    level++;
  return level > 0 && lua_getstack(main, level - 1, &ar) && ro_stack_is_finalizer(main, &ar);
}

/* Keeps the userdata at 1, whose address is at 2. */
static int keep(lua_State *L) {
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 2));
  return 0;
}

/*
** The threads may be at anything in the midst of C code, and go on when a finalizer of the program's waits: what Lua finalizes
** before them is ended after them. Returns whether that is so; not where there is no memory to keep it.
*/
static int put_off(lua_State *L, Estate *estate, ro_Asset *asset) {
  if (estate->threads == NULL || estate->is_over || asset->list == &estate->threads ||
      !is_finalized_at_base(L))
    return 0;
  if (!asset->due) {
    lua_pushcfunction(L, keep);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, asset);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
      lua_pop(L, 1);
      return 0;
    }
    asset->due = 1;
    estate->due++;
  }
  return 1;
}

static void end_now(lua_State *L, Estate *estate, ro_Asset *asset) {
  if (asset->previous != NULL)
    asset->previous->next = asset->next;
  else
    *asset->list = asset->next;
  if (asset->next != NULL)
    asset->next->previous = asset->previous;
  asset->list = NULL;
  asset->end(L, asset);
  if (asset->due) { /* the userdata is garbage from here on */
    estate->due--;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, asset);
  }
}

/* The state goes on: what was put off is ended. */
static void catch_up(lua_State *L, Estate *estate) {
  ro_Asset *asset;
  if (estate->due == 0 || may_be_closing(L))
    return;
  while (estate->due > 0) {
    for (asset = estate->others; !asset->due; asset = asset->next)
      ;
    end_now(L, estate, asset);
  }
}

/* ---- assets ---- */

/* The state's estate, if it is not over. [-0, +0, v] */
static Estate *check_estate(lua_State *L) {
  Estate *estate;
  ro_check_stack(L, 2, NULL);
  estate = estate_of(L);
  if (estate->is_over)
    luaL_error(L, "the Lua state is being closed");
  catch_up(L, estate);
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
  Estate *estate = estate_of(L);
  if (asset->list != NULL && !put_off(L, estate, asset))
    end_now(L, estate, asset);
}

/* The youngest first, as Lua does it. */
static int end_all(lua_State *L) {
  Estate *estate = estate_of(L);
  estate->is_over = 1;
  while (estate->threads != NULL)
    end_now(L, estate, estate->threads);
  while (estate->others != NULL)
    end_now(L, estate, estate->others);
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
