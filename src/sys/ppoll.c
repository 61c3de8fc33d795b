#include "sys/ppoll.h"

#include <errno.h>
#include <stddef.h>
#include <sys/select.h>

#include "base/clock.h"
#include "base/platform.h"

/* The time until `deadline` in `t`; NULL for RO_NEVER. */
static const struct timespec *time_until(int64_t deadline, struct timespec *t) {
  int64_t left;
  if (deadline == RO_NEVER)
    return NULL;
  left = deadline - ro_now();
  if (left < 0)
    left = 0;
  t->tv_sec = (time_t)(left / RO_SECOND);
  t->tv_nsec = (long)(left % RO_SECOND);
  return t;
}

#if RO_HAS_PPOLL

int ro_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline, const sigset_t *mask) {
  struct timespec t;
  return ppoll(fds, count, time_until(deadline, &t), mask);
}

#else

/* Longest wait in which a signal that has just come may be overlooked. */
#define STEP (RO_SECOND / 20)

/*
** Puts the descriptors into the sets of select. Returns 1 more than the highest number, or -1 where select
** can't watch for the same as poll.
*/
static int fill_sets(const struct pollfd *fds, nfds_t count, fd_set sets[3]) {
  int above = 0;
  for (int i = 0; i < 3; i++)
    FD_ZERO(&sets[i]);
  for (nfds_t i = 0; i < count; i++) {
    if (fds[i].fd < 0)
      continue;
    if (fds[i].fd >= FD_SETSIZE || !(fds[i].events & (POLLIN | POLLOUT)))
      return -1;
    if (fds[i].events & POLLIN)
      FD_SET(fds[i].fd, &sets[0]);
    if (fds[i].events & POLLOUT)
      FD_SET(fds[i].fd, &sets[1]);
    if (fds[i].events & POLLPRI)
      FD_SET(fds[i].fd, &sets[2]);
    above = fds[i].fd >= above ? fds[i].fd + 1 : above;
  }
  return above;
}

/* The same with poll, which has no mask: in steps, as a signal may come between the mask and the wait. */
static int poll_in_steps(struct pollfd *fds, nfds_t count, int64_t deadline, const sigset_t *mask) {
  int64_t step = ro_now() + STEP;
  if (mask != NULL)
    pthread_sigmask(SIG_SETMASK, mask, NULL);
  return poll(fds, count, ro_milliseconds_until(mask != NULL && step < deadline ? step : deadline));
}

/* It is select that waits, where it can, as it knows masks and small times; what it has seen poll tells. */
int ro_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline, const sigset_t *mask) {
  fd_set sets[3];
  struct timespec t;
  int above = fill_sets(fds, count, sets), ready;
  if (above < 0)
    return poll_in_steps(fds, count, deadline, mask);
  ready = pselect(above, &sets[0], &sets[1], &sets[2], time_until(deadline, &t), mask);
  if (ready > 0 || (ready < 0 && errno == EBADF))
    return poll(fds, count, 0);
  for (nfds_t i = 0; i < count; i++)
    fds[i].revents = 0;
  return ready;
}

#endif
