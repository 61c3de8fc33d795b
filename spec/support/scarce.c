/*
** An interpreter in which memory and system calls fail when the script says so, as the global `scarce` (failing.h), and:
**   scarce.memory(n [, times])   n allocations of Lua succeed from now on, then so many fail (default: all); -1: none fails.
**                                Returns how many were left
**   scarce.emergency(flag)       every allocation of an object fails at first, so that Lua collects all garbage and tries
**                                again (not every one: the buffers of Lua's own library are not tried again)
**   scarce.collect(n)            from now on all garbage is collected, and finalized, at each nth instruction, in every
**                                coroutine that is made from here on too; 0: no more, here. Returns how often it was
**   scarce.pass(seconds)         the clock by which deadlines go is put forward, whole seconds
**   scarce.descriptors() -> n    how many are open
**   scarce.threads() -> n        how many the process has; 0 where that is not told
**   scarce.children() -> n       how many, zombies included; 0 where that is not told
**
** Usage: scarce script.lua [ARGUMENT]
*/
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "failing.h"
#include "remoteobj.h"

typedef struct Memory {
  long left, times; /* allocations that succeed (-1: all), and how many fail then (-1: all) */
  int emergency;
  size_t refused; /* the size of the object that was refused last; 0: it has been made since */
  size_t used;
  long collections;
} Memory;

static int is_refused(Memory *m, int is_object, size_t size) {
  if (m->emergency && is_object) {
    int again = m->refused == size;
    m->refused = again ? 0 : size;
    return !again;
  }
  if (m->left > 0)
    m->left--;
  else if (m->left == 0 && m->times != 0) {
    m->times -= m->times > 0;
    return 1;
  }
  return 0;
}

static void *allocate(void *context, void *block, size_t old_size, size_t new_size) {
  Memory *m = context;
  void *moved;
  int is_object = block == NULL && old_size != 0; /* then that is its type */
  if (block == NULL)
    old_size = 0;
  if (new_size == 0) {
    free(block);
    m->used -= old_size;
    return NULL;
  }
  if (new_size > old_size && is_refused(m, is_object, new_size))
    return NULL;
  moved = realloc(block, new_size);
  if (moved != NULL)
    m->used += new_size - old_size;
  else if (new_size <= old_size)
    return block; /* Lua takes for granted that blocks can shrink */
  return moved;
}

static Memory *memory_of(lua_State *L) {
  void *memory;
  lua_getallocf(L, &memory);
  return memory;
}

static int l_memory(lua_State *L) {
  Memory *m = memory_of(L);
  lua_pushinteger(L, m->left);
  m->left = (long)luaL_checkinteger(L, 1);
  m->times = (long)luaL_optinteger(L, 2, -1);
  return 1;
}

static int l_emergency(lua_State *L) {
  memory_of(L)->emergency = lua_toboolean(L, 1);
  return 0;
}

static void collect(lua_State *L, lua_Debug *ar) {
  (void)ar;
  memory_of(L)->collections++;
  lua_gc(L, LUA_GCCOLLECT);
}

static int l_collect(lua_State *L) {
  int count = (int)luaL_checkinteger(L, 1);
  lua_sethook(L, collect, count > 0 ? LUA_MASKCOUNT : 0, count);
  lua_pushinteger(L, memory_of(L)->collections);
  return 1;
}

static atomic_long passed; /* seconds */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now) {
  int status = __real_clock_gettime(clock, now);
  if (status == 0 && clock == CLOCK_MONOTONIC)
    now->tv_sec += atomic_load(&passed);
  return status;
}

static int l_pass(lua_State *L) {
  atomic_fetch_add(&passed, (long)luaL_checkinteger(L, 1));
  return 0;
}

static int l_descriptors(lua_State *L) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  lua_pushinteger(L, count);
  return 1;
}

static int l_threads(lua_State *L) {
  lua_Integer count = 0;
  DIR *tasks = opendir("/proc/self/task");
  for (const struct dirent *d; tasks != NULL && (d = readdir(tasks)) != NULL;)
    count += d->d_name[0] != '.';
  if (tasks != NULL)
    closedir(tasks);
  lua_pushinteger(L, count);
  return 1;
}

/* Those that the thread has started. */
static lua_Integer count_children(const char *thread) {
  char path[64], child[16];
  lua_Integer count = 0;
  FILE *list;
  snprintf(path, sizeof path, "/proc/self/task/%.20s/children", thread);
  list = fopen(path, "r");
  while (list != NULL && fscanf(list, "%15s", child) == 1)
    count++;
  if (list != NULL)
    fclose(list);
  return count;
}

static int l_children(lua_State *L) {
  lua_Integer count = 0;
  DIR *tasks = opendir("/proc/self/task");
  for (const struct dirent *d; tasks != NULL && (d = readdir(tasks)) != NULL;)
    count += d->d_name[0] != '.' ? count_children(d->d_name) : 0;
  if (tasks != NULL)
    closedir(tasks);
  lua_pushinteger(L, count);
  return 1;
}

static int run(lua_State *L) {
  const char *const *argv = lua_touserdata(L, 1);
  luaL_openlibs(L);
  luaL_requiref(L, "remoteobj", luaopen_remoteobj, 0);
  failing_push(L);
  lua_pushcfunction(L, l_memory);
  lua_setfield(L, -2, "memory");
  lua_pushcfunction(L, l_emergency);
  lua_setfield(L, -2, "emergency");
  lua_pushcfunction(L, l_collect);
  lua_setfield(L, -2, "collect");
  lua_pushcfunction(L, l_pass);
  lua_setfield(L, -2, "pass");
  lua_pushcfunction(L, l_descriptors);
  lua_setfield(L, -2, "descriptors");
  lua_pushcfunction(L, l_threads);
  lua_setfield(L, -2, "threads");
  lua_pushcfunction(L, l_children);
  lua_setfield(L, -2, "children");
  lua_setglobal(L, "scarce");
  if (luaL_loadfile(L, argv[1]) != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, argv[2]);
  lua_call(L, 1, 0);
  return 0;
}

static int explain(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

int main(int argc, char **argv) {
  Memory memory = {.left = -1};
  lua_State *L = lua_newstate(allocate, &memory);
  int failed;
  if (L == NULL || argc < 2)
    return 2;
  lua_pushcfunction(L, explain);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, argv);
  failed = lua_pcall(L, 1, 0, 1) != LUA_OK;
  memory.left = -1;
  if (failed)
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  if (memory.used != 0)
    fprintf(stderr, "%zu bytes left behind\n", memory.used);
  return failed || memory.used != 0;
}
