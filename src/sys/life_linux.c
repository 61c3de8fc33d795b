/* Lives where the system has descriptors of processes. */
#include "sys/life.h"

#include "base/platform.h"

#if RO_HAS_PIDFD

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atfork.h"
#include "sys/descriptor.h"

void ro_life_init(ro_Life *life) {
  *life = (ro_Life){.pid = -1, .fd = -1, .bond = -1};
}

int ro_life_open(pid_t pid) {
  return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* An older system, or a filter of system calls, for which EPERM is the usual answer. */
const char *ro_life_obstacle(void) {
  int fd, refusal;
  ro_atfork_hold();
  fd = ro_life_open(getpid());
  refusal = fd < 0 ? errno : 0;
  ro_descriptor_close(&fd);
  ro_atfork_release();
  if (refusal == ENOSYS)
    return "the system has no pidfd_open: build with make NO_LINUX=1";
  if (refusal == EPERM || refusal == EACCES)
    return "the system refuses pidfd_open: build with make NO_LINUX=1";
  return NULL;
}

static void end_unwatched(pid_t pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
}

pid_t ro_life_fork(ro_Life *life, ro_Birth *birth) {
  int e;
  birth->parent = getpid();
  birth->by_main_thread = syscall(SYS_gettid) == birth->parent;
  birth->own = birth->bond = -1;
  life->pid = fork();
  if (life->pid <= 0)
    return life->pid;
  life->fd = ro_life_open(life->pid);
  if (life->fd >= 0)
    return life->pid;
  e = errno;
  end_unwatched(life->pid);
  errno = e;
  return -1;
}

void ro_life_close(ro_Life *life) {
  ro_descriptor_close(&life->fd);
}

void ro_life_inherit(ro_Life *life) {
  (void)life;
}

int ro_life_is_ending(ro_Life *life) {
  (void)life;
  return 0;
}

int64_t ro_life_watch(ro_Life *life, struct pollfd *p, int64_t deadline) {
  *p = (struct pollfd){.fd = life->fd, .events = POLLIN};
  return deadline;
}

int ro_life_signal(const ro_Life *life, int signal, void *value) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = value;
  return syscall(SYS_pidfd_send_signal, life->fd, signal, value != NULL ? &info : NULL, 0) == 0 ? 0 : errno;
}

/* The kernel's signal comes when the forking *thread* ends: of use only when that ends with its process. */
int ro_life_follow(const ro_Birth *birth, int *fd) {
  *fd = -1;
  if (birth->by_main_thread)
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 ? 0 : errno;
  *fd = ro_life_open(birth->parent);
  return *fd >= 0 ? 0 : errno;
}

#endif
