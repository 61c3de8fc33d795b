#include "process/output.h"

#include <stdio.h>

#include "base/platform.h"

#if RO_HAS_FPURGE
#include <stdio_ext.h>
#endif

/*
** To flush all streams is to lock all, and a thread that waits for input (a host's console, say) holds the lock of stdin
** until it comes. Then only those are flushed that have names.
*/
void ro_output_flush(void) {
  if (ftrylockfile(stdin) != 0) {
    fflush(stdout);
    fflush(stderr);
    return;
  }
  fflush(NULL);
  funlockfile(stdin);
}

void ro_output_disown(void) {
#if RO_HAS_FPURGE
  __fpurge(stdout);
#endif
}
