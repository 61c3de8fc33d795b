/*
** To be preloaded into a program: calls of the system and of threads are slow now and then, before and after, as on a
** machine whose scheduler takes the processor away at the worst moment. What one thread or process does between two calls
** of another then happens within minutes, not once in a year. Signals don't cut a delay short.
**
** REMOTEOBJ_DELAYS="SEED CHANCE LONGEST" says how: the chance of a delay (0 to 1), and how long it may be (milliseconds);
** most are much shorter. Which calls are delayed follows from the seed: each thread and each fork has its own numbers,
** drawn by the one that began it.
*/
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Each delayed function: X(result, name, parameters, arguments). */
#define FUNCTIONS(X)                                                                                         \
  X(int, close, (int fd), (fd))                                                                              \
  X(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))                                                  \
  X(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))                                           \
  X(ssize_t, writev, (int fd, const struct iovec *parts, int n), (fd, parts, n))                             \
  X(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))                                \
  X(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))                          \
  X(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))                                 \
  X(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))                           \
  X(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))                                        \
  X(int, ppoll, (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *m),                \
    (fds, n, t, m))                                                                                          \
  X(int, epoll_ctl, (int e, int op, int fd, struct epoll_event *event), (e, op, fd, event))                  \
  X(int, epoll_wait, (int e, struct epoll_event *events, int n, int ms), (e, events, n, ms))                 \
  X(int, munmap, (void *p, size_t n), (p, n))                                                                \
  X(int, sched_yield, (void), ())                                                                            \
  X(pid_t, waitpid, (pid_t pid, int *status, int flags), (pid, status, flags))                               \
  X(int, waitid, (idtype_t kind, id_t id, siginfo_t * info, int flags), (kind, id, info, flags))             \
  X(int, kill, (pid_t pid, int signo), (pid, signo))                                                         \
  X(int, sigaction, (int signo, const struct sigaction *new, struct sigaction *old), (signo, new, old))      \
  X(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))                    \
  X(int, pthread_kill, (pthread_t thread, int signo), (thread, signo))                                       \
  X(int, pthread_join, (pthread_t thread, void **value), (thread, value))                                    \
  X(int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))                                             \
  X(int, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))                                          \
  X(int, pthread_mutex_unlock, (pthread_mutex_t * mutex), (mutex))                                           \
  X(int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t * mutex), (c, mutex))                       \
  X(int, pthread_cond_timedwait, (pthread_cond_t * c, pthread_mutex_t * mutex, const struct timespec *t),    \
    (c, mutex, t))                                                                                           \
  X(int, pthread_cond_signal, (pthread_cond_t * c), (c))                                                     \
  X(int, pthread_cond_broadcast, (pthread_cond_t * c), (c))

/* The others, with wrappers of their own, and what delays. */
#define OTHERS(X) X(syscall) X(fork) X(_exit) X(pthread_create) X(nanosleep)

/*
** The functions that the names have without us. All are found at the beginning: to look for one allocates memory now and then,
** and a sanitizer may call some where it can give none. Another library's constructor may come before.
*/
#define DECLARE(name) static __typeof__(name) *real_##name;
#define DECLARE_DELAYED(type, name, parameters, arguments) DECLARE(name)
FUNCTIONS(DECLARE_DELAYED)
OTHERS(DECLARE)

static void find(void *function, const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  memcpy(function, &found, sizeof found);
}

#define FIND(name) find(&real_##name, #name);
#define FIND_DELAYED(type, name, parameters, arguments) FIND(name)

static void need_functions(void) {
  if (real_nanosleep == NULL) {
    FUNCTIONS(FIND_DELAYED)
    OTHERS(FIND)
  }
}

static double chance, longest; /* longest: nanoseconds */
static _Thread_local uint64_t state;

/* SplitMix64. */
static uint64_t draw(void) {
  uint64_t n = state += 0x9E3779B97F4A7C15u;
  n = (n ^ n >> 30) * 0xBF58476D1CE4E5B9u;
  n = (n ^ n >> 27) * 0x94D049BB133111EBu;
  return n ^ n >> 31;
}

/* From 0 to less than 1, of the last 24 bits. */
static double fraction(uint64_t n) {
  return (double)(n & 0xFFFFFF) / 0x1000000;
}

static void delay(void) {
  uint64_t n = draw();
  if (fraction(n) < chance) {
    uint64_t length = (uint64_t)(longest * fraction(n >> 24)) >> (n >> 48 & 7);
    struct timespec left = {(time_t)(length / 1000000000), (long)(length % 1000000000)};
    int saved = errno;
    while (real_nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    errno = saved;
  }
}

__attribute__((constructor)) static void begin(void) {
  const char *how = getenv("REMOTEOBJ_DELAYS");
  char *rest = "";
  need_functions();
  if (how != NULL) {
    state = strtoull(how, &rest, 10);
    chance = strtod(rest, &rest);
    longest = strtod(rest, &rest) * 1e6;
  }
  if (!(chance > 0 && chance <= 1 && longest > 0 && *rest == '\0')) {
    fprintf(stderr, "delays: REMOTEOBJ_DELAYS is '%s' instead of 'SEED CHANCE LONGEST'\n",
            how != NULL ? how : "");
    _exit(2);
  }
}

#define WRAPPER(type, name, parameters, arguments)                                                           \
  type name parameters {                                                                                     \
    type result;                                                                                             \
    need_functions();                                                                                        \
    delay();                                                                                                 \
    result = real_##name arguments;                                                                          \
    delay();                                                                                                 \
    return result;                                                                                           \
  }
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): of the names that the C library has */

FUNCTIONS(WRAPPER)

/* What the C library has no function for. */
long syscall(long number, ...) {
  long a[6], result;
  va_list arguments;
  need_functions();
  va_start(arguments, number);
  for (int i = 0; i < 6; i++)
    a[i] = va_arg(arguments, long);
  va_end(arguments);
  delay();
  result = real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  delay();
  return result;
}

pid_t fork(void) {
  uint64_t of_child = draw();
  pid_t pid;
  need_functions();
  delay();
  pid = real_fork();
  if (pid == 0)
    state = of_child;
  delay();
  return pid;
}

void _exit(int code) {
  need_functions();
  delay();
  real__exit(code);
  abort(); /* not reached */
}

/* What a new thread is to do, until it does it. Not allocated: a sanitizer's allocator need not know the thread yet. */
typedef struct Start {
  atomic_flag taken;
  uint64_t state;
  void *(*function)(void *);
  void *argument;
} Start;

static Start starts[1024]; /* zeros are clear flags, with the compilers that we know */

static Start *take_start(void) {
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
    if (!atomic_flag_test_and_set(&starts[i].taken))
      return &starts[i];
  return NULL;
}

static void *run_thread(void *argument) {
  Start *start = argument;
  void *(*function)(void *) = start->function;
  void *result;
  argument = start->argument;
  state = start->state;
  atomic_flag_clear(&start->taken);
  delay();
  result = function(argument);
  delay();
  return result;
}

int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*function)(void *),
                   void *argument) {
  Start *start = take_start();
  int code;
  need_functions();
  if (start == NULL)
    return EAGAIN;
  start->state = draw();
  start->function = function;
  start->argument = argument;
  delay();
  code = real_pthread_create(id, attributes, run_thread, start);
  if (code != 0)
    atomic_flag_clear(&start->taken);
  delay();
  return code;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
