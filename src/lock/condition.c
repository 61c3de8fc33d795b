/* Waiting for what other threads of the state bring about: a list of those who are to be woken. */
#include <stddef.h>

#include "lock/lock.h"

struct ro_Waiter {
  ro_Waiter *next;
  ro_Thread *thread;
};

static void unlink_waiter(ro_Condition *condition, ro_Waiter *waiter) {
  ro_Waiter **link = &condition->first;
  while (*link != waiter)
    link = &(*link)->next;
  *link = waiter->next;
}

int ro_condition_wait(lua_State *L, ro_Condition *condition, int64_t deadline) {
  ro_Waiter self = {condition->first, ro_lock_holder(ro_lock_of(L))};
  int ready;
  condition->first = &self;
  ready = ro_wait_poll_try(L, NULL, 0, deadline);
  unlink_waiter(condition, &self);
  return ready;
}

void ro_condition_notify(ro_Condition *condition) {
  for (ro_Waiter *w = condition->first; w != NULL; w = w->next)
    ro_thread_wake(w->thread);
}
