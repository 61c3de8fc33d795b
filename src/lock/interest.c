/*
** What every wait of the library watches besides what it waits for.
*/
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lock/state.h"

/* ---- the list ---- */

/* Lets `t`, if it waits, begin its wait anew. */
static void look_anew(const ro_Lock *lock, ro_Thread *t) {
  if (t != lock->holder && t->polls)
    ro_wait_wake(t);
}

static void all_look_anew(ro_Lock *lock) {
  if (!lock->active)
    return;
  pthread_mutex_lock(&lock->mutex);
  look_anew(lock, &lock->program);
  for (ro_Thread *t = lock->threads; t != NULL; t = t->next)
    look_anew(lock, t);
  pthread_mutex_unlock(&lock->mutex);
}

void ro_interest_use(ro_Lock *lock, ro_Interest *interest) {
  if (interest->users++ > 0)
    return;
  interest->next = lock->interests;
  lock->interests = interest;
  all_look_anew(lock);
}

void ro_interest_drop(ro_Lock *lock, ro_Interest *interest) {
  ro_Interest **link = &lock->interests;
  if (interest->users == 0 || --interest->users > 0)
    return;
  while (*link != NULL && *link != interest)
    link = &(*link)->next;
  if (*link != NULL)
    *link = interest->next;
}

void ro_interest_changed(ro_Lock *lock, const ro_Interest *interest) {
  if (interest->users > 0)
    all_look_anew(lock);
}

static int is_used(const ro_Lock *lock, const ro_Interest *interest) {
  const ro_Interest *i = lock->interests;
  while (i != NULL && i != interest)
    i = i->next;
  return i != NULL;
}

/* ---- waiting for news ---- */

void ro_wait_notify(ro_Lock *lock) {
  const ro_Thread *program = &lock->program;
  if (lock->awaiting == 0)
    return;
  if (program->awaits && !program->woken)
    ro_thread_wake(&lock->program);
  if (!lock->active)
    return;
  pthread_mutex_lock(&lock->mutex); /* for all: those that have given the lock up may end meanwhile */
  for (ro_Thread *t = lock->threads; t != NULL; t = t->next)
    if (t->awaits && !t->woken)
      ro_wait_cut_short(t);
  pthread_mutex_unlock(&lock->mutex);
}

int ro_wait_interests(lua_State *L, int64_t deadline) {
  ro_Lock *lock = ro_lock_of(L);
  ro_Thread *self = ro_wait_self(lock);
  int r;
  lock->awaiting++;
  self->awaits++;
  r = ro_wait_try(L, NULL, 0, deadline, RO_WAIT_WAKEABLE | RO_WAIT_ATTENTIVE);
  self->awaits--;
  lock->awaiting--;
  return r < 0 ? -1 : 0;
}

/* ---- their part in a wait ---- */

static int make_room(ro_Polled *p, nfds_t capacity) {
  struct pollfd *fds;
  if (capacity <= p->capacity)
    return 0;
  fds = malloc((size_t)capacity * sizeof *fds);
  if (fds == NULL)
    return ENOMEM;
  memcpy(fds, p->fds, (size_t)p->own * sizeof *fds);
  if (p->fds != p->few)
    free(p->fds);
  p->fds = fds;
  p->capacity = capacity;
  return 0;
}

int ro_polled_begin(ro_Polled *p, const struct pollfd *fds, nfds_t count) {
  p->fds = p->few;
  p->capacity = RO_FEW;
  p->own = 0;
  p->watched = p->few_watched;
  p->interests = 0;
  if (make_room(p, count + 1) != 0)
    return ENOMEM;
  if (count > 0)
    memcpy(p->fds, fds, (size_t)count * sizeof *fds);
  p->own = p->count = count;
  return 0;
}

/* Makes room for all interests of the lock. Returns 0 or an errno. */
static int make_room_for_all(ro_Polled *p, const ro_Lock *lock) {
  size_t count = 0;
  for (const ro_Interest *i = lock->interests; i != NULL; i = i->next)
    count++;
  if (p->watched != p->few_watched)
    free(p->watched);
  p->watched = p->few_watched;
  if (count > RO_FEW / RO_INTEREST_MOST && (p->watched = malloc(count * sizeof *p->watched)) == NULL) {
    p->watched = p->few_watched;
    return ENOMEM;
  }
  return make_room(p, p->own + (nfds_t)(count * RO_INTEREST_MOST) + 1);
}

int ro_polled_gather(ro_Polled *p, const ro_Lock *lock, int64_t *until) {
  p->count = p->own;
  p->interests = 0;
  if (lock->interests == NULL)
    return 0;
  if (make_room_for_all(p, lock) != 0)
    return ENOMEM;
  for (ro_Interest *i = lock->interests; i != NULL; i = i->next) {
    ro_Watched *w = &p->watched[p->interests++];
    w->interest = i;
    w->first = p->count;
    w->until = RO_NEVER;
    w->count = i->watch(i, p->fds + p->count, &w->until);
    p->count += w->count;
    if (w->until < *until)
      *until = w->until;
  }
  return 0;
}

static int has_news(const ro_Polled *p, const ro_Watched *w, int ready) {
  for (nfds_t i = 0; ready > 0 && i < w->count; i++)
    if (p->fds[w->first + i].revents != 0)
      return 1;
  return w->until != RO_NEVER && w->until <= ro_now();
}

/* An interest may have lost its last user meanwhile, or lose it while others are attended to. */
int ro_polled_attend(lua_State *L, ro_Polled *p, ro_Lock *lock, int ready) {
  int attended = 0;
  for (size_t i = 0; i < p->interests; i++) {
    const ro_Watched *w = &p->watched[i];
    if (!has_news(p, w, ready) || !is_used(lock, w->interest))
      continue;
    w->interest->attend(L, w->interest);
    attended = 1;
  }
  return attended;
}

void ro_polled_end(ro_Polled *p) {
  if (p->fds != p->few)
    free(p->fds);
  if (p->watched != p->few_watched)
    free(p->watched);
}
