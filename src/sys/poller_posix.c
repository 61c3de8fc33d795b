/*
** The poller where there is no more than poll(2). A foreign event loop, which wants one
** descriptor, is served by a thread, the sentry: it waits for all of them and rings a bell, which
** sounds until somebody has looked and found nothing.
*/
#include "sys/poller.h"

#if !RO_HAS_EPOLL

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sys/descriptor.h"

#define FEW 16            /* descriptors that a wait needs no memory for */
#define WITHOUT_MEMORY 10 /* milliseconds between looks then */

/* ---- the list ---- */

/* Makes room for one more. Returns 0 or ENOMEM. */
static int grow(ro_Poller *p) {
  nfds_t room = p->room == 0 ? 8 : p->room * 2;
  struct pollfd *fds;
  void **owners;
  if (p->count < p->room)
    return 0;
  fds = realloc(p->fds, (size_t)room * sizeof *fds);
  if (fds == NULL)
    return ENOMEM;
  p->fds = fds;
  owners = realloc(p->owners, (size_t)room * sizeof *owners);
  if (owners == NULL)
    return ENOMEM;
  p->owners = owners;
  p->room = room;
  return 0;
}

/* Where `fd` is in the list, or `count`. The first is not to be found. */
static nfds_t find(const ro_Poller *p, int fd) {
  nfds_t i = 1;
  while (i < p->count && p->fds[i].fd != fd)
    i++;
  return i;
}

/* Lets the mutex go after a change. */
static void tell_and_unlock(ro_Poller *p) {
  if (p->blocked)
    ro_event_set(&p->changed);
  pthread_mutex_unlock(&p->mutex);
}

static int add(ro_Poller *p, int fd, void *owner, short events) {
  int e = grow(p);
  if (e != 0)
    return e;
  p->fds[p->count] = (struct pollfd){.fd = fd, .events = events};
  p->owners[p->count++] = owner;
  return 0;
}

int ro_poller_add(ro_Poller *p, int fd, void *owner, int input) {
  int e;
  pthread_mutex_lock(&p->mutex);
  e = add(p, fd, owner, input ? POLLIN : POLLOUT);
  tell_and_unlock(p);
  return e;
}

int ro_poller_change(ro_Poller *p, int fd, void *owner, int input, int output) {
  nfds_t i;
  pthread_mutex_lock(&p->mutex);
  i = find(p, fd);
  if (i < p->count) {
    p->fds[i].events = (short)((input ? POLLIN : 0) | (output ? POLLOUT : 0));
    p->owners[i] = owner;
  }
  tell_and_unlock(p);
  return 0;
}

void ro_poller_remove(ro_Poller *p, int fd) {
  nfds_t i;
  pthread_mutex_lock(&p->mutex);
  i = find(p, fd);
  if (i < p->count) {
    p->fds[i] = p->fds[--p->count];
    p->owners[i] = p->owners[p->count];
  }
  tell_and_unlock(p);
}

/* ---- looking and waiting ---- */

/* Looks at all descriptors without waiting; returns how many are ready. With the mutex held. */
static int look(ro_Poller *p) {
  int n;
  do { /* what it does not tell of is not there */
    n = poll(p->fds, p->count, 0);
  } while (n < 0 && errno == EINTR);
  if (n <= 0)
    return 0;
  return p->fds[0].revents != 0 ? n - 1 : n;
}

/* Describes at most `most` of those that the last look has found. Returns how many. */
static int describe(ro_Poller *p, ro_Ready *ready, int most) {
  int n = 0;
  nfds_t others = p->count - 1;
  p->turn++;
  for (nfds_t k = 0; k < others && n < most; k++) {
    nfds_t i = 1 + (p->turn + k) % others;
    short seen = p->fds[i].revents;
    if (seen == 0)
      continue;
    ready[n].owner = p->owners[i];
    ready[n].readable = (seen & ~POLLOUT) != 0;
    ready[n++].writable = (seen & POLLOUT) != 0;
  }
  return n;
}

/* Lets the sentry wait again: nothing is ready. With the mutex held, so that it doesn't ring in between. */
static void stop_bell(ro_Poller *p) {
  if (!p->rung)
    return;
  p->rung = 0;
  ro_event_clear(&p->bell);
  pthread_cond_signal(&p->quiet);
}

/* Something is ready. With the mutex held. */
static void ring(ro_Poller *p) {
  if (!p->has_sentry || p->rung)
    return;
  p->rung = 1;
  ro_event_set(&p->bell);
}

static int look_and_describe(ro_Poller *p, ro_Ready *ready, int most) {
  int n;
  pthread_mutex_lock(&p->mutex);
  n = look(p);
  if (n == 0)
    stop_bell(p);
  else
    ring(p);
  n = describe(p, ready, n < most ? n : most);
  pthread_mutex_unlock(&p->mutex);
  return n;
}

/* Blocks on a copy of the list, which may change meanwhile: `changed` tells of that. */
static void block(ro_Poller *p, int milliseconds) {
  struct pollfd few[FEW], *fds = few;
  nfds_t count;
  pthread_mutex_lock(&p->mutex);
  p->blocked++;
  count = p->count;
  if (count > FEW)
    fds = malloc((size_t)count * sizeof *fds);
  if (fds != NULL)
    memcpy(fds, p->fds, (size_t)count * sizeof *fds);
  pthread_mutex_unlock(&p->mutex);
  if (fds != NULL)
    poll(fds, count, milliseconds);
  else
    poll(NULL, 0, milliseconds >= 0 && milliseconds < WITHOUT_MEMORY ? milliseconds : WITHOUT_MEMORY);
  pthread_mutex_lock(&p->mutex);
  p->blocked--;
  ro_event_clear(&p->changed); /* nobody else may: a wait that has not been woken yet would go on */
  pthread_mutex_unlock(&p->mutex);
  if (fds != few)
    free(fds);
}

int ro_poller_wait(ro_Poller *p, ro_Ready *ready, int most, int milliseconds) {
  int n = look_and_describe(p, ready, most);
  if (n > 0 || milliseconds == 0)
    return n;
  if (p->has_sentry) {
    struct pollfd bell = {.fd = p->bell.fd, .events = POLLIN};
    poll(&bell, 1, milliseconds);
  } else {
    block(p, milliseconds);
  }
  return look_and_describe(p, ready, most);
}

/* ---- for foreign event loops ---- */

static void *keep_watch(void *argument) {
  ro_Poller *p = argument;
  pthread_mutex_lock(&p->mutex);
  while (!p->leaves) {
    if (p->rung) {
      pthread_cond_wait(&p->quiet, &p->mutex);
      continue;
    }
    pthread_mutex_unlock(&p->mutex);
    block(p, -1);
    pthread_mutex_lock(&p->mutex);
    if (look(p) > 0) /* somebody may have looked and found nothing any more */
      ring(p);
  }
  pthread_mutex_unlock(&p->mutex);
  return NULL;
}

int ro_poller_fileno(ro_Poller *p) {
  int e;
  if (p->has_sentry)
    return p->bell.fd;
  e = ro_event_open(&p->bell);
  if (e == 0 && (e = ro_native_start(&p->sentry, RO_STACK_OF_WAITER, keep_watch, p)) != 0)
    ro_event_close(&p->bell);
  errno = e;
  if (e != 0)
    return -1;
  pthread_mutex_lock(&p->mutex);
  p->has_sentry = 1;
  if (look(p) > 0)
    ring(p);
  pthread_mutex_unlock(&p->mutex);
  return p->bell.fd;
}

static void dismiss_sentry(ro_Poller *p) {
  pthread_mutex_lock(&p->mutex);
  p->leaves = 1;
  pthread_cond_signal(&p->quiet);
  ro_event_set(&p->changed);
  pthread_mutex_unlock(&p->mutex);
  ro_native_join(&p->sentry);
}

/* ---- beginning and end ---- */

int ro_poller_open(ro_Poller *p) {
  int e;
  memset(p, 0, sizeof *p);
  ro_event_init(&p->changed);
  ro_event_init(&p->bell);
  e = pthread_mutex_init(&p->mutex, NULL);
  if (e != 0)
    return e;
  pthread_cond_init(&p->quiet, NULL);
  e = ro_event_open(&p->changed);
  if (e == 0)
    e = add(p, p->changed.fd, NULL, POLLIN);
  if (e != 0)
    ro_poller_close(p);
  return e;
}

void ro_poller_forget(ro_Poller *p) {
  ro_event_close(&p->changed);
  ro_event_close(&p->bell);
}

void ro_poller_discard(ro_Poller *p) {
  free(p->fds);
  free(p->owners);
}

void ro_poller_close(ro_Poller *p) {
  if (p->has_sentry)
    dismiss_sentry(p);
  p->has_sentry = 0;
  ro_poller_forget(p);
  free(p->fds);
  free(p->owners);
  p->fds = NULL;
  p->owners = NULL;
  pthread_cond_destroy(&p->quiet);
  pthread_mutex_destroy(&p->mutex);
}

#endif
