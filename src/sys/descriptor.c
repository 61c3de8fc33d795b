#include "sys/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atfork.h"
#include "base/platform.h"

#define TEMPORARY "remoteobj-XXXXXX"

int ro_descriptor_unblock(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : errno;
}

int ro_descriptor_hide(int fd) {
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? 0 : errno;
}

/* A signal may interrupt a mere look, too. */
int ro_descriptor_look(int fd) {
  struct pollfd look = {.fd = fd, .events = POLLIN};
  int n;
  do {
    n = poll(&look, 1, 0);
  } while (n < 0 && errno == EINTR);
  return n;
}

/* A fork in between would close, in the child, what another thread has opened under the same number meanwhile. */
void ro_descriptor_close(int *fd) {
  if (*fd < 0)
    return;
  ro_atfork_hold();
  close(*fd);
  *fd = -1;
  ro_atfork_release();
}

#if RO_HAS_CREATION_FLAGS

/* Otherwise there are two steps, between which no other thread may fork and exec. */

int ro_pipe_open(int ends[2]) {
  return pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 ? 0 : errno;
}

int ro_sockets_open(int type, int ends[2]) {
  return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : errno;
}

#else

/* Prepares both descriptors; closes them if that fails. Returns 0 or an errno. */
static int prepare_both(int ends[2], int (*prepare)(int fd)) {
  int e = prepare(ends[0]);
  if (e == 0)
    e = prepare(ends[1]);
  for (int i = 0; i < 2 && e != 0; i++)
    ro_descriptor_close(&ends[i]);
  return e;
}

int ro_pipe_open(int ends[2]) {
  int e;
  ro_atfork_hold();
  e = pipe(ends) == 0 ? prepare_both(ends, ro_descriptor_hide) : errno;
  ro_atfork_release();
  return e != 0 ? e : prepare_both(ends, ro_descriptor_unblock);
}

int ro_sockets_open(int type, int ends[2]) {
  int e;
  ro_atfork_hold();
  e = socketpair(AF_UNIX, type, 0, ends) == 0 ? prepare_both(ends, ro_descriptor_hide) : errno;
  ro_atfork_release();
  return e;
}

#endif

/* A file below TMPDIR, or else /tmp, which loses its name at once. */
static int open_temporary(void) {
  const char *folder = getenv("TMPDIR");
  char path[4096];
  int fd, e = 0, size = -1;
  if (folder != NULL && folder[0] == '/')
    size = snprintf(path, sizeof path, "%s/%s", folder, TEMPORARY);
  if (size < 0 || size >= (int)sizeof path)
    snprintf(path, sizeof path, "/tmp/%s", TEMPORARY);
  ro_atfork_hold();
  fd = mkstemp(path);
  if (fd >= 0)
    e = ro_descriptor_hide(fd);
  ro_atfork_release();
  if (fd < 0)
    return -1;
  unlink(path);
  if (e != 0)
    ro_descriptor_close(&fd);
  errno = e;
  return fd;
}

int ro_anonymous_file(void) {
#if RO_HAS_MEMFD
  int fd = memfd_create("remoteobj", MFD_CLOEXEC);
  if (fd >= 0)
    return fd;
#endif
  return open_temporary();
}
