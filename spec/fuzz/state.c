#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "remoteobj.h"

#define MOST_MEMORY (size_t)(256 * 1024 * 1024)

static size_t used;

static void *allocate(void *context, void *block, size_t old_size, size_t new_size) {
  void *moved;
  (void)context;
  if (block == NULL)
    old_size = 0;
  if (new_size == 0) {
    free(block);
    used -= old_size;
    return NULL;
  }
  if (new_size > old_size && used + new_size - old_size > MOST_MEMORY)
    return NULL;
  moved = realloc(block, new_size);
  if (moved != NULL)
    used += new_size - old_size;
  return moved;
}

/* Lua does not check code that is compiled already, and whoever may send functions is trusted: none is loaded here. */
int __real_luaL_loadbufferx(lua_State *L, const char *text, size_t size, const char *name, const char *mode);
int __wrap_luaL_loadbufferx(lua_State *L, const char *text, size_t size, const char *name, const char *mode);
int __wrap_luaL_loadbufferx(lua_State *L, const char *text, size_t size, const char *name, const char *mode) {
  if (strcmp(mode, "b") != 0)
    return __real_luaL_loadbufferx(L, text, size, name, mode);
  lua_pushliteral(L, "no code is loaded here");
  return LUA_ERRSYNTAX;
}

/* What a request may call by its name: nothing that reaches the system, runs long or waits. */
static const char restrict_names[] =
    "local kept = {}\n"
    "for name in ('type tostring tonumber select rawlen rawequal rawget rawset next pairs ipairs error "
    "assert pcall '"
    "  .. 'setmetatable getmetatable'):gmatch '%a+' do kept[name] = _G[name] end\n"
    "local loaded = package.loaded\n"
    "local string, math = loaded.string, loaded.math\n"
    "for name in pairs(loaded) do loaded[name] = nil end\n"
    "loaded._G, loaded.math = kept, math\n"
    "loaded.string = { byte = string.byte, len = string.len, sub = string.sub, upper = string.upper }\n"
    "local globals = _G\n"
    "for name in pairs(globals) do globals[name] = nil end\n";

lua_State *fuzz_state(void) {
  lua_State *L = lua_newstate(allocate, NULL);
  if (L == NULL)
    abort();
  luaL_openlibs(L);
  luaL_requiref(L, "remoteobj", luaopen_remoteobj, 0);
  if (luaL_loadstring(L, restrict_names) != LUA_OK || lua_pcall(L, 0, 0, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  return L;
}

void fuzz_collect(lua_State *L) {
  static int since;
  if (++since % 100 == 0)
    lua_gc(L, LUA_GCCOLLECT);
}
