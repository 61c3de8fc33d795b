/*
** Cells: integers in memory that a process shares with those that are forked later. What a process has
** written stays when it is killed, so that it can say where it is without sending anything.
*/
#include "process/cells.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include <lauxlib.h>

#include "base/estate.h"
#include "sys/shared.h"

#define CELLS "remoteobj.cells"

typedef struct Cells {
  ro_Asset asset;              /* first, so that it stands for the whole */
  _Atomic lua_Integer *values; /* NULL while there is no memory */
  size_t count;
} Cells;

static size_t size_of(const Cells *c) {
  return c->count * sizeof *c->values;
}

static void end_cells(lua_State *L, ro_Asset *asset) {
  Cells *c = (Cells *)asset;
  (void)L;
  if (c->values != NULL)
    munmap((void *)c->values, size_of(c));
  c->values = NULL;
}

/* cells(count): so many cells, all 0. */
static int cells_new(lua_State *L) {
  lua_Integer count = luaL_checkinteger(L, 1);
  Cells *c;
  luaL_argcheck(L, count > 0 && count <= INT_MAX / (lua_Integer)sizeof *c->values, 1,
                "not a number of cells");
  c = lua_newuserdatauv(L, sizeof *c, 0);
  memset(c, 0, sizeof *c);
  c->count = (size_t)count;
  luaL_setmetatable(L, CELLS);
  ro_asset_enter(L, &c->asset, end_cells);
  c->values = ro_shared_open(size_of(c));
  if (c->values == NULL)
    return luaL_error(L, "cannot share memory: %s", strerror(errno));
  return 1;
}

static int cells_gc(lua_State *L) {
  Cells *c = luaL_checkudata(L, 1, CELLS);
  ro_asset_end(L, &c->asset);
  return 0;
}

/* The cell whose number, from 1 on, is the second argument. */
static _Atomic lua_Integer *check_cell(lua_State *L) {
  const Cells *c = luaL_checkudata(L, 1, CELLS);
  lua_Integer i = luaL_checkinteger(L, 2);
  luaL_argcheck(L, i >= 1 && (size_t)i <= c->count && c->values != NULL, 2, "no such cell");
  return &c->values[i - 1];
}

/* cells:get(i) */
static int cells_get(lua_State *L) {
  lua_pushinteger(L, atomic_load(check_cell(L)));
  return 1;
}

/* cells:set(i, value) */
static int cells_set(lua_State *L) {
  atomic_store(check_cell(L), luaL_checkinteger(L, 3));
  return 0;
}

void ro_open_cells(lua_State *L) {
  static const luaL_Reg methods[] = {{"get", cells_get}, {"set", cells_set}, {NULL, NULL}};
  luaL_newmetatable(L, CELLS);
  lua_pushcfunction(L, cells_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, cells_new);
  lua_setfield(L, -2, "cells");
}
