/* Bytes that a program gives to `unpack`: values or an error of kind Protocol come out, and values can be packed again. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lua_State *L;

/* Leaves the library at 1, and a class that bytes may name. */
static void begin(void) {
  L = fuzz_state();
  lua_newtable(L);
  lua_pushstring(L, "Vec");
  lua_setfield(L, -2, "__name");
  lua_getfield(L, 1, "register");
  lua_insert(L, -2);
  lua_call(L, 1, 0);
}

/* The error on top is one that the contract has for bytes from elsewhere, or that of a full memory. */
static void check_error(void) {
  size_t size;
  const char *message = luaL_tolstring(L, -1, &size);
  if (lua_type(L, -2) == LUA_TTABLE) {
    lua_getfield(L, -2, "kind");
    if (strcmp(lua_tostring(L, -1), "Protocol") == 0)
      return;
  } else if (strstr(message, "memory") != NULL || strstr(message, "too many values") != NULL) {
    return;
  }
  fprintf(stderr, "an error that is not of kind Protocol: %s\n", message);
  abort();
}

/*
** The order of a table's entries may change, and with it what references are numbered: of more than 255 objects each
** reference takes 3 bytes or 4.
*/
static int is_same_size(size_t size, size_t again) {
  size_t difference = size > again ? size - again : again - size;
  return difference == 0 || (size > 255 && difference <= size / 3);
}

/* What was read can be written, is read again, and is written as the same number of bytes. */
static void check_round(int count) {
  int first = lua_gettop(L) - count + 1;
  size_t size, again;
  lua_getfield(L, 1, "pack");
  lua_rotate(L, first, 1);
  if (lua_pcall(L, count, 1, 0) != LUA_OK) {
    check_error();
    return;
  }
  lua_tolstring(L, -1, &size);
  lua_getfield(L, 1, "unpack");
  lua_pushvalue(L, -2);
  first = lua_gettop(L) - 1;
  if (lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK) {
    check_error();
    return;
  }
  lua_getfield(L, 1, "pack");
  lua_rotate(L, first, 1);
  if (lua_pcall(L, lua_gettop(L) - first, 1, 0) != LUA_OK) {
    check_error();
    return;
  }
  lua_tolstring(L, -1, &again);
  if (!is_same_size(size, again)) {
    fprintf(stderr, "%zu bytes become %zu\n", size, again);
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int top;
  if (L == NULL)
    begin();
  top = lua_gettop(L);
  lua_getfield(L, 1, "unpack");
  lua_pushlstring(L, (const char *)data, size);
  if (lua_pcall(L, 1, LUA_MULTRET, 0) == LUA_OK)
    check_round(lua_gettop(L) - top);
  else
    check_error();
  lua_settop(L, top);
  fuzz_collect(L);
  return 0;
}
