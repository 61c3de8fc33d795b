/*
** Callbacks, the client's side: functions that a request takes along, which the listener may call until it has
** answered. Its calls come in on the connection and are run by the thread that waits for the answer, on coroutines of
** their own.
*/
#ifndef RO_CALLBACK_H
#define RO_CALLBACK_H

#include <lua.h>

#include "remote/chain.h"
#include "remote/client.h"

/* Replaces the value at `index` by the function of the callback that it is, if it is one. [-0, +0, -] */
void ro_callback_to_function(lua_State *L, int index);

/*
** Writes the callback at `index` and enters it in the table of `writer->functions`; returns 0 when the value is none. [-0, +0, v]
*/
int ro_put_callback(ro_Encoder *e, int index, ro_Writer *writer);

/* A call of the listener that has come in. */
typedef struct ro_Incoming {
  struct ro_Incoming *next;
  uint64_t id;
  uint64_t request; /* whose function is called */
  ro_Buffer bytes;
  size_t offset; /* of the payload in them */
} ro_Incoming;

/* Makes one of a frame; NULL when memory is short, and the frame is still to be taken then. */
ro_Incoming *ro_incoming_take(ro_Link *link, const ro_FrameHead *head);
void ro_incoming_free(ro_Incoming *call);

/*
** The table on top, or nil, is that of the functions that the request takes along: it will be found as long as anything
** else keeps it. [-0, +0, m]
*/
void ro_callbacks_keep(lua_State *L, ro_Pending *pending);

/*
** Runs a call of a function that `pending`, whose request is under way, took along, and sends what it gives.
** Returns 0, or -1 with an error on the stack that has nothing to do with the function. `pending` may be gone
** then. [-0, +(0|1), -]
*/
int ro_callback_run(lua_State *L, struct ro_Proxy *proxy, const ro_Pending *pending, const ro_Incoming *call);

/* Adds `callback` to the module table on top of the stack. [-0, +0, m] */
void ro_open_callback(lua_State *L);

#endif
