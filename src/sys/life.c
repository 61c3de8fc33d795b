/* What lives are alike in, whatever the system has. */
#include "sys/life.h"

#include "sys/descriptor.h"

/* The end of a pipe that nobody writes to. */
int ro_life_reopen(ro_Life *life) {
  int ends[2], e = ro_pipe_open(ends);
  if (e != 0)
    return e;
  ro_descriptor_close(&ends[1]);
  life->fd = ends[0];
  return 0;
}

int ro_life_goes_on(const ro_Life *life) {
  return ro_descriptor_look(life->fd) <= 0; /* nobody has ended for want of memory to look */
}
