/***
Loops over remote tables.
@module remoteobj
*/

#include "remote/iterate.h"

#include <lauxlib.h>

#include "base/error.h"
#include "base/registry.h"
#include "remote/evaluate.h"
#include "remote/execute.h"
#include "remote/outgoing.h"
#include "remote/proxy.h"

#define LOOP_METATABLE "remoteobj.loop"

/*
** A loop over a remote table: an iterator function whose upvalues are a ro_Loop (with the proxy, under the
** options of the view, as user value), and the list of what has come and is still to be seen.
*/
typedef struct ro_Loop {
  ro_Proxy *proxy;
  uint64_t connection; /* that the loop began on: its key */
  lua_Integer handle;  /* of the cursor there; 0: none (any more) */
  lua_Integer index;   /* ipairs: of the last item seen */
  int at, count;       /* in the list: what has been seen, what there is */
  int finished;        /* nothing more will come */
} ro_Loop;

#define LOOP lua_upvalueindex(1)
#define ENTRIES lua_upvalueindex(2)

static int loop_gc(lua_State *L) {
  ro_Loop *loop = lua_touserdata(L, 1);
  if (loop->handle != 0 && loop->proxy->door.page != NULL && loop->proxy->client.key == loop->connection)
    ro_client_release(loop->proxy, loop->proxy->client.session, loop->handle, 1, 1);
  loop->handle = 0;
  return 0;
}

static ro_Loop *push_loop(lua_State *L, int view) {
  static const luaL_Reg metamethods[] = {{"__gc", loop_gc}, {NULL, NULL}};
  ro_Loop *loop = lua_newuserdatauv(L, sizeof *loop, 1);
  loop->proxy = ((ro_View *)lua_touserdata(L, view))->proxy;
  loop->connection = 0;
  loop->handle = loop->index = 0;
  loop->at = loop->count = loop->finished = 0;
  ro_push_metatable(L, LOOP_METATABLE, metamethods);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, view);
  lua_setiuservalue(L, -2, 1);
  return loop;
}

/*
** Moves the `count` values on top into the list at `list`; a nil behind them says that they are
** the last. [-count, +0, m]
*/
static void store_entries(lua_State *L, ro_Loop *loop, int list, int count) {
  loop->finished = count > 0 && lua_isnil(L, -1);
  loop->at = 0;
  loop->count = count - loop->finished;
  for (int i = count; i >= 1; i--)
    lua_rawseti(L, list, i);
  if (loop->finished)
    loop->handle = 0;
}

/* The loop goes on only with the connection that it began with. */
static void check_connection(lua_State *L, const ro_Loop *loop) {
  if (loop->proxy->client.key == loop->connection)
    return;
  ro_push_error(L, RO_DISCONNECTED, "the listener ended before the loop over its table did");
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "may_have_run");
  lua_error(L);
}

/* Pushes the proxy itself with the options of the view at `view`. [-0, +1, m] */
static void push_root(lua_State *L, int view) {
  ro_View *root = ro_push_copy(L, view);
  root->operation = RO_OP_ROOT;
  ro_push_proxy(L, root->proxy);
  lua_setiuservalue(L, -2, RO_VIEW_PARENT);
}

/*
** Pushes an iterator over the value of the view at index 1, with what the first request has
** brought. [-0, +1, e]
*/
static void begin_loop(lua_State *L, ro_Operation operation, lua_CFunction next) {
  ro_Loop *loop;
  int base, count;
  push_root(L, 1);
  loop = push_loop(L, lua_gettop(L));
  lua_remove(L, -2);
  lua_newtable(L);
  base = lua_gettop(L);
  count = ro_evaluate(L, 1, operation, 0);
  loop->connection = loop->proxy->client.key;
  loop->handle = lua_tointeger(L, base + 1);
  store_entries(L, loop, base, count - 1);
  lua_settop(L, base);
  lua_pushcclosure(L, next, 2);
}

/*
** Makes sure that the list has something to be seen; returns 0 at the end of the loop. The stack
** is emptied. [-n, +0, e]
*/
static int has_entries(lua_State *L) {
  ro_Loop *loop = lua_touserdata(L, LOOP);
  int count;
  lua_settop(L, 0);
  if (loop->at < loop->count || loop->finished)
    return loop->at < loop->count;
  check_connection(L, loop);
  lua_pushvalue(L, ENTRIES);
  lua_getiuservalue(L, LOOP, 1);
  lua_pushinteger(L, loop->handle);
  count = ro_evaluate(L, 2, RO_OP_NEXT, 1);
  store_entries(L, loop, 1, count);
  lua_settop(L, 0);
  return loop->at < loop->count;
}

/* ---- pairs ---- */

static int next_pair(lua_State *L) {
  ro_Loop *loop = lua_touserdata(L, LOOP);
  if (!has_entries(L))
    return 0;
  lua_rawgeti(L, ENTRIES, loop->at + 1);
  lua_rawgeti(L, ENTRIES, loop->at + 2);
  loop->at += 2;
  return 2;
}

/* In the listener's own process: puts the value of the view at index 1 at 2. [-n, +1, e] */
static void value_here(lua_State *L) {
  lua_settop(L, 1);
  ro_value_here(L, 1);
}

/* pairs of the value itself, in the listener's own process. */
static int pairs_here(lua_State *L) {
  value_here(L);
  if (luaL_getmetafield(L, 2, "__pairs") == LUA_TNIL) {
    if (!lua_istable(L, 2))
      luaL_error(L, "attempt to iterate over a %s value", luaL_typename(L, 2));
    lua_getglobal(L, "next");
    lua_pushvalue(L, 2);
    lua_pushnil(L);
    return 3;
  }
  lua_pushvalue(L, 2);
  lua_call(L, 1, 3);
  return 3;
}

/***
@type Proxy
*/

/***
Iterates over a remote table, honouring its own `__pairs`. Entries come in bounded chunks. An entry that is
added or removed meanwhile may be seen or not, none twice.
@function Proxy:__pairs
@return what a generic `for` needs
@raise what the evaluation raises; no default applies
@usage for key, value in pairs(remote.prices) do print(key, value) end
*/
int ro_view_pairs(lua_State *L) {
  const ro_View *view = ro_check_view(L, 1);
  if (ro_listens_here(view->proxy))
    return pairs_here(L);
  lua_settop(L, 1);
  begin_loop(L, RO_OP_PAIRS, next_pair);
  return 1;
}

/* ---- ipairs ---- */

static int next_item(lua_State *L) {
  ro_Loop *loop = lua_touserdata(L, LOOP);
  if (!has_entries(L))
    return 0;
  lua_pushinteger(L, ++loop->index);
  lua_rawgeti(L, ENTRIES, ++loop->at);
  return 2;
}

/* ipairs of the value itself, in the listener's own process: upvalue 1 is the value. */
static int next_item_here(lua_State *L) {
  lua_Integer index = luaL_checkinteger(L, 2) + 1;
  lua_pushinteger(L, index);
  return lua_geti(L, lua_upvalueindex(1), index) == LUA_TNIL ? 1 : 2;
}

/***
Iterates over the values 1, 2, ... of a remote list, as `ipairs` would there.
@function Proxy:ipairs_
@return what a generic `for` needs
@raise what the evaluation raises; no default applies
@usage for i, item in remote.items:ipairs_() do print(i, item) end
*/
int ro_method_ipairs(lua_State *L) {
  const ro_View *view = ro_check_view(L, 1);
  lua_settop(L, 1);
  if (ro_listens_here(view->proxy)) {
    value_here(L);
    lua_pushcclosure(L, next_item_here, 1);
    lua_pushnil(L);
    lua_pushinteger(L, 0);
    return 3;
  }
  begin_loop(L, RO_OP_IPAIRS, next_item);
  return 1;
}
