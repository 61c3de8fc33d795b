/*
** Results of requests that later ones of the same connection may name, in the listener: kept with the handles of the
** connection until they are let go. All with the state's lock held.
*/
#ifndef RO_RESULTS_H
#define RO_RESULTS_H

#include <lua.h>

#include "lock/lock.h"
#include "sys/hub.h"

/* A later request that waits for one that is under way; on its C stack. */
typedef struct ro_Waiter {
  struct ro_Waiter *next;
  ro_Thread *thread;
  int done;
} ro_Waiter;

/* A request that runs and whose result is to be kept, on the C stack of who serves it; in the hub's list. */
typedef struct ro_UnderWay {
  struct ro_UnderWay *next;
  ro_Lock *lock;
  ro_Thread *thread; /* that runs it */
  uint64_t client, id;
  int released; /* let go before there is a result */
  ro_Waiter *waiters;
} ro_UnderWay;

/* The request begins. */
void ro_result_begin(ro_UnderWay *under_way, ro_Lock *lock, ro_Hub *hub, const ro_Request *request);

/* Its result is the value at `index`; or, if `failed`, that is its failure, encoded. [-0, +0, m] */
void ro_result_keep(lua_State *L, const ro_UnderWay *under_way, ro_Hub *hub, ro_Request *request, int index,
                    int failed);

/* The request has ended; who waits for its result goes on. */
void ro_result_end(ro_UnderWay *under_way, ro_Hub *hub);

/* The result of the client's request with that id is not needed any more, if it is under way; else that is up to the table. */
void ro_result_release(const ro_Hub *hub, uint64_t client, uint64_t id);

/*
** Pushes the result of the request with that id of the same connection, waiting for it, for `request`; returns 1. If that
** request failed, pushes its failure, encoded, and returns 0. Raises Timeout when it was not run or the time is over.
** [-0, +1, e]
*/
int ro_result_push(lua_State *L, ro_Hub *hub, ro_Request *request, uint64_t id);

#endif
