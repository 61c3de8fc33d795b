/*
** Interrupting the coroutine that the holder of a lock runs, between two of its VM
** instructions. All of these run on the holder's native thread: lua_sethook may be called in
** a signal handler of the thread that runs the coroutine, and nowhere else while it runs.
*/
#ifndef RO_LOCK_HOOK_H
#define RO_LOCK_HOOK_H

#include "lock/state.h"

/*
** Arms the running coroutine, if an interruption is wanted or the program attentive, so that it is interrupted after
** `instructions` of the VM (at the next one if the user has a hook of their own). For the signal
** handler, and for the holder while no handler can interfere. Returns whether the hook is set.
*/
int ro_hook_arm(ro_Lock *lock, int instructions);

/* Puts the user's hook back where ours is still set. No handler may interfere: the slot is released. */
void ro_hook_disarm(ro_Lock *lock);

/*
** After the running coroutine has changed: takes the hook off the one left behind and arms
** the new one, if an interruption is wanted, as ro_hook_arm does.
*/
void ro_hook_follow(ro_Lock *lock, int instructions);

/* Says that the holder runs coroutine `L` now, which stays alive until it says something else. */
static inline void ro_hook_run(ro_Lock *lock, lua_State *L) {
  lock->running = L;
  atomic_signal_fence(memory_order_seq_cst);
  if (__builtin_expect(atomic_load_explicit(&lock->interrupt, memory_order_relaxed) |
                           atomic_load_explicit(&lock->attentive, memory_order_relaxed),
                       0))
    ro_hook_follow(lock, 1);
}

/*
** For the program, which has been interrupted and runs on: where interruptions have come fast of late it
** stays attentive for a moment. A hook looks again and again whether the next one is wanted,
** which saves the signal. Not where the user has a hook of their own.
*/
void ro_hook_attend(ro_Lock *lock);

#define RO_CLOSING "the Lua state is closing"

/*
** For a library thread that goes on although the state is closing: interrupts it after
** RO_CLOSING_TURN instructions; or, when it has been told twice, at each.
*/
void ro_hook_close(ro_Lock *lock);

/*
** Is the state closing, so that the calling library thread gets the error RO_CLOSING. The first
** may be caught, so that things can be put in order; one that has been told twice gets it at
** every instruction.
*/
int ro_hook_closing(ro_Lock *lock);

/* Has the running coroutine of a thread that was told something interrupted, so that it asks what. */
void ro_hook_listen(ro_Lock *lock);

/* For the signal handler: another process has told the program something; does the program hold the lock. */
void ro_hook_called(ro_Lock *lock, int is_holder);

/*
** Was the calling thread, which runs L, told something that it may ask for here. Not on the coroutine that it has entered
** with, nor in a finalizer.
*/
int ro_hook_may_tell(const ro_Thread *self, lua_State *L);

/*
** Asks for the calling thread, which runs L, what it was told. Returns 1 with an error to be raised on the stack, or 0. Needs four free stack
** slots. [-0, +(0|1), -]
*/
int ro_hook_told(ro_Lock *lock, lua_State *L);

/* Is the coroutine L known to be running, and kept alive by others than the note. */
int ro_hook_tracked(const ro_Lock *lock, lua_State *L);

/*
** Notes that L runs although nobody has told: it was resumed by another than the tracking
** functions. Keeps it alive until the next is noted, or falls back on the coroutine that a
** library thread has entered with. Needs two free stack slots. [-0, +0, -]
*/
void ro_hook_note(ro_Lock *lock, lua_State *L);

/* A new coroutine gets the user's hook instead of ours, if it has inherited that from `L`. */
void ro_hook_born(ro_Lock *lock, lua_State *L, lua_State *born);

/*
** For debug.gethook and debug.sethook, which must find the user's hook on L: takes ours off, if it
** is there. An interruption may put it back at any moment: ro_hook_covered_since tells whether one
** has armed anything since the call of ro_hook_uncover that returned `times`. [-0, +0, -]
*/
unsigned ro_hook_uncover(ro_Lock *lock, lua_State *L);
int ro_hook_covered_since(const ro_Lock *lock, unsigned times);

/* Arms the running coroutine again, if an interruption is wanted. */
void ro_hook_cover(ro_Lock *lock);

#endif
