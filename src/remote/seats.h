/*
** The threads of a listener in the background, one per seat. One of them leads: it waits for
** the next request and runs it. A request that waits inside the library gives the lead to
** another seat, and takes its turn again before it goes on, so that requests never interleave
** otherwise.
*/
#ifndef RO_SEATS_H
#define RO_SEATS_H

#include <pthread.h>

#include "remote/listener.h"
#include "sys/hub.h"

typedef enum ro_ListenerPhase {
  RO_LISTENER_NEW, /* owns nothing yet */
  RO_LISTENER_OPEN,
  RO_LISTENER_STOPPING,
  RO_LISTENER_ENDED, /* answers for the proxy no more; its threads may still be about to end */
  RO_LISTENER_FREED
} ro_ListenerPhase;

typedef struct ro_Seat ro_Seat;

/* User values of a listener. */
enum {
  RO_LISTENER_COROUTINES = 1, /* a list of those that requests run on */
  RO_LISTENER_PROXY,
  RO_LISTENER_ON_ERROR, /* the function for errors of requests without an answer, or nil */
  RO_LISTENER_USERVALUES = RO_LISTENER_ON_ERROR
};

struct ro_Listener {
  ro_Asset asset; /* first, so that it stands for the whole */
  ro_Proxy *proxy;
  ro_Lock *lock;
  ro_Hub hub;
  ro_ListenOptions options;
  uint64_t generation;
  int home;               /* the process that listens */
  int depth;              /* in the foreground: calls of ro_listener_process under way */
  ro_ListenerPhase phase; /* guarded by the state's lock, as the next two are */
  int waiting;            /* how many calls of ro_listener_stop wait for the threads */
  int broke_off; /* a request was ended by the state's closing, or dropped as late: it has no answer */

  /* in the background; guarded by `mutex` */
  pthread_mutex_t mutex;
  ro_ForkNode fork_node; /* has it across a fork */
  pthread_cond_t lead_is_free;
  ro_Seat *seats;
  lua_State *spare;                /* a coroutine for the next seat */
  int leading;                     /* a seat has the lead */
  int turn_taken;                  /* a request runs */
  ro_Seat *turn_first, *turn_last; /* that wait for their turn */
  int active;                      /* requests begun and not yet answered */
  int idle;                        /* seats that wait for the lead, or are about to */
  int threads;
  int stopping;  /* no more clients: ends when all is answered */
  int leaves;    /* the hub is being closed */
  int over;      /* has ended: the threads go home */
  ro_Event done; /* no thread is left */
};

/*
** Gives a listener whose userdata is on top what its background needs of Lua: all that may raise. Returns 0 or an
** errno. [-0, +0, v]
*/
int ro_seats_prepare(lua_State *L, ro_Listener *listener);

/* Starts the first thread of a listener that is prepared. Returns 0 or an errno. */
int ro_seats_open(ro_Listener *listener);

/* Tells the threads to end when everything is answered. */
void ro_seats_stop(ro_Listener *listener);

/* Gives clients no more time to take what they are written, when the threads end. */
void ro_seats_hurry(ro_Listener *listener);

/* Is the calling thread running one of the listener's requests. */
int ro_seats_include_caller(ro_Listener *listener);

/*
** Makes sure, for who is about to wait for what another request brings, that a thread other than the caller waits for
** requests. Returns 0, or an errno where there is no thread for that: then the caller had better not wait.
*/
int ro_seats_attend(ro_Listener *listener);

/* Joins the threads, which have ended or are about to, and frees the seats. */
void ro_seats_close(ro_Listener *listener);

/* In the child of a fork, where there are no threads: frees the seats but those that served when the process forked. */
void ro_seats_discard(ro_Listener *listener);

/* ---- what seats need of the listener ---- */

/* Has its time passed, so that it must not run. */
int ro_request_is_expired(const ro_Request *request);

/* Is it a request that has come too late for a listener that stops, and is not run any more. Lock held. */
int ro_listener_drops_late(ro_Listener *listener, const ro_Request *request);

/*
** The end of a listener whose requests are all answered: gives the clients time to take what they are written; returns whether they have
** taken all, or -1 when there is more to serve: what clients had sent that did not take their answers before. No lock held.
*/
int ro_listener_say_farewell(ro_Listener *listener);

/* Then: ends the connections. */
void ro_listener_leave(ro_Listener *listener, int well);

/* The proxy has no listener here any more. Lock held. [-0, +0, -] */
void ro_listener_retire(lua_State *L, ro_Listener *listener);

#endif
