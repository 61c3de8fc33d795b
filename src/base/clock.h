/*
** The monotonic clock, in nanoseconds. A deadline is a moment on it that every process of
** the machine reads alike; RO_NEVER stands for no deadline.
*/
#ifndef RO_CLOCK_H
#define RO_CLOCK_H

#include <stdint.h>
#include <time.h>

#define RO_NEVER INT64_MAX
#define RO_SECOND INT64_C(1000000000)

/* The moment now, in nanoseconds. */
static inline int64_t ro_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * RO_SECOND + t.tv_nsec;
}

/* The deadline `seconds` from now: at once when negative or NaN, RO_NEVER when beyond the clock. */
static inline int64_t ro_deadline(double seconds) {
  int64_t now = ro_now();
  if (!(seconds > 0))
    return now;
  if (seconds >= (double)(RO_NEVER - now) / (double)RO_SECOND)
    return RO_NEVER;
  return now + (int64_t)(seconds * (double)RO_SECOND);
}

/* Milliseconds from now to `deadline` for poll(2): rounded up, -1 for RO_NEVER. */
static inline int ro_milliseconds_until(int64_t deadline) {
  int64_t left;
  if (deadline == RO_NEVER)
    return -1;
  left = deadline - ro_now();
  if (left <= 0)
    return 0;
  left = (left + 999999) / 1000000;
  return left > 1000000000 ? 1000000000 : (int)left;
}

#endif
