#include "instrument.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <time.h>

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed; /* more samples, another rate, or the end */
  pthread_t thread;
  double rate;
  long count;
  int stopped;
  double kept[INSTRUMENT_KEPT];
} instrument = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0, {0}};

/* What is measured: a slow wave with something on it. */
static double measure(long number) {
  double t = (double)number / 50;
  return 20 + 5 * sin(t) + 0.5 * sin(37 * t);
}

static struct timespec time_after(struct timespec time, double seconds) {
  long nanoseconds = time.tv_nsec + (long)(fmod(seconds, 1) * 1e9);
  time.tv_sec += (time_t)seconds + nanoseconds / 1000000000;
  time.tv_nsec = nanoseconds % 1000000000;
  return time;
}

/* Waits until the next sample is due; a change of the rate has effect at once. With the mutex held. */
static void wait_until_due(struct timespec last) {
  while (!instrument.stopped) {
    struct timespec due = time_after(last, 1 / instrument.rate);
    if (pthread_cond_timedwait(&instrument.changed, &instrument.mutex, &due) == ETIMEDOUT)
      return;
  }
}

static void *run(void *unused) {
  (void)unused;
  pthread_mutex_lock(&instrument.mutex);
  while (!instrument.stopped) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    instrument.kept[instrument.count % INSTRUMENT_KEPT] = measure(instrument.count);
    instrument.count++;
    pthread_cond_broadcast(&instrument.changed);
    wait_until_due(now);
  }
  pthread_mutex_unlock(&instrument.mutex);
  return NULL;
}

int instrument_start(double rate) {
  instrument.rate = rate;
  return pthread_create(&instrument.thread, NULL, run, NULL);
}

void instrument_stop(void) {
  pthread_mutex_lock(&instrument.mutex);
  instrument.stopped = 1;
  pthread_cond_broadcast(&instrument.changed);
  pthread_mutex_unlock(&instrument.mutex);
  pthread_join(instrument.thread, NULL);
}

double instrument_rate(void) {
  double rate;
  pthread_mutex_lock(&instrument.mutex);
  rate = instrument.rate;
  pthread_mutex_unlock(&instrument.mutex);
  return rate;
}

void instrument_set_rate(double rate) {
  pthread_mutex_lock(&instrument.mutex);
  instrument.rate = rate;
  pthread_cond_broadcast(&instrument.changed);
  pthread_mutex_unlock(&instrument.mutex);
}

long instrument_count(void) {
  long count;
  pthread_mutex_lock(&instrument.mutex);
  count = instrument.count;
  pthread_mutex_unlock(&instrument.mutex);
  return count;
}

int instrument_read(long *first, double *samples, int most) {
  int n = 0;
  pthread_mutex_lock(&instrument.mutex);
  if (*first < instrument.count - INSTRUMENT_KEPT)
    *first = instrument.count - INSTRUMENT_KEPT;
  if (*first < 0)
    *first = 0;
  while (n < most && *first + n < instrument.count) {
    samples[n] = instrument.kept[(*first + n) % INSTRUMENT_KEPT];
    n++;
  }
  pthread_mutex_unlock(&instrument.mutex);
  return n;
}

int instrument_wait(long count) {
  int goes_on;
  pthread_mutex_lock(&instrument.mutex);
  while (instrument.count <= count && !instrument.stopped)
    pthread_cond_wait(&instrument.changed, &instrument.mutex);
  goes_on = !instrument.stopped;
  pthread_mutex_unlock(&instrument.mutex);
  return goes_on;
}
