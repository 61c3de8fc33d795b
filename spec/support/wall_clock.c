/*
** To be preloaded into a program: a wall clock that is put forward and back by a day each time somebody reads it, for
** specs of what must not depend on it. Other clocks go on.
*/
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define DAY 86400

static time_t astray(void) {
  static atomic_int readings;
  return atomic_fetch_add(&readings, 1) % 2 == 0 ? DAY : -DAY;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int status = (int)syscall(SYS_clock_gettime, clock, now);
  if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += astray();
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec moment;
  int status = clock_gettime(CLOCK_REALTIME, &moment);
  (void)zone;
  now->tv_sec = moment.tv_sec;
  now->tv_usec = moment.tv_nsec / 1000;
  return status;
}

time_t time(time_t *result) {
  struct timespec moment;
  clock_gettime(CLOCK_REALTIME, &moment);
  if (result != NULL)
    *result = moment.tv_sec;
  return moment.tv_sec;
}
