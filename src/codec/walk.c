#include "codec/walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/stack.h"

#define KEEP_FRAMES 1024

/* The store lies in the registry under the address of its walk. */
static void forget_store(ro_Walk *w, lua_State *L) {
  if (w->stored) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, w);
  }
  w->stored = 0;
  w->segments = w->anchored = 0;
}

void ro_walk_reset(ro_Walk *w, lua_State *L) {
  forget_store(w, L);
  w->L = L;
  w->depth = 0;
  w->run = NULL;
  w->nesting = 0;
}

void ro_walk_end(ro_Walk *w) {
  forget_store(w, w->L);
  if (w->capacity > KEEP_FRAMES) {
    free(w->frames);
    w->frames = NULL;
    w->capacity = 0;
  }
}

void ro_walk_free(ro_Walk *w, lua_State *L) {
  forget_store(w, L);
  free(w->frames);
  w->frames = NULL;
  w->capacity = 0;
}

void ro_walk_enter(ro_Walk *w, ro_Run *run, int slots) {
  ro_check_stack(w->L, 2 * LUA_MINSTACK, "value");
  run->outer = w->run;
  run->base = w->depth;
  run->spilled = 0;
  run->bottom = lua_gettop(w->L) + 1 - slots;
  w->run = run;
  w->nesting++;
}

void ro_walk_leave(ro_Walk *w) {
  w->run = w->run->outer;
  w->nesting--;
}

void ro_walk_store(ro_Walk *w) {
  lua_State *L = w->L;
  if (w->stored) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, w);
    return;
  }
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, w);
  w->stored = 1;
}

lua_Integer ro_walk_anchor(ro_Walk *w) {
  ro_walk_store(w);
  lua_insert(w->L, -2);
  lua_rawseti(w->L, -2, w->anchored + 1);
  lua_pop(w->L, 1);
  return ++w->anchored;
}

void ro_walk_anchored(ro_Walk *w, lua_Integer place) {
  ro_walk_store(w);
  lua_rawgeti(w->L, -1, place);
  lua_remove(w->L, -2);
}

static int slots_of(const ro_Frame *f, size_t levels) {
  int slots = 0;
  for (size_t i = 0; i < levels; i++)
    slots += f[i].slots;
  return slots;
}

/* Moves the slots of the oldest segment of the run that is on the stack into the store. */
static void spill(ro_Walk *w) {
  lua_State *L = w->L;
  ro_Run *run = w->run;
  int slots = slots_of(&w->frames[run->base + run->spilled], RO_SEGMENT);
  ro_walk_store(w);
  lua_createtable(L, slots, 0);
  for (int i = 0; i < slots; i++) {
    lua_pushvalue(L, run->bottom + i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_rawseti(L, -2, -(w->segments + 1));
  lua_pop(L, 1);
  lua_rotate(L, run->bottom, -slots);
  lua_pop(L, slots);
  w->segments++;
  run->spilled += RO_SEGMENT;
}

void ro_walk_restore(ro_Walk *w) {
  lua_State *L = w->L;
  ro_Run *run = w->run;
  int slots = slots_of(&w->frames[run->base + run->spilled - RO_SEGMENT], RO_SEGMENT);
  int store;
  ro_check_stack(L, slots + LUA_MINSTACK, "value");
  ro_walk_store(w);
  store = lua_gettop(L);
  lua_rawgeti(L, store, -w->segments);
  for (int i = 0; i < slots; i++)
    lua_rawgeti(L, store + 1, i + 1);
  lua_pushnil(L);
  lua_rawseti(L, store, -w->segments);
  lua_remove(L, store + 1);
  lua_remove(L, store);
  lua_rotate(L, run->bottom, slots);
  w->segments--;
  run->spilled -= RO_SEGMENT;
}

static void grow(ro_Walk *w) {
  size_t capacity = w->capacity == 0 ? 32 : 2 * w->capacity;
  ro_Frame *frames = realloc(w->frames, capacity * sizeof *frames);
  if (frames == NULL)
    luaL_error(w->L, "not enough memory");
  w->frames = frames;
  w->capacity = capacity;
}

ro_Frame *ro_walk_push_slow(ro_Walk *w) {
  size_t live;
  if (w->depth == w->capacity)
    grow(w);
  live = ro_walk_live(w);
  if (live % 16 == 0)
    ro_check_stack(w->L, 16 * RO_MOST_SLOTS + 2 * LUA_MINSTACK, "value");
  if (live >= (size_t)2 * RO_SEGMENT)
    spill(w);
  return &w->frames[w->depth++];
}

void ro_walk_slot(ro_Walk *w, size_t level, int slot) {
  const ro_Run *run = w->run;
  size_t first, segments_above = 0;
  while (level < run->base) {
    segments_above += run->spilled / RO_SEGMENT;
    run = run->outer;
  }
  level -= run->base;
  if (level >= run->spilled) {
    first = run->base + run->spilled;
    lua_pushvalue(w->L, run->bottom + slots_of(&w->frames[first], run->base + level - first) + slot);
    return;
  }
  segments_above += (run->spilled - level - 1) / RO_SEGMENT;
  first = run->base + level - level % RO_SEGMENT;
  ro_walk_store(w);
  lua_rawgeti(w->L, -1, -(w->segments - (lua_Integer)segments_above));
  lua_rawgeti(w->L, -1, slots_of(&w->frames[first], run->base + level - first) + slot + 1);
  lua_replace(w->L, -3);
  lua_pop(w->L, 1);
}
