/*
** What the public functions of remoteobj.h reach the library by. Several copies of it may be in one process (a
** program's own, and one that a script has required from a file): each state has exactly one, which it keeps in
** its registry, and the public functions of every copy act on that.
*/
#ifndef RO_HOST_H
#define RO_HOST_H

#include <lua.h>

#include "lock/lock.h"

#define RO_HOST_KEY "remoteobj.host" /* in the registry: a light userdata, the ro_Host */

/* Grows when ro_Host or ro_Section change. */
#define RO_HOST_VERSION 1

/* The functions are as those of remoteobj.h that are called alike. */
typedef struct ro_Host {
  int version;
  ro_Section *(*allow_begin)(lua_State *L); /* NULL: the state has a single thread */
  void (*allow_end)(ro_Section *section);
  int (*fileno)(lua_State *L, int index);
  int (*process_requests)(lua_State *L, int index, int most);
} ro_Host;

/* Makes this copy of the library the one that the public functions find. [-0, +0, m] */
void ro_open_host(lua_State *L);

#endif
