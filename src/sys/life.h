/*
** Whether a process lives, told by descriptors: a process id alone may have passed to
** another process since.
*/
#ifndef RO_LIFE_H
#define RO_LIFE_H

#include <stdint.h>
#include <sys/types.h>

/*
** When process `pid` was born, in a unit that only serves comparison; 0 when it is gone or
** the system doesn't tell.
*/
uint64_t ro_life_born(pid_t pid);

/*
** A descriptor, close-on-exec, that becomes readable when process `pid` ends; -1 with errno
** (ESRCH: it is gone). With `born` not 0, a process of another birth is as good as gone.
*/
int ro_life_open(pid_t pid, uint64_t born);

/* Does the process behind a descriptor of ro_life_open still run. Its parent need not have waited for it. */
int ro_life_goes_on(int fd);

/* Sends `signal` to that process, never to another that has its id by now. Returns 0 or an errno. */
int ro_life_signal(int fd, int signal);

#endif
