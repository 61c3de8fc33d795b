/*
** The one lock of a Lua state, and the waiting that lets others have it. The thread that
** runs Lua holds the lock; whoever waits inside the library gives it up meanwhile; a thread
** that wants it from one that runs Lua interrupts that one between two VM instructions.
** Costs one branch while the state has a single thread.
*/
#ifndef RO_LOCK_H
#define RO_LOCK_H

#include <poll.h>
#include <stdint.h>

#include <lua.h>

typedef struct ro_Lock ro_Lock;

/* The lock of the state of L, made at its first use; lives until the state is closed. [-0, +0, m] */
ro_Lock *ro_lock_of(lua_State *L);

/*
** One native thread that runs Lua in a state: the program's, or one that the library
** started. `observer` is told when the thread is about to wait (waiting = 1, after nothing
** but before the lock is given up) and when it has waited (0, before the lock is taken
** again); it holds no lock then and must not touch Lua.
*/
typedef struct ro_Thread ro_Thread;
typedef void (*ro_WaitObserver)(void *context, int waiting);

/* ---- for native threads of the library ---- */

/*
** Makes sure that the lock really excludes: the caller becomes its holder. Called while
** the state has one thread, before the first other one is started. `preempt` 0 promises
** that the caller's listener needs no hooks. Returns 0 or an errno. [-0, +0, m]
*/
int ro_lock_activate(lua_State *L);

/* Registers the calling native thread; NULL when memory is short. No lock held, no Lua touched. */
ro_Thread *ro_thread_begin(ro_Lock *lock, ro_WaitObserver observer, void *context);

/* The opposite, without the lock held. */
void ro_thread_end(ro_Thread *thread);

/*
** Takes the lock in order to run Lua on coroutine `L`. With `preempt` the holder is
** interrupted (signal and hook) when it has had its slice; else it is waited for until it
** waits inside the library. Returns 0, or -1 when the state is closing: then nothing is held.
*/
int ro_lock_enter(ro_Thread *thread, lua_State *L, int preempt);

/* Gives the lock up. */
void ro_lock_leave(ro_Thread *thread);

/*
** The state is about to close: every ro_lock_enter that waits returns -1, every thread that
** waits in ro_wait_poll is woken and raises. Called with the lock held, by the thread that closes.
*/
void ro_lock_close(ro_Lock *lock);

/* ---- for whoever is about to wait, holding the lock ---- */

/* Gives the lock up around a wait that touches no Lua; pairs with ro_wait_end. */
void ro_wait_begin(ro_Lock *lock);
void ro_wait_end(ro_Lock *lock);

/*
** poll(2) without the lock: waits until a descriptor is ready or `deadline` (RO_NEVER: no
** end) has passed; returns the number of ready ones, 0 at the deadline. EINTR is not shown:
** the hooks that signal handlers have set (Ctrl-C of lua.c, luaposix) run and the wait goes
** on. Raises what such a hook raises, and an error when the state is closing. May be called
** whether the lock is active or not. [-0, +0, v]
*/
int ro_wait_poll(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline);

/* Does any thread want the lock now. */
int ro_lock_wanted(const ro_Lock *lock);

/* Adds sleep, poll and limits.signal, and the coroutine functions that keep track of the running one. [-0, +0, m] */
void ro_open_lock(lua_State *L);

#endif
