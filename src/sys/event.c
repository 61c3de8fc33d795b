#include "sys/event.h"

#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/platform.h"
#include "sys/descriptor.h"

#if RO_HAS_EVENTFD
#include <sys/eventfd.h>
#endif

/* Between two tries to set an event while there is no memory for that, in nanoseconds. */
#define PAUSE_LEAST ((long)(RO_SECOND / 100000))
#define PAUSE_MOST ((long)(RO_SECOND / 100))

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

/* Does what has failed with `error` succeed some time. A pipe that is full is readable already. */
static int will_pass(int error) {
  return error == EINTR || error == ENOMEM || error == ENOBUFS || error == ENOSPC;
}

/* Who waits may wait for this alone, without end: so the lack of memory is waited out. */
void ro_event_set(const ro_Event *event) {
  struct timespec pause = {.tv_nsec = PAUSE_LEAST};
  Unit one = 1;
  while (write(event->setter, &one, sizeof one) < 0 && will_pass(errno)) {
    if (errno == EINTR)
      continue;
    nanosleep(&pause, NULL);
    if (pause.tv_nsec < PAUSE_MOST)
      pause.tv_nsec *= 2;
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
