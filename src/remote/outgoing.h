/*
** What a client sends: frames, and word of what this process has let go. Nothing here waits.
*/
#ifndef RO_OUTGOING_H
#define RO_OUTGOING_H

#include <lua.h>

#include "remote/client.h"

/* Queues a frame, which is emptied; returns whether there was memory for it. */
int ro_client_queue_frame(struct ro_Proxy *proxy, ro_Buffer *frame);

/* Queues a frame, and sends it as far as that goes. [-0, +0, e] */
void ro_client_queue(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame);

/* Queues a frame without payload. Without memory there is none. */
void ro_client_queue_bare(struct ro_Proxy *proxy, ro_FrameKind kind, uint64_t id);

/*
** Notes that the handle is not needed any more, which was received `times` times in `session`; told to the listener
** with the next request, or, unless it is `soon`, with one of the next. Does no I/O.
*/
void ro_client_release(struct ro_Proxy *proxy, uint64_t session, int64_t handle, uint64_t times, int soon);

/* Puts what was let go in front of the request in `frame`. */
void ro_client_queue_releases(ro_Client *client, ro_Buffer *frame);

/* Tells what was let go at once, as far as that goes. */
void ro_client_send_releases(struct ro_Proxy *proxy);

#endif
