#include "base/stack.h"

#include <string.h>

#include <lauxlib.h>

static const char no_memory[] = "not enough memory";

/* Stands before the allocator of a state. */
typedef struct Allocations {
  lua_Alloc allocate;
  void *context;
  int failed;
} Allocations;

static void *allocate(void *context, void *block, size_t old_size, size_t new_size) {
  Allocations *a = context;
  void *moved = a->allocate(a->context, block, old_size, new_size);
  a->failed |= moved == NULL && new_size > 0;
  return moved;
}

/* Lua does not say why a stack can't grow; but without room for the largest it asks for no memory. */
const char *ro_stack_lacks(lua_State *L, int slots) {
  Allocations a = {.failed = 0};
  int grown;
  if (lua_checkstack(L, slots))
    return NULL;
  a.allocate = lua_getallocf(L, &a.context);
  lua_setallocf(L, allocate, &a);
  grown = lua_checkstack(L, slots); /* raises no error */
  lua_setallocf(L, a.allocate, a.context);
  return grown ? NULL : a.failed ? no_memory : "stack overflow";
}

void ro_check_stack(lua_State *L, int slots, const char *what) {
  const char *lacks = ro_stack_lacks(L, slots);
  if (lacks == NULL)
    return;
  if (lacks != no_memory)
    luaL_error(L, what != NULL ? "%s (%s)" : "%s", lacks, what);
  lua_pushstring(L, no_memory); /* as Lua's own: ro_is_memory_error knows it by that */
  lua_error(L);
}

int ro_stack_is_finalizer(lua_State *L, lua_Debug *ar) {
  return lua_getinfo(L, "n", ar) && strcmp(ar->namewhat, "metamethod") == 0 && strcmp(ar->name, "__gc") == 0;
}
