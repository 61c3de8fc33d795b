#include "sys/line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* Where opening would wait for a reader, or writing for room, it fails instead. */
int ro_line_open(const char *path) {
  return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
}

int ro_line_fits(int fd, int milliseconds) {
  struct pollfd room = {.fd = fd, .events = POLLOUT};
  if (poll(&room, 1, milliseconds) <= 0)
    return 0;
  return (room.revents & (POLLERR | POLLNVAL)) ? -1 : (room.revents & POLLOUT) != 0;
}

/* Takes the SIGPIPE away that the calling thread has got of a write. */
static void swallow_signal(const sigset_t *pipe_signal) {
  const struct timespec at_once = {0, 0};
  while (sigtimedwait(pipe_signal, NULL, &at_once) < 0 && errno == EINTR) {
  }
}

int ro_line_write(int fd, const char *line, size_t size) {
  sigset_t pipe_signal, pending, before;
  ssize_t written;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  do {
    written = write(fd, line, size);
  } while (written < 0 && errno == EINTR);
  if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
    swallow_signal(&pipe_signal);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return written == (ssize_t)size;
}
