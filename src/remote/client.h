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

/*
** A request under way: on the C stack of the thread that waits for it, or part of a future. While it is not
** settled it stands in the client's list, in the order of sending, which is mostly that of the answers.
*/
typedef struct ro_Pending {
  /* set by who sends it */
  int64_t deadline;
  ro_Buffer *answer; /* receives the payload of the answer, from `offset` on */
  size_t limit;      /* of a payload, bytes */
  uint64_t
      session; /* that references and futures in the request belong to, 0: none; then that it was sent in */
  int flags;   /* RO_REQUEST_* */

  struct ro_Pending *next, *previous;
  ro_Thread *thread;        /* that waits; NULL: a future's */
  struct ro_Future *future; /* whose functions are to be called once it is settled, or NULL */
  uint64_t id;
  uint64_t end; /* how many bytes had been queued on the connection with this request's last */
  int settled;
  ro_Outcome outcome;
  int may_have_run;
  ro_FrameKind kind; /* of the answer */
  size_t offset;
  int64_t named;             /* how many references the answer names */
  size_t sent, received;     /* bytes of the frames; 0: none */
  int64_t since;             /* when it was sent, if the time is taken; else 0 */
  int functions;             /* does it take any along */
  struct ro_Incoming *calls; /* of these, still to be run */
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

/* Closes the connection for good; requests under way are settled as lost. */
void ro_client_close(struct ro_Proxy *proxy);

/*
** Before a fork: if this process has references, its child gets a connection of its own that has a share in what
** they name. In the parent and in the child after it.
*/
void ro_client_before_fork(struct ro_Proxy *proxy);
void ro_client_in_parent(ro_Client *client);
void ro_client_in_child(ro_Client *client);

/*
** Sends the request whose payload has been appended to `frame` behind ro_frame_begin, and waits for its answer until
** its deadline. Raises only what interrupts a wait, and errors of the system that keep a connection
** from being made; nothing is under way then. [-0, +0, v]
*/
ro_Outcome ro_client_exchange(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending);

/*
** Sends it and leaves it under way, or settles it, if it can't be sent. Waits, until the deadline, only as long as more than `most`
** bytes wait for room in the pipe. Raises the same; nothing is under way then. [-0, +0, v]
*/
void ro_client_send(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending, size_t most);

/* Its owner gives it up: an answer will be late. Harmless when it is settled. */
void ro_client_abandon(struct ro_Proxy *proxy, ro_Pending *pending);

/* Calls ro_future_announce for futures that have been settled and ask for it. [-0, +0, -] */
void ro_client_announce(lua_State *L, struct ro_Proxy *proxy);

/*
** Notes that the handle is not needed any more, which was received `times` times in `session`; told to the listener
** with the next request, or, unless it is `soon`, with one of the next. Does no I/O.
*/
void ro_client_release(struct ro_Proxy *proxy, uint64_t session, int64_t handle, uint64_t times, int soon);

/* The answer was taken in, but nobody will read it: if it names references they are to be let go. */
void ro_client_put_late(struct ro_Proxy *proxy, const ro_Pending *pending);

/*
** Takes the payload of an answer that nobody waited for any more, but that names references, into `into`, from *offset
** on; returns 0 when there is none.
*/
int ro_client_take_late(struct ro_Proxy *proxy, ro_Buffer *into, size_t *offset);

/* Queues a frame, and sends it as far as that goes without waiting. [-0, +0, e] */
void ro_client_queue(lua_State *L, struct ro_Proxy *proxy, ro_Buffer *frame);

/* Tells what was let go at once, as far as that goes without waiting. */
void ro_client_send_releases(struct ro_Proxy *proxy);

#endif
