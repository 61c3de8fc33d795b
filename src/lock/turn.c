/*
** Whose turn it is: the queue of those who wait for the lock. Whoever gives the lock up hands
** it to the first of the queue directly, so that nobody can overtake. One thing disturbs the
** order: the program, when it is interrupted, stays ahead of those who may not do that yet.
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

void ro_turn_signal(ro_Thread *thread) {
  atomic_store(&thread->news, 1);
  pthread_cond_signal(&thread->turn);
}

/* Puts `self` into the queue just behind `ahead`, or first if that is NULL. */
static void link_waiter(ro_Lock *lock, ro_Thread *ahead, ro_Thread *self) {
  ro_Thread **link = ahead != NULL ? &ahead->behind : &lock->first;
  self->behind = *link;
  *link = self;
  if (lock->last == ahead)
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

/* When the library thread `t` may interrupt the program, which is the holder; 0 for now. */
static int64_t program_due(const ro_Lock *lock, const ro_Thread *t) {
  int64_t due;
  if (!t->preempt)
    return RO_NEVER;
  if (t->fresh)
    return 0;
  due = lock->since + (t->owed - lock->spent);
  return due < t->latest ? due : t->latest;
}

/* May `t` interrupt the holder, whose turn has lasted until `now`. */
static int is_ahead(const ro_Lock *lock, const ro_Thread *t, int64_t now) {
  return lock->holder == &lock->program ? program_due(lock, t) <= now : t->preempt;
}

/* Takes the first out of the queue; NULL if there is none. */
static ro_Thread *next_in_queue(ro_Lock *lock) {
  ro_Thread *first = lock->first;
  if (first != NULL)
    unlink_waiter(lock, NULL, first);
  return first;
}

/* The same with the first of those who may interrupt the holder. */
static ro_Thread *next_to_interrupt(ro_Lock *lock, int64_t now) {
  ro_Thread *ahead = NULL;
  for (ro_Thread *t = lock->first; t != NULL; ahead = t, t = t->behind)
    if (is_ahead(lock, t, now)) {
      unlink_waiter(lock, ahead, t);
      return t;
    }
  return NULL;
}

/*
** The program, interrupted, goes ahead of the first who could not have interrupted it: it has a slice to
** come, or is not to be interrupted at all.
*/
static void program_joins(ro_Lock *lock, int64_t now) {
  ro_Thread *ahead = NULL;
  for (ro_Thread *t = lock->first; t != NULL && is_ahead(lock, t, now); t = t->behind)
    ahead = t;
  link_waiter(lock, ahead, &lock->program);
}

/* A library thread, interrupted, has had a slice, and leaves the program one. */
static void thread_joins(ro_Lock *lock, ro_Thread *self, int64_t now) {
  self->fresh = 0;
  self->owed = lock->spent + RO_SLICE;
  self->latest = now + RO_PATIENCE + atomic_load_explicit(&lock->waiting, memory_order_relaxed) * RO_SLICE;
  link_waiter(lock, lock->last, self);
}

/*
** Adds to `spent` what the program, if it is the holder, has had until `now`. Where its turn
** did not begin with a grant there was nobody whom the sum concerns.
*/
static void count_time(ro_Lock *lock, int64_t now) {
  if (lock->holder != &lock->program)
    return;
  lock->spent += now - lock->since;
  lock->since = now;
}

/* Makes `next` the holder. The first who may interrupt the program at once is told to do so. */
static void grant(ro_Lock *lock, ro_Thread *next) {
  lock->holder = next;
  lock->turns++;
  next->granted = 1;
  ro_turn_signal(next);
  if (next != &lock->program)
    return;
  lock->since = ro_now();
  for (ro_Thread *t = lock->first; t != NULL; t = t->behind)
    if (program_due(lock, t) <= lock->since) {
      ro_turn_signal(t);
      return;
    }
}

/* When `self` may interrupt the present holder for the first time; 0 for now. */
static int64_t interrupt_time(const ro_Lock *lock, const ro_Thread *self) {
  if (self != &lock->program && lock->holder == &lock->program)
    return program_due(lock, self);
  return self->preempt ? ro_now() + RO_SLICE : RO_NEVER;
}

/* Asks the holder for an interruption. Returns whether it is attentive; else only a signal tells it. */
static int ask_holder(ro_Lock *lock) {
  atomic_store(&lock->interrupt, 1);
  return atomic_load(&lock->attentive);
}

static void signal_holder(ro_Lock *lock) {
  ro_signal_send(atomic_load(&lock->signal), &lock->holder->target); /* tried again later if it fails */
}

static void block_until(ro_Lock *lock, ro_Thread *self, int64_t deadline) {
  if (deadline == RO_NEVER)
    pthread_cond_wait(&self->turn, &lock->mutex);
  else {
    struct timespec t = {(time_t)(deadline / RO_SECOND), (long)(deadline % RO_SECOND)};
    pthread_cond_timedwait(&self->turn, &lock->mutex, &t);
  }
}

/* For ro_patience_try. */
static int look_for_news(void *context) {
  const ro_Thread *self = context;
  return atomic_load(&self->news);
}

/* Waits for news, actively at first: a turn is often short. With the mutex held, but for the wait itself. */
static void wait_until(ro_Lock *lock, ro_Thread *self, int64_t deadline) {
  int64_t start = ro_now();
  atomic_store(&self->news, 0);
  pthread_mutex_unlock(&lock->mutex);
  ro_patience_try(&self->turn_patience, look_for_news, self);
  pthread_mutex_lock(&lock->mutex);
  if (atomic_load(&self->news))
    return;
  block_until(lock, self, deadline);
  ro_patience_learn(&self->turn_patience, start);
}

/*
** Waits in the queue until the lock is granted, and interrupts the holder when it is time to. With
** the mutex held.
*/
static int wait_turn(ro_Lock *lock, ro_Thread *self) {
  int64_t due = interrupt_time(lock, self), pause = RO_PAUSE_LEAST;
  unsigned turns = lock->turns;
  int asked = 0;
  while (!self->granted) {
    if (self->entering && atomic_load(&lock->closing)) {
      leave_queue(lock, self);
      return -1;
    }
    if (turns != lock->turns) {
      turns = lock->turns;
      due = interrupt_time(lock, self);
      pause = RO_PAUSE_LEAST;
      asked = 0;
    }
    if (due != RO_NEVER && (due == 0 || ro_now() >= due)) {
      if (ask_holder(lock) && !asked) {
        due = ro_now() + RO_ATTENTIVE_PAUSE;
      } else {
        signal_holder(lock);
        due = ro_now() + pause;
        pause = pause * 2 > RO_PAUSE_MOST ? RO_PAUSE_MOST : pause * 2;
      }
      asked = 1;
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
  else if (ro_thread_is_told(self))
    ro_hook_listen(lock);
  else if (atomic_load(&lock->interrupt)) /* asked for before the handler could tell who is the holder */
    ro_hook_follow(lock, RO_LEAST_TURN);
}

/* Keeps where Lua stands, and the signal handler away. */
static void suspend_running(ro_Lock *lock, ro_Thread *self) {
  ro_slot_release(lock->slot);
  atomic_store(&lock->attentive, 0);
  ro_hook_disarm(lock);
  self->running = lock->running;
  lock->running = NULL;
}

int ro_turn_take(ro_Thread *self, int entering) {
  ro_Lock *lock = self->lock;
  ro_Target target = ro_signal_self();
  int signal = atomic_load(&lock->signal), refused = 0;
  if (self->signal != signal || !pthread_equal(self->target.native, target.native)) {
    ro_signal_unblock(signal);
    self->signal = signal;
  }
  pthread_mutex_lock(&lock->mutex);
  self->target = target;
  self->entering = entering;
  self->fresh = 1;
  if (entering && atomic_load(&lock->closing))
    refused = -1;
  else if (lock->holder == NULL)
    lock->holder = self;
  else {
    link_waiter(lock, lock->last, self);
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
  if (lock->first != NULL)
    count_time(lock, ro_now());
  next = next_in_queue(lock);
  if (next != NULL)
    grant(lock, next);
  else
    lock->holder = NULL;
  pthread_mutex_unlock(&lock->mutex);
}

void ro_turn_yield(ro_Lock *lock) {
  ro_Thread *self = lock->holder, *next;
  int64_t now;
  suspend_running(lock, self);
  pthread_mutex_lock(&lock->mutex);
  atomic_store(&lock->interrupt, 0);
  now = ro_now();
  if (self == &lock->program)
    ro_patience_learn(&lock->attention, lock->since);
  count_time(lock, now);
  next = next_to_interrupt(lock, now);
  if (next != NULL) {
    if (self == &lock->program)
      program_joins(lock, now);
    else
      thread_joins(lock, self, now);
    grant(lock, next);
    wait_turn(lock, self); /* not entering: never refused */
  }
  pthread_mutex_unlock(&lock->mutex);
  resume_running(lock, self);
  if (self == &lock->program)
    ro_hook_attend(lock);
}
