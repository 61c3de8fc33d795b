/*
** How long things took: counted by duration, in classes that are a quarter of an octave wide, so that the memory is
** bounded and quantiles are right within an eighth. One that is all zero is empty.
*/
#ifndef RO_LATENCY_H
#define RO_LATENCY_H

#include <stdint.h>

#define RO_LATENCY_CLASSES 160 /* up to half an hour; the last has all that took longer */

typedef struct ro_Latency {
  uint64_t count;
  int64_t sum, most;                    /* nanoseconds */
  uint64_t classes[RO_LATENCY_CLASSES]; /* without meaning while `count` is 0 */
} ro_Latency;

/* Makes it empty, touching little memory: async-signal-safe. */
void ro_latency_clear(ro_Latency *latency);

/* Counts what took so many nanoseconds. */
void ro_latency_add(ro_Latency *latency, int64_t nanoseconds);

/* Adds all that `other` has counted. */
void ro_latency_merge(ro_Latency *latency, const ro_Latency *other);

/* The nanoseconds that the part `q` of all, between 0 and 1, took at most; 0 when it is empty. */
int64_t ro_latency_quantile(const ro_Latency *latency, double q);

#endif
