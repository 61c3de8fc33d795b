/*
** The lives of a child and its parent, told to each other by descriptors: a process id alone
** may have passed to another process since.
*/
#ifndef RO_LIFE_H
#define RO_LIFE_H

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"

/* Where no descriptor tells everything: how long it takes at most until somebody looks again. */
#define RO_LIFE_LOOK (RO_SECOND / 25)

/* A child, as its parent and that one's later forks know it. */
typedef struct ro_Life {
  pid_t pid;
  int fd;        /* readable, or at its end, once the child has ended; -1 */
  int bond;      /* its closing tells the child that this process has ended; -1 where the system does that */
  int64_t pause; /* see ro_life_is_ending */
} ro_Life;

/* What a child knows of its birth. */
typedef struct ro_Birth {
  pid_t parent;
  int by_main_thread; /* it was forked by the parent's first thread */
  int own;  /* its closing tells the parent that this process has ended, so forks must not keep it; -1 */
  int bond; /* ends when the parent has ended; -1 */
} ro_Birth;

/* A life that has no descriptors. */
void ro_life_init(ro_Life *life);

/*
** As fork(2): fills in `life` for the parent, `birth` for the child. A child that can't be watched
** doesn't live: then -1 is returned too.
*/
pid_t ro_life_fork(ro_Life *life, ro_Birth *birth);

/* Closes the descriptors; the process goes on. */
void ro_life_close(ro_Life *life);

/* Gives the closed life of a process that has ended a descriptor again, which tells just that. Returns 0 or an errno. */
int ro_life_reopen(ro_Life *life);

/* In a fork of the parent: closes what the parent alone may have; safe between fork and exec. */
void ro_life_inherit(ro_Life *life);

/* Does the child run, as far as its descriptor tells. Its parent need not have waited for it. */
int ro_life_goes_on(const ro_Life *life);

/*
** Prepares `p` for a wait for the end of the child. Returns when to look whether it has come, though `p`
** says nothing: `deadline`, or earlier.
*/
int64_t ro_life_watch(ro_Life *life, struct pollfd *p, int64_t deadline);

/*
** Is the child about to end, though the system doesn't say yet that it has: then waits a moment and returns 1. Does
** so a few times at most, a twentieth of a second in all.
*/
int ro_life_is_ending(ro_Life *life);

/*
** Sends `signal` to the child, with `value` if that is not NULL. Returns 0 or an errno. Where the parent may be waiting for it
** meanwhile, only pidfds make certain that no other process gets it.
*/
int ro_life_signal(const ro_Life *life, int signal, void *value);

/*
** In a child that is to end with its parent: has the system see to that, `*fd` being -1 then, or gives the
** descriptor whose end is the sign. Returns 0 or an errno.
*/
int ro_life_follow(const ro_Birth *birth, int *fd);

/*
** A descriptor, close-on-exec, that becomes readable when any process `pid` ends; -1 with errno (ENOSYS
** where there is no such thing).
*/
int ro_life_open(pid_t pid);

/*
** Why no process can be watched here, for messages: the library was built for a system that has descriptors of processes, and
** this one refuses them. NULL: they can, as far as there are descriptors left.
*/
const char *ro_life_obstacle(void);

#endif
