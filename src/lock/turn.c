/*
** Whose turn it is: the queue of those who wait for the lock. Whoever gives the lock up hands
** it to the first of the queue directly, so that nobody can overtake.
*/
#include <errno.h>
#include <stddef.h>

#include "lock/hook.h"
#include "lock/state.h"

int ro_turn_init(pthread_cond_t *turn) {
  pthread_condattr_t attributes;
  int e = pthread_condattr_init(&attributes);
  if (e != 0)
    return e;
  e = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  if (e == 0)
    e = pthread_cond_init(turn, &attributes);
  pthread_condattr_destroy(&attributes);
  return e;
}

static void join_queue(ro_Lock *lock, ro_Thread *self) {
  self->behind = NULL;
  if (lock->last != NULL)
    lock->last->behind = self;
  else
    lock->first = self;
  lock->last = self;
  atomic_fetch_add_explicit(&lock->waiting, 1, memory_order_relaxed);
}

/* Takes `thread` out of the queue; `ahead` waits just before it, or is NULL. */
static void unlink_waiter(ro_Lock *lock, ro_Thread *ahead, ro_Thread *thread) {
  if (ahead != NULL)
    ahead->behind = thread->behind;
  else
    lock->first = thread->behind;
  if (lock->last == thread)
    lock->last = ahead;
  thread->behind = NULL;
  atomic_fetch_sub_explicit(&lock->waiting, 1, memory_order_relaxed);
}

static void leave_queue(ro_Lock *lock, ro_Thread *self) {
  ro_Thread *ahead = NULL;
  for (ro_Thread *t = lock->first; t != self; t = t->behind)
    ahead = t;
  unlink_waiter(lock, ahead, self);
}

/* Takes the first out of the queue, or the first of those who may interrupt; NULL if there is none. */
static ro_Thread *next_in_queue(ro_Lock *lock, int preempting) {
  ro_Thread *ahead = NULL, *t = lock->first;
  while (t != NULL && preempting && !t->preempt) {
    ahead = t;
    t = t->behind;
  }
  if (t != NULL)
    unlink_waiter(lock, ahead, t);
  return t;
}

/* Makes `next` the holder. One that waits to interrupt the program is told that it may do so now. */
static void grant(ro_Lock *lock, ro_Thread *next) {
  lock->holder = next;
  lock->turns++;
  next->granted = 1;
  pthread_cond_signal(&next->turn);
  if (next != &lock->program)
    return;
  for (ro_Thread *t = lock->first; t != NULL; t = t->behind)
    if (t->preempt) {
      pthread_cond_signal(&t->turn);
      return;
    }
}

/* When `self` may interrupt the present holder for the first time; 0 for now. */
static int64_t interrupt_time(const ro_Lock *lock, const ro_Thread *self) {
  if (!self->preempt)
    return RO_NEVER;
  if (self != &lock->program && lock->holder == &lock->program)
    return 0;
  return ro_now() + RO_SLICE;
}

static void interrupt_holder(ro_Lock *lock) {
  atomic_store(&lock->interrupt, 1);
  ro_signal_send(atomic_load(&lock->signal), &lock->holder->target); /* tried again later if it fails */
}

static void wait_until(ro_Lock *lock, ro_Thread *self, int64_t deadline) {
  if (deadline == RO_NEVER)
    pthread_cond_wait(&self->turn, &lock->mutex);
  else {
    struct timespec t = {(time_t)(deadline / RO_SECOND), (long)(deadline % RO_SECOND)};
    pthread_cond_timedwait(&self->turn, &lock->mutex, &t);
  }
}

/* Waits in the queue until the lock is granted, and interrupts the holder when it is time to. With the mutex
 * held. */
static int wait_turn(ro_Lock *lock, ro_Thread *self) {
  int64_t due = interrupt_time(lock, self), pause = RO_SLICE;
  unsigned turns = lock->turns;
  while (!self->granted) {
    if (self->entering && atomic_load(&lock->closing)) {
      leave_queue(lock, self);
      return -1;
    }
    if (turns != lock->turns) {
      turns = lock->turns;
      due = interrupt_time(lock, self);
      pause = RO_SLICE;
    }
    if (due != RO_NEVER && (due == 0 || ro_now() >= due)) {
      interrupt_holder(lock);
      due = ro_now() + pause;
      pause = pause * 2 > RO_PAUSE_MOST ? RO_PAUSE_MOST : pause * 2;
    }
    wait_until(lock, self, due);
  }
  self->granted = 0;
  return 0;
}

/* Runs Lua again where `self` left it. */
static void resume_running(ro_Lock *lock, ro_Thread *self) {
  lock->running = self->running;
  ro_slot_hold(lock->slot);
  if (atomic_load(&lock->closing) && self != &lock->program)
    ro_hook_close(lock);
  else if (atomic_load(&lock->interrupt)) /* asked for before the handler could tell who is the holder */
    ro_hook_follow(lock, RO_LEAST_TURN);
}

/* Keeps where Lua stands, and the signal handler away. */
static void suspend_running(ro_Lock *lock, ro_Thread *self) {
  ro_slot_release(lock->slot);
  ro_hook_disarm(lock);
  self->running = lock->running;
  lock->running = NULL;
}

int ro_turn_take(ro_Thread *self, int entering) {
  ro_Lock *lock = self->lock;
  ro_Target target = ro_signal_self();
  int signal = atomic_load(&lock->signal), refused = 0;
  if (self->signal != signal) {
    ro_signal_unblock(signal);
    self->signal = signal;
  }
  pthread_mutex_lock(&lock->mutex);
  self->target = target;
  self->entering = entering;
  if (entering && atomic_load(&lock->closing))
    refused = -1;
  else if (lock->holder == NULL)
    lock->holder = self;
  else {
    join_queue(lock, self);
    refused = wait_turn(lock, self);
  }
  self->entering = 0;
  pthread_mutex_unlock(&lock->mutex);
  if (refused == 0)
    resume_running(lock, self);
  return refused;
}

void ro_turn_give(ro_Lock *lock) {
  ro_Thread *next;
  suspend_running(lock, lock->holder);
  pthread_mutex_lock(&lock->mutex);
  atomic_store(&lock->interrupt, 0);
  next = next_in_queue(lock, 0);
  if (next != NULL)
    grant(lock, next);
  else
    lock->holder = NULL;
  pthread_mutex_unlock(&lock->mutex);
}

void ro_turn_yield(ro_Lock *lock) {
  ro_Thread *self = lock->holder, *next;
  suspend_running(lock, self);
  pthread_mutex_lock(&lock->mutex);
  atomic_store(&lock->interrupt, 0);
  next = next_in_queue(lock, 1);
  if (next != NULL) {
    join_queue(lock, self);
    grant(lock, next);
    wait_turn(lock, self); /* not entering: never refused */
  }
  pthread_mutex_unlock(&lock->mutex);
  resume_running(lock, self);
}
