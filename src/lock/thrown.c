/*
** Errors that others throw into a thread: when it asks for them, and what becomes of one that has ended no more than a
** function which the library has called meanwhile.
*/
#include <string.h>

#include <lauxlib.h>

#include "base/stack.h"
#include "lock/hook.h"
#include "lock/state.h"

/*
** What is kept for a thread that hears, in the registry: user values of a userdata, as it takes no memory to set them. The
** last error that was raised in it is in a weak table.
*/
enum { ASKED = 1, LAST, AGAIN, KEPT = AGAIN };

static void push_weak_table(lua_State *L) {
  lua_createtable(L, 1, 0);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

void ro_thread_prepare(lua_State *L, const ro_Thread *thread) {
  lua_newuserdatauv(L, 0, KEPT);
  push_weak_table(L);
  lua_setiuservalue(L, -2, LAST);
  lua_rawsetp(L, LUA_REGISTRYINDEX, thread);
}

void ro_thread_hear(lua_State *L, ro_Thread *thread) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, thread) != LUA_TUSERDATA) {
    lua_pop(L, 1);
    ro_thread_prepare(L, thread);
    lua_rawgetp(L, LUA_REGISTRYINDEX, thread);
  }
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, ASKED);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, AGAIN); /* may be the parent's */
  lua_pop(L, 1);
}

void ro_thread_deafen(lua_State *L, ro_Thread *thread) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, thread);
  atomic_store(&thread->told, 0);
  thread->more = thread->again = 0;
}

void ro_thread_tell(ro_Thread *thread) {
  atomic_store(&thread->told, 1);
  ro_thread_wake(thread);
}

/* Is the thread back where an error is to be raised again. */
static int is_back(const ro_Thread *thread) {
  return thread->asides < thread->again;
}

int ro_thread_is_told(const ro_Thread *thread) {
  if (atomic_load_explicit(&thread->told, memory_order_relaxed))
    return 1;
  return thread->again > 0 ? is_back(thread) : thread->more;
}

/* ---- asking ---- */

/*
** Does L run a finalizer: Lua would make a warning of the error. The collector rests then, so that the stack, be it deep,
** is seldom looked through.
*/
static int runs_finalizer(lua_State *L) {
  lua_Debug ar;
  if (lua_gc(L, LUA_GCISRUNNING) == 1)
    return 0;
  for (int level = 0; lua_getstack(L, level, &ar); level++)
    if (ro_stack_is_finalizer(L, &ar))
      return 1;
  return 0;
}

int ro_hook_may_tell(const ro_Thread *self, lua_State *L) {
  return ro_thread_is_told(self) && !self->asks && L != self->base && !runs_finalizer(L);
}

/*
** Pushes the error that is to be raised again. It stays that where the thread is not back yet, but is told of another: that
** has its turn after this one, but ends the function that it finds. What the thread keeps is on top. [-0, +1, -]
*/
static void push_again(lua_State *L, ro_Thread *self) {
  lua_getiuservalue(L, -1, AGAIN);
  if (!is_back(self))
    return;
  self->again = 0;
  lua_pushnil(L);
  lua_setiuservalue(L, -3, AGAIN);
}

/*
** Pushes the next error that was thrown in, or that asking raises; returns 0 if there is none. What the thread keeps is
** on top. [-0, +(0|1), -]
*/
static int push_next(lua_State *L) {
  lua_getiuservalue(L, -1, ASKED);
  if (lua_pcall(L, 0, 2, 0) != LUA_OK)
    return 1;
  if (!lua_toboolean(L, -2)) {
    lua_pop(L, 2);
    return 0;
  }
  lua_remove(L, -2);
  return 1;
}

/* Asks once. As ro_hook_told. */
static int ask(lua_State *L, ro_Thread *self) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  if (self->again > 0)
    push_again(L, self);
  else if (!push_next(L)) {
    lua_pop(L, 1);
    return 0;
  }
  self->throws++;
  lua_getiuservalue(L, -2, LAST);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
  lua_remove(L, -2);
  return 1;
}

int ro_hook_told(ro_Lock *lock, lua_State *L) {
  ro_Thread *self = ro_wait_self(lock);
  if (!ro_hook_may_tell(self, L))
    return 0;
  atomic_store(&self->told, 0); /* first, as somebody may tell it more meanwhile */
  self->asks = 1;
  self->more = ask(L, self);
  self->asks = 0;
  if (ro_thread_is_told(self))
    ro_hook_listen(lock);
  return self->more;
}

/* ---- protected calls ---- */

unsigned ro_throws(ro_Lock *lock) {
  return ro_wait_self(lock)->throws;
}

/* Is the error at `caught` that at `thrown`; coroutine.wrap, and `error`, put before a text where that was. */
static int is_same(lua_State *L, int caught, int thrown) {
  const char *text, *end;
  size_t size, rest;
  if (lua_type(L, caught) != LUA_TSTRING || lua_type(L, thrown) != LUA_TSTRING)
    return lua_rawequal(L, caught, thrown);
  text = lua_tolstring(L, caught, &size);
  end = lua_tolstring(L, thrown, &rest);
  return size >= rest && memcmp(text + size - rest, end, rest) == 0;
}

int ro_is_thrown(lua_State *L, unsigned throws) {
  const ro_Thread *self = ro_wait_self(ro_lock_of(L));
  int top = lua_gettop(L), is_last;
  if (self->throws == throws || !lua_checkstack(L, 3))
    return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  lua_getiuservalue(L, -1, LAST);
  lua_rawgeti(L, -1, 1);
  is_last = is_same(L, top, -1);
  lua_settop(L, top);
  return is_last;
}

/*
** Has the error on top, which has ended a function that was called besides, raised again where the thread is back from that. Where
** one is to be raised already it is that one. [-0, +0, -]
*/
static void throw_again(lua_State *L, ro_Thread *self) {
  int back = self->asides + 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, AGAIN);
  lua_pop(L, 1);
  if (self->again == 0 || back < self->again)
    self->again = back;
}

int ro_pcall_aside(lua_State *L, int count, int results, int handler) {
  ro_Lock *lock = ro_lock_of(L);
  ro_Thread *self = ro_wait_self(lock);
  int status, asides = self->asides;
  unsigned throws = self->throws;
  self->asides++;
  status = lua_pcall(L, count, results, handler);
  self->asides = asides;
  self = ro_wait_self(lock); /* of a fork that was made meanwhile it is the program */
  if (status != LUA_OK && ro_is_thrown(L, throws)) {
    throw_again(L, self);
    status = RO_THROWN;
  }
  if (ro_thread_is_told(self))
    ro_hook_listen(lock);
  return status;
}
