/*
** Tenures where the system has no descriptors of processes. The shared memory is a file without a
** name, and the listener of a generation holds a lock on the byte of it that has that number: the
** system lets the lock go when the process ends, whatever ended it, and forks don't inherit it. A lock can
** be asked about but not waited for beside other things, so those who wait look every now and then.
*/
#include "sys/tenure.h"

#include "base/platform.h"

#if !RO_HAS_PIDFD

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/descriptor.h"
#include "sys/life.h"

void *ro_tenure_open(ro_Tenure *tenure, size_t size) {
  void *memory = MAP_FAILED;
  int e;
  tenure->error = tenure->doubt = 0;
  tenure->fd = ro_anonymous_file();
  if (tenure->fd < 0)
    return NULL;
  if (ftruncate(tenure->fd, (off_t)size) == 0)
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, tenure->fd, 0);
  if (memory != MAP_FAILED)
    return memory;
  e = errno;
  ro_descriptor_close(&tenure->fd);
  errno = e;
  return NULL;
}

void ro_tenure_close(ro_Tenure *tenure) {
  ro_descriptor_close(&tenure->fd);
}

static struct flock lock_of(uint64_t generation, short type) {
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)generation, .l_len = 1};
}

int ro_tenure_begin(ro_Tenure *tenure, uint64_t generation, uint64_t *mark) {
  struct flock lock = lock_of(generation, F_WRLCK);
  *mark = generation;
  if (fcntl(tenure->fd, F_SETLK, &lock) == 0)
    return 0;
  return errno == EACCES || errno == EAGAIN ? EBUSY : errno;
}

void ro_tenure_end(ro_Tenure *tenure, uint64_t generation) {
  struct flock lock = lock_of(generation, F_UNLCK);
  fcntl(tenure->fd, F_SETLK, &lock);
}

int ro_tenure_goes_on(ro_Tenure *tenure, pid_t pid, uint64_t generation, uint64_t mark) {
  struct flock lock = lock_of(generation, F_WRLCK);
  (void)pid;
  (void)mark;
  tenure->doubt = fcntl(tenure->fd, F_GETLK, &lock) == 0 ? 0 : errno;
  return tenure->doubt != 0 || lock.l_type != F_UNLCK;
}

int ro_tenure_doubt(const ro_Tenure *tenure) {
  return tenure->doubt;
}

int ro_tenure_error(const ro_Tenure *tenure) {
  (void)tenure;
  return 0;
}

int ro_tenure_lasts(const ro_Tenure *tenure, uint64_t generation) {
  struct flock lock = lock_of(generation, F_WRLCK);
  return fcntl(tenure->fd, F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

int64_t ro_tenure_watch(const ro_Tenure *tenure, struct pollfd *p, int64_t deadline) {
  int64_t look = ro_now() + RO_LIFE_LOOK;
  (void)tenure;
  *p = (struct pollfd){.fd = -1};
  return look < deadline ? look : deadline;
}

#endif
