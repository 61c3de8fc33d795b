/*
** Two processes over two pipes: the least that moving messages between processes can cost.
**
** Usage: pipes MODE [CPU CPU]     the second process runs on the second CPU
**   block  round trips of one message, waiting in read
**   try    the same, trying read and giving way for up to 50 microseconds before it waits
**   paced  100 round trips a second, waiting in read
**   bulk   64 MiB there and back
**   wide   the same through the largest pipes that a user may have
** Each line of input is a count; the answer is a line with the seconds that so many took, of `paced` the
** seconds of processor time that both processes used for it.
*/
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 32                      /* bytes: what a small request takes */
#define BULK ((size_t)64 * 1024 * 1024) /* bytes */
#define WIDE (1024 * 1024)              /* bytes: what /proc/sys/fs/pipe-max-size usually allows */
#define MOMENT (50 * 1000)              /* nanoseconds of trying */
#define PACE (10 * 1000 * 1000)         /* nanoseconds from one paced round trip to the next */
#define SECOND 1000000000

typedef struct Side {
  int in, out;
  int tries; /* before it waits */
  char *buffer;
  size_t size; /* of a message */
} Side;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int64_t clock_of(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t) != 0)
    die("clock_gettime");
  return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static int64_t now(void) {
  return clock_of(CLOCK_MONOTONIC);
}

/* Waits until there is something to read: actively for a moment, then by blocking. */
static ssize_t read_trying(const Side *side, char *into, size_t size) {
  int64_t end = now() + MOMENT;
  ssize_t n;
  while ((n = read(side->in, into, size)) < 0 && errno == EAGAIN) {
    struct pollfd readable = {.fd = side->in, .events = POLLIN};
    if (now() < end)
      sched_yield();
    else
      poll(&readable, 1, -1);
  }
  return n;
}

/* Reads a whole message; returns 0 at the end of the pipe. */
static int receive(const Side *side) {
  for (size_t done = 0; done < side->size;) {
    char *into = side->buffer + done;
    ssize_t n =
        side->tries ? read_trying(side, into, side->size - done) : read(side->in, into, side->size - done);
    if (n == 0)
      return 0;
    if (n < 0)
      die("read");
    done += (size_t)n;
  }
  return 1;
}

static void send(const Side *side) {
  for (size_t done = 0; done < side->size;) {
    ssize_t n = write(side->out, side->buffer + done, side->size - done);
    if (n < 0)
      die("write");
    done += (size_t)n;
  }
}

static void run_on(const char *cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)strtol(cpu, NULL, 10), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0)
    die("sched_setaffinity");
}

static void echo(const Side *side) {
  while (receive(side))
    send(side);
  _exit(0);
}

static void make_pipe(int ends[2], int wide) {
  if (pipe(ends) != 0)
    die("pipe");
  if (wide)
    fcntl(ends[0], F_SETPIPE_SZ, WIDE); /* where that is too much they stay as they are */
}

static void never_block(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
    die("fcntl");
}

/* Starts the process that echoes. Returns its id; `side` is this process's. */
static pid_t start(Side *side, int wide, const char *cpu) {
  int there[2], back[2];
  pid_t child;
  make_pipe(there, wide);
  make_pipe(back, wide);
  if (side->tries) {
    never_block(there[0]);
    never_block(back[0]);
  }
  child = fork();
  if (child < 0)
    die("fork");
  side->in = child == 0 ? there[0] : back[0];
  side->out = child == 0 ? back[1] : there[1];
  close(child == 0 ? there[1] : there[0]);
  close(child == 0 ? back[0] : back[1]);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (cpu != NULL)
      run_on(cpu);
    echo(side);
  }
  return child;
}

static double round_trips(const Side *side, long count) {
  int64_t begin = now();
  while (count-- > 0) {
    send(side);
    if (!receive(side))
      exit(1);
  }
  return (double)(now() - begin) / SECOND;
}

/* Processor time that this process and the other have used, nanoseconds. */
static int64_t processor_time(pid_t child) {
  clockid_t childs;
  if (clock_getcpuclockid(child, &childs) != 0)
    die("clock_getcpuclockid");
  return clock_of(CLOCK_PROCESS_CPUTIME_ID) + clock_of(childs);
}

static double paced_round_trips(const Side *side, pid_t child, long count) {
  int64_t begin = processor_time(child), next = now();
  for (; count > 0; count--) {
    struct timespec until = {.tv_sec = next / SECOND, .tv_nsec = next % SECOND};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    round_trips(side, 1);
    next += PACE;
  }
  return (double)(processor_time(child) - begin) / SECOND;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  int wide = strcmp(mode, "wide") == 0;
  int bulk = wide || strcmp(mode, "bulk") == 0;
  int paced = strcmp(mode, "paced") == 0;
  Side side = {.tries = strcmp(mode, "try") == 0, .size = bulk ? BULK : MESSAGE};
  char line[64];
  pid_t child;
  if ((argc != 2 && argc != 4) || !(bulk || paced || side.tries || strcmp(mode, "block") == 0)) {
    fprintf(stderr, "usage: pipes block|try|paced|bulk|wide [CPU CPU]\n");
    return 2;
  }
  side.buffer = malloc(side.size);
  if (side.buffer == NULL)
    die("malloc");
  memset(side.buffer, 'x', side.size);
  child = start(&side, wide, argc == 4 ? argv[3] : NULL);
  if (argc == 4)
    run_on(argv[2]);
  while (fgets(line, sizeof line, stdin) != NULL) {
    long count = strtol(line, NULL, 10);
    printf("%.9f\n", paced ? paced_round_trips(&side, child, count) : round_trips(&side, count));
    fflush(stdout);
  }
  close(side.out);
  waitpid(child, NULL, 0);
  free(side.buffer);
  return 0;
}
