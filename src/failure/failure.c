/*
** The failure itself: a userdata that keeps an error value, the traceback of its raise, and
** which books (Except) have recorded it. How it is made, passed on and caught.
*/
#include "failure/failure.h"

#include <lauxlib.h>

#include "base/error.h"
#include "base/registry.h"
#include "base/stack.h"
#include "lock/lock.h"

#define FAILURE "remoteobj.failure"

/* User values of a failure. */
enum { VALUE = 1, TRACEBACK, MARKS, COUNT = MARKS };

typedef struct Failure {
  int flying; /* raised and not caught yet, as far as is known */
} Failure;

/* Registry: coroutine -> the failure that was raised in it last; keys are weak. */
static const char flights_key;

static Failure *test_failure(lua_State *L, int index) {
  return luaL_testudata(L, index, FAILURE);
}

static Failure *check_failure(lua_State *L, int index) {
  return luaL_checkudata(L, index, FAILURE);
}

static void push_thread(lua_State *L, lua_State *thread) {
  lua_pushthread(thread);
  if (thread != L)
    lua_xmove(thread, L, 1);
}

/* Remembers the failure on top as the last raised in coroutine `from`. [-0, +0, m] */
static void take_off(lua_State *L, lua_State *from) {
  test_failure(L, -1)->flying = 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &flights_key);
  push_thread(L, from);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Makes a failure of the error value and the traceback on top. [-2, +1, m] */
static void new_failure(lua_State *L) {
  Failure *failure = lua_newuserdatauv(L, sizeof *failure, COUNT);
  failure->flying = 0;
  luaL_setmetatable(L, FAILURE);
  lua_insert(L, -3);
  lua_setiuservalue(L, -3, TRACEBACK);
  lua_setiuservalue(L, -2, VALUE);
}

/* Passes a failure on: raises its value so that whoever catches it next gets the same failure. */
static int rethrow(lua_State *L) {
  check_failure(L, 1);
  lua_settop(L, 1);
  ro_failure_value(L, 1);
  return lua_error(L);
}

/* Is the frame at `level` of `from` that of rethrow: then pushes the failure that it passes on. */
static int push_passed_on(lua_State *L, lua_State *from, int level) {
  lua_Debug ar;
  int same;
  if (!lua_getstack(from, level, &ar))
    return 0;
  lua_getinfo(L, "f", &ar);
  same = lua_tocfunction(L, -1) == rethrow;
  lua_pop(L, 1);
  if (!same || lua_getlocal(from, &ar, 1) == NULL)
    return 0;
  if (from != L)
    lua_xmove(from, L, 1);
  if (test_failure(L, -1) != NULL)
    return 1;
  lua_pop(L, 1);
  return 0;
}

/* Replaces the error value on top, raised at `level` of `from`, by its failure. [-1, +1, m] */
static void find_failure(lua_State *L, lua_State *from, int level) {
  if (push_passed_on(L, from, level)) {
    lua_remove(L, -2);
  } else {
    ro_push_known_traceback(L, -1);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      ro_push_traceback(L, from, level);
    }
    new_failure(L);
  }
}

/*
** Pushes the failure with which the value at `index` is on its way through `from`, or nothing.
** Returns whether it is.
*/
static int push_flying(lua_State *L, lua_State *from, int index) {
  Failure *failure;
  int same;
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &flights_key);
  push_thread(L, from);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  failure = test_failure(L, -1);
  if (failure != NULL && failure->flying) {
    lua_getiuservalue(L, -1, VALUE);
    same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    if (same)
      return 1;
  }
  lua_pop(L, 1);
  return 0;
}

/*
** The error value itself stays what it is, since values to be closed see it on its way; the
** failure is found again by whoever catches.
*/
int ro_failure_handler(lua_State *L) {
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  find_failure(L, L, 1);
  take_off(L, L);
  lua_settop(L, 1);
  return 1;
}

void ro_failure_caught(lua_State *L) {
  ro_check_stack(L, 10, NULL);
  if (test_failure(L, -1) != NULL)
    return;
  if (push_flying(L, L, -1))
    lua_remove(L, -2);
  else /* no handler runs when memory is short */
    find_failure(L, L, 0);
  test_failure(L, -1)->flying = 0;
}

void ro_failure_of(lua_State *L, lua_State *from) {
  ro_check_stack(L, 10, NULL);
  find_failure(L, from, 0);
  take_off(L, from);
}

void ro_failure_value(lua_State *L, int index) {
  if (test_failure(L, index) != NULL)
    lua_getiuservalue(L, index, VALUE);
  else
    lua_pushvalue(L, index);
}

void ro_failure_traceback(lua_State *L, int index) {
  if (test_failure(L, index) != NULL)
    lua_getiuservalue(L, index, TRACEBACK);
  else
    lua_pushnil(L);
}

/* ---- for the Lua layer ---- */

/* Slots of guard: what was on its way before, the message handler, and what a success gives first. */
enum { BEFORE = 1, HANDLER, SUCCESS };

/* Makes what is at BEFORE the last raise of this coroutine again: one within func is over. */
static void restore_flight(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &flights_key);
  lua_pushthread(L);
  lua_pushvalue(L, BEFORE);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* What guard gives: true and the results, or false and the failure. */
static int guarded(lua_State *L, int status) {
  if (status == LUA_OK || status == LUA_YIELD)
    return lua_gettop(L) - HANDLER;
  ro_failure_caught(L);
  restore_flight(L);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

static int guard_continue(lua_State *L, int status, lua_KContext context) {
  (void)context;
  return guarded(L, status);
}

/* guard(func, ...): calls func; true and its results, or false and the failure. func may yield. */
static int guard(lua_State *L) {
  int count = lua_gettop(L) - 1;
  luaL_checkany(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &flights_key);
  lua_pushthread(L);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  lua_insert(L, BEFORE);
  lua_pushcfunction(L, ro_failure_handler);
  lua_insert(L, HANDLER);
  lua_pushboolean(L, 1);
  lua_insert(L, SUCCESS);
  return guarded(L, lua_pcallk(L, count, LUA_MULTRET, HANDLER, 0, guard_continue));
}

/* failure_of(value [, coroutine]): the failure of an error that has ended the coroutine, or is met here. */
static int failure_of(lua_State *L) {
  lua_State *from = lua_tothread(L, 2);
  lua_settop(L, 1);
  if (from != NULL)
    ro_failure_of(L, from);
  else
    find_failure(L, L, 1);
  return 1;
}

/* failure_with(value, traceback): a failure whose traceback is known. */
static int failure_with(lua_State *L) {
  lua_settop(L, 2);
  new_failure(L);
  return 1;
}

static int value_of(lua_State *L) {
  check_failure(L, 1);
  ro_failure_value(L, 1);
  return 1;
}

static int traceback_of(lua_State *L) {
  check_failure(L, 1);
  ro_failure_traceback(L, 1);
  return 1;
}

/* keep_traceback(failure): has `traceback` give the failure's for its error value, if that is a table. */
static int keep_traceback(lua_State *L) {
  check_failure(L, 1);
  lua_settop(L, 1);
  ro_failure_value(L, 1);
  ro_failure_traceback(L, 1);
  if (lua_istable(L, 2) && lua_isstring(L, 3))
    ro_keep_traceback(L, 2);
  return 0;
}

/* marks_of(failure): the table, made at its first use, in which a book says that it has recorded the failure.
 */
static int marks_of(lua_State *L) {
  check_failure(L, 1);
  if (lua_getiuservalue(L, 1, MARKS) == LUA_TTABLE)
    return 1;
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, MARKS);
  return 1;
}

/* flying(value): the failure with which `value` is on its way through the running coroutine, or nothing. */
static int flying(lua_State *L) {
  lua_settop(L, 1);
  return push_flying(L, L, 1);
}

/* throws(): how many errors that were thrown into this thread have been raised in it. */
static int throws_so_far(lua_State *L) {
  lua_pushinteger(L, ro_throws(ro_lock_of(L)));
  return 1;
}

/* is_thrown(value, throws): is an error that was just caught one of those that were raised since there were so many. */
static int is_thrown(lua_State *L) {
  lua_settop(L, 2);
  lua_insert(L, 1);
  lua_pushboolean(L, ro_is_thrown(L, (unsigned)luaL_checkinteger(L, 1)));
  return 1;
}

/* aside(func, ...): pcall for what a thread does besides: an error that was thrown into it is raised again where it goes on. */
static int aside(lua_State *L) {
  int status;
  luaL_checkany(L, 1);
  status = ro_pcall_aside(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  ro_check_stack(L, 1, NULL);
  lua_pushboolean(L, status == LUA_OK);
  lua_insert(L, 1);
  return lua_gettop(L);
}

/*
** attempt(func, ...): as pcall, but what func is not to blame for is raised: that there is no memory, as there may be some the
** next time, and an error that was thrown in.
*/
static int attempt(lua_State *L) {
  unsigned throws = ro_throws(ro_lock_of(L));
  int status;
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  if (status == LUA_OK)
    return lua_gettop(L);
  if (ro_is_memory_error(L, status) || ro_is_thrown(L, throws))
    return lua_error(L);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* depth(): how many frames the running coroutine has, this one not counted. */
static int depth(lua_State *L) {
  lua_pushinteger(L, ro_stack_depth(L) - 1);
  return 1;
}

/* lua_caller(level): the first function written in Lua at or above the level (1: the caller), and its level there. */
static int lua_caller(lua_State *L) {
  lua_Debug ar;
  int level = (int)luaL_checkinteger(L, 1);
  for (; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (*ar.what == 'C')
      continue;
    lua_getinfo(L, "f", &ar);
    lua_pushinteger(L, level);
    return 2;
  }
  return 0;
}

/* name_function(func [, name]): how tracebacks show it; without a name they don't. */
static int name_function(lua_State *L) {
  luaL_checkany(L, 1);
  ro_traceback_name(L, 1, luaL_optstring(L, 2, NULL));
  return 0;
}

static int name_process(lua_State *L) {
  luaL_checkstring(L, 1);
  ro_set_process_name(L, 1);
  return 0;
}

static const luaL_Reg functions[] = {{"guard", guard},
                                     {"throws", throws_so_far},
                                     {"is_thrown", is_thrown},
                                     {"aside", aside},
                                     {"attempt", attempt},
                                     {"rethrow", rethrow},
                                     {"failure_of", failure_of},
                                     {"failure_with", failure_with},
                                     {"value_of", value_of},
                                     {"traceback_of", traceback_of},
                                     {"keep_traceback", keep_traceback},
                                     {"marks_of", marks_of},
                                     {"flying", flying},
                                     {"depth", depth},
                                     {"lua_caller", lua_caller},
                                     {"name_function", name_function},
                                     {"name_process", name_process},
                                     {NULL, NULL}};

static void hide(lua_State *L, lua_CFunction function) {
  lua_pushcfunction(L, function);
  ro_traceback_name(L, -1, NULL);
  lua_pop(L, 1);
}

void ro_failure_functions(lua_State *L) {
  luaL_newmetatable(L, FAILURE);
  lua_pop(L, 1);
  ro_push_kept_table(L, &flights_key, "k");
  lua_pop(L, 1);
  hide(L, guard);
  hide(L, rethrow);
  luaL_setfuncs(L, functions, 0);
}
