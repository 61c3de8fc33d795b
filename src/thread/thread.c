/*
** The binding of threads. The record of a thread is what the thread itself has, and the registry keeps it until the thread
** has ended; a handle refers to the record, and has the methods that handles of processes have too. All of it is guarded
** by the lock of the state: whoever runs Lua holds that.
*/
#include "thread/thread.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/estate.h"
#include "base/registry.h"
#include "base/stack.h"
#include "lock/lock.h"
#include "sys/event.h"

#define RECORD "remoteobj.thread.record"
#define HANDLE "remoteobj.thread.handle"

/* How many values wait for their reader before who yields them waits; it goes on when half of them are taken. */
#define MOST_WAITING 64

typedef struct Thread Thread;

/* The threads of a state that are not joined yet. */
typedef struct Crew {
  ro_Lock *lock;
  int home; /* the process whose threads they are */
  Thread *first;
  ro_Condition ends; /* one of them has ended */
} Crew;

struct Thread {
  ro_Asset asset; /* first, so that it stands for the whole */
  Thread *next;
  Crew *crew; /* NULL: not started */
  ro_Thread *thread;
  ro_Native native;
  lua_State *L; /* the coroutine that it runs on */
  int home;
  int daemon; /* is ended when the state is closed; else that waits for it */
  int ended, joined;
  int code;             /* 0 or 1, once it has ended */
  ro_Condition changed; /* it has ended, or its stream has changed */
  ro_Event over;        /* set once it has ended; closed until somebody wants it */
  /* its stream: values in the table that is a user value */
  lua_Integer taken, given; /* how many were */
  int finished;             /* no further ones will come */
  int cancelled;            /* the reader wants no more */
  int unread;               /* the handle is gone: there is no reader */
  lua_Integer thrown,
      raised; /* how many errors were thrown into it, and raised: those between are in a user value */
};

/* User values of a record. */
enum { COROUTINE = 1, STREAM, PROBLEM, THROWN, RECORD_VALUES = THROWN };

typedef struct Handle {
  Thread *thread; /* its record is the user value */
} Handle;

static Thread *check_record(lua_State *L) {
  return luaL_checkudata(L, 1, RECORD);
}

static Thread *check_handle(lua_State *L) {
  return ((Handle *)luaL_checkudata(L, 1, HANDLE))->thread;
}

/* Was it started by this very process: in a fork there is no such thread. */
static int is_own(const Thread *t) {
  return t->home == ro_pid();
}

/* The record behind the handle, of a thread of this process. */
static Thread *check_own(lua_State *L) {
  Thread *t = check_handle(L);
  if (!is_own(t))
    luaL_error(L, "the thread was started by another process, which alone can wait for it");
  return t;
}

static int is_running(const Thread *t) {
  return t->crew != NULL && !t->ended && is_own(t);
}

/* ---- the crew ---- */

static const char crew_key; /* in the registry: the userdata with the state's crew */

static void make_crew(lua_State *L) {
  Crew *crew = lua_newuserdatauv(L, sizeof *crew, 0);
  memset(crew, 0, sizeof *crew);
  crew->lock = ro_lock_of(L);
  crew->home = ro_pid();
  lua_rawsetp(L, LUA_REGISTRYINDEX, &crew_key);
}

/* The crew of the state, without those of the process that this one was forked by. */
static Crew *crew_of(lua_State *L) {
  Crew *crew;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &crew_key);
  crew = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (crew->home != ro_pid()) {
    crew->home = ro_pid();
    crew->first = NULL;
    crew->ends.first = NULL;
  }
  return crew;
}

static void leave_crew(Thread *t) {
  Thread **link = &t->crew->first;
  while (*link != NULL && *link != t)
    link = &(*link)->next;
  if (*link != NULL)
    *link = t->next;
}

/* Gives back what the system holds for a thread that has ended, or is about to without needing the lock again. */
static void join(Thread *t) {
  if (t->joined)
    return;
  t->joined = 1;
  ro_native_join(&t->native);
  leave_crew(t);
}

/* Joins all that have ended: also those whose handles nobody has. */
static void sweep(Crew *crew) {
  for (Thread *t = crew->first, *next; t != NULL; t = next) {
    next = t->next;
    if (t->ended)
      join(t);
  }
}

/* ---- the state closes ---- */

/* Does the state wait for a thread before it is closed. */
static int is_awaited(const Crew *crew) {
  for (const Thread *t = crew->first; t != NULL; t = t->next)
    if (!t->daemon && !t->ended)
      return 1;
  return 0;
}

/* Waits for those that are no daemons; Ctrl-C ends the wait. Then ends all, and waits until they have. */
static void close_crew(lua_State *L, Crew *crew) {
  int top = lua_gettop(L), ready = 0;
  while (ready == 0 && is_awaited(crew))
    ready = ro_condition_wait(L, &crew->ends, RO_NEVER);
  lua_settop(L, top);
  ro_lock_close(crew->lock);
  while (crew->first != NULL) {
    Thread *t = crew->first;
    ro_Native native = t->native;
    t->joined = t->ended = 1;
    crew->first = t->next;
    ro_wait_begin(crew->lock);
    ro_native_join(&native);
    ro_wait_end(crew->lock);
  }
}

/* A record whose thread runs is kept by the registry: then it is the state that is closing. */
static void end_record(lua_State *L, ro_Asset *asset) {
  Thread *t = (Thread *)asset;
  if (t->crew == NULL || !is_own(t))
    return;
  ro_check_stack(L, 10, NULL);
  if (!t->ended && ro_lock_runs_program(t->crew->lock))
    close_crew(L, t->crew);
  if (!t->ended)
    return;
  join(t);
  ro_event_close(&t->over);
}

static int record_gc(lua_State *L) {
  ro_asset_end(L, &check_record(L)->asset);
  return 0;
}

/* ---- the thread's side ---- */

/* Keeps the error on top: what has ended the thread without its having told of it. */
static void keep_problem(lua_State *L, Thread *t) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, t);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, PROBLEM);
  lua_pop(L, 1);
}

/* Calls the function on its stack with its arguments; that gives the exit code. */
static void run(Thread *t) {
  lua_State *L = t->L;
  t->code = 1;
  if (lua_pcall(L, lua_gettop(L) - 1, 1, 0) == LUA_OK)
    t->code = (int)lua_tointeger(L, -1);
  else
    keep_problem(L, t);
}

/* What the thread asks once it was told: is there an error that was thrown into it, and which. Upvalue: its record. */
static int take_thrown(lua_State *L) {
  Thread *t = lua_touserdata(L, lua_upvalueindex(1));
  lua_pushboolean(L, t->raised < t->thrown);
  if (t->raised == t->thrown)
    return 1;
  lua_getiuservalue(L, lua_upvalueindex(1), THROWN);
  lua_rawgeti(L, -1, ++t->raised);
  lua_pushnil(L);
  lua_rawseti(L, -3, t->raised);
  return 2;
}

/* Needs no memory. The coroutine is garbage then, but none is collected before this thread leaves. */
static void finish(Thread *t) {
  lua_State *L = t->L;
  lua_settop(L, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, t);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, COROUTINE);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
  lua_pop(L, 1);
  ro_thread_deafen(L, t->thread);
  t->ended = 1;
  t->thread = NULL;
  t->L = NULL;
  if (t->over.fd >= 0)
    ro_event_set(&t->over);
  ro_condition_notify(&t->changed);
  ro_condition_notify(&t->crew->ends);
}

static void *thread_main(void *argument) {
  Thread *t = argument;
  ro_Thread *self = t->thread;
  ro_thread_adopt(self);
  if (ro_lock_enter(self, t->L, 1) == 0) { /* else the state is closing, and nobody asks any more */
    run(t);
    ro_atfork_end_stray(t->home, t->code);
    finish(t);
    ro_lock_leave(self);
  }
  ro_thread_end(self);
  return NULL;
}

/* ---- starting ---- */

/* Pushes a record, and above it its handle, of a thread that is not started. [-0, +2, m] */
static Thread *new_thread(lua_State *L) {
  Thread *t = lua_newuserdatauv(L, sizeof *t, RECORD_VALUES);
  Handle *h;
  memset(t, 0, sizeof *t);
  ro_event_init(&t->over);
  t->home = ro_pid();
  luaL_setmetatable(L, RECORD);
  ro_asset_enter_threads(L, &t->asset, end_record);
  t->L = ro_push_coroutine(L);
  lua_setiuservalue(L, -2, COROUTINE);
  lua_newtable(L);
  lua_setiuservalue(L, -2, STREAM);
  lua_newtable(L);
  lua_setiuservalue(L, -2, THROWN);
  h = lua_newuserdatauv(L, sizeof *h, 1);
  h->thread = t;
  luaL_setmetatable(L, HANDLE);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, 1);
  return t;
}

/* Has the registry keep the record at `record`, and the function with which the thread asks what was thrown. [-0, +0, m] */
static void keep(lua_State *L, Thread *t, int record) {
  lua_pushvalue(L, record);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
  lua_pushvalue(L, record);
  lua_pushcclosure(L, take_thrown, 1);
  ro_thread_hear(L, t->thread);
}

/* Undoes what was done for a thread that does not start. */
static void let_go(lua_State *L, Thread *t) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
  ro_thread_deafen(L, t->thread);
  ro_thread_end(t->thread);
  t->thread = NULL;
}

/* Starts the native thread. Returns 0 or an errno. */
static int begin(Crew *crew, Thread *t) {
  int code = ro_thread_start(&t->native, thread_main, t);
  if (code != 0)
    return code;
  t->crew = crew;
  t->next = crew->first;
  crew->first = t;
  return 0;
}

/*
** new(daemon, main, ...): a thread that is to run main(record, ...), which returns the exit code, 0 or 1. Gives the
** handle.
*/
static int thread_new(lua_State *L) {
  enum { DAEMON = 1, MAIN };
  int last = lua_gettop(L);
  Thread *t;
  luaL_checktype(L, MAIN, LUA_TFUNCTION);
  ro_check_stack(L, last + 10, NULL);
  t = new_thread(L);
  t->daemon = lua_toboolean(L, DAEMON);
  if (!lua_checkstack(t->L, last + 10))
    return luaL_error(L, "not enough memory");
  lua_pushvalue(L, MAIN);
  lua_pushvalue(L, last + 1);
  for (int i = MAIN + 1; i <= last; i++)
    lua_pushvalue(L, i);
  lua_xmove(L, t->L, last);
  return 1;
}

/* handle:start(): once. The thread may run before this returns. */
static int handle_start(lua_State *L) {
  Thread *t = check_handle(L);
  Crew *crew = crew_of(L);
  int code = ro_lock_activate(L);
  if (code != 0)
    return luaL_error(L, "cannot start a thread: %s", strerror(code));
  sweep(crew);
  t->thread = ro_thread_new(crew->lock, NULL, NULL);
  if (t->thread == NULL)
    return luaL_error(L, "cannot start a thread: %s", strerror(ENOMEM));
  lua_getiuservalue(L, 1, 1);
  keep(L, t, lua_gettop(L));
  code = begin(crew, t);
  if (code != 0) {
    let_go(L, t);
    return luaL_error(L, "cannot start a thread: %s", strerror(code));
  }
  return 0;
}

/* ---- methods of records: for the thread itself ---- */

/* Waits, with an error raised if one comes of it. [-0, +0, v] */
static void wait_for_change(lua_State *L, Thread *t, int64_t deadline) {
  if (ro_condition_wait(L, &t->changed, deadline) != 0)
    lua_error(L);
}

/* An error that was thrown into the thread is raised where that has yielded: so it must go on, be it with a value too many. */
static int is_full(const Thread *t) {
  return t->given - t->taken >= MOST_WAITING && !t->cancelled && !t->unread && !ro_thread_is_told(t->thread);
}

/* record:send(value): yields a value, waiting for room; false when the reader wants no more. */
static int record_send(lua_State *L) {
  Thread *t = check_record(L);
  luaL_checkany(L, 2);
  ro_check_stack(L, 10, NULL);
  while (is_full(t))
    wait_for_change(L, t, RO_NEVER);
  if (!t->cancelled && !t->unread) {
    lua_getiuservalue(L, 1, STREAM);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, t->given + 1);
    if (t->given++ == t->taken)
      ro_condition_notify(&t->changed);
  }
  lua_pushboolean(L, !t->cancelled);
  return 1;
}

/* record:close_stream(): no further values. */
static int record_close_stream(lua_State *L) {
  Thread *t = check_record(L);
  t->finished = 1;
  ro_condition_notify(&t->changed);
  return 0;
}

static const luaL_Reg record_methods[] = {
    {"send", record_send}, {"close_stream", record_close_stream}, {NULL, NULL}};

/* ---- methods of handles ---- */

/* Nobody reads on: forgets the values that were not read, and lets who waits for room go on. */
static void stop_reading(lua_State *L, Thread *t) {
  lua_getiuservalue(L, 1, 1);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, STREAM);
  lua_pop(L, 1);
  t->taken = t->given;
  if (is_running(t))
    ro_condition_notify(&t->changed);
}

static int handle_gc(lua_State *L) {
  Thread *t = check_handle(L);
  t->unread = 1;
  stop_reading(L, t);
  return 0;
}

/* handle:own(): was it started by this process. */
static int handle_own(lua_State *L) {
  lua_pushboolean(L, is_own(check_handle(L)));
  return 1;
}

/* handle:pid(): that of the process whose thread it is. */
static int handle_pid(lua_State *L) {
  lua_pushinteger(L, check_handle(L)->home);
  return 1;
}

/* handle:alive() */
static int handle_alive(lua_State *L) {
  lua_pushboolean(L, is_running(check_handle(L)));
  return 1;
}

/* handle:status(): nil while it runs, else its exit code. In a fork: what was known before. */
static int handle_status(lua_State *L) {
  Thread *t = check_handle(L);
  if (t->ended && is_own(t))
    join(t);
  if (t->ended)
    lua_pushinteger(L, t->code);
  else
    lua_pushnil(L);
  return 1;
}

/* handle:problem(): the error that has ended it, if it has told of none itself. */
static int handle_problem(lua_State *L) {
  check_handle(L);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, -1, PROBLEM);
  return 1;
}

/* handle:sentinel(): a descriptor that is readable once it has ended. */
static int handle_sentinel(lua_State *L) {
  Thread *t = check_handle(L);
  if (t->over.fd < 0 && is_own(t)) {
    int code = ro_event_open(&t->over);
    if (code != 0)
      return luaL_error(L, "cannot watch a thread: %s", strerror(code));
    if (t->ended)
      ro_event_set(&t->over);
  }
  lua_pushinteger(L, t->over.fd);
  return 1;
}

/*
** handle:wait(deadline [, stream]): waits until it has ended or, if asked for, something came on its stream. Gives
** whether it has ended, and whether there may be something to receive.
*/
static int handle_wait(lua_State *L) {
  Thread *t = check_own(L);
  int64_t deadline = luaL_checkinteger(L, 2);
  int stream = lua_toboolean(L, 3);
  ro_check_stack(L, 10, NULL);
  if (is_running(t) && t->thread == ro_lock_holder(t->crew->lock))
    return luaL_error(L, "a thread cannot wait for itself");
  while (!t->ended && !(stream && (t->given > t->taken || t->finished)) && ro_now() < deadline)
    wait_for_change(L, t, deadline);
  lua_pushboolean(L, t->ended);
  lua_pushboolean(L, stream && (t->given > t->taken || t->ended || t->finished));
  return 2;
}

/* handle:receive(): the next value; or nil, whether none will ever come, and whether the thread has said so itself. */
static int handle_receive(lua_State *L) {
  Thread *t = check_own(L);
  if (t->given == t->taken) {
    lua_pushnil(L);
    lua_pushboolean(L, t->finished || t->ended || t->cancelled);
    lua_pushboolean(L, t->finished);
    return 3;
  }
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, -1, STREAM);
  lua_rawgeti(L, -1, ++t->taken);
  lua_pushnil(L);
  lua_rawseti(L, -3, t->taken);
  if (t->given - t->taken == MOST_WAITING / 2)
    ro_condition_notify(&t->changed);
  return 1;
}

/* handle:cancel(): asks it to end its stream, of which nothing more is read. */
static int handle_cancel(lua_State *L) {
  Thread *t = check_own(L);
  t->cancelled = 1;
  stop_reading(L, t);
  return 0;
}

/*
** handle:throw(err): raises err in the thread; false when that has ended. Its function may be about to end, and not come
** to raise it.
*/
static int handle_throw(lua_State *L) {
  enum { VALUE = 2 };
  Thread *t = check_handle(L);
  luaL_checkany(L, VALUE);
  lua_settop(L, VALUE);
  if (is_running(t)) {
    if (t->thread == ro_lock_holder(t->crew->lock))
      return lua_error(L);
    lua_getiuservalue(L, 1, 1);
    lua_getiuservalue(L, -1, THROWN);
    lua_pushvalue(L, VALUE);
    lua_rawseti(L, -2, t->thrown + 1);
    t->thrown++;
    ro_thread_tell(t->thread);
  }
  lua_pushboolean(L, is_running(t));
  return 1;
}

static const luaL_Reg handle_methods[] = {{"start", handle_start},
                                          {"own", handle_own},
                                          {"pid", handle_pid},
                                          {"alive", handle_alive},
                                          {"status", handle_status},
                                          {"problem", handle_problem},
                                          {"sentinel", handle_sentinel},
                                          {"life", handle_sentinel},
                                          {"wait", handle_wait},
                                          {"receive", handle_receive},
                                          {"cancel", handle_cancel},
                                          {"throw", handle_throw},
                                          {NULL, NULL}};

/* ---- functions ---- */

static const luaL_Reg functions[] = {{"new", thread_new}, {NULL, NULL}};

static void make_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void ro_open_thread(lua_State *L) {
  ro_check_stack(L, 10, NULL);
  make_crew(L);
  make_class(L, RECORD, record_methods, record_gc);
  make_class(L, HANDLE, handle_methods, handle_gc);
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "_thread");
}
