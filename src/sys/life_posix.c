/*
** Lives where the system has no descriptors of processes. Parent and child are tied by two pipes
** that nothing is ever written to, and of which each holds the writing end of one alone: its
** end is the end of that process, whatever ended it. Forks let these ends go at once.
**
** A process that closes all descriptors, or becomes another program by exec, seems to have ended.
** Its parent is not deceived, since it asks the system too, every now and then.
*/
#include "sys/life.h"

#include "base/platform.h"

#if !RO_HAS_PIDFD

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/atfork.h"
#include "sys/descriptor.h"

/* In nanoseconds, the first pause between two looks at a child whose end is near. */
#define PAUSE_LEAST (RO_SECOND / 10000)

void ro_life_init(ro_Life *life) {
  *life = (ro_Life){.pid = -1, .fd = -1, .bond = -1, .pause = PAUSE_LEAST};
}

int ro_life_open(pid_t pid) {
  (void)pid;
  errno = ENOSYS;
  return -1;
}

const char *ro_life_obstacle(void) {
  return NULL;
}

static void close_both(int ends[2]) {
  ro_descriptor_close(&ends[0]);
  ro_descriptor_close(&ends[1]);
}

/* Makes the child's pipe and the parent's. Returns 0 or an errno. */
static int open_pipes(int child[2], int parent[2]) {
  int e = ro_pipe_open(child);
  if (e != 0)
    return e;
  e = ro_pipe_open(parent);
  if (e != 0)
    close_both(child);
  return e;
}

/* No other thread may fork in between, since its child would keep the ends. */
pid_t ro_life_fork(ro_Life *life, ro_Birth *birth) {
  int child[2], parent[2], e;
  *birth = (ro_Birth){.parent = getpid(), .own = -1, .bond = -1};
  life->pid = -1;
  ro_atfork_hold();
  e = open_pipes(child, parent);
  if (e == 0) {
    life->pid = fork();
    e = errno;
    if (life->pid < 0) {
      close_both(child);
      close_both(parent);
    } else if (life->pid == 0) {
      ro_descriptor_close(&child[0]);
      ro_descriptor_close(&parent[1]);
      birth->own = child[1];
      birth->bond = parent[0];
    } else {
      ro_descriptor_close(&child[1]);
      ro_descriptor_close(&parent[0]);
      life->fd = child[0];
      life->bond = parent[1];
    }
  }
  ro_atfork_release();
  errno = e;
  return life->pid;
}

void ro_life_close(ro_Life *life) {
  ro_descriptor_close(&life->fd);
  ro_descriptor_close(&life->bond);
}

void ro_life_inherit(ro_Life *life) {
  ro_descriptor_close(&life->bond);
}

/* The pipe ends a moment before the process does, or long before if it has closed its end. */
int ro_life_is_ending(ro_Life *life) {
  struct timespec pause = {.tv_nsec = (long)life->pause};
  if (life->pause >= RO_LIFE_LOOK || ro_life_goes_on(life))
    return 0;
  nanosleep(&pause, NULL);
  life->pause *= 2;
  return 1;
}

/* One that seems to have ended is looked at at once, as long as that may be its end. */
int64_t ro_life_watch(ro_Life *life, struct pollfd *p, int64_t deadline) {
  int goes_on = ro_life_goes_on(life);
  int64_t look = ro_now();
  if (goes_on || life->pause >= RO_LIFE_LOOK)
    look += RO_LIFE_LOOK;
  *p = (struct pollfd){.fd = goes_on ? life->fd : -1, .events = POLLIN};
  return look < deadline ? look : deadline;
}

int ro_life_signal(const ro_Life *life, int signal, void *value) {
  union sigval with = {.sival_ptr = value};
  int r = value != NULL ? sigqueue(life->pid, signal, with) : kill(life->pid, signal);
  return r == 0 ? 0 : errno;
}

int ro_life_follow(const ro_Birth *birth, int *fd) {
  *fd = birth->bond;
  return 0;
}

#endif
