/* Waiting for descriptors with a deadline and a signal mask. */
#ifndef RO_PPOLL_H
#define RO_PPOLL_H

#include <poll.h>
#include <signal.h>
#include <stdint.h>

/*
** As poll(2), until `deadline` (base/clock.h) with the precision that the system has, and with the
** signal mask `mask` meanwhile unless that is NULL. Returns -1 with errno set where it fails; 0 may also mean that
** it is time to look again. What the mask is afterwards, if one is given, is for the caller to mend.
*/
int ro_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline, const sigset_t *mask);

#endif
