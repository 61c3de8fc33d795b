/***
Waiting while others run Lua: for descriptors and for time.
@module remoteobj
*/
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/stack.h"
#include "lock/hook.h"
#include "lock/state.h"
#include "sys/ppoll.h"

static const char nothing_key = 0; /* in the registry: a Lua function that does nothing */

/* ---- waking a thread that waits ---- */

void ro_wait_wake(ro_Thread *thread) {
  if (thread->wake.fd >= 0)
    ro_event_set(&thread->wake);
}

void ro_wait_forget(ro_Thread *thread) {
  ro_event_close(&thread->wake);
}

void ro_wait_cut_short(ro_Thread *thread) {
  thread->wakes++;
  if (thread == thread->lock->holder)
    return;
  thread->woken = 1;
  ro_wait_wake(thread);
}

void ro_thread_wake(ro_Thread *thread) {
  ro_Lock *lock = thread->lock;
  if (!lock->active) {
    thread->wakes++;
    return;
  }
  pthread_mutex_lock(&lock->mutex);
  ro_wait_cut_short(thread);
  pthread_mutex_unlock(&lock->mutex);
}

ro_Thread *ro_wait_self(ro_Lock *lock) {
  return lock->active ? lock->holder : &lock->program;
}

ro_Thread *ro_lock_holder(ro_Lock *lock) {
  return ro_wait_self(lock);
}

int ro_lock_runs_program(ro_Lock *lock) {
  return ro_wait_self(lock) == &lock->program;
}

/* ---- failures ---- */

/* Raises the error that its arguments describe: a text, and an errno or 0. */
static int raise_failure(lua_State *L) {
  const char *text = lua_touserdata(L, 1);
  int e = (int)lua_tointeger(L, 2);
  return e == 0 ? luaL_error(L, "%s", text) : luaL_error(L, "%s: %s", text, strerror(e));
}

/*
** Pushes an error value, be it that there is no memory for the one wanted. Returns
** RO_WAIT_FAILED. [-0, +1, -]
*/
static int fail(lua_State *L, const char *text, int e) {
  lua_pushcfunction(L, raise_failure);
  lua_pushlightuserdata(L, (void *)text);
  lua_pushinteger(L, e);
  lua_pcall(L, 2, 0, 0);
  return RO_WAIT_FAILED;
}

/* Is the calling thread to end, or to raise what others have to say. As ro_wait_try. */
static int check_told(lua_State *L, ro_Lock *lock) {
  if (ro_hook_closing(lock))
    return fail(L, RO_CLOSING, 0);
  return ro_hook_told(lock, L) ? RO_WAIT_FAILED : 0;
}

/*
** Lets the hook of `hooked` run, if it has one, by calling a function that does nothing. As
** ro_wait_try, with the error on L.
*/
static int run_hook(lua_State *L, lua_State *hooked) {
  if (lua_gethookmask(hooked) == 0 || !lua_checkstack(hooked, 2))
    return 0;
  if (lua_rawgetp(hooked, LUA_REGISTRYINDEX, &nothing_key) != LUA_TFUNCTION) {
    lua_pop(hooked, 1);
    return 0;
  }
  if (lua_pcall(hooked, 0, 0, 0) == LUA_OK)
    return 0;
  if (hooked != L)
    lua_xmove(hooked, L, 1);
  return RO_WAIT_FAILED;
}

/*
** Lets the hooks run that are set, and with them what signal handlers have asked for. Those of lua.c
** and luaposix hook the main coroutine, also while the program waits in another. As ro_wait_try.
*/
static int after_signal(lua_State *L, ro_Lock *lock) {
  int r = check_told(L, lock);
  if (r == 0)
    r = run_hook(L, L);
  if (r == 0 && lock->main != L && ro_wait_self(lock) == &lock->program)
    r = run_hook(L, lock->main);
  return r;
}

void ro_wait_interrupted(lua_State *L) {
  ro_check_stack(L, 4, NULL);
  if (after_signal(L, ro_lock_of(L)) != 0)
    lua_error(L);
}

/* ---- poll ---- */

typedef struct Wait {
  struct pollfd *fds;
  nfds_t count;
  /* coroutines of the program whose hooks signal handlers change: the one that waits and the main one; or NULL */
  lua_State *hooked[2];
  ro_UserHook hooks[2];  /* theirs when they were looked at last */
  const ro_Thread *asks; /* the program, if it is to wake up where it is told something; or NULL */
} Wait;

static ro_UserHook hook_of(lua_State *L) {
  ro_UserHook hook = {lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L)};
  return hook;
}

/* Looks at the hooks; returns whether one is for the very next instruction, as signal handlers set it. */
static int look_at_hooks(ro_Lock *lock, Wait *w) {
  int due = 0;
  for (int i = 0; i < 2; i++) {
    if (w->hooked[i] == NULL)
      continue;
    ro_hook_uncover(lock, w->hooked[i]);
    w->hooks[i] = hook_of(w->hooked[i]);
    due |= (w->hooks[i].mask & LUA_MASKCOUNT) && w->hooks[i].count == 1;
  }
  return due;
}

/* Is the calling thread, which waits on L, to wake up if it is told something: not where it can't be asked here. */
static int heeds(lua_State *L, const ro_Thread *self) {
  return L != self->base && (!ro_thread_is_told(self) || ro_hook_may_tell(self, L));
}

/* Remembers the program's hooks before it waits, and lets those run that are due. As ro_wait_try. */
static int watch_hook(lua_State *L, ro_Lock *lock, Wait *w) {
  int is_program = ro_wait_self(lock) == &lock->program;
  w->hooked[0] = is_program ? L : NULL;
  w->hooked[1] = is_program && lock->main != L ? lock->main : NULL;
  for (int i = 0; i < 2 && look_at_hooks(lock, w); i++) /* not for ever: it may be one that stays */
    if (after_signal(L, lock) != 0)
      return RO_WAIT_FAILED;
  w->asks = is_program && heeds(L, &lock->program) ? &lock->program : NULL;
  return 0;
}

/* Has a signal handler changed a hook since, or told the program something. */
static int hook_changed(const Wait *w) {
  if (w->asks != NULL && ro_thread_is_told(w->asks))
    return 1;
  for (int i = 0; i < 2; i++) {
    ro_UserHook now;
    if (w->hooked[i] == NULL)
      continue;
    now = hook_of(w->hooked[i]);
    if (now.hook != w->hooks[i].hook || now.mask != w->hooks[i].mask || now.count != w->hooks[i].count)
      return 1;
  }
  return 0;
}

/*
** Blocks. A signal that arrives after the hook was looked at must not be slept over, nor one that
** arrives after it is looked at again.
*/
static int wait_blocking(const Wait *w, int64_t deadline) {
  sigset_t all, before;
  int ready = -1, e = EINTR;
  if (w->hooked[0] == NULL || deadline <= ro_now()) /* nobody to tell, or only a look */
    return ro_poll_until(w->fds, w->count, deadline, NULL);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  if (!hook_changed(w)) {
    ready = ro_poll_until(w->fds, w->count, deadline, &before);
    e = errno;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = e;
  return ready;
}

/* For ro_patience_try. */
static int look_once(void *context) {
  const Wait *w = context;
  return poll(w->fds, w->count, 0);
}

/* As wait_blocking, actively at first. Never so when there is nothing to wait for but the time. */
static int wait_until(ro_Thread *self, Wait *w, int64_t deadline) {
  int64_t start = ro_now();
  int ready = self->has_looked ? 0 : ro_patience_try(&self->patience, look_once, w);
  self->has_looked = 0;
  if (ready != 0)
    return ready;
  ready = wait_blocking(w, deadline);
  ro_patience_learn(&self->patience, start);
  return ready;
}

int ro_wait_actively(ro_Lock *lock, int (*look)(void *context), void *context) {
  ro_Thread *self = &lock->program;
  if (lock->active)
    return 0;
  self->has_looked = 1;
  return ro_patience_try(&self->patience, look, context);
}

/* Makes sure that the calling thread can be woken, where there are others. Returns 0 or an errno. */
static int need_wake(ro_Lock *lock, ro_Thread *self) {
  ro_Event wake;
  int e;
  if (!lock->active || self->wake.fd >= 0)
    return 0;
  e = ro_event_open(&wake);
  if (e != 0)
    return e;
  pthread_mutex_lock(&lock->mutex);
  self->wake = wake;
  pthread_mutex_unlock(&lock->mutex);
  return 0;
}

/* Forgets a wake-up; returns whether there was one. */
static int take_wake(ro_Thread *self) {
  int woken = self->woken;
  self->woken = 0;
  return woken;
}

/*
** Has the thread been woken since it had been so `wakes` times. A function that was called during a wait, by an interest or
** a signal, may have waited itself: then that wait has taken the wake-up, or brought about itself what the outer one is for.
*/
static int is_woken(ro_Thread *self, unsigned wakes) {
  return take_wake(self) || self->wakes != wakes;
}

/*
** One wait on the `count` descriptors of `w` and on the thread's own wake-up, which follows them.
** Returns how many of those are ready, -1 with errno set.
*/
static int poll_once(ro_Lock *lock, ro_Thread *self, Wait *w, nfds_t count, int64_t deadline) {
  int ready, e;
  w->fds[count] = (struct pollfd){.fd = self->wake.fd, .events = POLLIN};
  w->count = self->wake.fd >= 0 ? count + 1 : count;
  self->polls = 1;
  ro_wait_begin(lock);
  ready = count > 0 ? wait_until(self, w, deadline) : wait_blocking(w, deadline);
  e = errno;
  if (ready > 0 && w->count > count && w->fds[count].revents != 0) {
    ro_event_clear(&self->wake);
    ready--;
  }
  ro_wait_end(lock);
  self->polls = 0;
  errno = e;
  return ready;
}

/* How many of the descriptors that the wait is for are ready, if `ready` of all are. */
static int own_ready(const ro_Polled *p, int ready) {
  int own = 0;
  if (p->interests == 0)
    return ready;
  for (nfds_t i = 0; ready > 0 && i < p->own; i++)
    own += p->fds[i].revents != 0;
  return own;
}

/* Waits on all of `p` again and again. As ro_wait_try. */
static int poll_all(lua_State *L, ro_Lock *lock, ro_Polled *p, int64_t deadline, int flags) {
  ro_Thread *self = ro_wait_self(lock);
  unsigned wakes = self->wakes;
  Wait w;
  for (;;) {
    unsigned ours = ro_signal_arrived();
    int64_t until = deadline;
    int ready, own, attended, e;
    if (watch_hook(L, lock, &w) != 0)
      return RO_WAIT_FAILED;
    if (self->wakes != wakes && (flags & RO_WAIT_WAKEABLE))
      return 0;
    e = ro_polled_gather(p, lock, &until);
    if (e != 0)
      return fail(L, "cannot wait", e);
    w.fds = p->fds;
    ready = poll_once(lock, self, &w, p->count, until);
    e = ready < 0 ? errno : 0;
    if (e != 0 && e != EINTR)
      return fail(L, "cannot wait", e);
    if (e == 0 ? check_told(L, lock) != 0 : after_signal(L, lock) != 0)
      return RO_WAIT_FAILED;
    own = e == 0 ? own_ready(p, ready) : 0;
    attended = p->interests > 0 && ro_polled_attend(L, p, lock, ready);
    if (own > 0)
      return own;
    if (attended && check_told(L, lock) != 0) /* what has ended a function that was called is raised here */
      return RO_WAIT_FAILED;
    if (e == EINTR && (flags & RO_WAIT_INTERRUPTIBLE) && ours == ro_signal_arrived())
      return RO_WAIT_INTERRUPTED;
    if ((is_woken(self, wakes) || (e == EINTR && ro_thread_is_told(self))) && (flags & RO_WAIT_WAKEABLE))
      return 0;
    if (attended && (flags & RO_WAIT_ATTENTIVE))
      return 0;
    if (deadline != RO_NEVER && ro_now() >= deadline)
      return 0;
  }
}

int ro_wait_try(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline, int flags) {
  ro_Lock *lock = ro_lock_of(L);
  ro_Thread *self = ro_wait_self(lock);
  ro_Polled p;
  int ready, e;
  if (!lua_checkstack(L, RO_INTEREST_SLOTS))
    return fail(L, "not enough memory", 0);
  if (self == &lock->program && !ro_hook_tracked(lock, L))
    ro_hook_note(lock, L);
  if (check_told(L, lock) != 0)
    return RO_WAIT_FAILED;
  if (take_wake(self) && (flags & RO_WAIT_WAKEABLE))
    deadline = 0;
  e = need_wake(lock, self);
  if (e == 0)
    e = ro_polled_begin(&p, fds, count);
  if (e != 0)
    return fail(L, "cannot wait", e);
  ready = poll_all(L, lock, &p, deadline, flags);
  for (nfds_t i = 0; i < count; i++)
    fds[i].revents = ready > 0 ? p.fds[i].revents : 0;
  ro_polled_end(&p);
  if (ro_thread_is_told(self)) /* what can't be raised here is where L goes on */
    ro_hook_listen(lock);
  return ready;
}

static int wait_or_raise(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline, int flags) {
  int ready;
  ro_check_stack(L, RO_WAIT_STACK, NULL);
  ready = ro_wait_try(L, fds, count, deadline, flags);
  return ready == RO_WAIT_FAILED ? lua_error(L) : ready;
}

int ro_wait_poll(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline) {
  return wait_or_raise(L, fds, count, deadline, RO_WAIT_WAKEABLE);
}

int ro_wait_poll_try(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline) {
  return ro_wait_try(L, fds, count, deadline, RO_WAIT_WAKEABLE);
}

int ro_wait_interruptible(lua_State *L, struct pollfd *fds, nfds_t count, int64_t deadline) {
  return wait_or_raise(L, fds, count, deadline, RO_WAIT_INTERRUPTIBLE);
}

/* ---- sleep and poll ---- */

/***
Sleeps and lets requests run meanwhile.
@function sleep
@tparam number seconds how long
*/
static int l_sleep(lua_State *L) {
  wait_or_raise(L, NULL, 0, ro_deadline(luaL_checknumber(L, 1)), 0);
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
  luaL_argcheck(L, lua_getfield(L, -1, "events") == LUA_TTABLE, 1,
                "contains value(s) without a table of events");
  p->fd = (int)fd;
  p->events = check_events(L);
  p->revents = 0;
  lua_pop(L, 1);
}

static nfds_t count_entries(lua_State *L, int index) {
  nfds_t count = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    count++;
  return count;
}

/* The list of entries is for the caller, since another thread may change the table meanwhile. */
struct pollfd *ro_poll_check(lua_State *L, int index, nfds_t *count) {
  nfds_t most, i = 0;
  struct pollfd *fds;
  int entries, memory;
  luaL_checktype(L, index, LUA_TTABLE);
  most = count_entries(L, index);
  luaL_argcheck(L, most <= INT_MAX, index, "too many descriptors");
  lua_createtable(L, (int)most, 0);
  entries = lua_gettop(L);
  fds = lua_newuserdatauv(L, ((size_t)most + 1) * sizeof *fds, 0);
  memory = lua_gettop(L);
  for (lua_pushnil(L); i < most && lua_next(L, index); i++) {
    check_entry(L, &fds[i]);
    lua_rawseti(L, entries, (lua_Integer)i + 1);
  }
  lua_settop(L, memory);
  *count = i; /* metamethods of an entry may have taken others away */
  return fds;
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

/***
Waits for descriptors and lets requests run meanwhile.
@function poll
@tparam table fds by descriptor a table whose field `events` says what to wait for, as
 `{ [fd] = { events = { IN = true, OUT = true } } }`; sets `revents` likewise
@tparam[opt] number timeout seconds, without end if not given
@treturn integer how many are ready
*/
static int l_poll(lua_State *L) {
  enum { FDS = 1, TIMEOUT, ENTRIES, MEMORY };
  int64_t deadline = RO_NEVER;
  struct pollfd *fds;
  nfds_t count;
  int ready;
  if (!lua_isnoneornil(L, TIMEOUT))
    deadline = ro_deadline(luaL_checknumber(L, TIMEOUT));
  lua_settop(L, TIMEOUT);
  fds = ro_poll_check(L, FDS, &count);
  ready = wait_or_raise(L, fds, count, deadline, 0);
  for (nfds_t i = 0; i < count; i++) {
    lua_rawgeti(L, ENTRIES, (lua_Integer)i + 1);
    set_revents(L, fds[i].revents);
    lua_settop(L, MEMORY);
  }
  lua_pushinteger(L, ready);
  return 1;
}

void ro_open_wait(lua_State *L) {
  static const luaL_Reg functions[] = {{"sleep", l_sleep}, {"poll", l_poll}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &nothing_key) == LUA_TNIL) {
    if (luaL_loadbufferx(L, "", 0, "=(remoteobj)", "t") != LUA_OK)
      lua_error(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &nothing_key);
  }
  lua_pop(L, 1);
}
