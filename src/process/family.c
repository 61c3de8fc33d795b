#include "process/family.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/descriptor.h"

void ro_child_close_stream(ro_Child *child) {
  ro_descriptor_close(&child->stream);
  ro_descriptor_close(&child->far_end);
}

static void close_settled(ro_Child *child) {
  if (child->settled && child->ended && !child->shown && child->waits == 0 && ro_child_is_own(child))
    ro_life_close(&child->life);
}

void ro_child_settle(ro_Child *child) {
  child->settled = 1;
  close_settled(child);
}

void ro_child_wait_begin(ro_Child *child) {
  child->waits++;
}

void ro_child_wait_end(ro_Child *child) {
  child->waits--;
  close_settled(child);
}

int ro_child_sentinel(ro_Child *child) {
  child->shown = 1;
  if (child->life.fd < 0 && child->ended)
    errno = ro_life_reopen(&child->life);
  return child->life.fd;
}

/*
** In a fork the children are those of another process. The records stay, since handles may
** refer to them; the streams go, so that writers see when the reader is gone.
*/
static void in_child(ro_ForkNode *node) {
  ro_Family *f = (ro_Family *)node;
  for (ro_Child *child = f->children; child != NULL; child = child->next) {
    child->family = NULL;
    ro_child_close_stream(child);
    ro_life_inherit(&child->life);
  }
  f->children = NULL;
  ro_descriptor_close(&f->outlet);
  f->unsent.size = 0;
  ro_descriptor_close(&f->own);
  if (!f->fork.held)
    pthread_mutex_init(&f->mutex, NULL);
}

int ro_family_open(ro_Family *f) {
  int code = pthread_mutex_init(&f->mutex, NULL);
  f->fork = (ro_ForkNode){.in_child = in_child, .mutex = &f->mutex};
  f->children = NULL;
  f->outlet = f->own = -1;
  ro_buffer_init(&f->unsent);
  f->heeded = 0;
  return code != 0 ? code : ro_atfork_add(&f->fork);
}

ro_Child *ro_child_new(void) {
  ro_Child *child = calloc(1, sizeof *child);
  if (child == NULL)
    return NULL;
  ro_life_init(&child->life);
  child->stream = child->far_end = -1;
  child->owner = ro_pid();
  child->held = 1;
  return child;
}

int ro_child_is_own(const ro_Child *child) {
  return child->owner == ro_pid();
}

static void free_child(ro_Child *child) {
  if (ro_child_is_own(child)) { /* a fork may have reused the numbers by now, as before exec */
    ro_child_close_stream(child);
    ro_life_close(&child->life);
  }
  free(child);
}

/* Takes the status of a child that has ended, with the mutex held. */
static int reap(ro_Child *child, int flags) {
  pid_t got;
  if (child->ended)
    return 1;
  do
    got = waitpid(child->life.pid, &child->status, flags);
  while (got < 0 && errno == EINTR);
  if (got == 0)
    return 0;
  child->lost = got < 0;
  child->ended = 1;
  return 1;
}

static int try_to_reap(ro_Child *child) {
  int ended;
  pthread_mutex_lock(&child->family->mutex);
  ended = reap(child, WNOHANG);
  pthread_mutex_unlock(&child->family->mutex);
  return ended;
}

int ro_child_ended(ro_Child *child) {
  int ended;
  if (child->family == NULL)
    return child->ended;
  ended = try_to_reap(child);
  while (!ended && ro_life_is_ending(&child->life))
    ended = try_to_reap(child);
  return ended;
}

int ro_child_alive(ro_Child *child) {
  if (child->family != NULL)
    return !ro_child_ended(child);
  return !child->ended && ro_life_goes_on(&child->life);
}

/* With the mutex held, so that the child's id stays its own. */
static int signal_own(ro_Child *child, int signal, void *value) {
  int code;
  pthread_mutex_lock(&child->family->mutex);
  code = reap(child, WNOHANG) ? ESRCH : ro_life_signal(&child->life, signal, value);
  pthread_mutex_unlock(&child->family->mutex);
  return code;
}

int ro_child_signal(ro_Child *child, int signal, void *value) {
  int code = ESRCH;
  if (child->family != NULL)
    code = ro_child_ended(child) ? ESRCH : signal_own(child, signal, value);
  else if (ro_child_alive(child))
    code = ro_life_signal(&child->life, signal, value);
  return code == 0 ? 1 : code == ESRCH ? 0 : -code;
}

/*
** Waits for one dropped child. It waits without taking the status, so that the id stays the
** child's as long as somebody may signal it, and takes it with the mutex held.
*/
static void *reaper(void *argument) {
  ro_Child *child = argument;
  siginfo_t info;
  while (waitid(P_PID, (id_t)child->life.pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR)
    ;
  pthread_mutex_lock(&child->family->mutex);
  reap(child, 0);
  pthread_mutex_unlock(&child->family->mutex);
  return NULL;
}

/* Starts the child's reaper. Without one the child is reaped later. */
static void start_reaper(ro_Child *child) {
  child->reaping = ro_native_start(&child->reaper, RO_STACK_OF_WAITER, reaper, child) == 0;
}

void ro_family_sweep(ro_Family *f) {
  ro_Child **link = &f->children;
  while (*link != NULL) {
    ro_Child *child = *link;
    if (child->held ? !child->ended : !try_to_reap(child)) {
      link = &child->next;
      continue;
    }
    *link = child->next;
    if (child->reaping)
      ro_native_join(&child->reaper);
    child->family = NULL;
    if (!child->held)
      free_child(child);
  }
}

void ro_family_add(ro_Family *f, ro_Child *child) {
  child->family = f;
  child->next = f->children;
  f->children = child;
}

void ro_child_drop(ro_Child *child) {
  ro_Family *f = child->family;
  if (f == NULL) {
    free_child(child);
    return;
  }
  child->held = 0;
  ro_child_close_stream(child);
  if (child->bound)
    signal_own(child, SIGKILL, NULL);
  if (!try_to_reap(child)) /* a finalizer comes here: it does not look closer, which may take a moment */
    start_reaper(child);
  ro_family_sweep(f);
}

void ro_family_close(ro_Family *f) {
  pthread_mutex_lock(&f->mutex);
  for (ro_Child *child = f->children; child != NULL; child = child->next) {
    ro_child_close_stream(child); /* nobody reads on: let who waits to be read go on */
    if (child->daemon && !child->ended)
      ro_life_signal(&child->life, SIGKILL, NULL);
  }
  pthread_mutex_unlock(&f->mutex);
  ro_atfork_remove(&f->fork);
  while (f->children != NULL) {
    ro_Child *child = f->children;
    f->children = child->next;
    if (child->reaping)
      ro_native_join(&child->reaper);
    else
      reap(child, 0);
    if (child->held)
      child->family = NULL;
    else
      free_child(child);
  }
  ro_descriptor_close(&f->outlet);
  ro_buffer_free(&f->unsent);
  pthread_mutex_destroy(&f->mutex);
}
