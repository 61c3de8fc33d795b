/*
** What the files of the lock share. The fields of ro_Lock fall into three groups: those that
** the mutex guards, those that belong to the holder, and those of the holder that the signal
** handler reads and writes too, on the holder's own native thread (see hook.h).
*/
#ifndef RO_LOCK_STATE_H
#define RO_LOCK_STATE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include <lua.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/patience.h"
#include "lock/lock.h"
#include "lock/signal.h"
#include "sys/event.h"

/* How long a thread may run Lua while another library thread, or the program behind one, waits. */
#define RO_SLICE (INT64_C(5) * RO_SECOND / 1000)

/*
** How long a library thread that was interrupted itself leaves the program ahead at most, besides a slice for each of
** the others that wait: when others that enter anew take the program's time, its slice may take long to complete.
*/
#define RO_PATIENCE (20 * RO_SLICE)

/*
** How many VM instructions a thread runs before it is interrupted, when another has asked for that
** before it began: so that it gets on even if requests come all the time.
*/
#define RO_LEAST_TURN 300

/*
** How long a hook may take to fire, in nanoseconds, before a signal that finds it set takes it for overlooked. A
** turn that has lasted so long may have fewer instructions than RO_LEAST_TURN.
*/
#define RO_OVERLOOKED (INT64_C(50) * 1000)

/* How many it runs before it is told that the state is closing; and how many of them a change of the coroutine takes. */
#define RO_CLOSING_TURN 100000
#define RO_CLOSING_CHANGE 100

/*
** How many VM instructions the program runs between two looks while it is attentive, and how long, in
** nanoseconds, a waiter gives it for a look before it sends the signal after all.
*/
#define RO_ATTENTIVE_TURN 100
#define RO_ATTENTIVE_PAUSE RO_PATIENCE_MOST

/* The first and the longest pause between two signals to a holder that has not answered the last. */
#define RO_PAUSE_LEAST (2 * RO_OVERLOOKED)
#define RO_PAUSE_MOST (INT64_C(100) * RO_SECOND / 1000)

struct ro_Thread {
  ro_Patience patience; /* of its waits for descriptors */
  int has_looked;       /* the active part of the next wait is over already */
  ro_Lock *lock;
  ro_Thread *next, *previous; /* all library threads of the lock (mutex) */
  ro_Thread *mine;            /* further ones of the same native thread, of other locks */
  ro_Thread *behind;          /* the next in the queue of those who wait (mutex) */
  pthread_cond_t turn;        /* with the mutex: granted, or look again when to interrupt */
  ro_Patience turn_patience;  /* of its waits for `turn` */
  atomic_int news;            /* `turn` was signalled since the thread began to wait for it */
  int granted;                /* the lock was handed to this thread (mutex) */
  int orphan;                 /* left behind by a fork: its native thread may not enter */
  int entering;               /* waits in ro_lock_enter, so that closing refuses it (mutex) */
  int preempt;                /* interrupts the holder when its slice is over */
  int keeps;                  /* gives its turn to others only where it waits, see ro_lock_keep_turn */
  int fresh;                  /* may interrupt the program at once: was not interrupted itself (mutex) */
  int64_t owed;               /* else once `spent` of the lock is so much, */
  int64_t latest;             /* or at this time (mutex) */
  int signal;                 /* the signal that `target` has unblocked */
  int woken;                  /* its present or next wait is to end early */
  unsigned wakes;             /* how often it was woken: so that each of the waits that it is in knows */
  atomic_int told;            /* somebody has something to say to it; see ro_thread_hear */
  int asks;                   /* asks what that is */
  int more;                   /* the last answer was an error, and there may be more */
  unsigned throws;            /* how many errors that were thrown in have been raised in it */
  int asides;                 /* how many functions it is in that the library has called besides */
  int again;          /* one of these errors is to be raised again once `asides` is less than this; or 0 */
  int polls;          /* is in a wait for descriptors, others have the lock */
  int awaits;         /* is in ro_wait_interests */
  int raised;         /* how often it was told by an error that the state is closing, at most 2 */
  int grace;          /* how many instructions until it is told, or told again */
  ro_Target target;   /* the native thread that took the lock last (mutex) */
  lua_State *base;    /* the coroutine it entered with; NULL for the program */
  lua_State *running; /* its running coroutine, while another holds the lock */
  ro_WaitObserver observer;
  void *context;
  ro_Section section; /* in which a host leaves the state to others */
  ro_Event wake;      /* set once ro_wait_poll is to return; closed until needed (mutex) */
};

/* The user's hook of a coroutine that has ours for the moment. */
typedef struct ro_UserHook {
  lua_Hook hook;
  int mask;
  int count;
} ro_UserHook;

struct ro_Lock {
  /* guarded by the mutex */
  pthread_mutex_t mutex;
  ro_Thread *holder; /* NULL: free, and then nobody waits */
  ro_Thread *first, *last;
  ro_Thread *threads;
  unsigned turns; /* grows with every hand-over */
  int64_t since;  /* when the program's turn began, or was last added to `spent` */
  int64_t spent;  /* the time of the program's turns while library threads waited */
  _Atomic int waiting;

  /* of the holder; `active` changes while there is a single thread only */
  ro_ForkNode fork;
  int active;
  int interruptible; /* active, or signals of other processes are heeded: it has a slot, and running coroutines are tracked */
  atomic_int closing;
  int opened;            /* the coroutine functions are in place */
  lua_CFunction wrapped; /* what Lua's own coroutine.wrap returns; or NULL */
  _Atomic int signal;    /* what limits.signal was at the last activation */
  sigset_t mask;         /* the signals that the program blocked when the lock became active */
  ro_Thread program;
  ro_Interest *interests; /* that have users */
  int awaiting;           /* how many threads are in ro_wait_interests */
  lua_State *main;
  lua_State *noted; /* the value at the registry's key `&lock->noted`, which keeps it alive; or NULL */

  /* shared with the signal handler on the holder's native thread */
  ro_Slot *slot;               /* tells the handler whether its thread holds this lock */
  atomic_int interrupt;        /* a waiter wants the holder to be interrupted now */
  atomic_int attentive;        /* the program, which is the holder, looks for that by itself */
  lua_State *volatile running; /* the coroutine that the holder runs, as far as is known */
  lua_State *volatile armed;   /* the coroutine that has our hook, or NULL */
  volatile int armed_count;    /* the count it was armed with */
  volatile unsigned times_armed;
  int64_t armed_at;
  volatile ro_UserHook user; /* of `armed` */
  ro_Patience attention;     /* how long the program stays attentive after it was interrupted */
  int64_t attentive_until;
  ro_UserHook inherited; /* the last one that was put back, for coroutines that inherited ours */
  lua_State *tally_of;   /* for count hooks, see hook.c; never followed, only compared */
  int64_t tally_since, tally;
};

/* The ro_Thread of the calling native thread: one of the library's, or the program's. */
ro_Thread *ro_thread_self(ro_Lock *lock);

/* Makes `turn` of a thread, on the monotonic clock. Returns 0 or an errno. */
int ro_turn_init(pthread_cond_t *turn);

/* Tells a thread that waits for its turn to look again. With the mutex held. */
void ro_turn_signal(ro_Thread *thread);

/* ---- turn.c: who has the lock ---- */

/*
** Waits for the lock and takes it for `self`. Returns 0; or -1 when the state is closing and
** `entering` is true.
*/
int ro_turn_take(ro_Thread *self, int entering);

/* Gives the lock to the first who waits, or to nobody. */
void ro_turn_give(ro_Lock *lock);

/*
** Lets the first go ahead of those who may interrupt the caller now, if there is one, and waits for
** the lock again. A library thread that does so leaves the program a slice before it interrupts
** that in turn; one that enters, or comes back from a wait, may do it at once.
*/
void ro_turn_yield(ro_Lock *lock);

/* ---- coroutine.c ---- */

/*
** Puts the tracking coroutine functions into the table `coroutine`, into `debug` those that don't show our hook, and an
** `exit` that any thread may call into `os`. [-0, +0, m]
*/
void ro_open_coroutine(lua_State *L, ro_Lock *lock);

/* ---- wait.c ---- */

#define RO_WAIT_STACK 4 /* free slots of the Lua stack that a wait takes */

enum { RO_WAIT_INTERRUPTIBLE = 1, RO_WAIT_WAKEABLE = 2, RO_WAIT_ATTENTIVE = 4 }; /* flags */
enum { RO_WAIT_FAILED = -1, RO_WAIT_INTERRUPTED = -2 };                          /* results below 0 */

/*
** The one wait of the library. Returns the number of ready descriptors; 0 at the deadline, or when
** woken if RO_WAIT_WAKEABLE, or when an interest was attended to if RO_WAIT_ATTENTIVE; RO_WAIT_INTERRUPTED, if RO_WAIT_INTERRUPTIBLE, after a signal that is
** not ours, when its hooks have run; RO_WAIT_FAILED with an error value on the stack. Needs
** RO_WAIT_STACK slots. [-0, +(0|1), -]
*/
int ro_wait_try(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline, int flags);

/* Such a wait for those who promise EINTR to their callers: RO_WAIT_INTERRUPTED may come. [-0, +0, v] */
int ro_wait_interruptible(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline);

/*
** Reads poll's table at `index` into a userdata that it pushes, after a list of the table's
** entries. Sets `count`. [-0, +2, v]
*/
struct pollfd *ro_poll_check(lua_State *L, int index, nfds_t *count);

/* ---- thrown.c ---- */

/* Makes room for what ro_thread_hear keeps, which needs no memory then. [-0, +0, m] */
void ro_thread_prepare(lua_State *L, const ro_Thread *thread);

/* The calling thread, which has the lock, so that the holder is the caller. */
ro_Thread *ro_wait_self(ro_Lock *lock);

/* Wakes a thread out of ro_wait_poll. With the mutex held. */
void ro_wait_wake(ro_Thread *thread);

/* ro_thread_wake for an active lock, with the mutex held. */
void ro_wait_cut_short(ro_Thread *thread);

/* Closes the descriptors that waking takes. */
void ro_wait_forget(ro_Thread *thread);

/* Adds sleep and poll to the table on top. [-0, +0, m] */
void ro_open_wait(lua_State *L);

/* ---- interest.c ---- */

#define RO_FEW 8 /* descriptors that need no memory of their own */

/* An interest in a wait. */
typedef struct ro_Watched {
  ro_Interest *interest;
  nfds_t first, count; /* its descriptors */
  int64_t until;       /* when to attend to it without any news */
} ro_Watched;

/* What one wait polls: `own` descriptors that it is for, those of interests, and room for one more. */
typedef struct ro_Polled {
  struct pollfd *fds;
  nfds_t own, count, capacity;
  ro_Watched *watched;
  size_t interests;
  struct pollfd few[RO_FEW];
  ro_Watched few_watched[RO_FEW / RO_INTEREST_MOST];
} ro_Polled;

/* Begins with `count` descriptors. Returns 0 or an errno. */
int ro_polled_begin(ro_Polled *polled, const struct pollfd *fds, nfds_t count);

/* Puts the descriptors of the interests behind the others; may lower *until. Returns 0 or an errno. */
int ro_polled_gather(ro_Polled *polled, const ro_Lock *lock, int64_t *until);

/* Attends to the interests that have news, when `ready` descriptors are; returns whether there were any. [-0, +0, -] */
int ro_polled_attend(lua_State *L, ro_Polled *polled, ro_Lock *lock, int ready);

/* Frees its memory. */
void ro_polled_end(ro_Polled *polled);

/* ---- blocking.c ---- */

/* Adds the table `blocking` to the table on top: what remoteobj.patch is made of. [-0, +0, m] */
void ro_open_blocking(lua_State *L);

#endif
