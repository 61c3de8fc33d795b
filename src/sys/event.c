#include "sys/event.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "base/platform.h"
#include "sys/descriptor.h"

#if RO_HAS_EVENTFD
#include <sys/eventfd.h>
#endif

/* What is written, and read at least: an eventfd wants that much. */
typedef uint64_t Unit;

void ro_event_init(ro_Event *event) {
  event->fd = event->setter = -1;
}

int ro_event_open(ro_Event *event) {
#if RO_HAS_EVENTFD
  event->fd = event->setter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return event->fd >= 0 ? 0 : errno;
#else
  int ends[2], e = ro_pipe_open(ends);
  event->fd = e == 0 ? ends[0] : -1;
  event->setter = e == 0 ? ends[1] : -1;
  return e;
#endif
}

void ro_event_close(ro_Event *event) {
  if (event->setter != event->fd)
    ro_descriptor_close(&event->setter);
  ro_descriptor_close(&event->fd);
  ro_event_init(event);
}

/* A pipe that is full is readable already. */
void ro_event_set(const ro_Event *event) {
  Unit one = 1;
  while (write(event->setter, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

/* An eventfd is clear after one read; a pipe when nothing is left in it. */
void ro_event_clear(const ro_Event *event) {
  Unit units[8];
  ssize_t n;
  do {
    n = read(event->fd, units, sizeof units);
  } while (n == (ssize_t)sizeof units || (n < 0 && errno == EINTR));
}
