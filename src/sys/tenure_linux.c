/* Tenures where the system has descriptors of processes: a listener is known by when it was born. */
#include "sys/tenure.h"

#include "base/platform.h"

#if RO_HAS_PIDFD

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/descriptor.h"
#include "sys/life.h"
#include "sys/shared.h"

/* The start time is the 22nd field of the process's line, its state the third; the second may hold spaces and parentheses. */
#define FIELDS_AFTER_STATE 19

void *ro_tenure_open(ro_Tenure *tenure, size_t size) {
  tenure->fd = -1;
  tenure->error = tenure->doubt = 0;
  return ro_shared_open(size);
}

void ro_tenure_close(ro_Tenure *tenure) {
  ro_descriptor_close(&tenure->fd);
}

/* What the system tells of a process by its number. */
typedef struct Process {
  char state;     /* 'Z': it has ended, but is not waited for */
  uint64_t birth; /* in a unit that only serves comparison */
} Process;

/* Returns 0 or an errno. */
static int read_line(pid_t pid, char *line, size_t size) {
  char path[48];
  ssize_t n;
  int fd, e;
  snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno;
  n = read(fd, line, size - 1);
  e = n < 0 ? errno : 0;
  close(fd);
  line[n > 0 ? n : 0] = '\0';
  return e;
}

/* Returns 0 or an errno. */
static int look_up(pid_t pid, Process *process) {
  char line[1024], *at;
  int e = read_line(pid, line, sizeof line);
  if (e != 0)
    return e;
  at = strrchr(line, ')');
  if (at == NULL || at[1] != ' ')
    return ENOTSUP;
  at += 2;
  process->state = *at;
  for (int i = 0; at != NULL && i < FIELDS_AFTER_STATE; i++)
    at = strchr(at + 1, ' ');
  process->birth = at != NULL ? strtoull(at, NULL, 10) : 0;
  return 0;
}

/* When process `pid` was born; 0 when it is gone or that is not told. */
static uint64_t birth_of(pid_t pid) {
  Process process;
  return look_up(pid, &process) == 0 ? process.birth : 0;
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

/*
** Is the process gone, as far as its number tells: no descriptor of it can be had just now. Where that does not tell
** everything there is a doubt.
*/
static int is_gone(ro_Tenure *tenure, pid_t pid, uint64_t mark) {
  Process process;
  int e = look_up(pid, &process);
  if (kill(pid, 0) != 0 && errno == ESRCH)
    return 1;
  tenure->doubt = e == ENOENT ? tenure->error : e;
  return e == 0 && (process.state == 'Z' || process.state == 'X' || (mark != 0 && process.birth != mark));
}

/* Is the process of the descriptor, which has just been opened by the number, another than that of the mark: then closes it. */
static int is_mistaken(ro_Tenure *tenure, pid_t pid, uint64_t mark) {
  Process process;
  int e = mark != 0 ? look_up(pid, &process) : 0, lasts = ro_tenure_lasts(tenure, tenure->generation);
  if (mark == 0 || (e == 0 && process.birth == mark))
    return !lasts;
  ro_descriptor_close(&tenure->fd);
  if (e == 0 || !lasts)
    return 1;
  tenure->error = tenure->doubt = e;
  return 0;
}

/* Returns whether the process lives, for all that is known. */
static int look_at(ro_Tenure *tenure, pid_t pid, uint64_t generation, uint64_t mark) {
  ro_descriptor_close(&tenure->fd);
  tenure->generation = generation;
  tenure->doubt = 0;
  tenure->fd = ro_life_open(pid);
  tenure->error = tenure->fd < 0 ? errno : 0;
  if (tenure->fd < 0)
    return tenure->error != ESRCH && !is_gone(tenure, pid, mark);
  if (!is_mistaken(tenure, pid, mark))
    return 1;
  tenure->generation = 0;
  return 0;
}

int ro_tenure_goes_on(ro_Tenure *tenure, pid_t pid, uint64_t generation, uint64_t mark) {
  if (tenure->fd < 0 || tenure->generation != generation)
    return look_at(tenure, pid, generation, mark);
  return ro_tenure_lasts(tenure, generation);
}

int ro_tenure_doubt(const ro_Tenure *tenure) {
  return tenure->doubt;
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
