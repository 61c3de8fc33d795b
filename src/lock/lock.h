/*
** The one lock of a Lua state, and the waiting that lets others have it. The thread that
** runs Lua holds the lock; whoever waits inside the library gives it up meanwhile; a thread
** that wants it from one that runs Lua interrupts that one between two VM instructions.
** Costs one branch while the state has a single thread.
**
** A C host may give the lock up on one native thread and take it again on another. It must
** not move a state that runs Lua to another native thread otherwise: interruptions go to the
** native thread that took the lock last.
*/
#ifndef RO_LOCK_H
#define RO_LOCK_H

#include <poll.h>
#include <pthread.h>
#include <stdint.h>

#include <lua.h>

#include "sys/native.h"

typedef struct ro_Lock ro_Lock;

/* The lock of the state of L, made at its first use; lives until the state is closed. [-0, +0, m] */
ro_Lock *ro_lock_of(lua_State *L);

/*
** One native thread that runs Lua in a state: the program's, or one that the library
** started. `observer` is told when the thread is about to wait inside the library
** (waiting = 1, the lock still held) and when it has waited (0, before the lock is taken
** again); it must touch neither Lua nor the lock.
*/
typedef struct ro_Thread ro_Thread;
typedef void (*ro_WaitObserver)(void *context, int waiting);

/* ---- for native threads of the library ---- */

/*
** Makes sure that the lock really excludes: the caller becomes its holder, if the lock was
** not active. Called before another thread is started; reads limits.signal, installs its
** handler and lets the calling thread receive it. Raises an error if limits.signal is no
** signal that can be used. Returns 0 or an errno. [-0, +0, v]
*/
int ro_lock_activate(lua_State *L);

/*
** ro_native_start with a stack for deep recursion. No Lua touched.
*/
int ro_thread_start(ro_Native *native, void *(*entry)(void *), void *argument);

/*
** Registers a native thread that is still to be started; NULL when memory is short. No Lua touched.
*/
ro_Thread *ro_thread_new(ro_Lock *lock, ro_WaitObserver observer, void *context);

/* Says that the calling native thread is `thread`. */
void ro_thread_adopt(ro_Thread *thread);

/* Both, for the calling native thread. No lock held. */
ro_Thread *ro_thread_begin(ro_Lock *lock, ro_WaitObserver observer, void *context);

/* The opposite, by the same native thread or if that was not started, without the lock held. */
void ro_thread_end(ro_Thread *thread);

/*
** Takes the lock in order to run Lua on coroutine `L`, which the caller keeps alive. With
** `preempt` the holder is interrupted (signal and hook) when it has had its slice; else it
** is waited for until it waits inside the library; the same holds whenever the thread
** takes the lock again until it leaves. Returns 0, or -1 when the state is closing, or
** when this process is a fork of the one where the thread began: then nothing is held.
*/
int ro_lock_enter(ro_Thread *thread, lua_State *L, int preempt);

/* Gives the lock up. Harmless in a fork of the process where the thread began. */
void ro_lock_leave(ro_Thread *thread);

/*
** The state is about to close: every ro_lock_enter that waits returns -1, and so do all
** later ones; every library thread that waits in ro_wait_poll is woken and raises, also
** when it tries to wait again; one that computes gets an error at its next interruption.
** Called with the lock held, by the thread that closes; it then waits for the others to
** end, between ro_wait_begin and ro_wait_end.
*/
void ro_lock_close(ro_Lock *lock);

/* ---- for whoever is about to wait, holding the lock ---- */

/*
** Gives the lock up around a wait that touches no Lua; pairs with ro_wait_end. Nothing
** between the two may raise a Lua error.
*/
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

/*
** The same, but what would be raised is pushed and -1 returned, for callers with something to
** undo. Needs four free stack slots. [-0, +(0|1), -]
*/
int ro_wait_poll_try(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline);

/* ---- what every wait of the library watches besides what it waits for ---- */

#define RO_INTEREST_MOST 3   /* descriptors of one */
#define RO_INTEREST_SLOTS 16 /* of the stack, which `attend` finds free */

/*
** A source of news that somebody has asked for: while it has users, every wait of the library in this state,
** whatever it waits for, watches its descriptors too. Owned by who uses it; touched with the lock held.
*/
typedef struct ro_Interest ro_Interest;
struct ro_Interest {
  ro_Interest *next;
  unsigned users; /* how many reasons there are to watch it */
  /* Fills in at most RO_INTEREST_MOST of `fds` and returns how many; may lower *until. No Lua. */
  nfds_t (*watch)(ro_Interest *interest, struct pollfd *fds, int64_t *until);
  /*
  ** Takes in what there is, with or without news. Waits for nothing but in Lua functions that it calls; raises
  ** nothing. [-0, +0, -]
  */
  void (*attend)(lua_State *L, ro_Interest *interest);
};

/* Adds a reason to watch it. */
void ro_interest_use(ro_Lock *lock, ro_Interest *interest);

/* Takes one away. */
void ro_interest_drop(ro_Lock *lock, ro_Interest *interest);

/* What it watches has changed: threads that wait are to look anew. */
void ro_interest_changed(ro_Lock *lock, const ro_Interest *interest);

/*
** Waits until an interest has been attended to, ro_wait_notify was called, or `deadline` has passed; may return for
** no reason. Returns 0; or -1 with the error that interrupts the wait pushed. Needs four free stack slots.
** [-0, +(0|1), -]
*/
int ro_wait_interests(lua_State *L, int64_t deadline);

/* What a thread in ro_wait_interests may wait for has come about. */
void ro_wait_notify(ro_Lock *lock);

/* Pushes a new coroutine for what the library runs on it. [-0, +1, m] */
lua_State *ro_push_coroutine(lua_State *L);

/* What to go back to: L is what runs now, tracked or not. */
typedef struct ro_Place {
  lua_State *L;
  int tracked;
} ro_Place;

/*
** Around what L runs on coroutine `co`, be it by resuming it or otherwise: interruptions must find it. The caller keeps
** `co` alive, and two free slots on the stack of L. [-0, +0, -]
*/
ro_Place ro_coroutine_enter(ro_Lock *lock, lua_State *L, lua_State *co);
void ro_coroutine_leave(ro_Lock *lock, ro_Place here);

/*
** A section in which a host leaves the state to others. It is found again without the state (`next`, `L` and `end` are
** for who keeps account of the open ones), and lives in the record of the thread that began it.
*/
typedef struct ro_Section {
  struct ro_Section *next;
  lua_State *L;
  void (*end)(struct ro_Section *section);
  ro_Lock *lock;
} ro_Section;

/*
** ro_wait_begin for a host that runs on L, which may end the section on another native thread. NULL when the lock is not
** active: then there is nothing to end. [-0, +0, -]
*/
ro_Section *ro_section_begin(lua_State *L);

/* Takes the lock again; no Lua is touched before it is held. */
void ro_section_end(ro_Section *section);

/*
** The active part of the calling thread's next wait, for who can see without poll(2) whether it is over:
** calls look(context) again and again for a moment, as long as that has paid of late. The
** next ro_wait_poll blocks at once then. Returns what `look` returned last; 0, without a call, where other
** threads might touch what it looks at. [-0, +0, -]
*/
int ro_wait_actively(ro_Lock *lock, int (*look)(void *context), void *context);

/* The thread that holds the lock now: the caller's own. [-0, +0, -] */
ro_Thread *ro_lock_holder(ro_Lock *lock);

/* Is the caller, which holds the lock, the program: none of the library's threads. [-0, +0, -] */
int ro_lock_runs_program(ro_Lock *lock);

/*
** From now on the holder gives others a turn only where it waits inside the library (`keeps`), or between two instructions
** again. For what is short. Returns what held before, for who puts it back.
*/
int ro_lock_keep_turn(ro_Lock *lock, int keeps);

/*
** Lets the thread's present or next ro_wait_poll return early, as if at its deadline: what it waits
** for may have come about without it. Called with the lock held. For the caller's own thread: the waits that it is in, when
** it runs a function that is called during one.
*/
void ro_thread_wake(ro_Thread *thread);

/*
** Something that other threads bring about with the lock held, and that is waited for by looking again. A
** ro_Condition of zeros has nobody waiting. In a fork nobody may use it any more.
*/
typedef struct ro_Waiter ro_Waiter;
typedef struct ro_Condition {
  ro_Waiter *first;
} ro_Condition;

/*
** Waits until ro_condition_notify or `deadline`, or returns earlier; the caller looks then whether what it waits
** for has come about. Returns 0, or -1 with an error value on the stack, as ro_wait_poll_try. Needs four free stack
** slots. [-0, +(0|1), -]
*/
int ro_condition_wait(lua_State *L, ro_Condition *condition, int64_t deadline);

/* Wakes all who wait. With the lock held. */
void ro_condition_notify(ro_Condition *condition);

/*
** For a wait that a signal has interrupted, with the lock held: lets the hooks run that
** signal handlers have set, and raises in a library thread whose state is closing. [-0, +0, v]
*/
void ro_wait_interrupted(lua_State *L);

/*
** Waits until child `pid` can be waited for (as waitpid: -1 any, 0 and below -1 groups) with
** the wait options `options` (WUNTRACED, WCONTINUED), and leaves it to be waited for. Returns 0,
** or an errno: ECHILD where there is no such child; EINTR, only if `interruptible`, after a
** signal that is not ours, when its hooks have run. [-0, +0, v]
*/
int ro_wait_child(lua_State *L, int pid, int options, int interruptible);

/* ---- what others have to say to a thread ---- */

/*
** The function on top of L, which is kept as long as the lock or until ro_thread_deafen, is what `thread` asks once it was told
** (ro_thread_tell), between two instructions of Lua or where it waits in the library: it gives false; or true and an error, which is
** raised there, and is asked again. Nothing is raised on the coroutine that the thread has entered with: there
** ro_thread_is_told says that it is time to let another go on. [-1, +0, m]
*/
void ro_thread_hear(lua_State *L, ro_Thread *thread);

/* Forgets that function. With the lock held. [-0, +0, -] */
void ro_thread_deafen(lua_State *L, ro_Thread *thread);

/* Makes a thread ask. With the lock held, by another thread. */
void ro_thread_tell(ro_Thread *thread);

/*
** From now on signal `signo`, when it comes with the value of ro_signal_call_mark from a related process, makes the program ask, whose worker runs on L;
** the function on top of L is what it asks. For the child of a fork before which ro_lock_will_heed has given the signal. Returns 0 or an errno. [-1, +0, m]
*/
int ro_lock_heed(lua_State *L, int signo);

/* As if such a signal had come: it may have been sent before it was heeded. */
void ro_lock_call_self(ro_Lock *lock);

/* The value with which a related process sends a signal that is to be heeded: it means nothing else to anybody. */
void *ro_signal_call_mark(void);

/*
** Does in the parent what ro_lock_heed needs memory for: a child that allocates may write all over the heap, which it shares until then.
** Returns limits.signal, or 0 where that is no signal that can be used. [-0, +0, v]
*/
int ro_lock_will_heed(lua_State *L);

/* Is there something that it has not asked for yet, or an error that is to be raised again where it is now. */
int ro_thread_is_told(const ro_Thread *thread);

/*
** An error that was thrown into the calling thread is meant for what that is at, not for a function that the library calls
** besides, nor is it a failure of this: what ro_pcall_aside returns instead of a status.
*/
#define RO_THROWN (-1)

/*
** As lua_pcall, for such functions: where an error that was thrown in ends one it is on the stack as any other is, but will be
** raised again where the caller goes on: not in what the library calls besides before. Needs four free stack slots.
** [-(count + 1), +(results|1), -]
*/
int ro_pcall_aside(lua_State *L, int count, int results, int handler);

/* For who raises such an error himself: how many have been raised in the calling thread. [-0, +0, -] */
unsigned ro_throws(ro_Lock *lock);

/* Is the error on top, which was just caught, one that was raised since there were `throws` of them. [-0, +0, -] */
int ro_is_thrown(lua_State *L, unsigned throws);

/* Is the state closing (ro_lock_close). May be called without the lock. */
int ro_lock_closes(const ro_Lock *lock);

/* Does any thread want the lock now. Cheap; may be called without the lock. */
int ro_lock_wanted(const ro_Lock *lock);

/*
** Adds sleep, poll, limits (with its field signal) and blocking (what remoteobj.patch is made
** of) to the module table on top of the stack, and puts coroutine functions into place that
** keep track of the running one. [-0, +0, v]
*/
void ro_open_lock(lua_State *L);

#endif
