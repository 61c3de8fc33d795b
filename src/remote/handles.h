/*
** Handles: what clients have a right to in the listener, by connection. Each connection has one table, kept
** until it ends. A positive number is one that the listener has given out (ro_handle_new), a negative one
** names the result of the connection's request with that id. Clients let them go by RO_FRAME_RELEASE.
*/
#ifndef RO_HANDLES_H
#define RO_HANDLES_H

#include <lua.h>

#include "sys/hub.h"

/* Pushes the table of the request's connection, made at its first need. [-0, +1, m] */
void ro_push_handles(lua_State *L, ro_Hub *hub, ro_Request *request);

/* The next number of the table at `handles`, which nothing has had. [-0, +0, m] */
lua_Integer ro_handle_new(lua_State *L, int handles);

/* The request is a frame of handles to let go: does so. [-0, +0, m] */
void ro_handles_release(lua_State *L, ro_Hub *hub, ro_Request *request);

/* The request's connection has ended. [-0, +0, -] */
void ro_handles_forget_client(lua_State *L, const ro_Hub *hub, const ro_Request *request);

/* The listener whose hub it is has ended. [-0, +0, -] */
void ro_handles_forget(lua_State *L, const ro_Hub *hub);

#endif
