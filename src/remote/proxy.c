/***
The proxy itself: its making, its end, and what a fork does to it.
@module remoteobj
*/

#include "remote/proxy.h"

#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/registry.h"
#include "codec/codec.h"
#include "process/values.h"
#include "remote/callback.h"
#include "remote/chain.h"
#include "remote/connection.h"
#include "remote/evaluate.h"
#include "remote/execute.h"
#include "remote/listener.h"
#include "remote/metamethods.h"
#include "remote/serve.h"
#include "remote/stats.h"
#include "remote/trace.h"
#include "sys/life.h"

/* Two tables with weak values: userdata by the address and by the id of their proxies. */
static const char by_address_key = 0, by_id_key = 0;

void ro_push_proxy(lua_State *L, const ro_Proxy *proxy) {
  ro_push_kept_table(L, &by_address_key, "v");
  lua_rawgetp(L, -1, proxy);
  lua_remove(L, -2);
}

ro_Proxy *ro_push_proxy_by_id(lua_State *L, uint64_t id) {
  ro_push_kept_table(L, &by_id_key, "v");
  lua_rawgeti(L, -1, (lua_Integer)id);
  lua_remove(L, -2);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return NULL;
  }
  return lua_touserdata(L, -1);
}

void ro_push_proxies(lua_State *L) {
  lua_Integer count = 0;
  int list;
  lua_newtable(L);
  list = lua_gettop(L);
  ro_push_kept_table(L, &by_address_key, "v");
  for (lua_pushnil(L); lua_next(L, list + 1);)
    lua_rawseti(L, list, ++count);
  lua_settop(L, list);
}

void ro_push_object(lua_State *L, const ro_Proxy *proxy) {
  ro_push_proxy(L, proxy);
  lua_getiuservalue(L, -1, RO_VIEW_PARENT);
  lua_remove(L, -2);
}

static ro_Proxy *proxy_of_node(ro_ForkNode *node) {
  return (ro_Proxy *)((char *)node - offsetof(ro_Proxy, fork_node));
}

static void before_fork(ro_ForkNode *node) {
  ro_client_before_fork(proxy_of_node(node));
}

static void in_parent(ro_ForkNode *node) {
  ro_client_in_parent(&proxy_of_node(node)->client);
}

static void in_child(ro_ForkNode *node) {
  ro_Proxy *proxy = proxy_of_node(node);
  ro_client_in_child(&proxy->client);
  proxy->lines = NULL;
  proxy->listener = proxy->ended = NULL; /* their parts forget by themselves */
  ro_counters_clear(&proxy->counters);
}

static void end_proxy(lua_State *L, ro_Asset *asset) {
  ro_Proxy *proxy = (ro_Proxy *)((char *)asset - offsetof(ro_Proxy, asset));
  (void)L;
  if (proxy->door.page == NULL)
    return;
  ro_client_close(proxy);
  ro_counters_add(&proxy->watch->gone, &proxy->counters);
  ro_atfork_remove(&proxy->fork_node);
  ro_door_close(&proxy->door);
}

static int proxy_gc(lua_State *L) {
  ro_asset_end(L, &((ro_Proxy *)lua_touserdata(L, 1))->asset);
  return 0;
}

/* Names the classes of the object so that its instances can travel. */
static void name_classes(lua_State *L, int object, uint64_t id) {
  ro_push_class_function(L, "known_classes");
  lua_pushvalue(L, object);
  lua_call(L, 1, 1);
  for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
    const char *name = lua_pushfstring(L, "@%I-%I", (lua_Integer)id, i);
    ro_codec_name_class(L, -2, name);
    lua_pop(L, 2);
  }
  lua_pop(L, 2);
}

/* Pushes a proxy of the object at `object` without a door yet: its finalizer has nothing to do. */
static ro_Proxy *new_proxy(lua_State *L, int object) {
  ro_Watch *watch = ro_watch_of(L);
  ro_Proxy *proxy = lua_newuserdatauv(L, sizeof *proxy, RO_PROXY_USERVALUES);
  memset(proxy, 0, sizeof *proxy);
  proxy->view.proxy = proxy;
  proxy->view.operation = RO_OP_ROOT;
  proxy->view.kept = 1;
  proxy->id = ro_new_id();
  proxy->fulfill_final = 1;
  proxy->lock = ro_lock_of(L);
  proxy->watch = watch;
  proxy->fork_node = (ro_ForkNode){.before = before_fork, .in_parent = in_parent, .in_child = in_child};
  ro_client_init(proxy);
  ro_push_proxy_metatable(L);
  lua_setmetatable(L, -2);
  ro_asset_enter(L, &proxy->asset, end_proxy);
  lua_pushvalue(L, object);
  lua_setiuservalue(L, -2, RO_VIEW_PARENT);
  return proxy;
}

static void remember(lua_State *L, const ro_Proxy *proxy) {
  ro_push_kept_table(L, &by_address_key, "v");
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, proxy);
  ro_push_kept_table(L, &by_id_key, "v");
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, (lua_Integer)proxy->id);
  lua_pop(L, 2);
}

/***
Makes a proxy of an object: it stands for the object in every process that is forked later. The process that
listens (see `Proxy:listen_`) answers for the object.
@function Proxy
@param object the object: any value but nil and proxies
@tparam[opt] table options what holds for all evaluations
@param[opt] options.default the value that takes the place of an answer that can't be had, or a function that
 is called without arguments to give it; it does not cover assignments
@tparam[opt] number options.timeout seconds that an evaluation may take, without end if not given
@tparam[opt=false] boolean options.eager_proxy calls give views, to be evaluated later, instead of being
 evaluated
@tparam[opt=true] boolean options.fulfill_final a listener that stops serves first what has been sent, else
 refuses it
@treturn Proxy the proxy
@raise for bad arguments, and when the system refuses descriptors or memory
@usage
local remote = remoteobj.Proxy({ count = 0 }, { default = "no answer", timeout = 5 })
*/
static int proxy_new(lua_State *L) {
  const char *obstacle;
  ro_Proxy *proxy;
  int error;
  luaL_argcheck(L, !lua_isnoneornil(L, 1), 1, "an object expected, got nil");
  luaL_argcheck(L, ro_test_view(L, 1) == NULL, 1, "an object expected, got a proxy");
  if (!lua_isnoneornil(L, 2))
    luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  obstacle = ro_life_obstacle();
  if (obstacle != NULL)
    return luaL_error(L, "cannot make a proxy: %s", obstacle);
  proxy = new_proxy(L, 1);
  if (!lua_isnil(L, 2))
    ro_merge_options(L, 2,
                     RO_OPTION_DEFAULT | RO_OPTION_TIMEOUT | RO_OPTION_EAGER_PROXY | RO_OPTION_FULFILL_FINAL);
  if (proxy->view.options.flags & RO_HAS_DEFAULT)
    proxy->view.options.flags |= RO_PROXYS_DEFAULT;
  name_classes(L, 1, proxy->id);
  error = ro_door_open(&proxy->door);
  if (error == 0) {
    error = ro_atfork_add(&proxy->fork_node);
    if (error != 0)
      ro_door_close(&proxy->door);
  }
  if (error != 0)
    return luaL_error(L, "cannot make a proxy: %s", strerror(error));
  remember(L, proxy);
  return 1;
}

/*
** end_listeners(): for the end of a process that closes no state. A listener whose own request ends the process can't
** take leave of its clients, and must not: they learn from the end of the connection that the request has begun.
*/
static int end_listeners(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &by_address_key) != LUA_TTABLE)
    return 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    ro_Proxy *proxy = lua_touserdata(L, -1);
    ro_listener_clear_up(proxy);
    if (proxy->listener != NULL && !ro_listener_runs_caller(proxy->listener))
      ro_listener_abandon(L, proxy->listener);
  }
  return 0;
}

static int use_classes(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  ro_use_classes(L);
  return 0;
}

void ro_open_remote(lua_State *L) {
  static const luaL_Reg functions[] = {{"Proxy", proxy_new},
                                       {"get", ro_method_get},
                                       {"use_classes", use_classes},
                                       {"end_listeners", end_listeners},
                                       {NULL, NULL}};
  static const ro_ValueHooks hooks = {ro_chain_userdata, ro_chain_special, NULL};
  luaL_setfuncs(L, functions, 0);
  ro_values_set_hooks(L, &hooks);
  ro_open_serve(L);
  ro_open_trace(L);
  ro_open_stats(L);
  ro_watch_of(L); /* is to outlast all proxies, also those that finalizers make */
  ro_open_callback(L);
  ro_push_view_metatable(L);
  ro_set_metamethods(L);
  ro_push_proxy_metatable(L);
  ro_set_metamethods(L);
  lua_pushcfunction(L, proxy_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 2);
}
