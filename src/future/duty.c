#include "future/duty.h"

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/registry.h"
#include "lock/lock.h"

#define METATABLE "remoteobj.duty"

/* In nanoseconds, from a failure until waits do it again. */
#define PAUSE (RO_SECOND / 100)

/* All duties, by their addresses; they are held weakly. */
static const char all_key = 0;

/*
** Keeps the duties that must not be collected, by their addresses; of others there is `false`, so that it takes no memory to
** keep one.
*/
static const char kept_key = 0;

/* Its user values are the function and an error. */
enum { FUNCTION = 1, ERROR };

struct ro_Duty {
  ro_Interest interest; /* first, so that it stands for the whole; used while it is due */
  ro_Lock *lock;
  int due;
  int64_t again; /* when, if it is due */
  int lasts;     /* must not be collected while it follows something */
  int follows;   /* futures that are not settled, if it lasts */
  int running;   /* how often it is being done */
  int unheard; /* there is an error that it has failed with, which is not for want of memory and was told to nobody */
  int finalized;
  unsigned failures; /* so far */
};

ro_Duty *ro_check_duty(lua_State *L, int index) {
  return luaL_checkudata(L, index, METATABLE);
}

int ro_duty_is_due(const ro_Duty *duty) {
  return duty->due || duty->unheard;
}

/* Keeps the value on top, which is the duty, or false; pops it. [-1, +0, -] */
static void keep(lua_State *L, const ro_Duty *d) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, d);
  lua_pop(L, 1);
}

static void keep_no_more(lua_State *L, const ro_Duty *d) {
  if (d->due || d->follows > 0 || d->finalized)
    return;
  lua_pushboolean(L, 0);
  keep(L, d);
}

static void set_due(ro_Duty *d) {
  d->again = ro_now() + PAUSE;
  if (!d->due)
    ro_interest_use(d->lock, &d->interest);
  else
    ro_interest_changed(d->lock, &d->interest);
  d->due = 1;
}

static void clear_due(ro_Duty *d) {
  if (d->due)
    ro_interest_drop(d->lock, &d->interest);
  d->due = 0;
}

/* ---- turns ---- */

static int call_with_turn(lua_State *L, int keeps) {
  ro_Lock *lock = ro_lock_of(L);
  int status, kept = ro_lock_keep_turn(lock, keeps);
  status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  ro_lock_keep_turn(lock, kept);
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

int ro_call_atomic(lua_State *L) {
  return call_with_turn(L, 1);
}

int ro_call_preemptible(lua_State *L) {
  return call_with_turn(L, 0);
}

/* ---- duties ---- */

/*
** Does the duty on top, which is popped; as ro_duty_do. It is told the number, unless that is NULL, or it is due and more
** has to be done. [-1, +(0|1), -]
*/
static int attempt(lua_State *L, ro_Duty *d, const lua_Integer *number) {
  unsigned failures = d->failures;
  int status, kept, base = lua_gettop(L) - 1, told = number != NULL && !d->due;
  lua_pushvalue(L, -1);
  lua_getiuservalue(L, -1, FUNCTION);
  lua_remove(L, -2);
  if (told)
    lua_pushinteger(L, *number);
  d->running++;
  kept = ro_lock_keep_turn(d->lock, 1);
  status = ro_pcall_aside(L, told, 0, 0);
  ro_lock_keep_turn(d->lock, kept);
  d->running--;
  if (status != LUA_OK && !d->finalized) {
    d->failures++;
    if (status != RO_THROWN && !ro_is_memory_error(L, status)) {
      d->unheard = 1;
      lua_pushvalue(L, -1);
      lua_setiuservalue(L, -3, ERROR);
    }
    set_due(d);
    lua_insert(L, -2);
    keep(L, d);
    if (status != RO_THROWN) /* which is raised where the caller goes on */
      return -1;
    lua_pop(L, 1);
    return 0;
  }
  if (d->failures == failures)
    clear_due(d);
  lua_settop(L, base);
  keep_no_more(L, d);
  return 0;
}

/* Pushes the duty and returns 1; or 0 if it is being collected. [-0, +(0|1), -] */
static int push_duty(lua_State *L, const ro_Duty *d) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &all_key);
  if (lua_rawgetp(L, -1, d) != LUA_TUSERDATA || d->finalized) {
    lua_pop(L, 2);
    return 0;
  }
  lua_remove(L, -2);
  return 1;
}

int ro_duty_do(lua_State *L, ro_Duty *d) {
  int status = -1;
  if (!push_duty(L, d))
    return 0;
  if (d->unheard) {
    lua_getiuservalue(L, -1, ERROR);
    lua_remove(L, -2);
  } else {
    status = attempt(L, d, NULL);
  }
  d->unheard = 0;
  return status;
}

/* The same where nobody hears of it. [-0, +0, -] */
static void do_quietly(lua_State *L, ro_Duty *d, const lua_Integer *number) {
  if (push_duty(L, d) && attempt(L, d, number) != 0)
    lua_pop(L, 1);
}

void ro_duty_follow(lua_State *L, int index) {
  ro_Duty *d = lua_touserdata(L, index);
  if (!d->lasts)
    return;
  d->follows++;
  lua_pushvalue(L, index);
  keep(L, d);
}

void ro_duty_leave(lua_State *L, ro_Duty *d) {
  if (!d->lasts)
    return;
  d->follows--;
  keep_no_more(L, d);
}

void ro_duty_notice(lua_State *L, ro_Duty *d, lua_Integer number) {
  do_quietly(L, d, &number);
  ro_duty_leave(L, d);
}

static nfds_t duty_watch(ro_Interest *interest, struct pollfd *fds, int64_t *until) {
  const ro_Duty *d = (ro_Duty *)interest;
  (void)fds;
  if (d->running == 0 && d->again < *until)
    *until = d->again;
  return 0;
}

static void duty_attend(lua_State *L, ro_Interest *interest) {
  ro_Duty *d = (ro_Duty *)interest;
  if (d->due && d->running == 0 && d->again <= ro_now())
    do_quietly(L, d, NULL);
}

int ro_duty_perform(lua_State *L) {
  ro_Duty *d = ro_check_duty(L, 1);
  lua_Integer number = luaL_optinteger(L, 2, 0);
  int all = lua_isnoneornil(L, 2);
  lua_settop(L, 1);
  attempt(L, d, all ? NULL : &number);
  return 0;
}

static int duty_gc(lua_State *L) {
  ro_Duty *d = lua_touserdata(L, 1);
  clear_due(d);
  d->finalized = 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, d);
  return 0;
}

int ro_duty_new(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", duty_gc}, {NULL, NULL}};
  enum { LASTS = 2, DUTY };
  ro_Duty *d;
  luaL_checktype(L, FUNCTION, LUA_TFUNCTION);
  lua_settop(L, LASTS);
  d = lua_newuserdatauv(L, sizeof *d, 2);
  *d = (ro_Duty){.interest = {.watch = duty_watch, .attend = duty_attend},
                 .lock = ro_lock_of(L),
                 .lasts = lua_toboolean(L, LASTS)};
  lua_pushvalue(L, FUNCTION);
  lua_setiuservalue(L, DUTY, FUNCTION);
  ro_push_metatable(L, METATABLE, metamethods);
  ro_push_kept_table(L, &all_key, "v");
  lua_pushvalue(L, DUTY);
  lua_rawsetp(L, -2, d);
  ro_push_kept_table(L, &kept_key, NULL);
  lua_pushboolean(L, 0);
  lua_rawsetp(L, -2, d);
  lua_pop(L, 2);
  lua_setmetatable(L, DUTY);
  return 1;
}
