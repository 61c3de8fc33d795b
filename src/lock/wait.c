/*
** Waiting while others run Lua: for descriptors, for time, for child processes.
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "lock/hook.h"
#include "lock/state.h"

#if defined(__linux__) && !defined(RO_NO_LINUX)
#define RO_LINUX 1
#include <sys/eventfd.h>
#include <sys/syscall.h>
#else
#define RO_LINUX 0
#endif

#define FEW 8 /* descriptors that need no memory of their own */

/* The first pause between two looks at child processes that nothing announces, in nanoseconds, and the longest. */
#define PAUSE_LEAST (RO_SECOND / 1000)
#define PAUSE_MOST (RO_SECOND / 20)

static const char nothing_key = 0; /* in the registry: a Lua function that does nothing */

/* ---- waking a thread that waits ---- */

/* Makes the descriptors that ro_wait_wake writes to. Returns 0 or an errno. */
static int open_wake(int fds[2]) {
#if RO_LINUX
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0)
    return errno;
  fds[0] = fds[1] = fd;
#else
  if (pipe(fds) != 0)
    return errno;
  for (int i = 0; i < 2; i++) {
    fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    fcntl(fds[i], F_SETFL, O_NONBLOCK);
  }
#endif
  return 0;
}

void ro_wait_wake(ro_Thread *thread) {
  static const uint64_t one = 1;
  ssize_t ignored;
  if (thread->wake[1] < 0)
    return;
  ignored = write(thread->wake[1], &one, sizeof one); /* full: it is readable then */
  (void)ignored;
}

void ro_wait_forget(ro_Thread *thread) {
  if (thread->wake[0] >= 0)
    close(thread->wake[0]);
  if (thread->wake[1] >= 0 && thread->wake[1] != thread->wake[0])
    close(thread->wake[1]);
  thread->wake[0] = thread->wake[1] = -1;
}

static void drain_wake(const ro_Thread *thread) {
  char bytes[64];
  while (read(thread->wake[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes)
    ;
}

/* Makes sure that a library thread can be woken; the program's waits for nobody. [-0, +0, v] */
static void need_wake(lua_State *L, ro_Lock *lock, ro_Thread *self) {
  int fds[2], e;
  if (self == &lock->program || self->wake[0] >= 0)
    return;
  e = open_wake(fds);
  if (e != 0)
    luaL_error(L, "cannot wait: %s", strerror(e));
  pthread_mutex_lock(&lock->mutex);
  memcpy(self->wake, fds, sizeof fds);
  pthread_mutex_unlock(&lock->mutex);
}

/* ---- what interrupts a wait ---- */

/* The caller holds the lock, so that the holder is the caller. */
static ro_Thread *self_of(ro_Lock *lock) {
  return lock->active ? lock->holder : &lock->program;
}

static void raise_if_closing(lua_State *L, ro_Lock *lock) {
  if (atomic_load(&lock->closing) && self_of(lock) != &lock->program)
    luaL_error(L, "the Lua state is closing");
}

void ro_wait_interrupted(lua_State *L) {
  raise_if_closing(L, ro_lock_of(L));
  if (lua_gethookmask(L) == 0)
    return;
  luaL_checkstack(L, 1, NULL);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &nothing_key) == LUA_TFUNCTION)
    lua_call(L, 0, 0);
  else
    lua_pop(L, 1);
}

/* ---- poll ---- */

/* As poll(2), with the precision that the system has. Returns -1 with errno set where it fails. */
static int poll_until(struct pollfd *fds, nfds_t count, int64_t deadline) {
#if RO_LINUX
  struct timespec t;
  int64_t left;
  if (deadline == RO_NEVER)
    return ppoll(fds, count, NULL, NULL);
  left = deadline - ro_now();
  if (left < 0)
    left = 0;
  t.tv_sec = (time_t)(left / RO_SECOND);
  t.tv_nsec = (long)(left % RO_SECOND);
  return ppoll(fds, count, &t, NULL);
#else
  return poll(fds, count, ro_milliseconds_until(deadline));
#endif
}

/* Where the `count` descriptors and one more fit: `few`, or a userdata, which it pushes; else nil. [-0, +1, m] */
static struct pollfd *room_for(lua_State *L, nfds_t count, struct pollfd *few) {
  if (count < FEW) {
    lua_pushnil(L);
    return few;
  }
  return lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *few, 0);
}

/*
** Waits on `all`, whose last member is the thread's own wake-up. Returns how many of
** the others are ready, 0 at the deadline.
*/
static int poll_all(lua_State *L, ro_Lock *lock, struct pollfd *all, nfds_t count, int64_t deadline) {
  ro_Thread *self = self_of(lock);
  nfds_t watched = self->wake[0] >= 0 ? count + 1 : count;
  for (;;) {
    int ready, e;
    ro_wait_begin(lock);
    ready = poll_until(all, watched, deadline);
    e = errno;
    ro_wait_end(lock);
    if (ready < 0) {
      if (e != EINTR)
        luaL_error(L, "cannot wait: %s", strerror(e));
      ro_wait_interrupted(L);
    } else {
      if (watched > count && all[count].revents != 0) {
        drain_wake(self);
        ready--;
      }
      raise_if_closing(L, lock);
      if (ready > 0)
        return ready;
    }
    if (deadline != RO_NEVER && ro_now() >= deadline)
      return 0;
  }
}

int ro_wait_poll(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline) {
  ro_Lock *lock = ro_lock_of(L);
  ro_Thread *self = self_of(lock);
  struct pollfd few[FEW], *all;
  int ready;
  luaL_checkstack(L, 4, NULL);
  if (self == &lock->program && !ro_hook_tracked(lock, L))
    ro_hook_note(lock, L);
  raise_if_closing(L, lock);
  need_wake(L, lock, self);
  all = room_for(L, count, few);
  if (count > 0)
    memcpy(all, fds, (size_t)count * sizeof *fds);
  all[count].fd = self->wake[0];
  all[count].events = POLLIN;
  ready = poll_all(L, lock, all, count, deadline);
  for (nfds_t i = 0; i < count; i++)
    fds[i].revents = ready > 0 ? all[i].revents : 0;
  lua_pop(L, 1);
  return ready;
}

/* ---- child processes ---- */

/* Calls waitid and leaves the child to be waited for. Returns 1 when there is one, 0 when not yet, -1 with errno set. */
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
  int fd;
} Descriptor;

static int close_descriptor(lua_State *L) {
  Descriptor *d = lua_touserdata(L, 1);
  if (d->fd >= 0)
    close(d->fd);
  d->fd = -1;
  return 0;
}

/* Pushes an owner for a descriptor that is still to be had. [-0, +1, m] */
static Descriptor *push_descriptor(lua_State *L) {
  Descriptor *d = lua_newuserdatauv(L, sizeof *d, 0);
  d->fd = -1;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_descriptor);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return d;
}

/* A descriptor that is readable when the process has ended, or -1 where there is no such thing. */
static int process_descriptor(int pid) {
#if RO_LINUX && defined(SYS_pidfd_open)
  return (int)syscall(SYS_pidfd_open, pid, 0);
#else
  (void)pid;
  return -1;
#endif
}

/* Waits for the end of process `pid`. Returns 0 where that can't be done so. [-0, +0, v] */
static int wait_descriptor(lua_State *L, int pid) {
  Descriptor *d = push_descriptor(L);
  d->fd = process_descriptor(pid);
  if (d->fd >= 0) {
    struct pollfd p = {d->fd, POLLIN, 0};
    ro_wait_poll(L, &p, 1, RO_NEVER);
    close(d->fd);
    d->fd = -1;
    lua_pop(L, 1);
    return 1;
  }
  lua_pop(L, 1);
  return 0;
}

/*
** Waits for what only waitid can tell. The program blocks in it, without the lock; a library
** thread, which must be woken when the state closes, looks again and again. Returns as look_for_child.
*/
static int wait_blocking(lua_State *L, ro_Lock *lock, int pid, int flags) {
  int found, e;
  if (self_of(lock) == &lock->program) {
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

int ro_wait_child(lua_State *L, int pid, int options) {
  ro_Lock *lock = ro_lock_of(L);
  int flags = WEXITED | (options & WUNTRACED ? WSTOPPED : 0) | (options & WCONTINUED ? WCONTINUED : 0);
  luaL_checkstack(L, 4, NULL);
  for (;;) {
    int found = look_for_child(pid, flags | WNOHANG);
    if (found == 0 && (pid <= 0 || flags != WEXITED || !wait_descriptor(L, pid)))
      found = wait_blocking(L, lock, pid, flags);
    if (found > 0)
      return 0;
    if (found < 0 && errno != EINTR)
      return errno;
    if (found < 0)
      ro_wait_interrupted(L);
  }
}

/* wait_child(pid [, options]): true once there is something to wait for, or nil, message, errno. */
static int l_wait_child(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1);
  lua_Integer options = luaL_optinteger(L, 2, 0);
  int e;
  luaL_argcheck(L, pid > INT_MIN && pid <= INT_MAX, 1, "process id out of range");
  e = ro_wait_child(L, (int)pid, (int)options);
  if (e == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  luaL_pushfail(L);
  lua_pushstring(L, strerror(e));
  lua_pushinteger(L, e);
  return 3;
}

/* ---- sleep and poll ---- */

/* sleep(seconds) */
static int l_sleep(lua_State *L) {
  ro_wait_poll(L, NULL, 0, ro_deadline(luaL_checknumber(L, 1)));
  return 0;
}

typedef struct Event {
  const char *name;
  short bit;
} Event;

static const Event events[] = {{"IN", POLLIN},   {"PRI", POLLPRI}, {"OUT", POLLOUT},
                               {"ERR", POLLERR}, {"HUP", POLLHUP}, {"NVAL", POLLNVAL}};
#define EVENTS (sizeof events / sizeof *events)

/* The bits of the table of events at the top. [-0, +0, v] */
static short check_events(lua_State *L) {
  short bits = 0;
  for (size_t i = 0; i < EVENTS; i++) {
    lua_getfield(L, -1, events[i].name);
    if (lua_toboolean(L, -1))
      bits = (short)(bits | events[i].bit);
    lua_pop(L, 1);
  }
  return bits;
}

/* One entry of poll's table: key and value are on top. [-0, +0, v] */
static void check_entry(lua_State *L, struct pollfd *p) {
  int is_integer;
  lua_Integer fd = lua_tointegerx(L, -2, &is_integer);
  luaL_argcheck(L, is_integer && lua_type(L, -2) == LUA_TNUMBER, 1, "contains non-integer key(s)");
  luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 1, "contains key(s) that are no descriptors");
  luaL_argcheck(L, lua_istable(L, -1), 1, "contains non-table value(s)");
  luaL_argcheck(L, lua_getfield(L, -1, "events") == LUA_TTABLE, 1, "contains value(s) without a table of events");
  p->fd = (int)fd;
  p->events = check_events(L);
  p->revents = 0;
  lua_pop(L, 1);
}

static nfds_t count_entries(lua_State *L) {
  nfds_t count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    count++;
  return count;
}

/* Fills in `revents` of the entry on top. [-0, +0, v] */
static void set_revents(lua_State *L, short bits) {
  if (lua_getfield(L, -1, "revents") != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, EVENTS);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "revents");
  }
  for (size_t i = 0; i < EVENTS; i++) {
    lua_pushboolean(L, bits & events[i].bit);
    lua_setfield(L, -2, events[i].name);
  }
  lua_pop(L, 1);
}

/*
** poll(fds [, timeout]): the entries are kept in a list of their own, since another thread
** may change the table meanwhile.
*/
static int l_poll(lua_State *L) {
  enum { FDS = 1, TIMEOUT, ENTRIES, MEMORY };
  int64_t deadline = RO_NEVER;
  struct pollfd *fds;
  nfds_t count, i = 0;
  int ready;
  luaL_checktype(L, FDS, LUA_TTABLE);
  if (!lua_isnoneornil(L, TIMEOUT))
    deadline = ro_deadline(luaL_checknumber(L, TIMEOUT));
  lua_settop(L, TIMEOUT);
  count = count_entries(L);
  luaL_argcheck(L, count <= INT_MAX, FDS, "too many descriptors");
  lua_createtable(L, (int)count, 0);
  fds = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *fds, 0);
  for (lua_pushnil(L); lua_next(L, FDS) && i < count; i++) {
    check_entry(L, &fds[i]);
    lua_rawseti(L, ENTRIES, (lua_Integer)i + 1);
  }
  lua_settop(L, MEMORY);
  count = i; /* metamethods of an entry may have taken others away */
  ready = ro_wait_poll(L, fds, count, deadline);
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, ENTRIES, (lua_Integer)i + 1);
    set_revents(L, fds[i].revents);
    lua_settop(L, MEMORY);
  }
  lua_pushinteger(L, ready);
  return 1;
}

void ro_open_wait(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"sleep", l_sleep}, {"poll", l_poll}, {"wait_child", l_wait_child}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &nothing_key) == LUA_TNIL) {
    if (luaL_loadbufferx(L, "", 0, "=(remoteobj)", "t") != LUA_OK)
      lua_error(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &nothing_key);
  }
  lua_pop(L, 1);
}
