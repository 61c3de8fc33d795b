/*
** What userdata of a state have outside of Lua: memory of the heap, descriptors, threads. When a state is closed, Lua finalizes
** nothing that finalizers make meanwhile. So all that is left is ended here in the end, and no more is made then. And it
** finalizes the youngest first, which threads may be using: that is ended after these.
*/
#ifndef RO_ESTATE_H
#define RO_ESTATE_H

#include <lua.h>

/* Part of a userdata. One of zeros is not in the estate. */
typedef struct ro_Asset {
  struct ro_Asset *next, *previous;
  struct ro_Asset **list;
  int due; /* has been finalized, but not ended */
  void (*end)(lua_State *L, struct ro_Asset *asset);
} ro_Asset;

/*
** Enters the asset of a new userdata, which has nothing yet and will end it in its finalizer. `end` gives everything back; it raises
** nothing. Raises an error when the state has been closed but for finalizers of what is older than the
** library. [-0, +0, v]
*/
void ro_asset_enter(lua_State *L, ro_Asset *asset, void (*end)(lua_State *L, ro_Asset *asset));

/* The same for what has threads: those end before anything that they may use. [-0, +0, v] */
void ro_asset_enter_threads(lua_State *L, ro_Asset *asset, void (*end)(lua_State *L, ro_Asset *asset));

/*
** Takes it out and calls its `end`, now or when the threads have ended; harmless for one that is not in the estate. For
** finalizers, whose userdata is at index 1. [-0, +0, -]
*/
void ro_asset_end(lua_State *L, ro_Asset *asset);

/*
** Has all assets that are left ended when the state is closed, before whatever has been made by now is
** finalized. [-0, +0, m]
*/
void ro_open_estate(lua_State *L);

#endif
