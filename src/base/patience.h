/*
** Waiting actively for a moment. Where an idle processor takes long to wake, to look again for
** a while before blocking answers far sooner. It learns from its own success: a wait that
** blocked in vain for longer than a wake-up takes shortens the next moment, down to nothing;
** one that ended soon lengthens it. Between two looks others may have the processor; where one takes
** it for long, looking is the wrong way to wait, since who blocks is let in sooner than who
** yields: then there is none for a while.
*/
#ifndef RO_PATIENCE_H
#define RO_PATIENCE_H

#include <sched.h>
#include <stdint.h>

#include "base/clock.h"

#define RO_PATIENCE_MOST (INT64_C(50) * 1000)  /* nanoseconds of active waiting */
#define RO_PATIENCE_LEAST (INT64_C(2) * 1000)  /* less is nothing */
#define RO_PATIENCE_PAYS (INT64_C(200) * 1000) /* a blocking wait that was shorter would have paid */
#define RO_PATIENCE_ALONE INT64_C(1000)        /* nobody took a processor that was back before that */
#define RO_PATIENCE_LOOKS 4                    /* at once then */
#define RO_PATIENCE_LOST (INT64_C(500) * 1000) /* a look that took longer has lost the processor */
#define RO_PATIENCE_PAUSE (RO_SECOND / 10)     /* without active waits after that; doubles each time */
#define RO_PATIENCE_LONGEST_PAUSE (100 * RO_SECOND)

typedef struct ro_Patience {
  int64_t moment;     /* how long the next active wait lasts, nanoseconds */
  int64_t pause;      /* how long the last pause was */
  int64_t not_before; /* the end of the pause */
} ro_Patience;

/* The processor was lost at `now` while it looked. */
static inline void ro_patience_lose(ro_Patience *p, int64_t now) {
  p->moment = 0;
  p->pause = p->pause == 0 ? RO_PATIENCE_PAUSE : p->pause * 2;
  if (p->pause > RO_PATIENCE_LONGEST_PAUSE)
    p->pause = RO_PATIENCE_LONGEST_PAUSE;
  p->not_before = now + p->pause;
}

/*
** Calls look(context) again and again until it returns other than 0 or the moment is over; returns
** what it returned last. What is waited for takes others some work, so they may have the processor first; where
** nobody wants it, to look is better than to offer it all the time.
*/
static inline int ro_patience_try(ro_Patience *p, int (*look)(void *context), void *context) {
  int64_t before, after, end;
  int found = 0;
  if (p->moment < RO_PATIENCE_LEAST)
    return 0;
  after = ro_now();
  end = after + p->moment;
  while (found == 0 && after < end) {
    before = ro_now();
    sched_yield();
    after = ro_now();
    if (after - before > RO_PATIENCE_LOST)
      ro_patience_lose(p, after);
    for (int i = after - before < RO_PATIENCE_ALONE ? RO_PATIENCE_LOOKS : 1; i > 0 && found == 0; i--)
      found = look(context);
  }
  return found;
}

/* Learns from a wait that began at `start` and had to block. */
static inline void ro_patience_learn(ro_Patience *p, int64_t start) {
  int64_t now = ro_now();
  if (now - start >= RO_PATIENCE_PAYS)
    p->moment /= 2;
  else if (now >= p->not_before)
    p->moment = RO_PATIENCE_MOST;
}

#endif
