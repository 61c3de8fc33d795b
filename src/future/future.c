/***
What is still to come: futures, and waiting for them.
@module remoteobj
*/

#include "future/future.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/estate.h"
#include "base/options.h"
#include "base/registry.h"
#include "base/stack.h"
#include "future/callback.h"
#include "future/duty.h"

#define METATABLE "remoteobj.Future"

/* What is kept of a future. Of one that its source has settled nothing is, until somebody asks. */
enum { NOTHING, RESULTS, ERROR };

/* The metatable in the registry, where it is found sooner than by its name. */
static const char metatable_key = 0;

/* Keeps futures that have functions to call, by their addresses. */
static const char anchor_key = 0;

ro_Future *ro_test_future(lua_State *L, int index) {
  int is_future;
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
    return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  is_future = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return is_future ? lua_touserdata(L, index) : NULL;
}

static ro_Future *check_future(lua_State *L, int index) {
  ro_Future *f = ro_test_future(L, index);
  if (f == NULL)
    luaL_typeerror(L, index, METATABLE);
  return f;
}

int ro_future_is_done(const ro_Future *f) {
  return f->state != NOTHING || (f->kind->settled != NULL && f->kind->settled(f));
}

/* A future that was not done when its process forked never will be in the child. */
static void check_home(lua_State *L, const ro_Future *f) {
  if (!ro_future_is_done(f) && f->home != ro_pid())
    luaL_error(L, "the future belongs to process %d, in which it was made", f->home);
}

/* ---- what comes of it ---- */

void ro_future_keep(lua_State *L, int index, int count) {
  ro_Future *f;
  index = lua_absindex(L, index);
  f = lua_touserdata(L, index);
  if (count > 1) {
    lua_createtable(L, count, 0);
    lua_insert(L, -count - 1);
    for (int i = count; i >= 1; i--)
      lua_rawseti(L, -i - 1, i);
  }
  if (count != 0)
    lua_setiuservalue(L, index, RO_FUTURE_RESULT);
  f->state = count < 0 ? ERROR : RESULTS;
  f->count = count;
  ro_wait_notify(f->lock);
}

/* Lets the source tell what it has settled the future with. [-0, +0, e] */
static void open_future(lua_State *L, int index) {
  const ro_Future *f = lua_touserdata(L, index);
  int base = lua_gettop(L), status;
  unsigned throws = ro_throws(f->lock);
  lua_pushcfunction(L, f->kind->open);
  lua_pushvalue(L, index);
  status = lua_pcall(L, 1, LUA_MULTRET, 0);
  if (status != LUA_OK && (ro_is_memory_error(L, status) || ro_is_thrown(L, throws)))
    lua_error(L);
  ro_future_keep(L, index, status == LUA_OK ? lua_gettop(L) - base : -1);
  if (f->kind->kept != NULL)
    f->kind->kept(lua_touserdata(L, index));
}

/* Pushes the results of the future at `index`, which is done, or raises its error. [-0, +n, e] */
static int give(lua_State *L, int index) {
  const ro_Future *f = lua_touserdata(L, index);
  if (f->state == NOTHING)
    open_future(L, index);
  if (f->count == 0)
    return 0;
  lua_getiuservalue(L, index, RO_FUTURE_RESULT);
  if (f->state == ERROR)
    return lua_error(L);
  if (f->count == 1)
    return 1;
  ro_check_stack(L, f->count + 1, "too many results");
  for (int i = 1; i <= f->count; i++)
    lua_rawgeti(L, -i, i);
  lua_remove(L, -f->count - 1);
  return f->count;
}

/* ---- waiting for several ---- */

/* How a wait for several stands. */
typedef struct Several {
  ro_Future **futures;
  lua_Integer count;
  lua_Integer first; /* all before it are done */
  int all;           /* wait for all, else for any */
} Several;

static void watch_source(const ro_Future *f) {
  if (f->source != NULL)
    ro_interest_use(f->lock, f->source);
}

static void leave_source(const ro_Future *f) {
  if (f->source != NULL)
    ro_interest_drop(f->lock, f->source);
}

/* Is what is waited for there. */
static int is_enough(Several *s) {
  if (!s->all) {
    for (lua_Integer i = 0; i < s->count; i++)
      if (ro_future_is_done(s->futures[i]))
        return 1;
    return s->count == 0;
  }
  while (s->first < s->count && ro_future_is_done(s->futures[s->first]))
    s->first++;
  return s->first == s->count;
}

/*
** Does the duties that are due of the futures that are waited for first. Returns whether there were any; or -1 with the
** error of one on the stack. [-0, +(0|1), -]
*/
static int do_duties(lua_State *L, const Several *s) {
  lua_Integer end = s->all ? s->first + 1 : s->count;
  int done = 0;
  for (lua_Integer i = s->first; i < end; i++) {
    ro_Duty *duty = s->futures[i]->duty;
    if (duty == NULL || !ro_duty_is_due(duty))
      continue;
    if (ro_duty_do(L, duty) != 0)
      return -1;
    done = 1;
  }
  return done;
}

/* Waits until there is enough, or `deadline`. The futures are kept by the stack. [-0, +0, v] */
static void wait_for(lua_State *L, Several *s, int64_t deadline) {
  int r = 0;
  if (is_enough(s))
    return;
  ro_check_stack(L, 8, NULL);
  for (lua_Integer i = 0; i < s->count; i++)
    watch_source(s->futures[i]);
  do {
    r = do_duties(L, s);
    if (r == 0)
      r = ro_wait_interests(L, deadline);
  } while (r >= 0 && !is_enough(s) && (deadline == RO_NEVER || ro_now() < deadline));
  for (lua_Integer i = 0; i < s->count; i++)
    leave_source(s->futures[i]);
  if (r < 0)
    lua_error(L);
}

/* Waits until the future is done, or `deadline`. Returns whether it is. [-0, +0, v] */
static int await(lua_State *L, ro_Future *f, int64_t deadline) {
  Several s = {.futures = &f, .count = 1, .all = 1};
  check_home(L, f);
  wait_for(L, &s, deadline);
  return ro_future_is_done(f);
}

int ro_future_get(lua_State *L, int index, int64_t deadline) {
  index = lua_absindex(L, index);
  return await(L, lua_touserdata(L, index), deadline) ? give(L, index) : -1;
}

/* Pushes a userdata with the addresses of the futures in the list at `index`, and a list of its own. [-0, +2, v] */
static void list_futures(lua_State *L, int index, Several *s) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, index);
  s->futures = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof(ro_Future *), 0);
  s->count = count;
  lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
  for (lua_Integer i = 1; i <= count; i++) {
    ro_Future *f;
    lua_rawgeti(L, index, i);
    f = ro_test_future(L, -1);
    if (f != NULL)
      check_home(L, f);
    else
      luaL_argerror(L, index, lua_pushfstring(L, "future expected at [%I], got %s", i, luaL_typename(L, -1)));
    s->futures[i - 1] = f;
    lua_rawseti(L, -2, i);
  }
}

static int64_t wait_options(lua_State *L, int index, Several *s) {
  static const char *const names[] = {"all", "timeout", NULL};
  int64_t deadline = RO_NEVER;
  if (lua_isnoneornil(L, index))
    return deadline;
  luaL_checktype(L, index, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int option = ro_check_option(L, index, names, RO_ALL_OPTIONS);
    if (option == 0)
      s->all = ro_check_flag(L, index, names[option]);
    else
      deadline = ro_deadline(ro_check_seconds(L, index, names[option]));
  }
  return deadline;
}

/***
Waits for futures, whatever they come from.
@function wait
@tparam {Future,...} futures a list of them
@tparam[opt] table options how to wait
@tparam[opt=true] boolean options.all for all of them, else for any one
@tparam[opt] number options.timeout seconds, without end if not given
@treturn {Future,...} those that are done, in the given order
@treturn {Future,...} the others
@usage local done, others = remoteobj.wait(futures, { all = false, timeout = 5 })
*/
static int l_wait(lua_State *L) {
  enum { FUTURES = 1, OPTIONS, ADDRESSES, LIST, DONE, OTHERS };
  Several s = {.all = 1};
  lua_Integer done = 0, others = 0;
  int64_t deadline;
  luaL_checktype(L, FUTURES, LUA_TTABLE);
  lua_settop(L, OPTIONS);
  deadline = wait_options(L, OPTIONS, &s);
  list_futures(L, FUTURES, &s);
  wait_for(L, &s, deadline);
  lua_createtable(L, s.count < INT32_MAX ? (int)s.count : 0, 0);
  lua_newtable(L);
  for (lua_Integer i = 1; i <= s.count; i++) {
    lua_rawgeti(L, LIST, i);
    if (ro_future_is_done(s.futures[i - 1]))
      lua_rawseti(L, DONE, ++done);
    else
      lua_rawseti(L, OTHERS, ++others);
  }
  return 2;
}

/* ---- methods ---- */

/***
What an evaluation with `async = true` gives at once, in place of its results. As an argument of a
request to the same proxy it stands for its (first) result there. One that is dropped changes nothing: what it
stands for goes on. It belongs to the process that it was made in.
@type Future
*/

static double check_timeout(lua_State *L, int argument) {
  double seconds = luaL_checknumber(L, argument);
  luaL_argcheck(L, !isnan(seconds), argument, "a number of seconds expected, got nan");
  return seconds;
}

/***
Waits for the results. May be called again and again: it gives the same again.
@function Future:get
@tparam[opt] number timeout seconds, without end if not given; when they have passed nothing is cancelled
@return all results; or the default, where it applies
@raise the error that there was instead, as the evaluation would have raised it; `Timeout` after `timeout`
@usage print(future:get())
*/
static int future_get(lua_State *L) {
  int results;
  check_future(L, 1);
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    return ro_future_get(L, 1, RO_NEVER);
  }
  check_timeout(L, 2);
  lua_settop(L, 2);
  results = ro_future_get(L, 1, ro_deadline(lua_tonumber(L, 2)));
  if (results >= 0)
    return results;
  ro_push_error(L, RO_TIMEOUT, "the future is not done after %f seconds", lua_tonumber(L, 2));
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "may_have_run");
  return lua_error(L);
}

/***
Is there a result, or an error? Doesn't wait.
@function Future:done
@treturn boolean
*/
static int future_done(lua_State *L) {
  ro_Future *f = check_future(L, 1);
  lua_settop(L, 1);
  lua_pushboolean(L, await(L, f, 0));
  return 1;
}

/* Keeps the future at `index` until its functions have been called. [-0, +0, m] */
static void anchor(lua_State *L, int index) {
  ro_push_kept_table(L, &anchor_key, NULL);
  lua_pushvalue(L, index);
  lua_rawsetp(L, -2, lua_touserdata(L, index));
  lua_pop(L, 1);
}

/* It is to be announced, once it is settled. */
static void want_announced(ro_Future *f) {
  watch_source(f);
  if (f->kind->announce != NULL)
    f->kind->announce(f);
}

/***
Calls a function once the future is done: at once when it is, else while this process waits inside the library, for whatever
that be. So it should be short, and wait for nothing itself. An error that it raises then becomes a warning (see Lua's
`warn`). Functions are called in the order in which they were given.
@function Future:on_done
@tparam function func called with the future
@raise what `func` raises, if it is called at once
@usage future:on_done(function(f) print(f:get()) end)
*/
static int future_on_done(lua_State *L) {
  ro_Future *f = check_future(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  check_home(L, f);
  if (ro_future_is_done(f) && lua_getiuservalue(L, 1, RO_FUTURE_FUNCTIONS) != LUA_TTABLE) {
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 0);
    return 0;
  }
  lua_settop(L, 2);
  if (lua_getiuservalue(L, 1, RO_FUTURE_FUNCTIONS) != LUA_TTABLE) {
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, -1);
    anchor(L, 1);
    lua_setiuservalue(L, 1, RO_FUTURE_FUNCTIONS);
    want_announced(f);
  }
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  return 0;
}

/* Calls the functions that were given to on_done. [-0, +0, -] */
static void call_functions(lua_State *L, ro_Future *f) {
  int base = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &anchor_key) != LUA_TTABLE ||
      lua_rawgetp(L, -1, f) != LUA_TUSERDATA || lua_getiuservalue(L, -1, RO_FUTURE_FUNCTIONS) != LUA_TTABLE) {
    lua_settop(L, base);
    return;
  }
  lua_pushnil(L);
  lua_rawsetp(L, base + 1, f);
  leave_source(f);
  for (lua_Integer i = 1; lua_rawgeti(L, base + 3, i) == LUA_TFUNCTION; i++) {
    lua_pushvalue(L, base + 2);
    ro_call_back(L, 1, "a function given to on_done");
  }
  lua_pushnil(L);
  lua_setiuservalue(L, base + 2, RO_FUTURE_FUNCTIONS);
  lua_settop(L, base);
}

/* Takes away what follows it, and returns that. */
static ro_Duty *take_follower(ro_Future *f) {
  ro_Duty *follower = f->follower;
  if (follower != NULL)
    leave_source(f);
  f->follower = NULL;
  return follower;
}

void ro_future_announce(lua_State *L, ro_Future *f) {
  ro_Duty *follower = take_follower(f);
  lua_Integer number = f->number;
  call_functions(L, f);
  if (follower != NULL) /* by now nothing may keep the future */
    ro_duty_notice(L, follower, number);
}

/***
Whether it is done.
@function Future:__tostring
@treturn string text for messages
*/
static int future_tostring(lua_State *L) {
  const ro_Future *f = check_future(L, 1);
  lua_pushfstring(L, "<Future (%s)>", ro_future_is_done(f) ? "done" : "not done");
  return 1;
}

static void end_future(lua_State *L, ro_Asset *asset) {
  ro_Future *f = (ro_Future *)((char *)asset - offsetof(ro_Future, asset));
  (void)L;
  f->kind->collect(f);
}

static int future_gc(lua_State *L) {
  ro_Future *f = lua_touserdata(L, 1);
  ro_Duty *follower = take_follower(f);
  if (follower != NULL)
    ro_duty_leave(L, follower);
  ro_asset_end(L, &f->asset);
  return 0;
}

static void push_metatable(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", future_gc}, {"__tostring", future_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"get", future_get}, {"done", future_done}, {"on_done", future_on_done}, {NULL, NULL}};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  ro_push_metatable(L, METATABLE, metamethods);
  lua_createtable(L, 0, 3);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}

ro_Future *ro_push_future(lua_State *L, ro_Lock *lock, const ro_FutureKind *kind, size_t size, int own) {
  ro_Future *f = lua_newuserdatauv(L, size, RO_FUTURE_OWN - 1 + own);
  memset(f, 0, size);
  f->kind = kind;
  f->lock = lock;
  f->home = ro_pid();
  push_metatable(L);
  lua_setmetatable(L, -2);
  if (kind->collect != NULL)
    ro_asset_enter(L, &f->asset, end_future);
  return f;
}

/* ---- for sources in Lua, and the module ---- */

static const ro_FutureKind by_hand = {NULL, NULL, NULL, NULL, NULL};

enum { BY_HAND_DUTY = RO_FUTURE_OWN, BY_HAND_USERVALUES = 1 };

/* new([duty]) -> a future that is settled by hand */
static int l_new(lua_State *L) {
  ro_Duty *duty = lua_isnoneornil(L, 1) ? NULL : ro_check_duty(L, 1);
  ro_Future *f;
  lua_settop(L, 1);
  f = ro_push_future(L, ro_lock_of(L), &by_hand, sizeof(ro_Future), BY_HAND_USERVALUES);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 2, BY_HAND_DUTY);
  f->duty = duty;
  return 1;
}

/* settle(future, ok, ...) -> true, or false when it is done already. An error, for want of memory, leaves all as it was. */
static int l_settle(lua_State *L) {
  ro_Future *f = check_future(L, 1);
  int ok = lua_toboolean(L, 2);
  luaL_argcheck(L, f->kind == &by_hand, 1, "a future of another source");
  ro_check_stack(L, RO_FUTURE_ANNOUNCING, NULL);
  if (ro_future_is_done(f)) {
    lua_pushboolean(L, 0);
    return 1;
  }
  if (!ok)
    lua_settop(L, 3);
  ro_future_keep(L, 1, ok ? lua_gettop(L) - 2 : -1);
  f->duty = NULL;
  lua_pushnil(L);
  lua_setiuservalue(L, 1, BY_HAND_DUTY);
  ro_future_announce(L, f);
  lua_pushboolean(L, 1);
  return 1;
}

/* is_done(future) */
static int l_is_done(lua_State *L) {
  lua_pushboolean(L, ro_future_is_done(check_future(L, 1)));
  return 1;
}

/* await(future) */
static int l_await(lua_State *L) {
  ro_Future *f = check_future(L, 1);
  lua_settop(L, 1);
  await(L, f, RO_NEVER);
  return 0;
}

/* outcome(future) -> true and its results, or false and its error */
static int l_outcome(lua_State *L) {
  const ro_Future *f = check_future(L, 1);
  luaL_argcheck(L, ro_future_is_done(f), 1, "a future that is done expected");
  lua_settop(L, 1);
  if (f->state == NOTHING)
    open_future(L, 1);
  lua_pushboolean(L, f->state == RESULTS);
  if (f->state == RESULTS)
    return give(L, 1) + 1;
  lua_getiuservalue(L, 1, RO_FUTURE_RESULT);
  return 2;
}

/* The future at `index` is followed no more. [-0, +0, -] */
static void leave(lua_State *L, int index) {
  ro_Duty *follower = take_follower(lua_touserdata(L, index));
  if (follower != NULL)
    ro_duty_leave(L, follower);
  lua_pushnil(L);
  lua_setiuservalue(L, index, RO_FUTURE_FOLLOWER);
}

/* leave(future) */
static int l_leave(lua_State *L) {
  check_future(L, 1);
  leave(L, 1);
  return 0;
}

/* follow(future, duty) -> is it done */
static int l_follow(lua_State *L) {
  ro_Future *f = check_future(L, 1);
  ro_Duty *duty = ro_check_duty(L, 2);
  lua_Integer number = luaL_checkinteger(L, 3);
  int done = ro_future_is_done(f);
  luaL_argcheck(L, f->follower == NULL || f->follower == duty, 1, "another duty follows it");
  lua_settop(L, 2);
  if (done)
    leave(L, 1);
  else if (f->follower == NULL) {
    ro_duty_follow(L, 2);
    f->follower = duty;
    f->number = number;
    want_announced(f);
    lua_setiuservalue(L, 1, RO_FUTURE_FOLLOWER);
  }
  lua_pushboolean(L, done);
  return 1;
}

void ro_open_future(lua_State *L) {
  static const luaL_Reg internals[] = {{"new", l_new},
                                       {"settle", l_settle},
                                       {"is_done", l_is_done},
                                       {"await", l_await},
                                       {"outcome", l_outcome},
                                       {"follow", l_follow},
                                       {"leave", l_leave},
                                       {"duty", ro_duty_new},
                                       {"perform", ro_duty_perform},
                                       {"atomic", ro_call_atomic},
                                       {"preemptible", ro_call_preemptible},
                                       {"watch", ro_watch_new},
                                       {NULL, NULL}};
  lua_pushcfunction(L, l_wait);
  lua_setfield(L, -2, "wait");
  luaL_newlib(L, internals);
  lua_setfield(L, -2, "_future");
}
