#include "analysis.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"
#include "instrument.h"
#include "state.h"

static lua_State *state;
static pthread_t thread;

typedef struct Batch {
  long next; /* the number of the sample that comes next */
  int count;
  double samples[INSTRUMENT_KEPT];
} Batch;

/* Gives the batch to the script's global function `feed`. */
static int feed(lua_State *L) {
  const Batch *batch = (const Batch *)lua_touserdata(L, 1);
  lua_getglobal(L, "feed");
  push_samples(L, batch->samples, batch->count);
  lua_call(L, 1, 0);
  return 0;
}

/*
** Whoever leaves the state begins a section and whoever comes ends it, be it another thread: so it passes from the main
** thread to this one and back, and while this one waits for samples requests run.
*/
static void *run(void *unused) {
  static Batch batch;
  int goes_on = 1;
  (void)unused;
  while (goes_on && instrument_wait(batch.next)) {
    batch.count = instrument_read(&batch.next, batch.samples, INSTRUMENT_KEPT);
    batch.next += batch.count;
    remoteobj_allow_end(state);
    goes_on = state_run(state, feed, &batch) == 0;
    remoteobj_allow_begin(state);
  }
  return NULL;
}

int analysis_start(const char *file) {
  int error;
  state = state_open(file);
  if (state == NULL)
    return -1;
  remoteobj_allow_begin(state);
  error = pthread_create(&thread, NULL, run, NULL);
  if (error == 0)
    return 0;
  fprintf(stderr, "host: no thread for the analysis: %s\n", strerror(error));
  remoteobj_allow_end(state);
  lua_close(state);
  return -1;
}

void analysis_join(void) {
  pthread_join(thread, NULL);
  remoteobj_allow_end(state);
  lua_close(state);
}
