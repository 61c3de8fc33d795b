/*
** To be preloaded into a program: a thread that closes a descriptor is slow to go on after it, so that other threads
** have the time to open one with the same number, and to fork.
*/
#define _GNU_SOURCE
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

int close(int fd) {
  int status = (int)syscall(SYS_close, fd);
  if (syscall(SYS_gettid) != getpid())
    poll(NULL, 0, 2);
  return status;
}
