#include "process/pidfd.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

int ro_pidfd_open(pid_t pid) {
  return (int)syscall(SYS_pidfd_open, pid, 0);
}

int ro_pidfd_signal(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 ? 0 : errno;
}

int ro_pidfd_ended(int pidfd) {
  struct pollfd fd = {.fd = pidfd, .events = POLLIN};
  int ready;
  do
    ready = poll(&fd, 1, 0);
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}
