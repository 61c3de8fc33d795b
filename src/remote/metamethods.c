/***
What proxies and views do in expressions.
@module remoteobj
*/

#include "remote/metamethods.h"

#include <lauxlib.h>

#include "remote/evaluate.h"
#include "remote/iterate.h"
#include "remote/listener.h"
#include "remote/proxy.h"
#include "remote/reference.h"
#include "remote/text.h"

/* Upvalue 1 of __index and __newindex. */
#define METHODS lua_upvalueindex(1)

typedef enum NameKind {
  NAME_OF_OBJECT,
  NAME_GET,       /* __ */
  NAME_SUPER,     /* super */
  NAME_LISTENING, /* listening_ */
  NAME_RESERVED,  /* any other that begins with an underscore */
  NAME_METHOD     /* a proxy method, or none that exists */
} NameKind;

/* Adds the names that are no methods to the table of methods on top: their kinds. [-0, +0, m] */
static void set_words(lua_State *L) {
  static const struct {
    const char *name;
    NameKind kind;
  } words[] = {{"__", NAME_GET}, {"super", NAME_SUPER}, {"listening_", NAME_LISTENING}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    lua_pushinteger(L, words[i].kind);
    lua_setfield(L, -2, words[i].name);
  }
}

/* What a key means to the proxy; with NAME_METHOD the method or nil is pushed. [-0, +(0|1), -] */
static NameKind classify(lua_State *L, int key) {
  NameKind kind = NAME_OF_OBJECT;
  size_t size;
  const char *name;
  if (lua_type(L, key) != LUA_TSTRING)
    return NAME_OF_OBJECT;
  name = lua_tolstring(L, key, &size);
  lua_pushvalue(L, key);
  if (lua_rawget(L, METHODS) == LUA_TFUNCTION)
    return NAME_METHOD;
  if (lua_isinteger(L, -1))
    kind = (NameKind)lua_tointeger(L, -1);
  else if (name[0] == '_')
    kind = NAME_RESERVED;
  else if (size > 0 && name[size - 1] == '_')
    return NAME_METHOD;
  lua_pop(L, 1);
  return kind;
}

/***
@type Proxy
*/

/***
A view of a field, whether it is there or not: nothing is sent. Names of the proxy's own give what they stand
for.
@function Proxy:__index
@param key any value but nil that can travel
@treturn Proxy the view
@raise for an unknown name that begins or ends with an underscore
*/

/***
The value of the view, as `Proxy:get_` without options gives it.
@tfield any __
*/

/***
A view of the same object on which names are looked up from the parent of its class on; methods called there
get the object as self. For plain metatables, middleclass, Penlight, classic and 30log.
@tfield Proxy super
*/

/***
Does anybody listen now? False as soon as the listener has died. It is an error to ask where the system does not tell.
@tfield boolean listening_
*/

static int view_index(lua_State *L) {
  const ro_View *view = ro_check_view(L, 1);
  lua_settop(L, 2);
  if (ro_push_kept_field(L, 1))
    return 1;
  switch (classify(L, 2)) {
  case NAME_GET:
    return ro_evaluate(L, 1, RO_OP_ROOT, 0);
  case NAME_RESERVED:
    return luaL_error(L, "the name '%s' is the proxy's own: use p:item_(key) and p:set_(key, value)",
                      lua_tostring(L, 2));
  case NAME_SUPER:
    lua_pushnil(L);
    ro_push_view(L, 1, RO_OP_SUPER);
    return 1;
  case NAME_LISTENING:
    lua_pushboolean(L, ro_somebody_listens(L, view->proxy));
    return 1;
  case NAME_METHOD:
    if (lua_isnil(L, -1))
      return luaL_error(L, "unknown proxy method '%s': for a key of the object use p:item_(key)",
                        lua_tostring(L, 2));
    return 1;
  default:
    ro_push_view(L, 1, RO_OP_INDEX);
    ro_keep_field(L, 1);
    return 1;
  }
}

/***
Assigns in the listener.
@function Proxy:__newindex
@param key any value that can travel
@param value nil deletes the key; a view stands for its value there
@raise what the evaluation raises: a proxy's `default` does not cover assignments. With `async` always, since there is
 nowhere to put the future: see `Proxy:set_`
@usage remote.speed = 3
*/
static int view_newindex(lua_State *L) {
  const ro_View *view = ro_check_view(L, 1);
  if (classify(L, 2) != NAME_OF_OBJECT)
    return luaL_error(L, "cannot assign '%s', a name of the proxy's own: use p:set_(key, value)",
                      lua_tostring(L, 2));
  if (view->options.flags & RO_IS_ASYNC)
    return luaL_error(L, "an assignment gives no future: use p:set_(key, value)");
  lua_settop(L, 3);
  ro_evaluate(L, 1, RO_OP_SET, 2);
  return 0;
}

static int call_gives_view(const ro_View *view) {
  if (view->options.flags & RO_CALL_IS_VIEW)
    return 1;
  return view->proxy->eager_proxy && !(view->options.flags & RO_CALL_IS_EVALUATED);
}

/*
** Evaluates the operation with the `count` operands on top on the view at `view`, or makes a
** view of it. [-count, +n, e]
*/
static int call_or_view(lua_State *L, int view, ro_Operation operation, int count) {
  if (!call_gives_view(lua_touserdata(L, view)))
    return ro_evaluate(L, view, operation, count);
  ro_pack_operands(L, operation, count);
  ro_push_view(L, view, operation);
  return 1;
}

/* `p:name(...)` is a call of the view `p.name` whose first argument is its parent. */
static int is_method_call(lua_State *L) {
  const ro_View *view = lua_touserdata(L, 1);
  int same;
  if (view->operation != RO_OP_INDEX || lua_type(L, 2) != LUA_TUSERDATA)
    return 0;
  lua_getiuservalue(L, 1, RO_VIEW_PARENT);
  same = lua_rawequal(L, 2, -1);
  lua_pop(L, 1);
  return same;
}

/***
Calls there. `p:name(...)` gets the object on which the name was looked up as self, `p.name(...)` does not.
@function Proxy:__call
@param ... the arguments; a view of the same proxy stands for its value there
@return all results, or a view where `eager_proxy` or `proxy` says so
@raise what the evaluation raises
@usage
remote:move(10)          -- object:move(10)
remote.items[1].name()   -- object.items[1].name()
*/
static int view_call(lua_State *L) {
  ro_check_view(L, 1);
  if (!is_method_call(L))
    return call_or_view(L, 1, RO_OP_CALL, lua_gettop(L) - 1);
  /* parent, name, arguments... */
  lua_getiuservalue(L, 1, RO_VIEW_OPERANDS);
  lua_copy(L, 2, 1);
  lua_replace(L, 2);
  return call_or_view(L, 1, RO_OP_METHOD, lua_gettop(L) - 1);
}

/***
Passes the object to a function, in the listener.
@function Proxy:passto
@tparam function func called as `func(object, ...)`
@param ... its other arguments
@return all its results, or a view where `eager_proxy` or `proxy` says so
@raise what the evaluation raises
@usage
print(remote:passto(tostring))
print(remote:passto(function(o, x) return o.total * x end, 2))
*/
int ro_method_passto(lua_State *L) {
  ro_check_view(L, 1);
  luaL_checkany(L, 2);
  return call_or_view(L, 1, RO_OP_PASSTO, lua_gettop(L) - 1);
}

/***
The length, as `#` gives it there.
@function Proxy:__len
@treturn integer the length
@raise what the evaluation raises
*/
static int view_len(lua_State *L) {
  ro_check_view(L, 1);
  lua_settop(L, 1);
  lua_settop(L, 1 + ro_evaluate(L, 1, RO_OP_LENGTH, 0));
  lua_settop(L, 2);
  return 1;
}

void ro_set_metamethods(lua_State *L) {
  static const luaL_Reg plain[] = {{"__call", view_call},
                                   {"__len", view_len},
                                   {"__pairs", ro_view_pairs},
                                   {"__eq", ro_view_eq},
                                   {"__tostring", ro_view_tostring},
                                   {"__close", ro_view_close},
                                   {NULL, NULL}};
  static const luaL_Reg with_methods[] = {
      {"__index", view_index}, {"__newindex", view_newindex}, {NULL, NULL}};
  luaL_setfuncs(L, plain, 0);
  ro_push_methods(L);
  set_words(L);
  luaL_setfuncs(L, with_methods, 1);
}
