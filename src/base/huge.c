#include "base/huge.h"

#include "base/platform.h"

#if RO_HAS_HUGE_PAGES

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char allocator_key = 0;

void ro_prefer_huge_pages(void *block, size_t size) {
  uintptr_t page, first, end;
  if (size < RO_WORTH_HUGE_PAGES)
    return;
  page = (uintptr_t)sysconf(_SC_PAGESIZE);
  first = ((uintptr_t)block + page - 1) & ~(page - 1);
  end = ((uintptr_t)block + size) & ~(page - 1);
  madvise((void *)first, end - first, MADV_HUGEPAGE);
}

/* ---- strings ---- */

/*
** The state's own allocator, while ours stands in for it: as long as any large string is being made.
** (Finalizers may run meanwhile, and wait, so that others make strings too.)
*/
typedef struct Allocator {
  lua_Alloc allocate;
  void *data;
  int users;
} Allocator;

static void *allocate(void *data, void *block, size_t before, size_t size) {
  const Allocator *own = data;
  void *got = own->allocate(own->data, block, before, size);
  if (block == NULL && got != NULL)
    ro_prefer_huge_pages(got, size);
  return got;
}

static Allocator *get_allocator(lua_State *L) {
  Allocator *own;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &allocator_key) != LUA_TUSERDATA) {
    own = lua_newuserdatauv(L, sizeof *own, 0);
    memset(own, 0, sizeof *own);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &allocator_key);
  } else {
    own = lua_touserdata(L, -1);
  }
  lua_pop(L, 1);
  return own;
}

typedef struct Bytes {
  const char *bytes;
  size_t size;
} Bytes;

static int push_protected(lua_State *L) {
  const Bytes *b = lua_touserdata(L, 1);
  lua_pushlstring(L, b->bytes, b->size);
  return 1;
}

static void push_large(lua_State *L, Bytes b) {
  Allocator *own = get_allocator(L);
  int status;
  lua_pushcfunction(L, push_protected);
  lua_pushlightuserdata(L, &b);
  if (own->users++ == 0) {
    own->allocate = lua_getallocf(L, &own->data);
    lua_setallocf(L, allocate, own);
  }
  status = lua_pcall(L, 1, 1, 0);
  if (--own->users == 0)
    lua_setallocf(L, own->allocate, own->data);
  if (status != LUA_OK)
    lua_error(L);
}

void ro_push_bytes(lua_State *L, const char *bytes, size_t size) {
  if (size < RO_WORTH_HUGE_PAGES)
    lua_pushlstring(L, bytes, size);
  else
    push_large(L, (Bytes){bytes, size});
}

#else

void ro_prefer_huge_pages(void *block, size_t size) {
  (void)block;
  (void)size;
}

void ro_push_bytes(lua_State *L, const char *bytes, size_t size) {
  lua_pushlstring(L, bytes, size);
}

#endif
