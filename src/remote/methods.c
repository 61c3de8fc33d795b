/***
The methods of proxies and views: the names that end with an underscore, and a few words.
@module remoteobj
*/

#include <string.h>

#include <lauxlib.h>

#include "remote/evaluate.h"
#include "remote/iterate.h"
#include "remote/listener.h"
#include "remote/metamethods.h"
#include "remote/proxy.h"
#include "remote/reference.h"
#include "remote/stats.h"

static const char methods_key = 0;

/***
@type Proxy
*/

/***
The same view with options. They hold for all that is built on it, but `proxy` for the next call alone; those
of an earlier `with_` stay unless they are named again.
@function Proxy:with_
@tparam table options what holds for the evaluations
@param[opt] options.default the value that takes the place of an answer that can't be had, or a function that
 gives it
@tparam[opt] number options.timeout seconds that an evaluation may take
@tparam[opt] boolean options.proxy the next call gives a view (true), or is evaluated (false)
@tparam[opt] boolean options.ref results stay in the listener, as with `ref_`
@tparam[opt] boolean options.async evaluations are sent and give a `Future` at once. Whatever fails shows at
 `Future:get`, where the default takes its place. Loops are waited for all the same
@tparam[opt] boolean options.oneway evaluations are sent and give nothing. They have no answer: errors there go to
 the listener's `on_error`
@treturn Proxy the view
@usage remote:with_ { timeout = 2 }:move(10)
@usage local future = remote:with_ { async = true }:move(10)
*/
static int method_with(lua_State *L) {
  ro_check_view(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  ro_push_copy(L, 1);
  ro_merge_options(L, 2,
                   RO_OPTION_DEFAULT | RO_OPTION_TIMEOUT | RO_OPTION_PROXY | RO_OPTION_REF | RO_OPTION_ASYNC |
                       RO_OPTION_ONEWAY);
  return 1;
}

/***
Is there an entry with that key.
@function Proxy:contains_
@param key any value that can travel
@treturn boolean `object[key] ~= nil`
@raise what the evaluation raises
*/
static int method_contains(lua_State *L) {
  ro_check_view(L, 1);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  return ro_evaluate(L, 1, RO_OP_CONTAINS, 1);
}

/***
The view of a key, whatever its name.
@function Proxy:item_
@param key any value but nil
@treturn Proxy the view
@usage print(remote:item_("poll").__) -- a field called "poll", not the method
*/
static int method_item(lua_State *L) {
  ro_check_view(L, 1);
  luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "a key expected, got nil");
  lua_settop(L, 2);
  ro_push_view(L, 1, RO_OP_INDEX);
  return 1;
}

/***
Assigns, whatever the key's name.
@function Proxy:set_
@param key any value but nil
@param value nil deletes the key
@return nothing, but with `async` the future
@raise what the evaluation raises
*/
static int method_set(lua_State *L) {
  ro_check_view(L, 1);
  luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "a key expected, got nil");
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  return ro_evaluate(L, 1, RO_OP_SET, 2);
}

/***
Deletes a key, whatever its name.
@function Proxy:del_
@param key any value but nil
@return nothing, but with `async` the future
@raise what the evaluation raises
*/
static int method_del(lua_State *L) {
  ro_check_view(L, 1);
  luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "a key expected, got nil");
  lua_settop(L, 2);
  lua_pushnil(L);
  return ro_evaluate(L, 1, RO_OP_SET, 2);
}

/* Replaces the view on top by the view of the field of that name. [-1, +1, m] */
static void push_field(lua_State *L, const char *name, size_t size) {
  lua_pushlstring(L, name, size);
  ro_push_view(L, -2, RO_OP_INDEX);
  lua_remove(L, -2);
}

/***
The view of a path: `p:attrs_("a.b", "c")` is `p.a.b.c`.
@function Proxy:attrs_
@tparam string ... names, also several joined by dots
@treturn Proxy the view
*/
static int method_attrs(lua_State *L) {
  int last = lua_gettop(L);
  ro_check_view(L, 1);
  for (int i = 2; i <= last; i++) {
    luaL_checktype(L, i, LUA_TSTRING);
    luaL_argcheck(L, *lua_tostring(L, i) != '\0', i, "a name expected, got an empty string");
  }
  lua_pushvalue(L, 1);
  for (int i = 2; i <= last; i++) {
    const char *path = lua_tostring(L, i), *dot;
    for (; (dot = strchr(path, '.')) != NULL; path = dot + 1)
      push_field(L, path, (size_t)(dot - path));
    push_field(L, path, strlen(path));
  }
  return 1;
}

void ro_push_methods(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"get_", ro_method_get},       {"with_", method_with},      {"contains_", method_contains},
      {"item_", method_item},        {"set_", method_set},        {"del_", method_del},
      {"attrs_", method_attrs},      {"stats_", ro_method_stats}, {"passto", ro_method_passto},
      {"ipairs_", ro_method_ipairs}, {"ref_", ro_method_ref},     {NULL, NULL}};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &methods_key) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  ro_set_listening_methods(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &methods_key);
}
