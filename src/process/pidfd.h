/* A descriptor that stands for a process: readable once it has ended. */
#ifndef RO_PIDFD_H
#define RO_PIDFD_H

#include <sys/types.h>

/* Opens the descriptor of process `pid`, closed on exec. Returns it, or -1 with errno. */
int ro_pidfd_open(pid_t pid);

/* Sends `signal` to the process, never to another that has its id by now. Returns 0 or an errno. */
int ro_pidfd_signal(int pidfd, int signal);

/* Has the process ended. Its parent need not have waited for it. */
int ro_pidfd_ended(int pidfd);

#endif
