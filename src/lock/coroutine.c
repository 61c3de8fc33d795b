/*
** coroutine.create, resume, wrap and close as Lua has them, but for one thing: the lock
** learns which coroutine runs, since an interruption must find it. And debug.gethook and
** sethook, which show and change the program's hook where an interruption has put another
** over it.
*/
#include <stddef.h>

#include <lauxlib.h>
#include <lualib.h>

#include "base/stack.h"
#include "lock/hook.h"
#include "lock/state.h"

ro_Place ro_coroutine_enter(ro_Lock *lock, lua_State *L, lua_State *co) {
  ro_Place here = {L, ro_hook_tracked(lock, L)};
  ro_hook_run(lock, co);
  return here;
}

void ro_coroutine_leave(ro_Lock *lock, ro_Place here) {
  if (here.tracked)
    ro_hook_run(lock, here.L);
  else
    ro_hook_note(lock, here.L);
}

lua_State *ro_push_coroutine(lua_State *L) {
  lua_State *co = lua_newthread(L);
  ro_hook_born(ro_lock_of(L), L, co);
  return co;
}

/* What the functions that stand in for others have as upvalues. */
enum { LOCK = 1, ORIGINAL };

static ro_Lock *lock_upvalue(lua_State *L, int upvalue) {
  return lua_touserdata(L, lua_upvalueindex(upvalue));
}

static lua_CFunction original_upvalue(lua_State *L) {
  return lua_tocfunction(L, lua_upvalueindex(ORIGINAL));
}

/*
** Does nobody have to know what L resumes? So it is while nobody interrupts the state's single thread and L is the main coroutine:
** should the first thread begin in the other coroutine, that is noted, and whoever finds the note outdated takes the
** main one for running. The original is then the last call, since a frame more costs as much as everything else here.
*/
static int is_simple(const ro_Lock *lock, const lua_State *L) {
  return !lock->interruptible && L == lock->main;
}

/*
** Resumes `co` with the `arguments` values on top of L. Returns the number of results that it
** leaves on L, or -1 with an error value there.
*/
static int resume(lua_State *L, ro_Lock *lock, lua_State *co, int arguments) {
  int status, results;
  ro_Place here;
  if (!lua_checkstack(co, arguments)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, arguments);
  ro_check_stack(L, 1, NULL); /* for ro_coroutine_leave */
  here = ro_coroutine_enter(lock, L, co);
  status = lua_resume(co, L, arguments, &results);
  ro_coroutine_leave(lock, here);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, results);
  return results;
}

/* The original's way to refuse what is no coroutine differs among the releases of Lua. */
static int tracked_resume(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  int results;
  if (co == NULL)
    return original_upvalue(L)(L);
  results = resume(L, lock_upvalue(L, LOCK), co, lua_gettop(L) - 1);
  lua_pushboolean(L, results >= 0);
  if (results < 0)
    results = 1;
  lua_insert(L, -(results + 1));
  return results + 1;
}

static int co_resume(lua_State *L) {
  if (is_simple(lock_upvalue(L, LOCK), L))
    return original_upvalue(L)(L);
  return tracked_resume(L);
}

static lua_State *new_coroutine(lua_State *L) {
  lua_State *co;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  co = lua_newthread(L);
  ro_hook_born(lock_upvalue(L, LOCK), L, co);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return co;
}

static int co_create(lua_State *L) {
  new_coroutine(L);
  return 1;
}

/* Closes the pending variables of a failed coroutine; its error value, perhaps a new one, goes to L. */
static int close_failed(lua_State *L, ro_Lock *lock, lua_State *co) {
  ro_Place here = ro_coroutine_enter(lock, L, co);
#if LUA_VERSION_RELEASE_NUM >= 50406
  int status = lua_closethread(co, L);
#else
  int status = lua_resetthread(co);
#endif
  ro_coroutine_leave(lock, here);
  lua_xmove(co, L, 1);
  return status;
}

/* What coroutine.wrap returns. Upvalues: the coroutine, where the original looks for it, and the lock. */
enum { COROUTINE = 1, WRAPPED_LOCK };

static int tracked_wrapped(lua_State *L) {
  ro_Lock *lock = lock_upvalue(L, WRAPPED_LOCK);
  lua_State *co = lua_tothread(L, lua_upvalueindex(COROUTINE));
  int status, results = resume(L, lock, co, lua_gettop(L));
  if (results >= 0)
    return results;
  status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD)
    status = close_failed(L, lock, co);
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int wrapped(lua_State *L) {
  const ro_Lock *lock = lock_upvalue(L, WRAPPED_LOCK);
  if (is_simple(lock, L) && lock->wrapped != NULL)
    return lock->wrapped(L);
  return tracked_wrapped(L);
}

static int co_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  new_coroutine(L);
  lua_pushvalue(L, lua_upvalueindex(LOCK));
  lua_pushcclosure(L, wrapped, 2);
  return 1;
}

/* Would the original close it; else it raises, and nothing has run. */
static int can_close(lua_State *L, lua_State *co) {
  lua_Debug ar;
  if (co == NULL || co == L)
    return 0;
  return lua_status(co) != LUA_OK || !lua_getstack(co, 0, &ar);
}

static int co_close(lua_State *L) {
  lua_CFunction original = original_upvalue(L);
  ro_Lock *lock = lock_upvalue(L, LOCK);
  lua_State *co = lua_tothread(L, 1);
  int results;
  ro_Place here;
  if (!can_close(L, co))
    return original(L);
  here = ro_coroutine_enter(lock, L, co);
  results = original(L);
  ro_coroutine_leave(lock, here);
  return results;
}

/*
** debug.gethook and debug.sethook. The original may be called again:
** it has no effect but the one that is wanted in the end. Should it raise, the next signal arms
** the coroutine again.
*/
static int db_hook(lua_State *L) {
  lua_CFunction original = original_upvalue(L);
  ro_Lock *lock = lock_upvalue(L, LOCK);
  lua_State *of = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  int arguments = lua_gettop(L), results;
  unsigned times;
  do { /* again if an interruption came meanwhile */
    lua_settop(L, arguments);
    times = ro_hook_uncover(lock, of);
    results = original(L);
  } while (ro_hook_covered_since(lock, times));
  ro_hook_cover(lock);
  return results;
}

/*
** os.exit. A thread of the library ends the program without closing the state, which the program is in: that can't be
** closed under it, and would wait for the thread itself.
*/
static int os_exit(lua_State *L) {
  ro_Lock *lock = lock_upvalue(L, LOCK);
  if (ro_wait_self(lock) != &lock->program)
    lua_settop(L, 1);
  return original_upvalue(L)(L);
}

/* Is the function on top one in C without upvalues, so that it can be called as such. */
static int is_plain(lua_State *L) {
  if (lua_tocfunction(L, -1) == NULL)
    return 0;
  if (lua_getupvalue(L, -1, 1) == NULL)
    return 1;
  lua_pop(L, 1);
  return 0;
}

/*
** What `wrap` of the table on top returns, if that is a C function with a coroutine as its only upvalue; else
** NULL. [-0, +0, m]
*/
static lua_CFunction original_wrapped(lua_State *L) {
  int top = lua_gettop(L);
  lua_CFunction function = NULL;
  if (lua_getfield(L, top, "wrap") == LUA_TFUNCTION && is_plain(L)) {
    lua_pushcfunction(L, co_create); /* any function */
    lua_call(L, 1, 1);
    if (lua_getupvalue(L, top + 1, 1) != NULL && lua_isthread(L, -1) && lua_getupvalue(L, top + 1, 2) == NULL)
      function = lua_tocfunction(L, top + 1);
  }
  lua_settop(L, top);
  return function;
}

/* Puts `function` in place of `name` in the table on top, if that can be called as a mere C function. */
static void replace(lua_State *L, ro_Lock *lock, const char *name, lua_CFunction function) {
  lua_pushlightuserdata(L, lock);
  if (lua_getfield(L, -2, name) == LUA_TFUNCTION && is_plain(L)) {
    lua_pushcclosure(L, function, 2);
    lua_setfield(L, -2, name);
  } else
    lua_pop(L, 2);
}

void ro_open_coroutine(lua_State *L, ro_Lock *lock) {
  ro_check_stack(L, 8, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, LUA_COLIBNAME) == LUA_TTABLE) {
    lock->wrapped = original_wrapped(L);
    replace(L, lock, "create", co_create);
    replace(L, lock, "resume", co_resume);
    replace(L, lock, "wrap", co_wrap);
    replace(L, lock, "close", co_close);
  }
  lua_pop(L, 1);
  if (lua_getfield(L, -1, LUA_DBLIBNAME) == LUA_TTABLE) {
    replace(L, lock, "gethook", db_hook);
    replace(L, lock, "sethook", db_hook);
  }
  lua_pop(L, 1);
  if (lua_getfield(L, -1, LUA_OSLIBNAME) == LUA_TTABLE)
    replace(L, lock, "exit", os_exit);
  lua_pop(L, 2);
}
