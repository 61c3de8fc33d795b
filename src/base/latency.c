#include "base/latency.h"

#include <string.h>

#define PARTS 4 /* classes of an octave */

void ro_latency_clear(ro_Latency *latency) {
  latency->count = 0;
  latency->sum = latency->most = 0;
}

/* Zero and the first octaves have a class for each number. */
static unsigned class_of(uint64_t nanoseconds) {
  unsigned octave = 0, class;
  while (nanoseconds >> octave >= 2 * PARTS)
    octave++;
  class = PARTS * octave + (unsigned)(nanoseconds >> octave);
  return class < RO_LATENCY_CLASSES ? class : RO_LATENCY_CLASSES - 1;
}

/* The middle of a class. */
static int64_t middle_of(unsigned class) {
  unsigned octave = class < 2 * PARTS ? 0 : class / PARTS - 1;
  int64_t least = (int64_t)(class - PARTS * octave) << octave;
  return least + (INT64_C(1) << octave) / 2;
}

/* Before anything is counted the classes get their meaning. */
static void prepare(ro_Latency *latency) {
  if (latency->count == 0)
    memset(latency->classes, 0, sizeof latency->classes);
}

void ro_latency_add(ro_Latency *latency, int64_t nanoseconds) {
  prepare(latency);
  latency->count++;
  latency->sum += nanoseconds;
  if (nanoseconds > latency->most)
    latency->most = nanoseconds;
  latency->classes[class_of((uint64_t)nanoseconds)]++;
}

void ro_latency_merge(ro_Latency *latency, const ro_Latency *other) {
  if (other->count == 0)
    return;
  prepare(latency);
  latency->count += other->count;
  latency->sum += other->sum;
  if (other->most > latency->most)
    latency->most = other->most;
  for (unsigned i = 0; i < RO_LATENCY_CLASSES; i++)
    latency->classes[i] += other->classes[i];
}

int64_t ro_latency_quantile(const ro_Latency *latency, double q) {
  uint64_t before = 0;
  unsigned class = 0;
  int64_t middle;
  if (latency->count == 0)
    return 0;
  while (class < RO_LATENCY_CLASSES - 1 &&
         (double)(before + latency->classes[class]) < q * (double)latency->count)
    before += latency->classes[class ++];
  middle = middle_of(class);
  return middle < latency->most ? middle : latency->most;
}
