#include "sys/life.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The start time is the 22nd field of the process's line; the second may hold spaces and parentheses. */
#define FIELDS_AFTER_NAME 20

uint64_t ro_life_born(pid_t pid) {
  char path[48], line[1024];
  char *at;
  ssize_t n;
  int fd;
  snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  n = read(fd, line, sizeof line - 1);
  close(fd);
  if (n <= 0)
    return 0;
  line[n] = '\0';
  at = strrchr(line, ')');
  for (int i = 0; at != NULL && i < FIELDS_AFTER_NAME; i++)
    at = strchr(at + 1, ' ');
  return at != NULL ? strtoull(at, NULL, 10) : 0;
}

int ro_life_open(pid_t pid, uint64_t born) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd >= 0 && born != 0 && ro_life_born(pid) != born) {
    close(fd);
    errno = ESRCH;
    return -1;
  }
  return fd;
}

int ro_life_goes_on(int fd) {
  struct pollfd end = {.fd = fd, .events = POLLIN};
  int n;
  do {
    n = poll(&end, 1, 0);
  } while (n < 0 && errno == EINTR);
  return n == 0;
}

int ro_life_signal(int fd, int signal) {
  return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) == 0 ? 0 : errno;
}
