/*
** The binding of children. A handle is a userdata that refers to the child's record; its
** methods act only in the process that started the child, but for signals and is_alive,
** for which the descriptor of the process serves in forks too.
*/
#include "process/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/estate.h"
#include "base/platform.h"
#include "base/registry.h"
#include "failure/failure.h"
#include "lock/lock.h"
#include "process/cells.h"
#include "process/daemon.h"
#include "process/family.h"
#include "process/output.h"
#include "process/record.h"
#include "process/stream.h"
#include "process/system.h"
#include "process/values.h"
#include "sys/descriptor.h"

#define HANDLE "remoteobj.child"
#define FAMILY "remoteobj.family"

typedef struct Handle {
  ro_Asset asset; /* first, so that it stands for the whole */
  ro_Child *child;
  ro_Inlet in;
} Handle;

static Handle *check_handle(lua_State *L) {
  Handle *h = luaL_checkudata(L, 1, HANDLE);
  if (h->child == NULL)
    luaL_error(L, "the handle of the process was collected"); /* a finalizer that comes after its own */
  return h;
}

/* The record of a child of this very process. */
static ro_Child *check_own(lua_State *L) {
  ro_Child *child = check_handle(L)->child;
  if (!ro_child_is_own(child))
    luaL_error(L, "process %d was started by another process, which alone can wait for it",
               (int)child->life.pid);
  return child;
}

/* ---- the family of the state ---- */

/* Registry: the userdata with the state's family. */
static const char family_key;

static int family_gc(lua_State *L) {
  ro_family_close(luaL_checkudata(L, 1, FAMILY));
  return 0;
}

static ro_Family *family_of(lua_State *L) {
  ro_Family *f;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &family_key);
  f = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return f;
}

/* Made when the module is opened, so that it is finalized after what is made later. */
static void make_family(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", family_gc}, {NULL, NULL}};
  ro_Family *f = lua_newuserdatauv(L, sizeof *f, 0);
  int code;
  ro_push_metatable(L, FAMILY, metamethods);
  code = ro_family_open(f);
  if (code != 0)
    luaL_error(L, "cannot keep account of processes: %s", strerror(code));
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &family_key);
}

/* ---- the child's side ---- */

/* Ends the process: what it has written goes out, nothing of the parent's runs. */
static void finish_process(int code) {
  fflush(NULL);
  _exit(code);
}

#if RO_HAS_ON_EXIT
/* Should somebody call exit() itself: the parent's exit handlers are not this process's business. */
static void at_exit(int code, void *context) {
  (void)context;
  finish_process(code);
}
#endif

/*
** Ends the process for want of memory or of space to tell its parent of its end: by a signal, as an exit code could be one
** that the function has asked for.
*/
static void give_up(const char *why) {
  static const struct rlimit no_core = {0, 0};
  sigset_t abort_only;
  fprintf(stderr, "remoteobj: %s\n", why);
  fflush(NULL);
  setrlimit(RLIMIT_CORE, &no_core);
  sigemptyset(&abort_only);
  sigaddset(&abort_only, SIGABRT);
  signal(SIGABRT, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &abort_only, NULL);
  raise(SIGABRT);
}

/*
** Calls what is on top with its `count` arguments. What else is on the stack stays untouched: this never
** returns.
*/
static void run_child(lua_State *L, int count, int daemon, const ro_Birth *birth) {
#if RO_HAS_ON_EXIT
  on_exit(at_exit, NULL);
#endif
  if (daemon && ro_daemon_begin(birth) != 0)
    fprintf(stderr, "remoteobj: cannot bind process %d to its parent's life\n", (int)getpid());
  if (lua_pcall(L, count, 1, 0) != LUA_OK)
    give_up(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "a process cannot tell of its end");
  finish_process((int)lua_tointeger(L, -1));
}

/* ---- starting ---- */

static void end_handle(lua_State *L, ro_Asset *asset) {
  Handle *h = (Handle *)asset;
  (void)L;
  if (h->child != NULL)
    ro_child_drop(h->child);
  h->child = NULL;
  ro_buffer_free(&h->in.bytes);
}

static int handle_gc(lua_State *L) {
  ro_asset_end(L, &((Handle *)luaL_checkudata(L, 1, HANDLE))->asset);
  return 0;
}

/* Pushes a handle without a process, with a stream. */
static Handle *new_handle(lua_State *L) {
  int ends[2];
  Handle *h = lua_newuserdatauv(L, sizeof *h, 0);
  int code;
  memset(h, 0, sizeof *h);
  luaL_setmetatable(L, HANDLE);
  ro_asset_enter(L, &h->asset, end_handle);
  h->child = ro_child_new();
  if (h->child == NULL) {
    luaL_error(L, "not enough memory");
    return NULL; /* never reached */
  }
  code = ro_sockets_open(SOCK_STREAM, ends);
  if (code != 0)
    luaL_error(L, "cannot start a process: %s", strerror(code));
  h->child->stream = ends[0];
  h->child->far_end = ends[1];
  return h;
}

static int raise_unstarted(lua_State *L, int code) {
  const char *obstacle = ro_life_obstacle();
  return luaL_error(L, "cannot start a process: %s", obstacle != NULL ? obstacle : strerror(code));
}

/*
** fork(daemon, bound, main, ...): starts a process that runs main(...) and exits with the code that it
** returns; one that is bound is killed when its handle is collected. Gives the handle; the handle of the child stays unused in the child itself.
*/
static int process_fork(lua_State *L) {
  enum { DAEMON = 1, BOUND, MAIN };
  int daemon = lua_toboolean(L, DAEMON), code;
  ro_Birth birth;
  pid_t pid;
  ro_Family *f = family_of(L);
  ro_Child *child;
  luaL_checktype(L, MAIN, LUA_TFUNCTION);
  child = new_handle(L)->child;
  lua_replace(L, 1);
  child->daemon = daemon;
  child->bound = lua_toboolean(L, BOUND);
  child->heeded = ro_lock_will_heed(L);
  ro_family_sweep(f);
  ro_output_flush();
  ro_atfork_hold(); /* forks in other threads know of the child, or come before it */
  pid = ro_life_fork(&child->life, &birth);
  code = errno;
  if (pid > 0)
    ro_family_add(f, child);
  ro_atfork_release();
  if (pid == 0) {
    ro_output_disown();
    f->outlet = child->far_end;
    f->heeded = child->heeded;
    f->own = birth.own;
    close(child->stream);
    run_child(L, lua_gettop(L) - MAIN, daemon, &birth);
  }
  if (pid < 0)
    return raise_unstarted(L, code);
  lua_settop(L, 1);
  return 1;
}

/* ---- methods of handles ---- */

static int handle_pid(lua_State *L) {
  lua_pushinteger(L, check_handle(L)->child->life.pid);
  return 1;
}

/* child:sentinel(): a descriptor that is readable once it has ended, and stays so. */
static int handle_sentinel(lua_State *L) {
  int fd = ro_child_sentinel(check_handle(L)->child);
  if (fd < 0)
    return luaL_error(L, "cannot watch a process: %s", strerror(errno));
  lua_pushinteger(L, fd);
  return 1;
}

/* child:life(): the same, for as long as it has not ended; -1 when that is known. */
static int handle_life(lua_State *L) {
  lua_pushinteger(L, check_handle(L)->child->life.fd);
  return 1;
}

/* child:settle(): it has ended, and all is known of that. */
static int handle_settle(lua_State *L) {
  Handle *h = check_handle(L);
  if (h->in.finished)
    ro_child_close_stream(h->child);
  ro_child_settle(h->child);
  return 0;
}

/* child:own(): was it started by this process. */
static int handle_own(lua_State *L) {
  lua_pushboolean(L, ro_child_is_own(check_handle(L)->child));
  return 1;
}

/* child:alive(): works in forks too. */
static int handle_alive(lua_State *L) {
  ro_Child *child = check_handle(L)->child;
  lua_pushboolean(L, ro_child_alive(child));
  return 1;
}

/*
** child:status(): nil while it runs, else its exit code, or -N after signal N; false when
** another part of the program has taken the status. In a fork: what was known before.
*/
static int handle_status(lua_State *L) {
  ro_Child *child = check_handle(L)->child;
  if (!ro_child_ended(child))
    lua_pushnil(L);
  else if (child->lost)
    lua_pushboolean(L, 0);
  else if (WIFSIGNALED(child->status))
    lua_pushinteger(L, -WTERMSIG(child->status));
  else
    lua_pushinteger(L, WEXITSTATUS(child->status));
  return 1;
}

/* Pushes what ro_child_signal has returned. [-0, +1, v] */
static int push_sent(lua_State *L, int sent) {
  if (sent < 0)
    return luaL_error(L, "cannot signal process %d: %s", (int)check_handle(L)->child->life.pid,
                      strerror(-sent));
  lua_pushboolean(L, sent);
  return 1;
}

/* child:signal(number): whether it went to a living process. */
static int handle_signal(lua_State *L) {
  int sent = ro_child_signal(check_handle(L)->child, (int)luaL_checkinteger(L, 2), NULL);
  return push_sent(L, sent);
}

/*
** child:call(attends): has it look, if it `attends` to such calls by now, whether it was told something; whether it lives.
*/
static int handle_call(lua_State *L) {
  ro_Child *child = check_handle(L)->child;
  if (child->heeded == 0)
    return luaL_error(L, "process %d was started while limits.signal was no signal that can be used",
                      (int)child->life.pid);
  if (lua_toboolean(L, 2))
    return push_sent(L, ro_child_signal(child, child->heeded, ro_signal_call_mark()));
  return handle_alive(L);
}

/*
** child:wait(deadline [, stream]): waits until it has ended or, if asked for, something came on its
** stream. Gives whether it has ended, and whether there may be something to receive.
*/
static int handle_wait(lua_State *L) {
  Handle *h = check_handle(L);
  ro_Child *child = check_own(L);
  int64_t deadline = luaL_checkinteger(L, 2);
  int stream = lua_toboolean(L, 3) && child->stream >= 0;
  struct pollfd fds[2] = {[1] = {.fd = child->stream, .events = POLLIN}};
  int readable;
  if (!child->ended) {
    int64_t look = ro_life_watch(&child->life, &fds[0], deadline);
    int ready;
    ro_child_wait_begin(child);
    ready = ro_wait_poll_try(L, fds, stream ? 2 : 1, look);
    ro_child_wait_end(child);
    if (ready < 0)
      return lua_error(L);
    if (ready == 0 || fds[0].revents != 0)
      ro_child_ended(child);
  }
  readable = fds[1].revents != 0 || h->in.bytes.size > h->in.used;
  readable |= child->ended && fds[0].revents == 0; /* what came before the end, but after the look */
  readable &= stream;
  if (child->ended && !readable)
    ro_child_close_stream(child);
  lua_pushboolean(L, child->ended);
  lua_pushboolean(L, readable);
  return 2;
}

/*
** child:receive(): the body of the next values; or nil, whether none will ever come, and whether
** the child has said so itself.
*/
static int handle_receive(lua_State *L) {
  Handle *h = check_handle(L);
  ro_Child *child = check_own(L);
  int ended = child->ended; /* then it has sent all that it ever will */
  if (ro_stream_receive(L, child->stream, &h->in))
    return 1;
  h->in.finished |= ended;
  if (h->in.finished)
    ro_child_close_stream(child);
  lua_pushnil(L);
  lua_pushboolean(L, h->in.finished);
  lua_pushboolean(L, h->in.ended);
  return 3;
}

/* child:cancel(): asks it to end its stream, of which nothing more is read. */
static int handle_cancel(lua_State *L) {
  Handle *h = check_handle(L);
  ro_Child *child = check_own(L);
  ro_stream_cancel(child->stream);
  ro_buffer_clear(&h->in.bytes, 0);
  h->in.used = 0;
  h->in.finished = 1;
  return 0;
}

static const luaL_Reg methods[] = {{"pid", handle_pid},
                                   {"sentinel", handle_sentinel},
                                   {"life", handle_life},
                                   {"settle", handle_settle},
                                   {"own", handle_own},
                                   {"alive", handle_alive},
                                   {"status", handle_status},
                                   {"signal", handle_signal},
                                   {"call", handle_call},
                                   {"wait", handle_wait},
                                   {"receive", handle_receive},
                                   {"cancel", handle_cancel},
                                   {NULL, NULL}};

/* ---- functions ---- */

/* send(...): yields the values from this process to its parent; false when the parent has cancelled. */
static int process_send(lua_State *L) {
  ro_Family *f = family_of(L);
  lua_pushboolean(L, ro_stream_send(L, &f->outlet, &f->unsent, 1));
  return 1;
}

/* close_stream(): no further values. */
static int process_close_stream(lua_State *L) {
  ro_Family *f = family_of(L);
  lua_pushboolean(L, ro_stream_finish(L, &f->outlet, &f->unsent));
  return 1;
}

/* heed(ask): has the function that this process runs interrupted where others call, and ask() called there. Whether it can be. */
static int process_heed(lua_State *L) {
  int signo = family_of(L)->heeded;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushboolean(L, signo != 0 && ro_lock_heed(L, signo) == 0);
  return 1;
}

/* look(): has it interrupted at once. */
static int process_look(lua_State *L) {
  ro_lock_call_self(ro_lock_of(L));
  return 0;
}

/* exit(code): ends this process, without any of its parent's. */
static int process_exit(lua_State *L) {
  finish_process((int)luaL_checkinteger(L, 1));
  return 0;
}

/* getpid() */
static int process_getpid(lua_State *L) {
  lua_pushinteger(L, ro_pid());
  return 1;
}

/* now(): the moment, for deadlines and for the order of records. */
static int process_now(lua_State *L) {
  lua_pushinteger(L, ro_now());
  return 1;
}

/* deadline([seconds]): the moment so far away; never without. */
static int process_deadline(lua_State *L) {
  lua_pushinteger(L, lua_isnoneornil(L, 1) ? RO_NEVER : ro_deadline(luaL_checknumber(L, 1)));
  return 1;
}

typedef struct Signal {
  int number;
  const char *name;
} Signal;

#define SIGNAL(name)                                                                                         \
  { name, #name }

static const Signal signals[] = {
    SIGNAL(SIGABRT), SIGNAL(SIGALRM), SIGNAL(SIGBUS),   SIGNAL(SIGCHLD), SIGNAL(SIGCONT), SIGNAL(SIGFPE),
    SIGNAL(SIGHUP),  SIGNAL(SIGILL),  SIGNAL(SIGINT),   SIGNAL(SIGKILL), SIGNAL(SIGPIPE), SIGNAL(SIGPROF),
    SIGNAL(SIGQUIT), SIGNAL(SIGSEGV), SIGNAL(SIGSTOP),  SIGNAL(SIGSYS),  SIGNAL(SIGTERM), SIGNAL(SIGTRAP),
    SIGNAL(SIGTSTP), SIGNAL(SIGTTIN), SIGNAL(SIGTTOU),  SIGNAL(SIGURG),  SIGNAL(SIGUSR1), SIGNAL(SIGUSR2),
    SIGNAL(SIGXCPU), SIGNAL(SIGXFSZ), SIGNAL(SIGVTALRM)};

/* signal_name(number): "SIGKILL" and the like. */
static int process_signal_name(lua_State *L) {
  int number = (int)luaL_checkinteger(L, 1);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    if (signals[i].number == number) {
      lua_pushstring(L, signals[i].name);
      return 1;
    }
  }
  lua_pushfstring(L, "signal %d", number);
  return 1;
}

static const luaL_Reg functions[] = {{"fork", process_fork},
                                     {"send", process_send},
                                     {"close_stream", process_close_stream},
                                     {"heed", process_heed},
                                     {"look", process_look},
                                     {"exit", process_exit},
                                     {"getpid", process_getpid},
                                     {"now", process_now},
                                     {"deadline", process_deadline},
                                     {"signal_name", process_signal_name},
                                     {NULL, NULL}};

void ro_open_process(lua_State *L) {
  make_family(L);
  luaL_newmetatable(L, HANDLE);
  lua_pushcfunction(L, handle_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  ro_open_values(L);
  luaL_newlib(L, functions);
  ro_open_record(L);
  ro_open_cells(L);
  ro_failure_functions(L);
  ro_system_functions(L);
  lua_setfield(L, -2, "_process");
}
