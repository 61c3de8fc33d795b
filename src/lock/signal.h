/*
** The signal that interrupts a native thread which runs Lua, and the slots that tell its
** handler which locks that thread holds. The program's own handler of the same signal is
** kept and gets every signal that is not ours.
*/
#ifndef RO_LOCK_SIGNAL_H
#define RO_LOCK_SIGNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "lock/lock.h"

/* A native thread, as a signal is addressed to it. */
typedef struct ro_Target {
  pthread_t native;
  pid_t id;             /* the kernel's name for it, where signals go by that */
  atomic_int *expected; /* else: not 0 while a signal is under way to it */
} ro_Target;

/* The calling native thread. */
ro_Target ro_signal_self(void);

/*
** One place in the process-wide list of the locks that are in use. `holder` is the native
** thread that holds the lock, or 0; a handler may follow `lock` only where it is its own
** thread: as long as it runs, that thread can't release the lock.
*/
typedef struct ro_Slot {
  struct ro_Slot *next;
  int used; /* guarded by the list's mutex */
  ro_Lock *lock;
  _Atomic(pthread_t) holder;
  atomic_int
      heeds; /* a signal that another process has sent concerns this lock; then it lives as long as the process */
} ro_Slot;

/* A slot for `lock`, NULL when memory is short. Slots are used again, never freed. */
ro_Slot *ro_slot_new(ro_Lock *lock);

/* Gives the slot back. */
void ro_slot_free(ro_Slot *slot);

/* Says that the calling thread holds the slot's lock; that nobody does. */
void ro_slot_hold(ro_Slot *slot);
void ro_slot_release(ro_Slot *slot);

/* Says whether what other processes signal concerns the slot's lock. */
void ro_slot_heed(ro_Slot *slot, int heeds);

/* Is `signo` one that the library may use. */
int ro_signal_usable(int signo);

/*
** Installs the handler, or installs it again when the program has put another into its
** place, which then gets what is not ours. Returns 0 or an errno.
*/
int ro_signal_install(int signo);

/* Does what ro_signal_install needs memory for. Returns 0 or an errno. */
int ro_signal_prepare(int signo);

/* Installs the handler if it is not and sends the signal. Returns 0 or an errno. */
int ro_signal_send(int signo, const ro_Target *target);

/* How many of our signals the calling thread has received: tells their interruptions from others'. */
unsigned ro_signal_arrived(void);

/* Lets the calling native thread receive the signal. */
void ro_signal_unblock(int signo);

/* To be called in the child of a fork. */
void ro_signal_in_child(void);

#endif
