#include "process/system.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "lock/lock.h"

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

void ro_system_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"print", system_print}, {"segfault", system_segfault}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
