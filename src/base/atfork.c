#include "base/atfork.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* How often a fork tries to have all mutexes, and nanoseconds between two tries. */
#define MOST_TRIES 50
#define PAUSE 20000

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static ro_ForkNode *first;
static int install_error;
static int process_id;
static int is_fork;

/* How often the calling thread holds the mutex: it may fork while it does. */
static _Thread_local int holds;

static void lock_list(void) {
  if (holds++ == 0)
    pthread_mutex_lock(&list_mutex);
}

static void unlock_list(void) {
  if (--holds == 0)
    pthread_mutex_unlock(&list_mutex);
}

static void release(const ro_ForkNode *node) {
  if (node->held)
    pthread_mutex_unlock(node->mutex);
}

static void release_all(void) {
  for (ro_ForkNode *node = first; node != NULL; node = node->next)
    release(node);
}

/* Returns how many mutexes others have. */
static int hold_all(void) {
  int missing = 0;
  for (ro_ForkNode *node = first; node != NULL; node = node->next) {
    node->held = node->mutex != NULL && pthread_mutex_trylock(node->mutex) == 0;
    missing += node->mutex != NULL && !node->held;
  }
  return missing;
}

/* Who has a mutex may be waiting for the list: that is let go between two tries. */
static void before_fork(void) {
  static const struct timespec pause = {.tv_nsec = PAUSE};
  lock_list();
  for (int tries = 1; hold_all() > 0 && tries < MOST_TRIES; tries++) {
    release_all();
    unlock_list();
    nanosleep(&pause, NULL);
    lock_list();
  }
  for (ro_ForkNode *node = first; node != NULL; node = node->next)
    if (node->before != NULL)
      node->before(node);
}

static void after_fork_in_parent(void) {
  for (ro_ForkNode *node = first; node != NULL; node = node->next) {
    if (node->in_parent != NULL)
      node->in_parent(node);
    release(node);
  }
  unlock_list();
}

static void after_fork_in_child(void) {
  process_id = getpid();
  is_fork = 1;
  for (ro_ForkNode *node = first; node != NULL; node = node->next) {
    node->in_child(node);
    release(node);
  }
  unlock_list();
}

static void install(void) {
  process_id = getpid();
  install_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void ro_atfork_hold(void) {
  pthread_once(&once, install);
  lock_list();
}

void ro_atfork_release(void) {
  unlock_list();
}

int ro_pid(void) {
  pthread_once(&once, install);
  return process_id;
}

int ro_is_fork(void) {
  return is_fork;
}

void ro_atfork_end_stray(int home, int code) {
  if (ro_pid() == home)
    return;
  fflush(NULL);
  _exit(code);
}

int ro_atfork_add(ro_ForkNode *node) {
  pthread_once(&once, install);
  if (install_error != 0)
    return install_error;
  lock_list();
  node->previous = NULL;
  node->next = first;
  if (first != NULL)
    first->previous = node;
  first = node;
  unlock_list();
  return 0;
}

void ro_atfork_remove(ro_ForkNode *node) {
  lock_list();
  if (node->previous != NULL)
    node->previous->next = node->next;
  else if (first == node)
    first = node->next;
  if (node->next != NULL)
    node->next->previous = node->previous;
  node->next = node->previous = NULL;
  unlock_list();
}
