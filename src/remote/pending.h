/*
** Requests of this process that are under way on a client's connection, and how they come to their end.
*/
#ifndef RO_PENDING_H
#define RO_PENDING_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "lock/lock.h"
#include "sys/frame.h"

struct ro_Client;
struct ro_Proxy;

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

/* Appends it to the list of those under way, not settled. */
void ro_pending_link(struct ro_Client *client, ro_Pending *pending);

/* The one with that id, or NULL. */
ro_Pending *ro_pending_find(struct ro_Client *client, uint64_t id);

/* Takes out the first call of a function that the request took along, or NULL; to be freed by the caller. */
struct ro_Incoming *ro_pending_next_call(struct ro_Client *client, ro_Pending *pending);

/* Ends it: who waits for it is told. */
void ro_pending_settle(struct ro_Proxy *proxy, ro_Pending *pending, ro_Outcome outcome, int may_have_run);

/* Its owner gives it up: an answer will be late. Harmless when it is settled. */
void ro_pending_abandon(struct ro_Proxy *proxy, ro_Pending *pending);

/* Its future, which was not announced yet, is collected. Harmless when it does not wait for that. */
void ro_pending_unannounce(struct ro_Client *client, const ro_Pending *pending);

/* Has the request gone out whole: before that it can't have been run. */
int ro_pending_is_sent(const struct ro_Client *client, const ro_Pending *pending);

/* Settles the futures whose time is over. */
void ro_pending_expire(struct ro_Proxy *proxy);

#endif
