/* Views as values: what they are made of, without any evaluation. */

#include "remote/proxy.h"

#include <lauxlib.h>

#include "base/options.h"
#include "base/stack.h"

/*
** Metatables of views, and of proxies, which differ in their finalizer only; each holds a mark, the address of
** `mark`, as its first item, where it is found soonest.
*/
static const char view_key = 0, proxy_key = 0, mark = 0;

#define MARK 1
#define MOST_VIEWS 64   /* that a proxy keeps */
#define STEPS 8         /* of a chain for which the stack is made ready at once */
#define LONGEST_NAME 40 /* of one that is kept */

static void push_metatable(lua_State *L, const void *key) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_createtable(L, 1, 12);
  lua_pushliteral(L, "remoteobj.Proxy");
  lua_setfield(L, -2, "__name");
  lua_pushlightuserdata(L, (void *)&mark);
  lua_rawseti(L, -2, MARK);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void ro_push_view_metatable(lua_State *L) {
  push_metatable(L, &view_key);
}

void ro_push_proxy_metatable(lua_State *L) {
  push_metatable(L, &proxy_key);
}

ro_View *ro_test_view(lua_State *L, int index) {
  int is_view;
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
    return NULL;
  lua_rawgeti(L, -1, MARK);
  is_view = lua_touserdata(L, -1) == &mark;
  lua_pop(L, 2);
  return is_view ? lua_touserdata(L, index) : NULL;
}

ro_View *ro_check_view(lua_State *L, int index) {
  ro_View *view = ro_test_view(L, index);
  if (view == NULL)
    luaL_typeerror(L, index, "remoteobj.Proxy");
  else if (view->proxy->door.page == NULL)
    luaL_argerror(L, index, "the state of the proxy is being closed");
  return view;
}

int ro_is_root(lua_State *L, int index) {
  return ((ro_View *)lua_touserdata(L, index))->operation == RO_OP_ROOT;
}

ro_Proxy *ro_check_proxy(lua_State *L, int index) {
  ro_View *view = ro_check_view(L, index);
  if (view->operation != RO_OP_ROOT)
    luaL_argerror(L, index, "the proxy itself expected, got a view of it");
  return view->proxy;
}

/* Pushes a bare view with the metatable. [-0, +1, m] */
static ro_View *new_view(lua_State *L, ro_Proxy *proxy, ro_Operation operation, ro_Options options) {
  ro_View *view = lua_newuserdatauv(L, sizeof *view, RO_VIEW_USERVALUES);
  view->proxy = proxy;
  view->operation = operation;
  view->options = options;
  view->kept = 0;
  ro_push_view_metatable(L);
  lua_setmetatable(L, -2);
  return view;
}

static void copy_uservalue(lua_State *L, int from, int to, int n) {
  lua_getiuservalue(L, from, n);
  lua_setiuservalue(L, to, n);
}

ro_View *ro_push_view(lua_State *L, int parent, ro_Operation operation) {
  const ro_View *above;
  ro_View *view;
  int top;
  parent = lua_absindex(L, parent);
  above = lua_touserdata(L, parent);
  view = new_view(L, above->proxy, operation, above->options);
  lua_insert(L, -2);
  top = lua_gettop(L);
  lua_setiuservalue(L, top - 1, RO_VIEW_OPERANDS);
  lua_pushvalue(L, parent);
  lua_setiuservalue(L, -2, RO_VIEW_PARENT);
  if (view->options.flags & RO_HAS_DEFAULT)
    copy_uservalue(L, parent, top - 1, RO_VIEW_DEFAULT);
  if (operation == RO_OP_CALL || operation == RO_OP_METHOD || operation == RO_OP_PASSTO)
    view->options.flags &= ~(RO_CALL_IS_VIEW | RO_CALL_IS_EVALUATED);
  return view;
}

ro_View *ro_push_copy(lua_State *L, int index) {
  const ro_View *original;
  ro_View *view;
  int copy;
  index = lua_absindex(L, index);
  original = lua_touserdata(L, index);
  view = new_view(L, original->proxy, original->operation, original->options);
  copy = lua_gettop(L);
  if (original->operation == RO_OP_ROOT)
    ro_push_proxy(L, original->proxy); /* what keeps the proxy alive */
  else
    lua_getiuservalue(L, index, RO_VIEW_PARENT);
  lua_setiuservalue(L, copy, RO_VIEW_PARENT);
  copy_uservalue(L, index, copy, RO_VIEW_OPERANDS);
  copy_uservalue(L, index, copy, RO_VIEW_DEFAULT);
  return view;
}

int ro_push_chain(lua_State *L, int index) {
  int length = 0;
  lua_pushvalue(L, index);
  while (!ro_is_root(L, -1)) {
    if (length++ % STEPS == 0)
      ro_check_stack(L, STEPS + 2, "chain too long");
    lua_getiuservalue(L, -1, RO_VIEW_PARENT);
  }
  lua_pop(L, 1);
  return length;
}

/* ---- kept views, which a program names again and again ---- */

static int is_kept(const ro_View *view) {
  return view->kept == view->proxy->view.kept;
}

int ro_push_kept_field(lua_State *L, int parent) {
  int key = lua_gettop(L);
  if (!is_kept(lua_touserdata(L, parent)))
    return 0;
  if (lua_getiuservalue(L, parent, RO_VIEW_FIELDS) == LUA_TTABLE) {
    lua_pushvalue(L, key);
    if (lua_rawget(L, -2) == LUA_TUSERDATA)
      return 1;
  }
  lua_settop(L, key);
  return 0;
}

/* Lets all views of the proxy of a kept one go but itself; those that others hold are kept no more. */
static void let_go(lua_State *L, int view, ro_Proxy *proxy) {
  proxy->view.kept++;
  proxy->views = 0;
  lua_pushvalue(L, view);
  while (!ro_is_root(L, -1)) {
    lua_getiuservalue(L, -1, RO_VIEW_PARENT);
    lua_remove(L, -2);
  }
  lua_pushnil(L);
  lua_setiuservalue(L, -2, RO_VIEW_FIELDS);
  lua_pop(L, 1);
}

/* Pushes the table of the fields that are kept of the view at `parent`. [-0, +1, m] */
static void push_fields(lua_State *L, int parent) {
  if (lua_getiuservalue(L, parent, RO_VIEW_FIELDS) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, parent, RO_VIEW_FIELDS);
}

void ro_keep_field(lua_State *L, int parent) {
  const ro_View *above = lua_touserdata(L, parent);
  int top = lua_gettop(L), name = top + 1;
  ro_View *view = lua_touserdata(L, top);
  ro_Proxy *proxy = view->proxy;
  if (proxy->views == MOST_VIEWS && is_kept(above))
    let_go(L, parent, proxy);
  if (is_kept(above) && lua_getiuservalue(L, top, RO_VIEW_OPERANDS) == LUA_TSTRING &&
      lua_rawlen(L, name) <= LONGEST_NAME) {
    push_fields(L, parent);
    lua_pushvalue(L, name);
    lua_pushvalue(L, top);
    lua_rawset(L, -3);
    view->kept = proxy->view.kept;
    proxy->views++;
  }
  lua_settop(L, top);
}

/* ---- operands ---- */

/* Is the operand kept as such. */
static int has_one_operand(ro_Operation operation) {
  return operation == RO_OP_INDEX || operation == RO_OP_REFERENCE;
}

int ro_push_operands(lua_State *L, int index) {
  const ro_View *view = lua_touserdata(L, index);
  int list, count;
  if (view->operation == RO_OP_ROOT || view->operation == RO_OP_SUPER)
    return 0;
  lua_getiuservalue(L, index, RO_VIEW_OPERANDS);
  if (has_one_operand(view->operation))
    return 1;
  ro_check_stack(L, 2, NULL);
  list = lua_gettop(L);
  lua_getfield(L, list, "n");
  count = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  ro_check_stack(L, count + 1, "too many arguments");
  for (int i = 1; i <= count; i++)
    lua_rawgeti(L, list, i);
  lua_remove(L, list);
  return count;
}

void ro_pack_operands(lua_State *L, ro_Operation operation, int count) {
  int first = lua_gettop(L) - count + 1;
  if (has_one_operand(operation))
    return;
  if (operation == RO_OP_SUPER) {
    lua_pushnil(L);
    return;
  }
  lua_createtable(L, count, 1);
  lua_insert(L, first);
  for (int i = count; i >= 1; i--)
    lua_rawseti(L, first, i);
  lua_pushinteger(L, count);
  lua_setfield(L, first, "n");
}

/* ---- options ---- */

/* In the order of the bits RO_OPTION_*. */
static const char *const option_names[] = {"default", "timeout", "proxy",  "eager_proxy", "fulfill_final",
                                           "ref",     "async",   "oneway", NULL};

static void set_flag(ro_View *view, int flag, int on) {
  view->options.flags = on ? view->options.flags | flag : view->options.flags & ~flag;
}

/* Applies the option whose value is on top to the view at `view`. [-0, +0, v] */
static void apply_option(lua_State *L, int argument, int view, int option) {
  ro_View *v = lua_touserdata(L, view);
  const char *name = option_names[option];
  switch (1 << option) {
  case RO_OPTION_DEFAULT:
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, view, RO_VIEW_DEFAULT);
    v->options.flags = (v->options.flags & ~RO_PROXYS_DEFAULT) | RO_HAS_DEFAULT;
    break;
  case RO_OPTION_TIMEOUT:
    v->options.timeout = ro_check_seconds(L, argument, name);
    v->options.flags |= RO_HAS_TIMEOUT;
    break;
  case RO_OPTION_PROXY:
    v->options.flags &= ~(RO_CALL_IS_VIEW | RO_CALL_IS_EVALUATED);
    v->options.flags |= ro_check_flag(L, argument, name) ? RO_CALL_IS_VIEW : RO_CALL_IS_EVALUATED;
    break;
  case RO_OPTION_EAGER_PROXY:
    v->proxy->eager_proxy = ro_check_flag(L, argument, name);
    break;
  case RO_OPTION_REF:
    set_flag(v, RO_GIVES_REFERENCES, ro_check_flag(L, argument, name));
    break;
  case RO_OPTION_ASYNC:
    set_flag(v, RO_IS_ASYNC, ro_check_flag(L, argument, name));
    break;
  case RO_OPTION_ONEWAY:
    set_flag(v, RO_IS_ONEWAY, ro_check_flag(L, argument, name));
    break;
  default:
    v->proxy->fulfill_final = ro_check_flag(L, argument, name);
  }
}

void ro_merge_options(lua_State *L, int index, unsigned allowed) {
  int view = lua_gettop(L);
  index = lua_absindex(L, index);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    apply_option(L, index, view, ro_check_option(L, index, option_names, allowed));
  if ((((ro_View *)lua_touserdata(L, view))->options.flags & RO_IS_NOT_AWAITED) == RO_IS_NOT_AWAITED)
    luaL_argerror(L, index, "the options 'async' and 'oneway' exclude each other");
}
