/*
** For the specs of the lock: native threads that enter the state and call Lua functions, as
** the library's own do. Linked with the lock's sources into a module of its own.
*/
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "base/clock.h"
#include "lock/lock.h"

#define THREAD "lock_threads.thread"
#define KEEPER "lock_threads.keeper"

typedef struct Thread {
  struct Thread *next;
  ro_Lock *lock;
  lua_State *L; /* its own coroutine; the function to call is at 1 */
  ro_Native native;
  int started, joined;
  int preempt;
  long times; /* calls to make; below 0: until stopped */
  long pause; /* microseconds between two */
  atomic_int stop;
  atomic_long calls;
  atomic_int waits; /* what the observer was told: +1, -1 */
  int failed;
  char message[200];
} Thread;

static void observe(void *context, int waiting) {
  Thread *t = context;
  atomic_fetch_add(&t->waits, waiting ? 1 : -1);
}

static void call(Thread *t) {
  lua_settop(t->L, 1);
  lua_pushvalue(t->L, 1);
  if (lua_pcall(t->L, 0, 0, 0) != LUA_OK && !t->failed) {
    const char *s = lua_tostring(t->L, -1);
    strncpy(t->message, s != NULL ? s : "?", sizeof t->message - 1);
    t->failed = 1;
  }
}

static void *run(void *argument) {
  Thread *t = argument;
  ro_Thread *self = ro_thread_begin(t->lock, observe, t);
  if (self == NULL)
    abort();
  for (long i = 0; (t->times < 0 || i < t->times) && !atomic_load(&t->stop); i++) {
    if (ro_lock_enter(self, t->L, t->preempt) != 0)
      break;
    call(t);
    ro_lock_leave(self);
    atomic_fetch_add(&t->calls, 1);
    if (t->pause > 0) {
      struct timespec p = {t->pause / 1000000, t->pause % 1000000 * 1000};
      nanosleep(&p, NULL);
    }
  }
  ro_thread_end(self);
  return NULL;
}

static void join(Thread *t) {
  if (!t->started || t->joined)
    return;
  ro_wait_begin(t->lock);
  ro_native_join(&t->native);
  ro_wait_end(t->lock);
  t->joined = 1;
}

static Thread *check(lua_State *L) {
  return *(Thread **)luaL_checkudata(L, 1, THREAD);
}

/* stop(): no further calls */
static int l_stop(lua_State *L) {
  atomic_store(&check(L)->stop, 1);
  lua_settop(L, 1);
  return 1;
}

/* join(): whether no call has failed, the error's text, the number of calls */
static int l_join(lua_State *L) {
  Thread *t = check(L);
  join(t);
  lua_pushboolean(L, !t->failed);
  lua_pushstring(L, t->message);
  lua_pushinteger(L, atomic_load(&t->calls));
  lua_pushinteger(L, atomic_load(&t->waits));
  return 4;
}

static int l_calls(lua_State *L) {
  lua_pushinteger(L, atomic_load(&check(L)->calls));
  return 1;
}

static int l_waiting(lua_State *L) {
  lua_pushboolean(L, atomic_load(&check(L)->waits) > 0);
  return 1;
}

static lua_Integer option(lua_State *L, const char *name, lua_Integer standard) {
  lua_Integer v = standard;
  if (lua_istable(L, 2)) {
    if (lua_getfield(L, 2, name) != LUA_TNIL)
      v = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : luaL_checkinteger(L, -1);
    lua_pop(L, 1);
  }
  return v;
}

/* start(func, {times = 1, pause = 0, preempt = true}) */
static int l_start(lua_State *L) {
  Thread **keeper, *t, **handle;
  int e;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_getfield(L, LUA_REGISTRYINDEX, KEEPER);
  keeper = lua_touserdata(L, -1);
  e = ro_lock_activate(L);
  if (e != 0)
    return luaL_error(L, "cannot activate: %s", strerror(e));
  handle = lua_newuserdatauv(L, sizeof *handle, 1);
  luaL_setmetatable(L, THREAD);
  t = calloc(1, sizeof *t);
  if (t == NULL)
    return luaL_error(L, "no memory");
  *handle = t;
  t->next = *keeper;
  *keeper = t;
  t->lock = ro_lock_of(L);
  t->preempt = (int)option(L, "preempt", 1);
  t->times = option(L, "times", 1);
  t->pause = option(L, "pause", 0);
  t->L = lua_newthread(L);
  lua_sethook(t->L, NULL, 0, 0);
  lua_pushvalue(L, 1);
  lua_xmove(L, t->L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t); /* for as long as the state lasts */
  e = ro_thread_start(&t->native, run, t);
  if (e != 0)
    return luaL_error(L, "cannot start: %s", strerror(e));
  t->started = 1;
  return 1;
}

static int keeper_gc(lua_State *L) {
  Thread **keeper = lua_touserdata(L, 1), *t;
  pid_t *owner = (pid_t *)(keeper + 1);
  if (*owner == getpid())
    ro_lock_close(ro_lock_of(L));
  while ((t = *keeper) != NULL) {
    *keeper = t->next;
    if (*owner == getpid())
      join(t);
    free(t);
  }
  return 0;
}

/* block(seconds): sleeps without letting others have the lock; returns whether a signal cut it short */
static int l_block(lua_State *L) {
  double s = luaL_checknumber(L, 1);
  struct timespec p = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
  lua_pushboolean(L, nanosleep(&p, NULL) != 0);
  return 1;
}

/* spin(seconds): a C function that computes without letting others have the lock */
static int l_spin(lua_State *L) {
  int64_t end = ro_deadline(luaL_checknumber(L, 1));
  while (ro_now() < end)
    ;
  return 0;
}

static int l_now(lua_State *L) {
  lua_pushnumber(L, (double)ro_now() / (double)RO_SECOND);
  return 1;
}

static int l_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

static int l_wanted(lua_State *L) {
  lua_pushboolean(L, ro_lock_wanted(ro_lock_of(L)));
  return 1;
}

static int l_activate(lua_State *L) {
  lua_pushinteger(L, ro_lock_activate(L));
  return 1;
}

static atomic_int seen[65];

static void count_signal(int signo) {
  atomic_fetch_add(&seen[signo], 1);
}

/* own_handler(signo): installs one of the program's; signals(signo): how often it ran; send(signo) */
static int l_own_handler(lua_State *L) {
  struct sigaction a;
  memset(&a, 0, sizeof a);
  a.sa_handler = count_signal;
  sigaction((int)luaL_checkinteger(L, 1), &a, NULL);
  return 0;
}

static int l_signals(lua_State *L) {
  lua_pushinteger(L, atomic_load(&seen[luaL_checkinteger(L, 1)]));
  return 1;
}

static int l_send(lua_State *L) {
  lua_pushboolean(L, pthread_kill(pthread_self(), (int)luaL_checkinteger(L, 1)) == 0);
  return 1;
}

static lua_State *hooked;

static void stop_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

static void stop_program(int signo) {
  (void)signo;
  lua_sethook(hooked, stop_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* interrupt_on(signo): what lua.c does for Ctrl-C */
static int l_interrupt_on(lua_State *L) {
  struct sigaction a;
  memset(&a, 0, sizeof a);
  hooked = L;
  a.sa_handler = stop_program;
  sigaction((int)luaL_checkinteger(L, 1), &a, NULL);
  return 0;
}

/* state(script): runs it in a state of its own that has this module, and closes that; its result as a string
 */
static int open_module(lua_State *L);
static int l_state(lua_State *L) {
  size_t size;
  const char *script = luaL_checklstring(L, 1, &size);
  lua_State *other = luaL_newstate();
  if (other == NULL)
    return luaL_error(L, "no memory");
  luaL_openlibs(other);
  luaL_requiref(other, "lock_threads", open_module, 0);
  lua_pop(other, 1);
  if (luaL_loadbuffer(other, script, size, "=script") == LUA_OK)
    lua_pcall(other, 0, 1, 0);
  lua_pushstring(L, lua_tostring(other, -1));
  lua_close(other);
  return 1;
}

static const luaL_Reg methods[] = {
    {"stop", l_stop}, {"join", l_join}, {"calls", l_calls}, {"waiting", l_waiting}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"start", l_start},
                                     {"block", l_block},
                                     {"spin", l_spin},
                                     {"now", l_now},
                                     {"pid", l_pid},
                                     {"wanted", l_wanted},
                                     {"activate", l_activate},
                                     {"own_handler", l_own_handler},
                                     {"signals", l_signals},
                                     {"send", l_send},
                                     {"interrupt_on", l_interrupt_on},
                                     {"state", l_state},
                                     {NULL, NULL}};

static int open_module(lua_State *L) {
  Thread **keeper;
  luaL_newlib(L, functions);
  ro_open_lock(L);
  if (luaL_newmetatable(L, THREAD)) {
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
  keeper = lua_newuserdatauv(L, sizeof *keeper + sizeof(pid_t), 0);
  *keeper = NULL;
  *(pid_t *)(keeper + 1) = getpid();
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, keeper_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, KEEPER);
  return 1;
}

__attribute__((visibility("default"))) int luaopen_lock_threads(lua_State *L) {
  return open_module(L);
}
