/***
References to objects that stay in the listener.
@module remoteobj
*/

#include "remote/reference.h"

#include <lauxlib.h>

#include "base/error.h"
#include "base/registry.h"
#include "base/stack.h"
#include "remote/connection.h"
#include "remote/evaluate.h"
#include "remote/handles.h"
#include "remote/listener.h"
#include "remote/outgoing.h"

#define CLAIM "remoteobj.claim"

/* User values of a claim. */
enum { VIEW = 1, OBJECT, CLAIM_USERVALUES = OBJECT };

/* ---- letting go ---- */

static void let_go(lua_State *L, int index) {
  ro_Claim *claim = lua_touserdata(L, index);
  ro_Client *client = &claim->proxy->client;
  if (claim->released)
    return;
  claim->released = 1;
  if (claim->handle != 0 && claim->session == client->session && claim->proxy->door.page != NULL) {
    ro_client_count_references(client, -1);
    ro_client_release(claim->proxy, claim->session, claim->handle, claim->received, 1);
  }
  lua_pushnil(L);
  lua_setiuservalue(L, index, OBJECT);
}

static int claim_gc(lua_State *L) {
  let_go(L, 1);
  return 0;
}

/***
@type Proxy
*/

/***
For `<close>` variables: lets go what a reference stands for, at once. Other proxies and views have nothing to let go.
@function Proxy:__close
*/
int ro_view_close(lua_State *L) {
  const ro_View *view = ro_check_view(L, 1);
  if (view->operation != RO_OP_REFERENCE)
    return 0;
  lua_getiuservalue(L, 1, RO_VIEW_OPERANDS);
  let_go(L, lua_gettop(L));
  ro_client_send_releases(view->proxy);
  return 0;
}

/* ---- making ---- */

/*
** Pushes the proxy's table of claims in use: by handle, or by object. It holds neither, so that an object that has
** a reference to itself can go.
*/
static void push_claims(lua_State *L, const ro_Proxy *proxy) {
  ro_push_proxy(L, proxy);
  if (lua_getiuservalue(L, -1, RO_PROXY_CLAIMS) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "kv");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, RO_PROXY_CLAIMS);
  }
  lua_remove(L, -2);
}

/*
** Looks for a claim in use in the table below the key on top, which is popped: pushes its reference, or
** nothing. [-1, +(0|1), -]
*/
static ro_Claim *find_claim(lua_State *L, uint64_t session, uint64_t generation) {
  ro_Claim *claim;
  lua_rawget(L, -2);
  claim = lua_touserdata(L, -1);
  if (claim == NULL || claim->released || claim->session != session || claim->generation != generation) {
    lua_pop(L, 1);
    return NULL;
  }
  lua_getiuservalue(L, -1, VIEW);
  lua_remove(L, -2);
  return claim;
}

/*
** Makes a claim, and the reference that goes with it, which are each other's user values; enters it in the table at
** `claims` by the key on top, which is popped, and pushes the reference. [-1, +1, m]
*/
static ro_Claim *make_claim(lua_State *L, ro_Proxy *proxy, int claims) {
  static const luaL_Reg metamethods[] = {{"__gc", claim_gc}, {NULL, NULL}};
  int key = lua_gettop(L);
  ro_Claim *claim = lua_newuserdatauv(L, sizeof *claim, CLAIM_USERVALUES);
  *claim = (ro_Claim){.proxy = proxy, .released = 1};
  ro_push_metatable(L, CLAIM, metamethods);
  lua_setmetatable(L, -2);
  ro_push_proxy(L, proxy);
  lua_pushvalue(L, key + 1);
  ro_push_view(L, key + 2, RO_OP_REFERENCE);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, key + 1, VIEW);
  lua_replace(L, key + 2);
  lua_pushvalue(L, key);
  lua_pushvalue(L, key + 1);
  lua_rawset(L, claims);
  lua_replace(L, key);
  lua_settop(L, key);
  return claim;
}

void ro_push_reference(lua_State *L, ro_Proxy *proxy, uint64_t session, int64_t handle) {
  ro_Claim *claim;
  int claims;
  ro_check_stack(L, 12, NULL);
  push_claims(L, proxy);
  claims = lua_gettop(L);
  lua_pushinteger(L, handle);
  claim = find_claim(L, session, 0);
  if (claim == NULL) {
    lua_pushinteger(L, handle);
    claim = make_claim(L, proxy, claims);
    claim->handle = claim->number = handle;
    claim->session = session;
    claim->released = 0;
    if (proxy->client.session == session)
      ro_client_count_references(&proxy->client, 1);
  }
  claim->received++;
  lua_remove(L, claims);
}

void ro_push_local_reference(lua_State *L, ro_Proxy *proxy, int index) {
  uint64_t generation = ro_listener_generation(proxy->listener);
  ro_Claim *claim;
  int claims;
  index = lua_absindex(L, index);
  ro_check_stack(L, 12, NULL);
  push_claims(L, proxy);
  claims = lua_gettop(L);
  lua_pushvalue(L, index);
  claim = find_claim(L, 0, generation);
  if (claim == NULL) {
    lua_pushvalue(L, index);
    claim = make_claim(L, proxy, claims);
    claim->number = ++proxy->last_reference;
    claim->generation = generation;
    claim->released = 0;
    lua_getiuservalue(L, -1, RO_VIEW_OPERANDS);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, OBJECT);
    lua_pop(L, 1);
  }
  lua_remove(L, claims);
}

/* ---- using ---- */

ro_Claim *ro_check_claim(lua_State *L, int index) {
  ro_Claim *claim = lua_touserdata(L, index);
  if (claim->released)
    luaL_error(L, "attempt to use a reference that was let go (ref_%I)", (LUAI_UACINT)claim->number);
  return claim;
}

void ro_claim_to_object(lua_State *L) {
  const ro_Claim *claim = ro_check_claim(L, -1);
  const ro_Listener *listener = claim->proxy->listener;
  if (claim->handle != 0 || listener == NULL || ro_listener_generation(listener) != claim->generation)
    ro_raise(L, RO_NOT_LISTENING, "the listener that kept the object of ref_%I has ended",
             (LUAI_UACINT)claim->number);
  lua_getiuservalue(L, -1, OBJECT);
  lua_remove(L, -2);
}

/* Pushes the object of the reference that the chain of the view at `view` begins with, or nil. [-0, +1, v] */
static void push_first(lua_State *L, int view) {
  ro_Operation operation;
  lua_pushvalue(L, view);
  while ((operation = ((ro_View *)lua_touserdata(L, -1))->operation) != RO_OP_ROOT) {
    lua_getiuservalue(L, -1, operation == RO_OP_REFERENCE ? RO_VIEW_OPERANDS : RO_VIEW_PARENT);
    lua_remove(L, -2);
    if (operation != RO_OP_REFERENCE)
      continue;
    lua_getiuservalue(L, -1, OBJECT);
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushnil(L);
}

void ro_refer_here(lua_State *L, int view, int count) {
  const ro_View *v = lua_touserdata(L, view);
  int all = (v->options.flags & RO_GIVES_REFERENCES) != 0;
  int first = lua_gettop(L) - count + 1;
  if (v->proxy->listener == NULL) /* the operation has ended it */
    return;
  ro_check_stack(L, 8, NULL);
  push_first(L, view);
  for (int i = first; i < first + count && (all || !lua_isnil(L, -1)); i++) {
    if (!ro_is_referable(L, i) || ro_test_view(L, i) != NULL || !(all || lua_rawequal(L, i, -1)))
      continue;
    ro_push_local_reference(L, v->proxy, i);
    lua_replace(L, i);
  }
  lua_pop(L, 1);
}

/***
Evaluates the view, and lets the results stay in the listener: for each of them comes a reference, a proxy that
stands for it. Numbers, strings, booleans and nil come as they are. As an argument a reference stands for its object;
the same object gives an equal one. The object is kept for this process until the reference is collected or closed
(`local object <close> = ...`), or the process ends; its forks have shares of their own. A use after that, or after the
listener has ended, is an error.
@function Proxy:ref_
@return all results, as references
@raise what the evaluation raises
@usage
local account <close> = bank:open("Ada"):ref_()
account:deposit(10)
bank:close_account(account)
*/
int ro_method_ref(lua_State *L) {
  ro_View *view;
  ro_check_view(L, 1);
  lua_settop(L, 1);
  view = ro_push_copy(L, 1);
  view->options.flags |= RO_GIVES_REFERENCES;
  return ro_evaluate(L, 2, RO_OP_ROOT, 0);
}
