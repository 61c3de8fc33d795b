#include "process/system.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/platform.h"
#include "lock/lock.h"

#if RO_HAS_AFFINITY
#include <sched.h>
#endif

#define COLUMNS 80 /* of a terminal that doesn't say */

/* ---- print ---- */

/* Writes what a single write(2) takes, waiting for it without the lock. Returns how much, or -1 with errno. */
static ssize_t write_once(ro_Lock *lock, int fd, const char *bytes, size_t size) {
  ssize_t written;
  int e;
  ro_wait_begin(lock);
  written = write(fd, bytes, size);
  e = errno;
  ro_wait_end(lock);
  errno = e;
  return written;
}

/* Writes all; only what the system splits takes more than one write. [-0, +0, v] */
static void write_whole(lua_State *L, int fd, const char *bytes, size_t size) {
  ro_Lock *lock = ro_lock_of(L);
  while (size > 0) {
    ssize_t written = write_once(lock, fd, bytes, size);
    if (written >= 0) {
      bytes += written;
      size -= (size_t)written;
    } else if (errno == EINTR) {
      ro_wait_interrupted(L);
    } else if (errno == EAGAIN) {
      struct pollfd room = {.fd = fd, .events = POLLOUT};
      ro_wait_poll(L, &room, 1, RO_NEVER);
    } else {
      luaL_error(L, "cannot print: %s", strerror(errno));
    }
  }
}

/* print(...): as Lua's, in one write, after what the program has printed before. */
static int system_print(lua_State *L) {
  int last = lua_gettop(L);
  size_t size;
  const char *line;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (int i = 1; i <= last; i++) {
    if (i > 1)
      luaL_addchar(&b, '\t');
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&b);
  }
  luaL_addchar(&b, '\n');
  luaL_pushresult(&b);
  line = lua_tolstring(L, -1, &size);
  fflush(stdout);
  write_whole(L, fileno(stdout), line, size);
  return 0;
}

/* ---- a crash ---- */

/* segfault(): ends the process by SIGSEGV, whatever handler or mask it has for that. */
static int system_segfault(lua_State *L) {
  sigset_t fault;
  (void)L;
  fflush(NULL);
  signal(SIGSEGV, SIG_DFL);
  sigemptyset(&fault);
  sigaddset(&fault, SIGSEGV);
  pthread_sigmask(SIG_UNBLOCK, &fault, NULL);
  raise(SIGSEGV);
  return 0;
}

/* ---- the machine ---- */

/* processors(): how many this process may use. */
static int system_processors(lua_State *L) {
  long count = -1;
#if RO_HAS_AFFINITY
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    count = CPU_COUNT(&set);
#endif
#ifdef _SC_NPROCESSORS_ONLN
  if (count < 1)
    count = sysconf(_SC_NPROCESSORS_ONLN);
#endif
  lua_pushinteger(L, count < 1 ? 1 : count);
  return 1;
}

/* columns(): the width of the terminal that standard error goes to; nil when it goes elsewhere. */
static int system_columns(lua_State *L) {
  int columns = COLUMNS;
#if RO_HAS_WINDOW_SIZE
  struct winsize window;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
    columns = window.ws_col;
#endif
  if (isatty(STDERR_FILENO))
    lua_pushinteger(L, columns);
  else
    lua_pushnil(L);
  return 1;
}

void ro_system_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"print", system_print},
                                       {"segfault", system_segfault},
                                       {"processors", system_processors},
                                       {"columns", system_columns},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
