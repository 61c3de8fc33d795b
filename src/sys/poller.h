/*
** Many descriptors watched at once, and through one descriptor that foreign event loops can
** watch, which is readable when any of them is ready. One thread waits at a time; others may
** add, change and remove meanwhile.
*/
#ifndef RO_POLLER_H
#define RO_POLLER_H

#include "base/platform.h"

#if RO_HAS_EPOLL

typedef struct ro_Poller {
  int fd;
} ro_Poller;

#else

#include <poll.h>
#include <pthread.h>

#include "sys/event.h"
#include "sys/native.h"

typedef struct ro_Poller {
  pthread_mutex_t mutex;
  struct pollfd *fds; /* the first is `changed` */
  void **owners;
  nfds_t count, room;
  nfds_t turn;      /* who is looked at first, so that nobody is kept out */
  ro_Event changed; /* ends a wait that doesn't know of the latest change */
  int blocked;      /* somebody waits */
  /* for foreign event loops, once one has asked: */
  int has_sentry, leaves;
  ro_Native sentry;     /* waits where a loop can't */
  pthread_cond_t quiet; /* wakes the sentry: nothing is ready any more, or it is to leave */
  ro_Event bell;        /* what the loop watches; set by the sentry when something is ready */
  int rung;
} ro_Poller;

#endif

typedef struct ro_Ready {
  void *owner;  /* as given to ro_poller_add */
  int readable; /* has input, or its end */
  int writable;
} ro_Ready;

/* Makes a poller. Returns 0 or an errno; nothing is left open then. */
int ro_poller_open(ro_Poller *poller);

/* Gives everything back. No other thread uses the poller any more. */
void ro_poller_close(ro_Poller *poller);

/* In the child of a fork: closes the descriptors, which are the parent's; safe between fork and exec. */
void ro_poller_forget(ro_Poller *poller);

/* Later in that child, with no other thread at it when the process forked: frees the memory. */
void ro_poller_discard(ro_Poller *poller);

/* The descriptor for foreign event loops: readable when something is ready. -1 with errno when there is none. */
int ro_poller_fileno(ro_Poller *poller);

/* Watches `fd` for input, or for room to write. Returns 0 or an errno. */
int ro_poller_add(ro_Poller *poller, int fd, void *owner, int input);

/* Changes what is watched of `fd`; neither: it stays added but silent. Returns 0 or an errno. */
int ro_poller_change(ro_Poller *poller, int fd, void *owner, int input, int output);

void ro_poller_remove(ro_Poller *poller, int fd);

/*
** Waits until something is ready, at most `milliseconds` (-1: for ever; 0: not at all).
** Returns how many of `ready` (room for `most`) were filled in; 0 also when a signal or a change came.
*/
int ro_poller_wait(ro_Poller *poller, ro_Ready *ready, int most, int milliseconds);

#endif
