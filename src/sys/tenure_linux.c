/* Tenures where the system has descriptors of processes: a listener is known by when it was born. */
#include "sys/tenure.h"

#include "base/platform.h"

#if RO_HAS_PIDFD

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/descriptor.h"
#include "sys/life.h"
#include "sys/shared.h"

/* The start time is the 22nd field of the process's line; the second may hold spaces and parentheses. */
#define FIELDS_AFTER_NAME 20

void *ro_tenure_open(ro_Tenure *tenure, size_t size) {
  tenure->fd = -1;
  tenure->error = 0;
  return ro_shared_open(size);
}

void ro_tenure_close(ro_Tenure *tenure) {
  ro_descriptor_close(&tenure->fd);
}

/* When process `pid` was born, in a unit that only serves comparison; 0 when it is gone or that is not told. */
static uint64_t birth_of(pid_t pid) {
  char path[48], line[1024];
  char *at;
  ssize_t n;
  int fd;
  snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  n = read(fd, line, sizeof line - 1);
  close(fd);
  if (n <= 0)
    return 0;
  line[n] = '\0';
  at = strrchr(line, ')');
  for (int i = 0; at != NULL && i < FIELDS_AFTER_NAME; i++)
    at = strchr(at + 1, ' ');
  return at != NULL ? strtoull(at, NULL, 10) : 0;
}

int ro_tenure_begin(ro_Tenure *tenure, uint64_t generation, uint64_t *mark) {
  (void)tenure;
  (void)generation;
  *mark = birth_of(getpid());
  return 0;
}

void ro_tenure_end(ro_Tenure *tenure, uint64_t generation) {
  (void)tenure;
  (void)generation;
}

/* Returns 0 or an errno. A process of another birth is as good as gone. */
static int look_at(ro_Tenure *tenure, pid_t pid, uint64_t generation, uint64_t mark) {
  ro_descriptor_close(&tenure->fd);
  tenure->generation = generation;
  tenure->fd = ro_life_open(pid);
  tenure->error = tenure->fd < 0 ? errno : 0;
  if (tenure->fd < 0)
    return tenure->error;
  if (mark == 0 || birth_of(pid) == mark)
    return 0;
  ro_descriptor_close(&tenure->fd);
  tenure->generation = 0;
  return ESRCH;
}

int ro_tenure_goes_on(ro_Tenure *tenure, pid_t pid, uint64_t generation, uint64_t mark) {
  int e = 0;
  if (tenure->fd < 0 || tenure->generation != generation)
    e = look_at(tenure, pid, generation, mark);
  return e != 0 ? e != ESRCH : ro_tenure_lasts(tenure, generation);
}

int ro_tenure_error(const ro_Tenure *tenure) {
  return tenure->error;
}

int ro_tenure_lasts(const ro_Tenure *tenure, uint64_t generation) {
  ro_Life life = {.fd = tenure->fd};
  return tenure->generation == generation && (tenure->fd < 0 || ro_life_goes_on(&life));
}

int64_t ro_tenure_watch(const ro_Tenure *tenure, struct pollfd *p, int64_t deadline) {
  *p = (struct pollfd){.fd = tenure->fd, .events = POLLIN};
  return deadline;
}

#endif
