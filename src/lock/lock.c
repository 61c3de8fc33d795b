/*
** The lock of a state: its making, its end, what a fork does to it, and the threads that use it.
*/
#include "lock/lock.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/limits.h"
#include "base/stack.h"
#include "lock/hook.h"
#include "lock/state.h"

#define STACK_SIZE ((size_t)(sizeof(void *) > 4 ? 4 : 1) << 20)

/* Its address is a key of the registry. */
static const char lock_key = 0;

/* The library threads, of several locks, that the calling native thread has registered as. */
static _Thread_local ro_Thread *mine;

/* ---- fork ---- */

/* Forgets that the calling native thread is `thread`, or any of the lock's if that is NULL. */
static void forget_own(const ro_Lock *lock, const ro_Thread *thread) {
  ro_Thread **link = &mine;
  while (*link != NULL)
    if ((*link)->lock == lock && (thread == NULL || *link == thread))
      *link = (*link)->mine;
    else
      link = &(*link)->mine;
}

/*
** In the child there is a single thread, whichever it was: the program. The others' memory
** is given back when the state closes.
*/
static void in_child(ro_ForkNode *node) {
  ro_Lock *lock = (ro_Lock *)((char *)node - offsetof(ro_Lock, fork));
  int held;
  ro_signal_in_child();
  pthread_mutex_init(&lock->mutex, NULL);
  ro_turn_init(&lock->program.turn);
  lock->interests = NULL; /* the parent's */
  lock->awaiting = 0;
  lock->program.keeps = 0;
  if (!lock->interruptible)
    return;
  if (ro_thread_self(lock) != &lock->program) /* it blocks all signals, and is the program's thread now */
    pthread_sigmask(SIG_SETMASK, &lock->mask, NULL);
  held = pthread_equal(atomic_load(&lock->slot->holder), pthread_self());
  ro_slot_release(lock->slot);
  ro_slot_heed(lock->slot, 0);
  if (held)
    ro_hook_disarm(lock);
  else
    lock->running = lock->main;
  for (ro_Thread *t = lock->threads; t != NULL; t = t->next) {
    t->orphan = 1;
    ro_wait_forget(t);
  }
  forget_own(lock, NULL);
  lock->holder = lock->first = lock->last = NULL;
  atomic_store(&lock->waiting, 0);
  atomic_store(&lock->interrupt, 0);
  atomic_store(&lock->attentive, 0);
  atomic_store(&lock->closing, 0);
  ro_wait_forget(&lock->program);
  lock->program.granted = lock->program.raised = lock->program.woken = 0;
  lock->program.polls = lock->program.awaits = 0;
  lock->program.base = NULL;
  atomic_store(&lock->program.told, 0);
  lock->program.asks = lock->program.more = 0;
  lock->program.asides = lock->program.again = 0;
  lock->active = lock->interruptible = 0;
}

/* ---- the lock itself ---- */

static void unlink_thread(ro_Thread *t) {
  ro_Lock *lock = t->lock;
  if (t->previous != NULL)
    t->previous->next = t->next;
  else
    lock->threads = t->next;
  if (t->next != NULL)
    t->next->previous = t->previous;
}

static void free_thread(ro_Thread *t) {
  ro_wait_forget(t);
  if (!t->orphan) /* else others may have waited for it when the process forked */
    pthread_cond_destroy(&t->turn);
  free(t);
}

/*
** The state closes. Finalizers that run later may still wait inside the library: they find
** the lock inactive for good.
*/
static int lock_gc(lua_State *L) {
  ro_Lock *lock = lua_touserdata(L, 1);
  ro_Slot *slot = lock->slot;
  if (slot != NULL) {
    ro_slot_release(slot);
    ro_hook_disarm(lock);
    ro_slot_free(slot);
  }
  lock->slot = NULL;
  lock->active = lock->interruptible = 0;
  atomic_store(&lock->closing, 1);
  ro_atfork_remove(&lock->fork);
  for (ro_Thread *t = lock->threads, *next; t != NULL; t = next) {
    next = t->next;
    free_thread(t);
  }
  lock->threads = NULL;
  ro_wait_forget(&lock->program);
  pthread_cond_destroy(&lock->program.turn);
  pthread_mutex_destroy(&lock->mutex);
  return 0;
}

static void init_thread(ro_Thread *t, ro_Lock *lock) {
  t->lock = lock;
  t->grace = RO_CLOSING_TURN;
  ro_event_init(&t->wake);
}

/* Acquires what the lock needs from the system. Returns 0 or an errno, and then has nothing. */
static int init_lock(ro_Lock *lock) {
  int e = ro_turn_init(&lock->program.turn);
  if (e != 0)
    return e;
  e = pthread_mutex_init(&lock->mutex, NULL);
  if (e != 0) {
    pthread_cond_destroy(&lock->program.turn);
    return e;
  }
  lock->fork = (ro_ForkNode){.in_child = in_child};
  e = ro_atfork_add(&lock->fork);
  if (e != 0) {
    pthread_mutex_destroy(&lock->mutex);
    pthread_cond_destroy(&lock->program.turn);
  }
  return e;
}

static lua_State *main_of(lua_State *L) {
  lua_State *main;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  main = lua_tothread(L, -1);
  lua_pop(L, 1);
  return main;
}

static ro_Lock *new_lock(lua_State *L) {
  ro_Lock *lock = lua_newuserdatauv(L, sizeof *lock, 0);
  int e;
  memset(lock, 0, sizeof *lock);
  init_thread(&lock->program, lock);
  lock->program.preempt = 1;
  lock->running = lock->main = main_of(L);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, lock_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0); /* a place for ro_hook_note, which must not need memory */
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lock->noted);
  ro_thread_prepare(L, &lock->program); /* for ro_lock_heed, which had better not need any */
  lua_pushvalue(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lock_key);
  e = init_lock(lock);
  if (e != 0) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lock_key);
    luaL_error(L, "cannot make a lock: %s", strerror(e));
  }
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  return lock;
}

ro_Lock *ro_lock_of(lua_State *L) {
  ro_Lock *lock;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lock_key);
  lock = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (lock != NULL)
    return lock;
  ro_check_stack(L, 4, NULL);
  return new_lock(L);
}

int ro_lock_wanted(const ro_Lock *lock) {
  return atomic_load_explicit(&lock->waiting, memory_order_relaxed) > 0;
}

/* ---- activation ---- */

/* Pushes limits.signal; returns it, or 0 where it is no signal that can be used. [-0, +1, m] */
static int push_signal(lua_State *L) {
  lua_Integer signo;
  int is_integer;
  ro_push_limits(L);
  lua_getfield(L, -1, "signal");
  lua_remove(L, -2);
  signo = lua_tointegerx(L, -1, &is_integer);
  return is_integer && signo >= 1 && signo <= INT_MAX && ro_signal_usable((int)signo) ? (int)signo : 0;
}

/* The same, which must be one that can be used. [-0, +0, v] */
static int check_signal(lua_State *L) {
  int signo = push_signal(L);
  if (signo == 0 && !lua_isinteger(L, -1))
    luaL_error(L, "limits.signal: signal number expected, got %s", luaL_typename(L, -1));
  if (signo == 0)
    luaL_error(L, "limits.signal: %I is no signal that can be used", (LUAI_UACINT)lua_tointeger(L, -1));
  lua_pop(L, 1);
  return signo;
}

static int need_slot(ro_Lock *lock) {
  if (lock->slot == NULL)
    lock->slot = ro_slot_new(lock);
  return lock->slot != NULL ? 0 : ENOMEM;
}

/* Makes it possible to interrupt the calling thread by a signal. Returns 0 or an errno. */
static int make_interruptible(ro_Lock *lock, int signo) {
  int e = ro_signal_install(signo);
  if (e == 0)
    e = need_slot(lock);
  if (e != 0)
    return e;
  atomic_store(&lock->signal, signo);
  if (lock->active)
    return 0;
  ro_signal_unblock(signo);
  pthread_sigmask(SIG_SETMASK, NULL, &lock->mask);
  lock->program.signal = signo;
  lock->program.target = ro_signal_self();
  return 0;
}

int ro_lock_activate(lua_State *L) {
  ro_Lock *lock = ro_lock_of(L);
  int signo, e;
  ro_check_stack(L, 4, NULL);
  signo = check_signal(L);
  if (atomic_load(&lock->closing))
    return ECANCELED;
  e = make_interruptible(lock, signo);
  if (e != 0 || lock->active)
    return e;
  if (!ro_hook_tracked(lock, L))
    ro_hook_note(lock, L);
  lock->holder = &lock->program;
  lock->active = lock->interruptible = 1;
  ro_slot_hold(lock->slot);
  return 0;
}

int ro_lock_will_heed(lua_State *L) {
  int signo, e;
  ro_check_stack(L, 4, NULL);
  signo = push_signal(L);
  lua_pop(L, 1);
  if (signo == 0)
    return 0;
  e = need_slot(ro_lock_of(L));
  if (e == 0)
    e = ro_signal_prepare(signo);
  if (e != 0)
    luaL_error(L, "cannot prepare for signal %d: %s", signo, strerror(e));
  return signo;
}

int ro_lock_heed(lua_State *L, int signo) {
  ro_Lock *lock = ro_lock_of(L);
  int e = make_interruptible(lock, signo);
  if (e != 0) {
    lua_pop(L, 1);
    return e;
  }
  ro_thread_hear(L, &lock->program);
  if (!ro_hook_tracked(lock, L))
    ro_hook_note(lock, L);
  lock->program.base = L;
  lock->interruptible = 1;
  ro_slot_heed(lock->slot, 1);
  ro_slot_hold(lock->slot);
  return 0;
}

void ro_lock_call_self(ro_Lock *lock) {
  if (lock->interruptible)
    ro_hook_called(lock, 1);
}

/* ---- threads ---- */

int ro_thread_start(ro_Native *native, void *(*entry)(void *), void *argument) {
  return ro_native_start(native, STACK_SIZE, entry, argument);
}

ro_Thread *ro_thread_self(ro_Lock *lock) {
  ro_Thread *t = mine;
  while (t != NULL && t->lock != lock)
    t = t->mine;
  return t != NULL ? t : &lock->program;
}

ro_Thread *ro_thread_new(ro_Lock *lock, ro_WaitObserver observer, void *context) {
  ro_Thread *t = calloc(1, sizeof *t);
  if (t == NULL)
    return NULL;
  init_thread(t, lock);
  if (ro_turn_init(&t->turn) != 0) {
    free(t);
    return NULL;
  }
  t->observer = observer;
  t->context = context;
  pthread_mutex_lock(&lock->mutex);
  t->next = lock->threads;
  if (t->next != NULL)
    t->next->previous = t;
  lock->threads = t;
  pthread_mutex_unlock(&lock->mutex);
  return t;
}

void ro_thread_adopt(ro_Thread *t) {
  t->mine = mine;
  mine = t;
}

ro_Thread *ro_thread_begin(ro_Lock *lock, ro_WaitObserver observer, void *context) {
  ro_Thread *t = ro_thread_new(lock, observer, context);
  if (t != NULL)
    ro_thread_adopt(t);
  return t;
}

void ro_thread_end(ro_Thread *t) {
  ro_Lock *lock = t->lock;
  if (!t->orphan)
    forget_own(lock, t);
  pthread_mutex_lock(&lock->mutex);
  unlink_thread(t);
  pthread_mutex_unlock(&lock->mutex);
  free_thread(t);
}

int ro_lock_enter(ro_Thread *t, lua_State *L, int preempt) {
  if (t->orphan)
    return -1;
  t->running = t->base = L;
  t->preempt = preempt;
  return ro_turn_take(t, 1);
}

void ro_lock_leave(ro_Thread *t) {
  if (t->orphan)
    return;
  ro_turn_give(t->lock);
  t->running = t->base = NULL;
}

void ro_lock_close(ro_Lock *lock) {
  atomic_store(&lock->closing, 1);
  if (!lock->active)
    return;
  pthread_mutex_lock(&lock->mutex);
  for (ro_Thread *t = lock->threads; t != NULL; t = t->next) {
    ro_turn_signal(t);
    ro_wait_wake(t);
  }
  pthread_mutex_unlock(&lock->mutex);
}

int ro_lock_closes(const ro_Lock *lock) {
  return atomic_load(&lock->closing);
}

void ro_wait_begin(ro_Lock *lock) {
  ro_Thread *t;
  if (!lock->active)
    return;
  t = lock->holder;
  if (t->observer != NULL)
    t->observer(t->context, 1);
  ro_turn_give(lock);
}

void ro_wait_end(ro_Lock *lock) {
  ro_Thread *t;
  if (!lock->active)
    return;
  t = ro_thread_self(lock);
  if (t->observer != NULL)
    t->observer(t->context, 0);
  ro_turn_take(t, 0);
}

/*
** The coroutine is noted as one that runs before the first wait tells: a host may have resumed it. It needs no memory,
** but for the stack's room; without that an interruption finds the coroutine later.
*/
ro_Section *ro_section_begin(lua_State *L) {
  ro_Lock *lock;
  ro_Section *section;
  if (!lua_checkstack(L, 2))
    return NULL;
  lock = ro_lock_of(L);
  if (!lock->active)
    return NULL;
  if (lock->holder == &lock->program && !ro_hook_tracked(lock, L))
    ro_hook_note(lock, L);
  section = &lock->holder->section;
  section->lock = lock;
  ro_wait_begin(lock);
  return section;
}

void ro_section_end(ro_Section *section) {
  ro_wait_end(section->lock);
}

/* ---- the module ---- */

/* Adds `limits` to the module table on top, with its field `signal`. [-0, +0, m] */
static void open_limits(lua_State *L) {
  ro_push_limits(L);
  if (lua_getfield(L, -1, "signal") == LUA_TNIL) {
    lua_pushinteger(L, SIGURG);
    lua_setfield(L, -3, "signal");
  }
  lua_pop(L, 1);
  lua_setfield(L, -2, "limits");
}

void ro_open_lock(lua_State *L) {
  ro_Lock *lock;
  ro_check_stack(L, 10, NULL);
  lock = ro_lock_of(L);
  if (!ro_hook_tracked(lock, L))
    ro_hook_note(lock, L);
  open_limits(L);
  ro_open_wait(L);
  ro_open_blocking(L);
  if (!lock->opened)
    ro_open_coroutine(L, lock);
  lock->opened = 1;
}
