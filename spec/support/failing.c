#include "failing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

typedef struct Failing {
  const char *name;
  atomic_long calls; /* since it was set */
  atomic_long first, times, every;
  atomic_int code;
} Failing;

/* Each wrapped function: X(kind, result, name, parameters, arguments, what it gives when it fails). */
#define FUNCTIONS(X)                                                                                         \
  X(void *, malloc, (size_t n), (n), NULL)                                                                   \
  X(void *, calloc, (size_t n, size_t size), (n, size), NULL)                                                \
  X(void *, realloc, (void *p, size_t n), (p, n), NULL)                                                      \
  X(pid_t, fork, (void), (), -1)                                                                             \
  X(int, pipe, (int ends[2]), (ends), -1)                                                                    \
  X(int, pipe2, (int ends[2], int flags), (ends, flags), -1)                                                 \
  X(int, socketpair, (int a, int b, int c, int ends[2]), (a, b, c, ends), -1)                                \
  X(int, eventfd, (unsigned value, int flags), (value, flags), -1)                                           \
  X(int, epoll_create1, (int flags), (flags), -1)                                                            \
  X(int, epoll_ctl, (int e, int op, int fd, void *event), (e, op, fd, event), -1)                            \
  X(int, epoll_wait, (int e, void *events, int n, int ms), (e, events, n, ms), -1)                           \
  X(void *, mmap64, (void *p, size_t n, int prot, int flags, int fd, off_t at), (p, n, prot, flags, fd, at), \
    MAP_FAILED)                                                                                              \
  X(int, fcntl64, (int fd, int op, long argument), (fd, op, argument), -1)                                   \
  X(int, open64, (const char *path, int flags, long mode), (path, flags, mode), -1)                          \
  X(int, mkstemp64, (char *name), (name), -1)                                                                \
  X(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), -1)                                              \
  X(ssize_t, pread64, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), -1)                             \
  X(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), -1)                                       \
  X(ssize_t, writev, (int fd, const void *p, int n), (fd, p, n), -1)                                         \
  X(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags), -1)                      \
  X(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags), -1)                            \
  X(ssize_t, sendmsg, (int fd, const void *p, int flags), (fd, p, flags), -1)                                \
  X(ssize_t, recvmsg, (int fd, void *p, int flags), (fd, p, flags), -1)                                      \
  X(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms), -1)                                    \
  X(int, ppoll, (struct pollfd * fds, nfds_t n, const void *t, const void *m), (fds, n, t, m), -1)           \
  X(pid_t, waitpid, (pid_t pid, int *status, int flags), (pid, status, flags), -1)                           \
  X(int, waitid, (int kind, id_t id, void *info, int flags), (kind, id, info, flags), -1)                    \
  X(long, syscall, (long n, long a, long b, long c, long d, long e, long f), (n, a, b, c, d, e, f), -1)      \
  X(int, pthread_create, (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *p),              \
    (t, a, f, p), code)

#define NUMBER(result, function, parameters, arguments, failure) NUMBER_##function,
enum { FUNCTIONS(NUMBER) COUNT };
#undef NUMBER

#define ENTRY(result, function, parameters, arguments, failure) {.name = #function},
static Failing all[] = {FUNCTIONS(ENTRY)};
#undef ENTRY

/* Counts a call; returns the errno that it fails with, or 0. */
static int fails(int number) {
  Failing *f = &all[number];
  long call = atomic_fetch_add(&f->calls, 1) + 1, first = atomic_load(&f->first),
       times = atomic_load(&f->times);
  if (first == 0 || call < first || (times >= 0 && call >= first + times))
    return 0;
  return (call - first) % atomic_load(&f->every) == 0 ? atomic_load(&f->code) : 0;
}

#define WRAPPER(result, function, parameters, arguments, failure)                                            \
  result __real_##function parameters;                                                                       \
  result __wrap_##function parameters;                                                                       \
  result __wrap_##function parameters {                                                                      \
    int code = fails(NUMBER_##function);                                                                     \
    if (code == 0)                                                                                           \
      return __real_##function arguments;                                                                    \
    errno = code;                                                                                            \
    return failure;                                                                                          \
  }
FUNCTIONS(WRAPPER)

static Failing *check_name(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (int i = 0; i < COUNT; i++)
    if (strcmp(all[i].name, name) == 0)
      return &all[i];
  luaL_error(L, "'%s' is not wrapped", name);
  return NULL;
}

static int l_fail(lua_State *L) {
  Failing *f = check_name(L);
  atomic_store(&f->first, 0);
  atomic_store(&f->code, (int)luaL_checkinteger(L, 3));
  atomic_store(&f->times, (long)luaL_optinteger(L, 4, 1));
  atomic_store(&f->every, (long)luaL_optinteger(L, 5, 1));
  atomic_store(&f->calls, 0);
  atomic_store(&f->first, (long)luaL_checkinteger(L, 2));
  return 0;
}

static int l_calls(lua_State *L) {
  lua_pushinteger(L, atomic_load(&check_name(L)->calls));
  return 1;
}

int failing_push(lua_State *L) {
  static const luaL_Reg functions[] = {{"fail", l_fail}, {"calls", l_calls}, {NULL, NULL}};
  static const struct {
    const char *name;
    int code;
  } codes[] = {{"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"EINTR", EINTR},
               {"ENOSPC", ENOSPC}, {"ENOSYS", ENOSYS}, {"EPERM", EPERM}};
  luaL_newlib(L, functions);
  lua_newtable(L);
  for (int i = 0; i < COUNT; i++) {
    lua_pushstring(L, all[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "names");
  lua_newtable(L);
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    lua_pushinteger(L, codes[i].code);
    lua_setfield(L, -2, codes[i].name);
  }
  lua_setfield(L, -2, "codes");
  return 1;
}
