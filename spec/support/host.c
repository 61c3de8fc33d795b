/*
** A C host for the specs: runs a script in one or several Lua states, each on a thread of its own, and gives it, as the
** global `host`, what only a host can do.
**
** Usage: host [-t STATES] [-n] [-w] [-r] script.lua
** -t: so many states and threads instead of one; -n: does not open the library; -w: a thread of the host allocates and
** writes lines to stdout meanwhile; -r: one waits for input meanwhile, which
** the host gives it in the end.
** Ends with 0 when no script has failed. Says what is left of memory, descriptors and threads, and forks once more then.
*/
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <remoteobj.h>

#define MOST_STATES 16
#define SIGNALS 64

#define SEAL 0x5A

/* ---- memory, which may run out at a certain allocation; of one state ---- */

/* Lies on the stack of the thread that runs the state. */
typedef struct Memory {
  long left; /* allocations that succeed; -1: all */
  size_t used;
  unsigned char seal[4096]; /* nobody touches it */
} Memory;

static void *allocate(void *context, void *block, size_t old_size, size_t new_size) {
  Memory *memory = context;
  void *moved;
  if (block == NULL)
    old_size = 0;
  if (new_size == 0) {
    free(block);
    memory->used -= old_size;
    return NULL;
  }
  if (new_size > old_size) {
    if (memory->left == 0)
      return NULL;
    if (memory->left > 0)
      memory->left--;
  }
  moved = realloc(block, new_size);
  if (moved != NULL)
    memory->used += new_size - old_size;
  return moved;
}

static Memory *memory_of(lua_State *L) {
  void *memory;
  lua_getallocf(L, &memory);
  return memory;
}

/* fail_after(n): n allocations succeed from now on, then none; -1: all. Returns how many were left. */
static int l_fail_after(lua_State *L) {
  long left = memory_of(L)->left;
  memory_of(L)->left = (long)luaL_checkinteger(L, 1);
  lua_pushinteger(L, left);
  return 1;
}

/* sealed(): whether the stack of the state's thread holds what that has written there. */
static int l_sealed(lua_State *L) {
  const Memory *memory = memory_of(L);
  int sealed = 1;
  for (size_t i = 0; i < sizeof memory->seal; i++)
    sealed &= memory->seal[i] == SEAL;
  lua_pushboolean(L, sealed);
  return 1;
}

static int count_descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

/* The main one, and that of ThreadSanitizer. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#define THREADS (__has_feature(thread_sanitizer) ? 2 : 1)

/* Variables of each thread lie on its stack, be it a small one of the library's. ThreadSanitizer says so before the system does. */
static _Thread_local volatile char ballast[(THREADS > 1 ? 64 : 512) * 1024];

/* One that has been joined may be about to end. */
static int count_threads(void) {
  int count = 0;
  for (int tries = 0; count != THREADS && tries < 60000; tries++) {
    DIR *tasks = opendir("/proc/self/task");
    poll(NULL, 0, tries > 0);
    for (count = -2; readdir(tasks) != NULL; count++) /* without . and .. */
      ;
    closedir(tasks);
  }
  return count;
}

/* ---- sections ---- */

/* block(seconds): blocks, and lets others have the state. */
static int l_block(lua_State *L) {
  int milliseconds = (int)(luaL_checknumber(L, 1) * 1000);
  remoteobj_allow_begin(L);
  poll(NULL, 0, milliseconds);
  remoteobj_allow_end(L);
  return 0;
}

/* The state comes to this thread, and goes back. */
static void *run_there(void *argument) {
  lua_State *L = argument;
  int status;
  remoteobj_allow_end(L);
  status = lua_pcall(L, 0, 0, 0);
  if (status == LUA_OK)
    lua_pushnil(L);
  remoteobj_allow_begin(L);
  return NULL;
}

/* move(func): calls func() on another native thread, which blocks all signals. */
static int l_move(lua_State *L) {
  sigset_t all, before;
  pthread_t thread;
  int error;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  sigfillset(&all);
  remoteobj_allow_begin(L);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_create(&thread, NULL, run_there, L);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0)
    pthread_join(thread, NULL);
  remoteobj_allow_end(L);
  if (error != 0)
    return luaL_error(L, "no thread: %s", strerror(error));
  return lua_isnil(L, -1) ? 0 : lua_error(L);
}

/* ---- serving from C ---- */

static int l_fileno(lua_State *L) {
  int top = lua_gettop(L), fd = remoteobj_fileno(L, -1);
  if (lua_gettop(L) != top)
    abort();
  lua_pushinteger(L, fd);
  return 1;
}

/* process_requests(max, proxy) */
static int l_process_requests(lua_State *L) {
  int top = lua_gettop(L), count = remoteobj_process_requests(L, 2, (int)luaL_checkinteger(L, 1));
  if (lua_gettop(L) != top)
    abort();
  lua_pushinteger(L, count);
  return 1;
}

/* ---- signals and children of the host ---- */

static atomic_int seen[SIGNALS];

static void on_signal(int number) {
  atomic_fetch_add(&seen[number], 1);
}

/* handle(number): the host counts these signals from now on. */
static int l_handle(lua_State *L) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  if (sigaction((int)luaL_checkinteger(L, 1), &action, NULL) != 0)
    return luaL_error(L, "%s", strerror(errno));
  return 0;
}

/* seen(number): how many came. */
static int l_seen(lua_State *L) {
  lua_pushinteger(L, atomic_load(&seen[luaL_checkinteger(L, 1) % SIGNALS]));
  return 1;
}

static int l_raise(lua_State *L) {
  raise((int)luaL_checkinteger(L, 1));
  return 0;
}

/* A process that ends at once. The runtime of ThreadSanitizer writes out at _exit what the parent is still to write. */
static pid_t start_child(int code) {
  pid_t pid = fork();
  if (pid == 0) {
    __fpurge(stdout);
    _exit(code);
  }
  return pid;
}

/* child(code): starts a process that ends at once. Returns its id. */
static int l_child(lua_State *L) {
  lua_pushinteger(L, start_child((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* wait(pid): its exit code, or nil if there is no such child. */
static int l_wait(lua_State *L) {
  int status;
  if (waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0) < 0)
    return 0;
  lua_pushinteger(L, WEXITSTATUS(status));
  return 1;
}

/* ---- the host's own threads ---- */

static atomic_int over;

static void *write_lines(void *unused) {
  (void)unused;
  for (long n = 1; !atomic_load(&over); n++) {
    void *blocks[16];
    for (int i = 0; i < 16; i++)
      blocks[i] = malloc((size_t)(10 + 37 * i));
    printf("line %ld\n", n);
    if (n % 10 == 0)
      poll(NULL, 0, 1); /* so that whoever reads them keeps up */
    for (int i = 0; i < 16; i++)
      free(blocks[i]);
  }
  return NULL;
}

static void *read_line(void *unused) {
  char line[64];
  (void)unused;
  if (fgets(line, sizeof line, stdin) != NULL)
    printf("read %s", line);
  return NULL;
}

/* Input that nobody gives before `give_line`. Returns what to give that, or -1. */
static int keep_input(void) {
  int ends[2];
  if (pipe(ends) != 0 || dup2(ends[0], STDIN_FILENO) < 0)
    return -1;
  close(ends[0]);
  return ends[1];
}

static void give_line(int input) {
  static const char line[] = "a line\n";
  if (write(input, line, sizeof line - 1) < 0)
    perror("host");
  close(input);
}

/* ---- a second state on the same thread ---- */

/* Calls the global function `go_on` of both states until both give false; leaves both to others in between. */
static void alternate(lua_State *L, lua_State *beside) {
  int goes_on = 1;
  while (goes_on) {
    goes_on = 0;
    remoteobj_allow_begin(L);
    remoteobj_allow_begin(beside);
    poll(NULL, 0, 1);
    remoteobj_allow_end(L); /* in whatever order */
    remoteobj_allow_end(beside);
    for (int i = 0; i < 2; i++) {
      lua_State *which = i == 0 ? L : beside;
      lua_getglobal(which, "go_on");
      if (lua_pcall(which, 0, 1, 0) != LUA_OK)
        fprintf(stderr, "%s\n", lua_tostring(which, -1));
      else if (lua_toboolean(which, -1))
        goes_on = 1;
      lua_pop(which, 1);
    }
  }
}

/* beside(text): runs the text in a second state, and then both by turns. */
static int l_beside(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  lua_State *beside = luaL_newstate();
  luaL_openlibs(beside);
  luaL_requiref(beside, "remoteobj", luaopen_remoteobj, 0);
  if (luaL_dostring(beside, text) == LUA_OK)
    alternate(L, beside);
  else
    fprintf(stderr, "%s\n", lua_tostring(beside, -1));
  lua_close(beside);
  return 0;
}

/* ---- states ---- */

typedef struct Options {
  int states, opens, writes, reads;
  const char *script;
} Options;

typedef struct State {
  const Options *options;
  int number;
  pthread_t thread;
  int failed;
} State;

static int open_library(lua_State *L) {
  luaL_requiref(L, "remoteobj", luaopen_remoteobj, 0);
  return 1;
}

static const luaL_Reg functions[] = {{"fail_after", l_fail_after},
                                     {"sealed", l_sealed},
                                     {"block", l_block},
                                     {"move", l_move},
                                     {"beside", l_beside},
                                     {"fileno", l_fileno},
                                     {"process_requests", l_process_requests},
                                     {"handle", l_handle},
                                     {"seen", l_seen},
                                     {"raise", l_raise},
                                     {"child", l_child},
                                     {"wait", l_wait},
                                     {"open", open_library},
                                     {NULL, NULL}};

static int run_script(lua_State *L) {
  const State *state = lua_touserdata(L, 1);
  luaL_openlibs(L);
  if (state->options->opens)
    open_library(L);
  luaL_newlib(L, functions);
  lua_pushinteger(L, state->number);
  lua_setfield(L, -2, "number");
  lua_setglobal(L, "host");
  if (luaL_loadfile(L, state->options->script) != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 0);
  return 0;
}

static void *run_state(void *argument) {
  State *state = argument;
  ballast[0] = 1;
  Memory memory = {.left = -1};
  lua_State *L = lua_newstate(allocate, &memory);
  memset(memory.seal, SEAL, sizeof memory.seal);
  lua_pushcfunction(L, run_script);
  lua_pushlightuserdata(L, state);
  state->failed = lua_pcall(L, 1, 0, 0) != LUA_OK;
  if (state->failed)
    fprintf(stderr, "state %d: %s\n", state->number, lua_tostring(L, -1));
  lua_close(L);
  if (memory.used != 0)
    fprintf(stderr, "state %d: %zu bytes left behind\n", state->number, memory.used);
  return NULL;
}

static int run_states(const Options *options) {
  State states[MOST_STATES];
  int failed = 0;
  for (int i = 0; i < options->states; i++) {
    states[i] = (State){options, i + 1, 0, 0};
    pthread_create(&states[i].thread, NULL, run_state, &states[i]);
  }
  for (int i = 0; i < options->states; i++) {
    pthread_join(states[i].thread, NULL);
    failed |= states[i].failed;
  }
  return failed;
}

static Options read_options(int argc, char **argv) {
  Options options = {1, 1, 0, 0, NULL};
  int option;
  while ((option = getopt(argc, argv, "t:nwr")) != -1)
    switch (option) {
    case 't':
      options.states = (int)strtol(optarg, NULL, 10);
      if (options.states > MOST_STATES)
        options.states = MOST_STATES;
      break;
    case 'n':
      options.opens = 0;
      break;
    case 'w':
      options.writes = 1;
      break;
    case 'r':
      options.reads = 1;
      break;
    default:
      exit(2);
    }
  options.script = argv[optind];
  return options;
}

int main(int argc, char **argv) {
  Options options = read_options(argc, argv);
  pthread_t writer = 0, reader = 0;
  int failed, descriptors = count_descriptors(), input = options.reads ? keep_input() : -1;
  if (options.writes)
    pthread_create(&writer, NULL, write_lines, NULL);
  if (options.reads)
    pthread_create(&reader, NULL, read_line, NULL);
  failed = run_states(&options);
  atomic_store(&over, 1);
  if (options.writes)
    pthread_join(writer, NULL);
  if (options.reads) {
    give_line(input);
    pthread_join(reader, NULL);
  }
  if (count_descriptors() != descriptors)
    fprintf(stderr, "%d descriptors instead of %d\n", count_descriptors(), descriptors);
  if (count_threads() != THREADS)
    fprintf(stderr, "%d threads are left\n", count_threads());
  start_child(0);
  wait(NULL);
  return failed;
}
