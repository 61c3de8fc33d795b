/*
** Bytes of a client, as they come into a listener: its hub, the decoder, and what they ask for, which is done on an
** object that can do no harm. The client goes away after them; another one is served as before.
*/
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "remote/proxy.h"
#include "state.h"
#include "sys/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AT_ONCE (size_t)60000 /* bytes, which a pipe takes */

#define LIBRARY 1
#define PROXY 2

static lua_State *L;

static const char make_object[] =
    "local setmetatable, error, pairs = ...\n"
    "local Class = {}\n"
    "Class.__index = Class\n"
    "function Class:echo(...) return ... end\n"
    "function Class:add(n) self.n = self.n + n return self end\n"
    "function Class:fail(what) error(what) end\n"
    "function Class:each(visit, ...) return visit(...) end\n"
    "function Class:list() return { 1, { 2, 'three' }, self } end\n"
    "return setmetatable({ n = 0, numbers = { 1, 2, 3 }, words = { a = 'b', c = { d = 'e' } } }, Class)\n";

static void expect(int condition, const char *what) {
  if (!condition) {
    fprintf(stderr, "%s: %s\n", what, lua_gettop(L) > PROXY ? luaL_tolstring(L, -1, NULL) : "");
    abort();
  }
}

/* Calls a method of the proxy, named with its trailing `_` where it has one, with the values on top. */
static void call_method(const char *name, int arguments, int results) {
  int first = lua_gettop(L) - arguments + 1;
  lua_getfield(L, PROXY, name);
  lua_insert(L, first);
  lua_pushvalue(L, PROXY);
  lua_insert(L, first + 1);
  expect(lua_pcall(L, arguments + 1, results, 0) == LUA_OK, name);
}

static void push_object(void) {
  luaL_loadstring(L, make_object);
  lua_pushcfunction(L, luaopen_base);
  lua_call(L, 0, 1);
  lua_getfield(L, -1, "setmetatable");
  lua_getfield(L, -2, "error");
  lua_getfield(L, -3, "pairs");
  lua_remove(L, -4);
  lua_call(L, 3, 1);
}

/* A fresh proxy that listens. */
static void begin(void) {
  if (L == NULL)
    L = fuzz_state();
  lua_settop(L, LIBRARY);
  lua_getfield(L, LIBRARY, "Proxy");
  push_object();
  lua_call(L, 1, 1);
  lua_newtable(L);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "bg");
  call_method("listen_", 1, 0);
}

/* Connects as a client does; returns whether the bytes, and an end, could be sent. */
static void send_all(const uint8_t *data, size_t size) {
  ro_Proxy *proxy = lua_touserdata(L, PROXY);
  const ro_Offer offer = {.generation = ro_door_state(&proxy->door).generation, .key = 1};
  ro_Link link;
  int far[3];
  ro_link_init(&link);
  expect(ro_link_open(&link, far) == 0, "no pipes");
  expect(ro_door_post(&proxy->door, &offer, far) == 0, "the door takes nobody");
  for (int i = 0; i < 3; i++)
    close(far[i]);
  if (size <= AT_ONCE) { /* a request may wait for a callback: nothing comes after these bytes */
    expect(write(link.out, data, size) == (ssize_t)size, "the pipe does not take the bytes");
    ro_link_close(&link);
  }
  for (size_t sent = 0; ro_link_is_open(&link) && sent < size;) {
    size_t piece = size - sent < 4096 ? size - sent : 4096;
    ssize_t n = write(link.out, data + sent, piece);
    if (n > 0)
      sent += (size_t)n;
    call_method("process_requests", 0, 0);
    if (n <= 0)
      break; /* the listener has ended the connection, and reads no more */
  }
  call_method("process_requests", 0, 0);
  ro_link_close(&link);
  call_method("process_requests", 0, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  begin();
  send_all(data, size);
  call_method("stop_listen_", 0, 0);
  lua_settop(L, LIBRARY);
  fuzz_collect(L);
  return 0;
}
