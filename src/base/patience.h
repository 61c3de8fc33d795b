/*
** Waiting actively for a moment. Where an idle processor takes long to wake, to look again for
** a while before blocking answers far sooner. It learns from its own success: a wait that
** blocked in vain for longer than a wake-up takes shortens the next moment, down to nothing;
** one that ended soon lengthens it. Between two looks others may have the processor.
*/
#ifndef RO_PATIENCE_H
#define RO_PATIENCE_H

#include <sched.h>
#include <stdint.h>

#include "base/clock.h"

#define RO_PATIENCE_MOST (INT64_C(50) * 1000)    /* nanoseconds of active waiting */
#define RO_PATIENCE_LEAST (INT64_C(2) * 1000)    /* less is nothing */
#define RO_PATIENCE_PAYS (INT64_C(200) * 1000)   /* a blocking wait that was shorter would have paid */

typedef struct ro_Patience {
  int64_t moment; /* how long the next active wait lasts, nanoseconds */
} ro_Patience;

/*
** Calls look(context) again and again until it returns other than 0 or the moment is over; returns
** what it returned last.
*/
static inline int ro_patience_try(ro_Patience *p, int (*look)(void *context), void *context) {
  int64_t end;
  int found;
  if (p->moment < RO_PATIENCE_LEAST)
    return 0;
  end = ro_now() + p->moment;
  while ((found = look(context)) == 0 && ro_now() < end)
    sched_yield();
  return found;
}

/* Learns from a wait that began at `start` and had to block. */
static inline void ro_patience_learn(ro_Patience *p, int64_t start) {
  if (ro_now() - start < RO_PATIENCE_PAYS)
    p->moment = RO_PATIENCE_MOST;
  else
    p->moment /= 2;
}

#endif
