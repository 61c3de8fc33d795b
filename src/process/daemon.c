#include "process/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/native.h"

/* The parent has not ended for want of memory to look. */
static void *watch(void *argument) {
  static const struct timespec pause = {.tv_nsec = (long)(RO_SECOND / 100)};
  struct pollfd fd = {.fd = (int)(intptr_t)argument, .events = POLLIN};
  while (poll(&fd, 1, -1) < 0)
    if (errno != EINTR)
      nanosleep(&pause, NULL);
  kill(getpid(), SIGKILL);
  return NULL;
}

/* Watches the parent's descriptor `fd` from a thread: it runs whatever the program does. */
static int start_watcher(int fd) {
  ro_Native watcher;
  int code = ro_native_start(&watcher, RO_STACK_OF_WAITER, watch, (void *)(intptr_t)fd);
  if (code != 0)
    close(fd);
  else
    pthread_detach(watcher.id);
  return code;
}

int ro_daemon_begin(const ro_Birth *birth) {
  int fd, code = ro_life_follow(birth, &fd);
  if (code == 0 && fd >= 0)
    code = start_watcher(fd);
  if (getppid() != birth->parent) /* it ended meanwhile */
    kill(getpid(), SIGKILL);
  return code;
}
