#include "process/values.h"

#include <limits.h>
#include <string.h>

#include <lauxlib.h>

#include "base/error.h"
#include "base/scratch.h"
#include "base/stack.h"
#include "failure/failure.h"

#define BODY "remoteobj.body"

/* Registry: a userdata with the state's ro_ValueHooks. */
static const char hooks_key;

void ro_values_set_hooks(lua_State *L, const ro_ValueHooks *hooks) {
  ro_ValueHooks *kept = lua_newuserdatauv(L, sizeof *kept, 0);
  *kept = *hooks;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &hooks_key);
}

static ro_ValueHooks hooks_of(lua_State *L) {
  ro_ValueHooks hooks = {NULL, NULL, NULL};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &hooks_key) == LUA_TUSERDATA)
    hooks = *(ro_ValueHooks *)lua_touserdata(L, -1);
  lua_pop(L, 1);
  return hooks;
}

ro_EncodeRules ro_values_encode_rules(lua_State *L, const char *label) {
  ro_ValueHooks hooks = hooks_of(L);
  ro_EncodeRules rules = {.label = label, .userdata = hooks.userdata, .context = hooks.context};
  return rules;
}

ro_DecodeRules ro_values_decode_rules(lua_State *L) {
  ro_ValueHooks hooks = hooks_of(L);
  ro_DecodeRules rules = {.code = 1, .special = hooks.special, .context = hooks.context};
  return rules;
}

void ro_values_encode(lua_State *L, int first, ro_Buffer *out, const char *label) {
  ro_EncodeRules rules = ro_values_encode_rules(L, label);
  int last = lua_gettop(L);
  ro_Encoder *e;
  ro_check_stack(L, 4, NULL);
  e = ro_encoder_open(L, out, &rules);
  lua_pushinteger(L, last - first + 1);
  ro_encode(e, -1, 0);
  for (int i = first; i <= last; i++)
    ro_encode(e, i, i == first ? 0 : i - first + 1);
  ro_encoder_finish(e);
  lua_settop(L, last);
}

/* ---- bodies ---- */

void ro_push_body(lua_State *L, const char *bytes, size_t size) {
  void *body = lua_newuserdatauv(L, size, 0);
  if (size > 0)
    memcpy(body, bytes, size);
  luaL_setmetatable(L, BODY);
}

/* The content of the body that is argument 1. */
static const char *check_body(lua_State *L, size_t *size) {
  const char *bytes = luaL_checkudata(L, 1, BODY);
  *size = lua_rawlen(L, 1);
  return bytes;
}

/* body:values(): the values that ro_values_encode wrote. */
static int body_values(lua_State *L) {
  size_t size;
  const char *bytes = check_body(L, &size);
  ro_DecodeRules rules = ro_values_decode_rules(L);
  ro_Decoder *d;
  lua_Integer count;
  lua_settop(L, 1);
  d = ro_decoder_open(L, bytes, size, &rules);
  ro_decode(d);
  count = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
  if (count < 0 || count > INT_MAX || (size_t)count > size) /* each has a byte at least */
    return ro_raise(L, RO_PROTOCOL, "the values of another process are malformed");
  ro_check_stack(L, (int)count, "too many values");
  for (lua_Integer i = 0; i < count; i++)
    ro_decode(d);
  ro_decoder_close(d);
  return (int)count;
}

/* body:failure(): the error value that an encoded failure stands for here. */
static int body_failure(lua_State *L) {
  size_t size;
  const char *bytes = check_body(L, &size);
  ro_DecodeRules rules = ro_values_decode_rules(L);
  lua_settop(L, 1);
  ro_failure_decode(L, bytes, size, &rules);
  return 1;
}

static const luaL_Reg methods[] = {{"values", body_values}, {"failure", body_failure}, {NULL, NULL}};

/* Readies the codec, once for all children: memory that is written after a fork is copied first. */
static void warm_up(lua_State *L) {
  ro_Buffer *bytes = ro_scratch_open(L);
  ro_values_encode(L, lua_gettop(L) + 1, bytes, "value");
  ro_scratch_close(bytes);
  lua_pop(L, 1);
}

void ro_open_values(lua_State *L) {
  luaL_newmetatable(L, BODY);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  warm_up(L);
}
