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
  RO_DAMAGED,  /* Protocol */
  RO_GONE      /* NotListening: the listener does not keep what references in the request name, any more */
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
  uint64_t
      session; /* that references in the request belong to, 0: there are none; then the one that it was sent in */
  int may_have_run;
  size_t sent, received; /* bytes of the frames; 0: none */
  int64_t since;         /* when it was sent, if the time is taken; else 0 */
} ro_Pending;

/*
** A session is what handles hold for: as long as the connection lasts, and, in forks of this process, as long as the
** one that has inherited from it.
*/
typedef struct ro_Client {
  ro_Link link;
  uint64_t generation; /* of the listener at the other end; 0: no connection */
  uint64_t key;        /* of the connection, in offers */
  uint64_t session;    /* 0: none */
  uint64_t last_session;
  lua_Integer references; /* of the session that are in use */
  ro_Link heir;           /* while this process forks: the child's connection */
  uint64_t heir_key;
  uint64_t last_id;
  uint64_t queued; /* bytes since the connection was made */
  ro_Pending *pending;
  ro_Buffer released; /* ro_Release: what to let go in the listener; finalizers add to it */
  ro_Buffer late;     /* frames of answers that came too late and name references, to be let go */
  char fault[160];    /* what was wrong with the bytes of a connection that ended with RO_DAMAGED */
} ro_Client;

struct ro_Proxy;

void ro_client_init(ro_Client *client);

/* Closes the connection; requests under way are settled as lost. */
void ro_client_close(struct ro_Proxy *proxy);

/*
** Before a fork: if this process has references, its child gets a connection of its own that has a share in what
** they name. In the parent and in the child after it.
*/
void ro_client_before_fork(struct ro_Proxy *proxy);
void ro_client_in_parent(ro_Client *client);
void ro_client_in_child(ro_Client *client);

/*
** Sends the request whose payload has been appended to `pending->frame` behind ro_frame_begin, and
** waits for its answer until `deadline`. Fills `pending` but for `frame`, `limit` and `session`, which the caller
** sets. Raises only what interrupts a wait, and errors of the system that keep a connection
** from being made; nothing is under way then. [-0, +0, v]
*/
ro_Outcome ro_client_exchange(lua_State *L, struct ro_Proxy *proxy, ro_Pending *pending, int64_t deadline);

/*
** Notes that the handle is not needed any more, which was received `times` times in `session`; told to the listener
** with the next request. Does no I/O.
*/
void ro_client_release(struct ro_Proxy *proxy, uint64_t session, int64_t handle, uint64_t times);

/*
** Takes the payload of an answer that nobody waited for any more, but that names references, into `into`, from *offset
** on; returns 0 when there is none.
*/
int ro_client_take_late(struct ro_Proxy *proxy, ro_Buffer *into, size_t *offset);

/* Tells it at once, as far as that goes without waiting. */
void ro_client_send_releases(struct ro_Proxy *proxy);

#endif
