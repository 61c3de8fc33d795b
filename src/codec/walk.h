/*
** The stack of a walk through nested values, whatever their depth: one frame a level in C
** memory, and the Lua values of a level (its slots) on the Lua stack. Only the innermost
** levels keep theirs there: a full segment of older ones is moved into a table and comes
** back when the walk does. A run is the part of a walk that one call of ro_encode or
** ro_decode makes; the runs of calls from within a walk lie above those around them.
*/
#ifndef RO_WALK_H
#define RO_WALK_H

#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#define RO_SEGMENT 64       /* levels that are moved together */
#define RO_MOST_SLOTS 3     /* most slots of a level */
#define RO_MOST_NESTING 150 /* most runs within each other: they use the C stack */

/*
** What the members mean is up to the user of the walk, except `slots`: how many values of the
** Lua stack it has.
*/
typedef struct ro_Frame {
  uint8_t kind;
  uint8_t slots;
  uint8_t state;
  uint32_t i, n;
  size_t mark;
  size_t extra;
} ro_Frame;

typedef struct ro_Run {
  struct ro_Run *outer;
  size_t base;    /* the walk's depth where it began */
  size_t spilled; /* how many of its levels have their slots in the store */
  int bottom;     /* stack index of its first slot that is on the stack */
} ro_Run;

typedef struct ro_Walk {
  lua_State *L;
  ro_Frame *frames;
  size_t depth, capacity;
  ro_Run *run;
  int nesting;          /* runs within each other */
  int stored;           /* has it a store */
  lua_Integer segments; /* segments in the store, at -1, -2 ... */
  lua_Integer anchored; /* values in the store that are kept until the end, at 1, 2 ... */
} ro_Walk;

/* Makes a walk of zero bytes, or one that has ended, ready to begin. [-0, +0, -] */
void ro_walk_reset(ro_Walk *w, lua_State *L);

/* Forgets the store, and memory that only a deep walk needs. [-0, +0, -] */
void ro_walk_end(ro_Walk *w);

/* Gives all memory back, in a finalizer too. [-0, +0, -] */
void ro_walk_free(ro_Walk *w, lua_State *L);

/* Begins a run; the `slots` topmost values are its first. [-0, +0, v] */
void ro_walk_enter(ro_Walk *w, ro_Run *run, int slots);

/* Ends the innermost run, whose levels are done. */
void ro_walk_leave(ro_Walk *w);

/* The part of ro_walk_push that is seldom needed: makes room, moves slots. [-0, +0, m] */
ro_Frame *ro_walk_push_slow(ro_Walk *w);

/* How many levels of the innermost run have their slots on the Lua stack. */
static inline size_t ro_walk_live(const ro_Walk *w) {
  return w->depth - w->run->base - w->run->spilled;
}

/* Begins a level; its slots are the topmost values. The frame is good until the next push. [-0, +0, m] */
static inline ro_Frame *ro_walk_push(ro_Walk *w, int kind, int slots) {
  ro_Frame *f;
  if (w->depth == w->capacity || ro_walk_live(w) % 16 == 0)
    f = ro_walk_push_slow(w);
  else
    f = &w->frames[w->depth++];
  f->kind = (uint8_t)kind;
  f->slots = (uint8_t)slots;
  f->state = 0;
  f->i = f->n = 0;
  f->mark = f->extra = 0;
  return f;
}

/* Brings the slots of a segment back, below what the run has on the stack. [-0, +?, m] */
void ro_walk_restore(ro_Walk *w);

/* Ends a level whose slots have been popped; those of the level around it are then there. [-0, +?, m] */
static inline void ro_walk_pop(ro_Walk *w) {
  w->depth--;
  if (w->run->spilled > 0 && ro_walk_live(w) == 0)
    ro_walk_restore(w);
}

/* The frame of the innermost level. */
static inline ro_Frame *ro_walk_top(const ro_Walk *w) {
  return &w->frames[w->depth - 1];
}

/* Pushes slot `slot` (from 0) of level `level` (from 0), wherever it lies. [-0, +1, m] */
void ro_walk_slot(ro_Walk *w, size_t level, int slot);

/* Pushes the walk's store, a table. [-0, +1, m] */
void ro_walk_store(ro_Walk *w);

/* Keeps the topmost value until the walk ends; returns its place in the store. [-1, +0, m] */
lua_Integer ro_walk_anchor(ro_Walk *w);

/* Pushes what ro_walk_anchor kept. [-0, +1, -] */
void ro_walk_anchored(ro_Walk *w, lua_Integer place);

#endif
