/*
** What remoteobj.patch needs to stand in for the blocking functions of other libraries: the same waits, but
** with the answers that their callers know, EINTR included.
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/estate.h"
#include "base/stack.h"
#include "lock/hook.h"
#include "lock/state.h"
#include "sys/life.h"

/*
** The first pause between two looks at child processes that nothing announces, in nanoseconds,
** and the longest.
*/
#define PAUSE_LEAST (RO_SECOND / 1000)
#define PAUSE_MOST (RO_SECOND / 20)

/* ---- child processes ---- */

/*
** Calls waitid and leaves the child to be waited for. Returns 1 when there is one, 0 when not
** yet, -1 with errno set.
*/
static int look_for_child(int pid, int flags) {
  siginfo_t info;
  int r;
  memset(&info, 0, sizeof info);
  if (pid > 0)
    r = waitid(P_PID, (id_t)pid, &info, flags | WNOWAIT);
  else if (pid == -1)
    r = waitid(P_ALL, 0, &info, flags | WNOWAIT);
  else
    r = waitid(P_PGID, (id_t)(pid == 0 ? getpgrp() : -pid), &info, flags | WNOWAIT);
  return r != 0 ? -1 : info.si_pid != 0;
}

typedef struct Descriptor {
  ro_Asset asset; /* first, so that it stands for the whole */
  int fd;
} Descriptor;

static void end_descriptor(lua_State *L, ro_Asset *asset) {
  Descriptor *d = (Descriptor *)asset;
  (void)L;
  if (d->fd >= 0)
    close(d->fd);
  d->fd = -1;
}

static int descriptor_gc(lua_State *L) {
  ro_asset_end(L, lua_touserdata(L, 1));
  return 0;
}

/* Pushes an owner for a descriptor that is still to be had. [-0, +1, m] */
static Descriptor *push_descriptor(lua_State *L) {
  Descriptor *d = lua_newuserdatauv(L, sizeof *d, 0);
  memset(d, 0, sizeof *d);
  d->fd = -1;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, descriptor_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  ro_asset_enter(L, &d->asset, end_descriptor);
  return d;
}

/*
** Waits for the end of process `pid`. Returns 1, or 0 where that can't be done so, or -1 with
** EINTR as ro_wait_interruptible. [-0, +0, v]
*/
static int wait_descriptor(lua_State *L, int pid) {
  Descriptor *d = push_descriptor(L);
  int ready = 0;
  d->fd = ro_life_open(pid);
  if (d->fd >= 0) {
    struct pollfd p = {d->fd, POLLIN, 0};
    ready = ro_wait_interruptible(L, &p, 1, RO_NEVER);
    close(d->fd);
    d->fd = -1;
  }
  lua_pop(L, 1);
  if (ready < 0)
    errno = EINTR;
  return ready;
}

/*
** Waits for what only waitid can tell. The program blocks in it, without the lock; a library
** thread, which must be woken when the state closes, looks again and again. Returns as look_for_child.
*/
static int wait_blocking(lua_State *L, ro_Lock *lock, int pid, int flags) {
  int found, e;
  if (ro_wait_self(lock) == &lock->program) {
    ro_wait_begin(lock);
    found = look_for_child(pid, flags);
    e = errno;
    ro_wait_end(lock);
    errno = e;
    return found;
  }
  for (int64_t pause = PAUSE_LEAST; (found = look_for_child(pid, flags | WNOHANG)) == 0;) {
    ro_wait_poll(L, NULL, 0, ro_now() + pause);
    pause = pause * 2 > PAUSE_MOST ? PAUSE_MOST : pause * 2;
  }
  return found;
}

/* Waits once. Returns as look_for_child, and 0 when there may be one now. [-0, +0, v] */
static int wait_once(lua_State *L, ro_Lock *lock, int pid, int flags) {
  int found = look_for_child(pid, flags | WNOHANG);
  if (found != 0)
    return found;
  if (pid > 0 && flags == WEXITED) {
    int ended = wait_descriptor(L, pid);
    if (ended != 0)
      return ended > 0 ? 0 : -1;
  }
  return wait_blocking(L, lock, pid, flags);
}

int ro_wait_child(lua_State *L, int pid, int options, int interruptible) {
  ro_Lock *lock = ro_lock_of(L);
  int flags = WEXITED | (options & WUNTRACED ? WSTOPPED : 0) | (options & WCONTINUED ? WCONTINUED : 0);
  ro_check_stack(L, 4, NULL);
  for (;;) {
    unsigned ours = ro_signal_arrived();
    int found = wait_once(L, lock, pid, flags);
    int e = errno;
    if (found > 0)
      return 0;
    if (found < 0 && e != EINTR)
      return e;
    if (found < 0) {
      ro_wait_interrupted(L);
      if (interruptible && ours == ro_signal_arrived())
        return e;
    }
  }
}

/* ---- for Lua ---- */

static int push_errno(lua_State *L, int e) {
  luaL_pushfail(L);
  lua_pushstring(L, strerror(e));
  lua_pushinteger(L, e);
  return 3;
}

/* child(pid, options): true once there is something to wait for; or nil, message, errno. */
static int l_child(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1);
  lua_Integer options = luaL_optinteger(L, 2, 0);
  int e;
  luaL_argcheck(L, pid > INT_MIN && pid <= INT_MAX, 1, "process id out of range");
  e = ro_wait_child(L, (int)pid, (int)options, 1);
  if (e != 0)
    return push_errno(L, e);
  lua_pushboolean(L, 1);
  return 1;
}

/* sleep(seconds): 0; or when a signal has ended it early, the seconds that were left, and true. */
static int l_sleep(lua_State *L) {
  int64_t deadline = ro_deadline(luaL_checknumber(L, 1));
  int64_t left = 0;
  int interrupted = ro_wait_interruptible(L, NULL, 0, deadline) < 0;
  if (interrupted)
    left = deadline - ro_now();
  lua_pushnumber(L, left > 0 ? (lua_Number)left / (lua_Number)RO_SECOND : 0);
  lua_pushboolean(L, interrupted);
  return 2;
}

/* poll(fds, timeout): the number of ready ones, without saying which; or nil, message, errno. */
static int l_poll(lua_State *L) {
  int64_t deadline = RO_NEVER;
  struct pollfd *fds;
  nfds_t count;
  int ready;
  if (!lua_isnoneornil(L, 2))
    deadline = ro_deadline(luaL_checknumber(L, 2));
  fds = ro_poll_check(L, 1, &count);
  ready = ro_wait_interruptible(L, fds, count, deadline);
  if (ready < 0)
    return push_errno(L, EINTR);
  lua_pushinteger(L, ready);
  return 1;
}

/* When a read of `fd` that begins now gives up by itself. */
static int64_t receive_deadline(int fd) {
  struct timeval t;
  socklen_t size = sizeof t;
  if (getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &size) != 0 || (t.tv_sec == 0 && t.tv_usec == 0))
    return RO_NEVER;
  return ro_deadline((double)t.tv_sec + (double)t.tv_usec / 1e6);
}

/*
** readable(fd): true once a read of it does not wait, be it that it fails; or nil, message, errno,
** which the read would have given.
*/
static int l_readable(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  int flags = fd >= 0 && fd <= INT_MAX ? fcntl((int)fd, F_GETFL) : -1;
  if (flags >= 0 && !(flags & O_NONBLOCK)) {
    struct pollfd p = {(int)fd, POLLIN, 0};
    int ready = ro_wait_interruptible(L, &p, 1, receive_deadline((int)fd));
    if (ready <= 0)
      return push_errno(L, ready < 0 ? EINTR : EAGAIN);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* now(): seconds of the monotonic clock */
static int l_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)ro_now() / (lua_Number)RO_SECOND);
  return 1;
}

/* Adds the numbers of the errors that the replacements give by themselves. [-0, +0, m] */
static void set_errors(lua_State *L) {
  lua_pushinteger(L, EINTR);
  lua_setfield(L, -2, "EINTR");
  lua_pushinteger(L, EAGAIN);
  lua_setfield(L, -2, "EAGAIN");
  lua_pushinteger(L, ENOMSG);
  lua_setfield(L, -2, "ENOMSG");
}

/* message(errno): its text */
static int l_message(lua_State *L) {
  lua_pushstring(L, strerror((int)luaL_checkinteger(L, 1)));
  return 1;
}

void ro_open_blocking(lua_State *L) {
  static const luaL_Reg functions[] = {{"child", l_child}, {"sleep", l_sleep},       {"poll", l_poll},
                                       {"now", l_now},     {"readable", l_readable}, {"message", l_message},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  set_errors(L);
  lua_setfield(L, -2, "blocking");
}
