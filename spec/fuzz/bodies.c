/*
** Bytes that a child has written: values, or with an odd first byte an error. What comes out is values or an error of kind
** Protocol.
*/
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "process/values.h"
#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lua_State *L;

/* The error on top is one of the library's for bytes from elsewhere, or that of a full memory or stack. */
static void check_error(void) {
  const char *message = luaL_tolstring(L, -1, NULL);
  if (lua_type(L, -2) == LUA_TTABLE) {
    lua_getfield(L, -2, "kind");
    if (strcmp(lua_tostring(L, -1), "Protocol") == 0 || strcmp(lua_tostring(L, -1), "Unsendable") == 0)
      return;
  } else if (strstr(message, "memory") != NULL || strstr(message, "too many values") != NULL) {
    return;
  }
  fprintf(stderr, "an error that is not of kind Protocol: %s\n", message);
  abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int top;
  if (size == 0)
    return 0;
  if (L == NULL)
    L = fuzz_state();
  top = lua_gettop(L);
  ro_push_body(L, (const char *)data + 1, size - 1);
  lua_getfield(L, -1, data[0] & 1 ? "failure" : "values");
  lua_insert(L, -2);
  if (lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK)
    check_error();
  lua_settop(L, top);
  fuzz_collect(L);
  return 0;
}
