/*
** The client side of a connection: one per process and proxy, made at the first request.
** Several threads of the process may have requests under way on it; whoever waits reads
** for all. Everything here is touched with the state's lock held.
*/
#ifndef RO_CLIENT_H
#define RO_CLIENT_H

#include <lua.h>

#include "lock/lock.h"
#include "sys/door.h"
#include "sys/link.h"

typedef enum ro_Outcome {
  RO_ANSWERED,
  RO_UNHEARD,  /* nobody listens, or the listener refused: NotListening */
  RO_CUT_OFF,  /* Disconnected */
  RO_TOO_LATE, /* Timeout */
  RO_DAMAGED   /* Protocol */
} ro_Outcome;

/* A request under way, on the C stack of the thread that waits for it. */
typedef struct ro_Pending {
  struct ro_Pending *next;
  ro_Thread *thread; /* that waits */
  uint64_t id;
  uint64_t end;  /* how many bytes had been queued on the connection with this request's last */
  int was_alive; /* the listener was, when all that could be sent had been */
  int settled;
  ro_Outcome outcome;
  ro_FrameKind kind; /* of the answer */
  ro_Buffer *frame;  /* of the request; receives the payload of the answer, from `offset` on */
  size_t offset;
  size_t limit; /* of a payload, bytes */
  int may_have_run;
} ro_Pending;

typedef struct ro_Client {
  ro_Link link;
  uint64_t generation; /* of the listener at the other end; 0: no connection */
  uint64_t last_id;
  uint64_t queued; /* bytes since the connection was made */
  ro_Pending *pending;
  ro_Buffer released; /* handles to let go in the listener, as integers of 64 bits; finalizers add to it */
  char fault[160];    /* what was wrong with the bytes of a connection that ended with RO_DAMAGED */
} ro_Client;

struct ro_Proxy;

void ro_client_init(ro_Client *client);

/* Closes the connection; requests under way are settled as lost. */
void ro_client_close(struct ro_Proxy *proxy);

/* In the child of a fork: the connection belongs to the parent. */
void ro_client_forget(ro_Client *client);

/*
** Sends the request whose payload has been appended to `pending->frame` behind ro_frame_begin, and
** waits for its answer until `deadline`. Fills `pending` but for `frame` and `limit`, which the caller
** sets. Raises only what interrupts a wait, and errors of the system that keep a connection
** from being made; nothing is under way then. [-0, +0, v]
*/
ro_Outcome ro_client_exchange(lua_State *L, struct ro_Proxy *proxy, ro_Pending *pending, int64_t deadline);

/* Notes that the handle is not needed any more; told to the listener with the next request. Does no I/O. */
void ro_client_release(struct ro_Proxy *proxy, uint64_t generation, uint64_t handle);

#endif
