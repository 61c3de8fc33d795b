#include "sys/shared.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/platform.h"
#include "sys/descriptor.h"

#if RO_HAS_MAP_ANONYMOUS

static void *map(size_t size, int how) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS, -1, 0);
  return memory != MAP_FAILED ? memory : NULL;
}

#else

static void *map(size_t size, int how) {
  void *memory = MAP_FAILED;
  int fd = ro_anonymous_file();
  if (fd < 0)
    return NULL;
  if (ftruncate(fd, (off_t)size) == 0)
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, how, fd, 0);
  ro_descriptor_close(&fd);
  return memory != MAP_FAILED ? memory : NULL;
}

#endif

void *ro_shared_open(size_t size) {
  return map(size, MAP_SHARED);
}

void *ro_private_open(size_t size) {
  return map(size, MAP_PRIVATE);
}
