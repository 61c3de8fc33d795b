#include "process/daemon.h"
#include "sys/life.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

ro_Parent ro_parent_here(void) {
  ro_Parent here;
  here.pid = getpid();
  here.main_thread = syscall(SYS_gettid) == here.pid;
  return here;
}

static void *watch(void *argument) {
  struct pollfd fd = {.fd = (int)(intptr_t)argument, .events = POLLIN};
  while (poll(&fd, 1, -1) < 0 && errno == EINTR)
    ;
  kill(getpid(), SIGKILL);
  return NULL;
}

/* Watches the parent from a thread that gets none of the program's signals. */
static int start_watcher(const ro_Parent *parent) {
  pthread_t thread;
  sigset_t all, before;
  int code, fd = ro_life_open(parent->pid, 0);
  if (fd < 0)
    return errno;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  code = pthread_create(&thread, NULL, watch, (void *)(intptr_t)fd);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (code != 0)
    close(fd);
  else
    pthread_detach(thread);
  return code;
}

int ro_daemon_begin(const ro_Parent *parent) {
  int code = 0;
  /* The kernel's signal comes when the forking *thread* ends: of use only when that ends with its process. */
  if (parent->main_thread)
    code = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 ? 0 : errno;
  else
    code = start_watcher(parent);
  if (getppid() != parent->pid) /* it ended meanwhile */
    kill(getpid(), SIGKILL);
  return code;
}
