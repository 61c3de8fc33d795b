#include "remote/watch.h"

#include <stddef.h>
#include <string.h>

#include <lauxlib.h>

#include "base/registry.h"
#include "sys/descriptor.h"

#define METATABLE "remoteobj.operations"

static const char watch_key = 0;

void ro_counters_clear(ro_Counters *counters) {
  memset(counters, 0, offsetof(ro_Counters, round_trips));
  ro_latency_clear(&counters->round_trips);
  ro_latency_clear(&counters->executions);
}

void ro_counters_add(ro_Counters *counters, const ro_Counters *other) {
  counters->requests += other->requests;
  counters->replies += other->replies;
  counters->bytes_sent += other->bytes_sent;
  counters->bytes_received += other->bytes_received;
  counters->late_replies += other->late_replies;
  counters->served += other->served;
  counters->errors += other->errors;
  ro_latency_merge(&counters->round_trips, &other->round_trips);
  ro_latency_merge(&counters->executions, &other->executions);
}

void ro_watch_untrace(ro_Watch *watch) {
  watch->traced = 0;
  if (watch->owns_fd)
    ro_descriptor_close(&watch->fd);
  watch->owns_fd = 0;
  watch->fd = -1;
}

static int watch_gc(lua_State *L) {
  ro_Watch *watch = lua_touserdata(L, 1);
  ro_watch_untrace(watch);
  ro_atfork_remove(&watch->fork_node);
  return 0;
}

/* Whoever was telling of something is not in the child; the setting is. */
static void begin_in_child(ro_ForkNode *node) {
  ro_Watch *watch = (ro_Watch *)((char *)node - offsetof(ro_Watch, fork_node));
  watch->telling = NULL;
  watch->lost = 0;
  ro_counters_clear(&watch->gone);
}

void ro_push_watch(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", watch_gc}, {NULL, NULL}};
  ro_Watch *watch;
  int error;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &watch_key) == LUA_TUSERDATA)
    return;
  lua_pop(L, 1);
  watch = lua_newuserdatauv(L, sizeof *watch, 1);
  memset(watch, 0, sizeof *watch);
  watch->fd = -1;
  watch->fork_node.in_child = begin_in_child;
  ro_push_metatable(L, METATABLE, metamethods);
  lua_setmetatable(L, -2);
  error = ro_atfork_add(&watch->fork_node);
  if (error != 0)
    luaL_error(L, "cannot watch forks: %s", strerror(error));
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &watch_key);
}

ro_Watch *ro_watch_of(lua_State *L) {
  ro_Watch *watch;
  ro_push_watch(L);
  watch = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return watch;
}
