#include "lock/hook.h"

#include <stddef.h>
#include <time.h>

#include <lauxlib.h>

/* What one VM instruction takes under a count hook, roughly, in nanoseconds. */
#define INSTRUCTION 16

static void on_hook(lua_State *L, lua_Debug *ar);

/*
** The coroutine to arm. One that was only noted may have yielded or ended since; then the
** main one is the best guess.
*/
static lua_State *to_arm(const ro_Lock *lock) {
  lua_State *L = lock->running;
  lua_Debug ar;
  if (L == NULL || L == lock->main || L != lock->noted)
    return L;
  return lua_status(L) == LUA_OK && lua_getstack(L, 0, &ar) ? L : lock->main;
}

/* Is there a reason to arm L. */
static int is_due(const ro_Lock *lock, lua_State *L) {
  return atomic_load_explicit(&lock->interrupt, memory_order_relaxed) ||
         (atomic_load_explicit(&lock->attentive, memory_order_relaxed) && lua_gethookmask(L) == 0);
}

/* Is the calling thread to end, since the state is closing. */
static int closes_holder(const ro_Lock *lock) {
  return lock->active && atomic_load(&lock->closing) && lock->holder != &lock->program;
}

/*
** Has our hook, which was set some time ago and has not fired, fire at the next instruction; in a thread that puts things in
** order since the state is closing, only when it has run as many as it may. The program may be in a call
** that takes long; or Lua has overlooked the hook: it looks at hooks where a function is marked to stop, and takes
** the mark away when it finds none, also one that a handler has set between the two.
*/
static void set_again(ro_Lock *lock, lua_State *L) {
  int count = closes_holder(lock) ? lua_gethookcount(L) : 1;
  if (ro_now() - lock->armed_at < RO_OVERLOOKED)
    return;
  if (lock->armed == L)
    lock->armed_count = count;
  lua_sethook(L, on_hook, lua_gethookmask(L), count);
}

int ro_hook_arm(ro_Lock *lock, int instructions) {
  lua_State *L = to_arm(lock);
  if (L == NULL || !is_due(lock, L))
    return 0;
  if (lua_gethook(L) == on_hook) {
    int will_fire = lua_gethookmask(L) & LUA_MASKCOUNT;
    if (will_fire && (lock->armed != L || !atomic_load_explicit(&lock->attentive, memory_order_relaxed))) {
      set_again(lock, L); /* waiting to fire, or inherited: will fire as well */
      return 1;
    }
    if (lock->armed != L)
      return 0;
    ro_hook_disarm(
        lock); /* may fire too late; or armed in the middle of a lua_sethook that took our mask away */
  }
  if (lock->armed != NULL && lock->armed != L)
    ro_hook_disarm(lock);
  lock->user.hook = lua_gethook(L);
  lock->user.mask = lua_gethookmask(L);
  lock->user.count = lua_gethookcount(L);
  lock->armed = L;
  lock->armed_count = lock->user.mask == 0 ? instructions : 1;
  lock->times_armed++;
  lock->armed_at = ro_now();
  lua_sethook(L, on_hook, lock->user.mask | LUA_MASKCOUNT, lock->armed_count);
  return 1;
}

/*
** What to put back on the armed coroutine. Our handler may have come in the middle of a
** lua_sethook of the program's or of another handler (Ctrl-C of lua.c): then the hook
** is ours and the rest is theirs.
*/
static ro_UserHook saved_hook(const ro_Lock *lock, lua_State *L) {
  ro_UserHook user = {lock->user.hook, lock->user.mask, lock->user.count};
  int mask = lua_gethookmask(L);
  int count = lua_gethookcount(L);
  if (mask != (user.mask | LUA_MASKCOUNT)) {
    user.mask = mask;
    if (count != lock->armed_count || user.count == 0)
      user.count = count;
  }
  return user;
}

void ro_hook_disarm(ro_Lock *lock) {
  lua_State *L = lock->armed;
  if (L == NULL)
    return;
  if (lua_gethook(L) == on_hook) {
    ro_UserHook user = saved_hook(lock, L);
    lua_sethook(L, user.hook, user.mask, user.count);
    lock->inherited = user;
  }
  lock->armed = NULL;
}

/* Puts the user's hook, which it returns, on a coroutine that was born with ours. No handler may interfere. */
static ro_UserHook disinherit(const ro_Lock *lock, lua_State *L) {
  ro_UserHook user = lock->inherited;
  int mask = lua_gethookmask(L) & ~LUA_MASKCOUNT;
  user.mask = mask | (user.mask & LUA_MASKCOUNT);
  lua_sethook(L, user.hook, user.mask, user.count);
  return user;
}

/*
** Takes our hook off coroutines that must not have it now: off those that don't run, and off the one that does if it was
** born with it, as its count is another's. No handler may interfere.
*/
static void disarm_strays(ro_Lock *lock) {
  lua_State *L = lock->running;
  if (lock->armed == L)
    return;
  ro_hook_disarm(lock);
  if (L != NULL && lua_gethook(L) == on_hook)
    disinherit(lock, L);
}

/*
** After how many instructions a library thread is told, or told again, that the state is closing. Each change of the
** running coroutine, which begins to count anew, takes some of them away.
*/
static int closing_turn(ro_Thread *thread) {
  if (thread->raised > 1 || thread->grace <= RO_CLOSING_CHANGE)
    return 1;
  return thread->grace -= RO_CLOSING_CHANGE;
}

void ro_hook_follow(ro_Lock *lock, int instructions) {
  if (!lock->interruptible)
    return;
  if (closes_holder(lock))
    instructions = closing_turn(lock->holder);
  do { /* again if the interruption was wanted while the handler was told to keep away */
    ro_slot_release(lock->slot);
    disarm_strays(lock);
    ro_hook_arm(lock, instructions);
    ro_slot_hold(lock->slot);
  } while (lock->running != NULL && atomic_load(&lock->interrupt) && lock->armed == NULL &&
           lua_gethook(lock->running) != on_hook);
}

int ro_hook_tracked(const ro_Lock *lock, lua_State *L) {
  return lock->running == L && L != lock->noted;
}

void ro_hook_note(ro_Lock *lock, lua_State *L) {
  if (lock->active && lock->holder != &lock->program) {
    ro_hook_run(lock, lock->holder->base); /* which is alive; the note is the program's */
    return;
  }
  if (L != lock->main) {
    ro_hook_run(lock, lock->main); /* before the last one noted may be collected */
    lua_pushthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lock->noted);
    lock->noted = L;
  }
  ro_hook_run(lock, L);
}

void ro_hook_born(ro_Lock *lock, lua_State *L, lua_State *born) {
  if (lua_gethook(born) != on_hook)
    return;
  if (lock->armed == L) {
    ro_UserHook user = saved_hook(lock, L);
    lua_sethook(born, user.hook, user.mask, user.count);
  } else if (lua_gethook(L) != on_hook) /* it has fired since */
    lua_sethook(born, lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L));
}

/* Takes our hook off the coroutine it has fired on; returns the user's. */
static ro_UserHook take_off(ro_Lock *lock, lua_State *L) {
  ro_UserHook user;
  if (lock->interruptible)
    ro_slot_release(lock->slot);
  if (lock->armed == L) {
    ro_hook_disarm(lock);
    user = lock->inherited;
  } else
    user = disinherit(lock, L);
  if (lock->interruptible)
    ro_slot_hold(lock->slot);
  return user;
}

unsigned ro_hook_uncover(ro_Lock *lock, lua_State *L) {
  unsigned times = lock->times_armed;
  if (lua_gethook(L) == on_hook)
    take_off(lock, L);
  return times;
}

int ro_hook_covered_since(const ro_Lock *lock, unsigned times) {
  return lock->times_armed != times;
}

void ro_hook_cover(ro_Lock *lock) {
  if (atomic_load_explicit(&lock->interrupt, memory_order_relaxed))
    ro_hook_follow(lock, 1);
}

int ro_lock_keep_turn(ro_Lock *lock, int keeps) {
  ro_Thread *self = ro_wait_self(lock);
  int before = self->keeps;
  self->keeps = keeps;
  if (before && !keeps && lock->active)
    ro_hook_cover(lock); /* who waits has asked in vain */
  return before;
}

static int64_t thread_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * RO_SECOND + t.tv_nsec;
}

/*
** Is the user's count hook due. Setting a hook restarts its count, so that one with a large
** count would never fire while interruptions come faster; how many instructions have gone by is
** estimated from the time of the processor.
*/
static int count_is_due(ro_Lock *lock, lua_State *L, const ro_UserHook *user) {
  int64_t now, past, period = (int64_t)user->count * INSTRUCTION;
  if (user->count <= 1)
    return 1;
  now = thread_time();
  past = lock->tally_of == L ? now - lock->tally_since : 0;
  if (lock->tally_of != L || past >= period) /* it has fired by itself meanwhile */
    lock->tally = 0;
  else
    lock->tally += past;
  lock->tally_of = L;
  lock->tally_since = now;
  if (lock->tally < period)
    return 0;
  lock->tally = 0;
  return 1;
}

/* Did the user's hook want the event that ours was called with. */
static int user_wants(ro_Lock *lock, lua_State *L, const ro_UserHook *user, int event) {
  switch (event) {
  case LUA_HOOKCALL:
  case LUA_HOOKTAILCALL:
    return user->mask & LUA_MASKCALL;
  case LUA_HOOKRET:
    return user->mask & LUA_MASKRET;
  case LUA_HOOKLINE:
    return user->mask & LUA_MASKLINE;
  default:
    return (user->mask & LUA_MASKCOUNT) && count_is_due(lock, L, user);
  }
}

/* The user's hook of L, which may be armed again. */
static lua_Hook users_hook(const ro_Lock *lock, lua_State *L) {
  lua_Hook hook = lua_gethook(L);
  return hook == on_hook && lock->armed == L ? lock->user.hook : hook;
}

void ro_hook_close(ro_Lock *lock) {
  ro_slot_release(lock->slot);
  disarm_strays(lock);
  ro_hook_disarm(lock); /* to count anew */
  atomic_store(&lock->interrupt, 1);
  ro_hook_arm(lock, closing_turn(lock->holder));
  ro_slot_hold(lock->slot);
}

int ro_hook_closing(ro_Lock *lock) {
  if (!closes_holder(lock))
    return 0;
  if (lock->holder->raised < 2)
    lock->holder->raised++;
  lock->holder->grace = RO_CLOSING_TURN;
  ro_hook_close(lock);
  return 1;
}

void ro_hook_listen(ro_Lock *lock) {
  atomic_store(&lock->interrupt, 1); /* also if that waits until another coroutine runs */
  if (lock->running != ro_wait_self(lock)->base)
    ro_hook_follow(lock, 1);
}

void ro_hook_called(ro_Lock *lock, int is_holder) {
  atomic_store(&lock->program.told, 1);
  if (is_holder)
    atomic_store(&lock->interrupt, 1);
}

void ro_hook_attend(ro_Lock *lock) {
  if (lock->attention.moment < RO_PATIENCE_LEAST || atomic_load(&lock->interrupt))
    return;
  lock->attentive_until = ro_now() + lock->attention.moment;
  atomic_store(&lock->attentive, 1);
  ro_hook_follow(lock, RO_ATTENTIVE_TURN);
}

/*
** Has the attentive program looked in vain, and may look again. Its hook stays where it is then: the fewer hooks
** are set, the fewer signal handlers that set one of their own can come in the middle of that.
*/
static int stays_attentive(const ro_Lock *lock, const lua_State *L) {
  return atomic_load(&lock->attentive) && lock->armed == L && !atomic_load(&lock->interrupt) &&
         ro_now() < lock->attentive_until;
}

/* Of a single thread, which has asked what it was told, or can't here. */
static void forget_interrupt(ro_Lock *lock) {
  atomic_store(&lock->interrupt, 0); /* first, as the handler may come in between */
  if (ro_thread_is_told(&lock->program))
    atomic_store(&lock->interrupt, 1);
}

/* The hook: the place between two VM instructions where another thread may have the lock. */
static void on_hook(lua_State *L, lua_Debug *ar) {
  ro_Lock *lock = ro_lock_of(L);
  ro_UserHook user;
  int wanted;
  if (stays_attentive(lock, L))
    return;
  user = take_off(lock, L);
  wanted = user.hook != NULL && user_wants(lock, L, &user, ar->event);
  atomic_store(&lock->attentive, 0); /* first, as a waiter may count on one more look */
  if (lock->active && atomic_load(&lock->interrupt) && !lock->holder->keeps)
    ro_turn_yield(lock);
  if (ro_hook_closing(lock))
    luaL_error(L, RO_CLOSING);
  if (ro_hook_told(lock, L))
    lua_error(L);
  if (!lock->active)
    forget_interrupt(lock);
  if (wanted && users_hook(lock, L) == user.hook) /* the other threads have left it alone */
    user.hook(L, ar);
}
