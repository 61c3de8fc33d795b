#include "remote/execute.h"

#include <lauxlib.h>

#include "base/stack.h"
#include "remote/call.h"
#include "remote/callback.h"
#include "remote/reference.h"

static const char classes_key = 0;

void ro_use_classes(lua_State *L) {
  lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
}

void ro_push_class_function(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

void ro_machine_begin(ro_Machine *m, lua_State *L) {
  m->L = L;
  m->value = lua_gettop(L);
  m->level = 0;
}

void ro_machine_keep(ro_Machine *m, int results) {
  if (results == 0)
    lua_pushnil(m->L);
  else if (results > 1)
    lua_pop(m->L, results - 1);
  lua_replace(m->L, m->value);
}

/* A name for error messages: the key at `index` as a field or method. */
static const char *describe(lua_State *L, const char *what, int index) {
  if (lua_type(L, index) == LUA_TSTRING)
    return lua_pushfstring(L, " (%s '%s')", what, lua_tostring(L, index));
  return "";
}

static int is_indexable(lua_State *L, int index) {
  int type = lua_type(L, index);
  if (type == LUA_TTABLE || type == LUA_TSTRING)
    return 1;
  if (luaL_getmetafield(L, index, "__index") == LUA_TNIL)
    return 0;
  lua_pop(L, 1);
  return 1;
}

/* Replaces the key on top by what it leads to from the machine's value. [-1, +1, e] */
static void look_up(ro_Machine *m, const char *what) {
  lua_State *L = m->L;
  if (m->level > 0) {
    ro_push_class_function(L, "super_lookup");
    lua_pushvalue(L, m->value);
    lua_pushinteger(L, m->level);
    lua_pushvalue(L, -4);
    lua_call(L, 3, 1);
    lua_remove(L, -2);
    return;
  }
  if (!is_indexable(L, m->value))
    luaL_error(L, "attempt to index a %s value%s", luaL_typename(L, m->value), describe(L, what, -1));
  lua_gettable(L, m->value);
}

/* Calls with `count` arguments on top of the function. [-(count + 1), +n, e] */
static int call(lua_State *L, int count) {
  int base = lua_gettop(L) - count - 1;
  lua_call(L, count, LUA_MULTRET);
  return lua_gettop(L) - base;
}

static int call_method(ro_Machine *m, int count) {
  lua_State *L = m->L;
  int name = lua_gettop(L) - count + 1;
  lua_pushvalue(L, name);
  look_up(m, "method");
  if (lua_isnil(L, -1))
    luaL_error(L, "attempt to call a nil value%s", describe(L, "method", name));
  lua_replace(L, name);
  lua_pushvalue(L, m->value);
  lua_insert(L, name + 1);
  return call(L, count);
}

static int pass_to(ro_Machine *m, int count) {
  int function = lua_gettop(m->L) - count + 1;
  lua_pushvalue(m->L, m->value);
  lua_insert(m->L, function + 1);
  return call(m->L, count);
}

static int call_value(ro_Machine *m, int count) {
  lua_State *L = m->L;
  int first = lua_gettop(L) - count + 1;
  lua_pushvalue(L, m->value);
  lua_insert(L, first);
  return call(L, count);
}

static int length_of(lua_State *L, int index) {
  lua_len(L, index);
  return 1;
}

int ro_machine_apply(ro_Machine *m, ro_Operation operation, int count) {
  lua_State *L = m->L;
  int results;
  ro_check_stack(L, 8, NULL);
  if (m->level > 0 && operation == RO_OP_SET)
    luaL_error(L, "cannot assign through super");
  switch (operation) {
  case RO_OP_SUPER:
    m->level++;
    lua_pushvalue(L, m->value);
    return 1;
  case RO_OP_INDEX:
    look_up(m, "field");
    results = 1;
    break;
  case RO_OP_METHOD:
    results = call_method(m, count);
    break;
  case RO_OP_CALL:
    results = call_value(m, count);
    break;
  case RO_OP_PASSTO:
    results = pass_to(m, count);
    break;
  case RO_OP_SET:
    lua_settable(L, m->value);
    results = 0;
    break;
  case RO_OP_LENGTH:
    results = length_of(L, m->value);
    break;
  case RO_OP_CONTAINS:
    look_up(m, "field");
    lua_pushboolean(L, !lua_isnil(L, -1));
    lua_remove(L, -2);
    results = 1;
    break;
  case RO_OP_REFERENCE:
    results = 1; /* its operand */
    break;
  default:
    return luaL_error(L, "an operation that must come first or last does not");
  }
  m->level = 0;
  return results;
}

/* ---- in the listener's own process ---- */

/* Replaces the views and futures of `proxy` among the `count` operands on top by their values, callbacks by their functions. */
static void resolve_operands(lua_State *L, const ro_Proxy *proxy, int count) {
  int first = lua_gettop(L) - count + 1;
  for (int i = first; i < first + count; i++) {
    const ro_View *view = ro_test_view(L, i);
    if (view == NULL && ro_push_result_of(L, i, proxy)) {
      lua_replace(L, i);
    } else if (view == NULL) {
      ro_callback_to_function(L, i);
    } else if (view->proxy == proxy) {
      ro_value_here(L, i);
      lua_replace(L, i);
    }
  }
}

/* Pushes the operands of one step of a chain, or the object of a reference. [-0, +n, v] */
static int push_values(lua_State *L, const ro_Proxy *proxy, int step) {
  int number = ro_push_operands(L, step);
  if (((ro_View *)lua_touserdata(L, step))->operation == RO_OP_REFERENCE)
    ro_claim_to_object(L);
  else
    resolve_operands(L, proxy, number);
  return number;
}

/* As ro_execute_here, but the results are the very values. */
static int run_here(lua_State *L, int view, ro_Operation operation, int count) {
  const ro_Proxy *proxy = ((ro_View *)lua_touserdata(L, view))->proxy;
  int base = lua_gettop(L) - count; /* the operands of the last operation lie above */
  int length, results = 1;
  ro_Machine machine;
  ro_check_stack(L, 8, NULL);
  length = ro_push_chain(L, view);
  ro_check_stack(L, 8, NULL);
  ro_push_object(L, proxy);
  ro_machine_begin(&machine, L);
  for (int i = length; i >= 1; i--) {
    int step = base + count + i;
    int number = push_values(L, proxy, step);
    results = ro_machine_apply(&machine, ((ro_View *)lua_touserdata(L, step))->operation, number);
    if (i == 1 && operation == RO_OP_ROOT)
      break;
    ro_machine_keep(&machine, results);
  }
  if (operation != RO_OP_ROOT) {
    ro_check_stack(L, count + 4, "too many arguments");
    for (int i = 1; i <= count; i++)
      lua_pushvalue(L, base + i);
    resolve_operands(L, proxy, count);
    results = ro_machine_apply(&machine, operation, count);
  } else if (length == 0) {
    lua_pushvalue(L, machine.value);
  }
  /* slide the results down over what was needed to get them */
  lua_rotate(L, base + 1, results);
  lua_settop(L, base + results);
  return results;
}

void ro_value_here(lua_State *L, int view) {
  int top = lua_gettop(L);
  view = lua_absindex(L, view);
  run_here(L, view, RO_OP_ROOT, 0);
  lua_settop(L, top + 1);
}

static void object_to_proxy(lua_State *L, const ro_Proxy *proxy, int count) {
  int first = lua_gettop(L) - count + 1;
  ro_check_stack(L, 2, NULL);
  ro_push_object(L, proxy);
  for (int i = first; i < first + count; i++) {
    if (lua_rawequal(L, i, -1)) {
      ro_push_proxy(L, proxy);
      lua_replace(L, i);
    }
  }
  lua_pop(L, 1);
}

int ro_execute_here(lua_State *L, int view, ro_Operation operation, int count) {
  const ro_View *v = lua_touserdata(L, view);
  int results;
  view = lua_absindex(L, view);
  results = run_here(L, view, operation, count);
  object_to_proxy(L, v->proxy, results);
  ro_refer_here(L, view, results);
  return results;
}
