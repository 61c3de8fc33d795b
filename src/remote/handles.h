/*
** Handles: what clients have a right to in the listener, by connection. Each connection has one table, kept
** until it ends. A positive number is one that the listener has given out (ro_handle_new), a negative one
** names the result of the connection's request with that id. Clients let them go by RO_FRAME_RELEASE.
**
** Under numbers are kept loops and results, as the table's own entries, and objects that clients have references to.
** An object has one handle per connection, which counts how often it was sent: a client lets it go as often as it has
** received it, so that a release and an answer that names the object again may cross.
*/
#ifndef RO_HANDLES_H
#define RO_HANDLES_H

#include <lua.h>

#include "sys/hub.h"

/* Pushes the table of the request's connection, made at its first need. [-0, +1, m] */
void ro_push_handles(lua_State *L, ro_Hub *hub, ro_Request *request);

/* The next number of the table at `handles`, which nothing has had. [-0, +0, m] */
lua_Integer ro_handle_new(lua_State *L, int handles);

/* ---- objects ---- */

/* The client that is served. */
typedef struct ro_Holder {
  ro_Hub *hub;
  ro_Request *request;
  lua_Integer *objects; /* counts what all clients hold */
  ro_Buffer given;      /* handles of the references that its answer names, as often as it does */
  int64_t named;        /* how many they were, once it is complete */
  struct ro_Line *line; /* by which callbacks of its request are called, or NULL */
} ro_Holder;

/* Can a reference stand for the value at `index`: it has an identity. [-0, +0, -] */
int ro_is_referable(lua_State *L, int index);

/*
** The handle of the object at `index` for the client. Once it has got the answer it holds the object:
** ro_handles_commit says that the answer is complete, ro_handles_undo that there is none. [-0, +0, m]
*/
lua_Integer ro_handle_give(lua_State *L, ro_Holder *holder, int index);
void ro_handles_commit(lua_State *L, ro_Holder *holder);
void ro_handles_undo(lua_State *L, ro_Holder *holder);

/* Pushes the object that the client knows by `handle`; an error when it holds none. [-0, +1, v] */
void ro_push_handled(lua_State *L, const ro_Holder *holder, lua_Integer handle);

/* ---- what clients tell ---- */

/* The request is a frame of handles to let go: does so, or leaves it to who still reads requests of the client. [-0, +0, m] */
void ro_handles_release(lua_State *L, const ro_Holder *holder);

/*
** A request whose operands have not all been read yet: an operation that comes before waits. What its client lets go meanwhile may be
** named in what is still to be read, since who does not wait for an answer may drop a reference once it is sent. Lives on the
** C stack of who serves the request; in one of zeros nothing is read.
*/
typedef struct ro_Reading {
  struct ro_Reading *next;
  const ro_Holder *holder;
  ro_Buffer released; /* what is to be let go when it ends */
} ro_Reading;

void ro_reading_begin(ro_Reading *reading, const ro_Holder *holder);

/* Harmless when it has ended. Raises memory errors, when it has ended all the same. [-0, +0, m] */
void ro_reading_end(lua_State *L, ro_Reading *reading);

/* The request's connection inherits from its ancestor: a share in all objects, by the same handles. [-0, +0, m] */
void ro_handles_inherit(lua_State *L, const ro_Holder *holder);

/* The request's connection has ended. [-0, +0, m] */
void ro_handles_forget_client(lua_State *L, const ro_Holder *holder);

/* The listener whose hub it is has ended. [-0, +0, -] */
void ro_handles_forget(lua_State *L, const ro_Hub *hub);

#endif
