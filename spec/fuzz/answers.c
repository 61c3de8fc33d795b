/*
** Bytes of a listener, as they come to a client with futures: one whose request took a function along, one whose results are
** references, one like others. The listener goes away after them.
*/
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "remote/proxy.h"
#include "state.h"

#define MOST (size_t)60000 /* bytes that a pipe takes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIBRARY 1
#define ASK 2
#define TAKE 3
#define PROXY 4
#define FUTURES 5

static lua_State *L;

/* ask(library, proxy) -> futures, whose requests have the numbers 1 to 3 */
static const char ask[] =
    "local library, proxy = ...\n"
    "local async = proxy:with_ { async = true }\n"
    "local visit = library.callback(function(...) return ... end)\n"
    "return { async:each(visit, 1), async:with_({ ref = true }):make(), async:echo(1) }\n";

/* take(library, futures, pcall, wait) */
static const char take[] = "local library, futures, pcall, wait = ...\n"
                           "if wait then library.wait(futures, { timeout = 0 }) return end\n"
                           "for i = 1, #futures do\n"
                           "  local ok, value = pcall(futures[i].get, futures[i], 0)\n"
                           "  if ok then pcall(library.pack, value) end\n"
                           "end\n";

static void expect(int condition, const char *what) {
  if (!condition) {
    fprintf(stderr, "%s: %s\n", what, lua_gettop(L) > TAKE ? luaL_tolstring(L, -1, NULL) : "");
    abort();
  }
}

/* A proxy for which this process seems to listen, and its client's futures. */
static ro_Proxy *begin(void) {
  ro_Proxy *proxy;
  ro_DoorState state;
  if (L == NULL) {
    L = fuzz_state();
    lua_pushcfunction(L, luaopen_base); /* the library itself wants these */
    lua_call(L, 0, 0);
    luaL_loadstring(L, ask);
    luaL_loadstring(L, take);
  }
  lua_settop(L, TAKE);
  lua_getfield(L, LIBRARY, "Proxy");
  lua_newtable(L);
  lua_call(L, 1, 1);
  proxy = lua_touserdata(L, PROXY);
  expect(ro_door_claim(&proxy->door, &state) == 0, "the door is taken");
  ro_door_announce(&proxy->door);
  lua_pushvalue(L, ASK);
  lua_pushvalue(L, LIBRARY);
  lua_pushvalue(L, PROXY);
  expect(lua_pcall(L, 2, 1, 0) == LUA_OK, "the requests can't be sent");
  return proxy;
}

static int protect(lua_State *state) {
  lua_pushboolean(state, lua_pcall(state, lua_gettop(state) - 1, LUA_MULTRET, 0) == LUA_OK);
  lua_insert(state, 1);
  return lua_gettop(state);
}

static void look(int waits) {
  lua_settop(L, FUTURES);
  lua_pushvalue(L, TAKE);
  lua_pushvalue(L, LIBRARY);
  lua_pushvalue(L, FUTURES);
  lua_pushcfunction(L, protect);
  lua_pushboolean(L, waits);
  expect(lua_pcall(L, 4, 0, 0) == LUA_OK, "the futures can't be looked at");
}

static void answer(ro_Proxy *proxy, const uint8_t *data, size_t size) {
  uint64_t generation = ro_door_state(&proxy->door).generation;
  ro_Offer offer;
  int ends[3];
  expect(ro_door_accept(&proxy->door, generation, &offer, ends) == 0, "no client");
  expect(write(ends[1], data, size < MOST ? size : MOST) >= 0, "the pipe takes nothing");
  look(1);
  ro_door_shut(&proxy->door);
  ro_door_leave(&proxy->door, 1);
  for (int i = 0; i < 3; i++)
    close(ends[i]);
  look(1);
  look(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  answer(begin(), data, size);
  lua_settop(L, TAKE);
  fuzz_collect(L);
  return 0;
}
