/* What lives are alike in, whatever the system has. */
#include "sys/life.h"

#include <errno.h>

int ro_life_goes_on(const ro_Life *life) {
  struct pollfd end = {.fd = life->fd, .events = POLLIN};
  int n;
  do {
    n = poll(&end, 1, 0);
  } while (n < 0 && errno == EINTR);
  return n == 0;
}
