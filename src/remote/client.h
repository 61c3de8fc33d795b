/*
** The client side of a connection: one per process and proxy, made at the first request.
** Several threads of the process may have requests under way on it; whoever waits reads
** for all. Everything here is touched with the state's lock held.
*/
#ifndef RO_CLIENT_H
#define RO_CLIENT_H

#include <lua.h>

#include "lock/lock.h"
#include "remote/pending.h"
#include "sys/link.h"

/*
** A session is what handles hold for: as long as the connection lasts, and, in forks of this process, as long as the
** one that has inherited from it.
*/
typedef struct ro_Client {
  ro_Link link;
  uint64_t generation; /* of the listener at the other end; 0: no connection (these three: set_inheritance) */
  uint64_t key;        /* of the connection, in offers */
  lua_Integer references; /* of the session that are in use */
  uint64_t session;       /* 0: none */
  uint64_t last_session;
  ro_Link heir; /* while this process forks: the child's connection */
  uint64_t heir_key;
  uint64_t last_id;
  uint64_t queued;            /* bytes since the connection was made */
  uint64_t seen_alive;        /* how many of them had been, when the listener was last seen to live */
  size_t limit;               /* of an answer's payload, bytes */
  ro_Pending *first, *last;   /* not settled */
  ro_Pending *due, *last_due; /* settled, with functions of futures to call */
  int future_calls;           /* calls of functions that requests of futures took along, still to be run */
  int announcing;             /* how many calls of ro_client_announce are under way */
  int64_t earliest;           /* no deadline of a future is before that */
  ro_Interest interest;       /* in the link, while futures are waited for or bytes linger */
  int lingers;        /* bytes that nobody waits for did not go out, and the interest is used for that */
  ro_Buffer released; /* ro_Release: what to let go in the listener; finalizers add to it */
  int release_soon;   /* with the next request, however little it is */
  ro_Buffer late;     /* frames of answers that came too late and name references, to be let go */
  char fault[160];    /* what was wrong with the bytes of a connection that ended with RO_DAMAGED */
} ro_Client;

struct ro_Proxy;

void ro_client_init(struct ro_Proxy *proxy);

/*
** Sends the request whose payload has been appended to `frame` behind ro_frame_begin, and waits for its answer until
** its deadline. Raises only what interrupts a wait, and errors of the system that keep a connection
** from being made; nothing is under way then. [-0, +0, v]
*/
ro_Outcome ro_client_exchange(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending);

/*
** Sends it and leaves it under way, or settles it, if it can't be sent. Waits, until the deadline, only as long as more than
** 1 MiB waits for room in the pipe. Raises the same; nothing is under way then. [-0, +0, v]
*/
void ro_client_send(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending);

/*
** Sends a request without an answer; waits, until the deadline, until it has gone out and is certain to be run, as long as the
** listener goes on: its outcome is RO_ANSWERED. Of one that stops at this moment that is not certain before it has taken the request, or
** ended. Raises the same. [-0, +0, v]
*/
void ro_client_tell(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending);

/* Calls ro_future_announce for futures that have been settled and ask for it. Needs RO_FUTURE_ANNOUNCING stack slots. [-0, +0, -] */
void ro_client_announce(lua_State *L, struct ro_Proxy *proxy);

#endif
