/*
** Futures: userdata of one type for what is still to come, whatever it comes from. A source makes
** futures of a kind of its own (its struct begins with a ro_Future) and says when they are settled; here is what all
** have in common: get, done, on_done, and waiting for several at once.
**
** For sources in Lua there are functions in the table `_future` of the module's C half:
**
**   new([duty]) -> future         one that is settled by hand; by the duty
**   settle(future, ok, ...)       its results, or with ok = false its error; gives false if it was done already
**   is_done(future)               without a look at what has come
**   await(future)                 waits until it is done
**   outcome(future) -> ok, ...    of one that is done: the results of get, as pcall gives them. For want of memory alone it
**                                 raises an error: there may be some the next time
**   duty(func [, lasts]) -> duty  see duty.h
**   perform(duty [, number])      does it now
**   follow(future, duty, number) -> done
**                                 has the duty done, and told the number, once the future is settled, if it is not done
**                                 yet. Takes no memory
**   leave(future)                 no more
**   watch(fd, func) -> watch      as long as it is not closed (watch:close()), every wait of the library, whatever it
**                                 waits for, watches `fd` too and calls func() when it is readable; func must read what
**                                 made it so
**
** So a source that reads descriptors of its own watches them, and settles its futures in `func`; one that is built on
** other futures has a duty that follows them, and settles its own.
*/
#ifndef RO_FUTURE_H
#define RO_FUTURE_H

#include <stdint.h>

#include <lua.h>

#include "base/estate.h"
#include "lock/lock.h"

typedef struct ro_Duty ro_Duty;

typedef struct ro_Future ro_Future;

typedef struct ro_FutureKind {
  /* Has its source settled it; then `open` tells how. NULL: never, ro_future_keep is called for that. */
  int (*settled)(const ro_Future *future);
  /* Called once, with a future that its source has settled: returns its results or raises its error. */
  lua_CFunction open;
  /* What `open` gave is kept: called after it. May be NULL. */
  void (*kept)(ro_Future *future);
  /* ro_future_announce is to be called once it is settled. NULL where that is done anyway. */
  void (*announce)(ro_Future *future);
  /* Its finalizer; may be NULL. Called in forks of the process that made it, too. */
  void (*collect)(ro_Future *future);
} ro_FutureKind;

struct ro_Future {
  ro_Asset asset;
  const ro_FutureKind *kind;
  ro_Lock *lock;
  ro_Interest
      *source;   /* is watched while anybody waits for the future; NULL: what is watched anyway settles it */
  ro_Duty *duty; /* settles it; or NULL */
  ro_Duty *follower;  /* is done once it is settled; or NULL */
  lua_Integer number; /* by which it knows the future */
  int home;           /* the process that made it */
  int state;          /* of what is kept of it, see future.c */
  int count;          /* how many results are kept */
};

/* User values of a future; those from RO_FUTURE_OWN on belong to its kind. */
enum { RO_FUTURE_RESULT = 1, RO_FUTURE_FUNCTIONS, RO_FUTURE_FOLLOWER, RO_FUTURE_OWN };

/*
** Pushes a future of `size` bytes in the state of `lock`, zero behind the ro_Future, with `own` user values for its kind. It has a
** finalizer. [-0, +1, m]
*/
ro_Future *ro_push_future(lua_State *L, ro_Lock *lock, const ro_FutureKind *kind, size_t size, int own);

/* The future at `index`, or NULL when the value is none. [-0, +0, -] */
ro_Future *ro_test_future(lua_State *L, int index);

int ro_future_is_done(const ro_Future *future);

/*
** Settles the future at `index` with the `count` values on top, which are popped, as its results; or, with `count`
** -1, with the value on top as its error. [-n, +0, m]
*/
void ro_future_keep(lua_State *L, int index, int count);

#define RO_FUTURE_ANNOUNCING 8 /* stack slots that it takes to announce one */

/*
** Calls what was given to on_done, for a future that is done, and has the duty done that follows it. Errors of functions become
** warnings. Needs RO_FUTURE_ANNOUNCING free stack slots, as every wait of the library has them. [-0, +0, -]
*/
void ro_future_announce(lua_State *L, ro_Future *future);

/*
** Waits for the future at `index` until `deadline` and pushes its results; returns how many, or raises its error;
** -1 when the time has passed. [-0, +n, v]
*/
int ro_future_get(lua_State *L, int index, int64_t deadline);

/* Adds `wait` and the table `_future` to the module table on top of the stack. [-0, +0, m] */
void ro_open_future(lua_State *L);

#endif
