/*
** Failures as bytes. One session of six values: whether the error value itself travels, its
** bytes (else nil), the message, the traceback or nil, the id of the process, its name. The
** value has a session of its own: where it can't be understood the rest still can.
*/
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/atfork.h"
#include "base/error.h"
#include "base/scratch.h"
#include "base/stack.h"
#include "failure/failure.h"
#include "lock/lock.h"

/* Where things lie while a failure is encoded; `error` is the error value. */
enum { ERROR = 1, MESSAGE, TRACEBACK, RULES, OUT, WITH_VALUE };

static void encode_integer(lua_State *L, ro_Encoder *e, lua_Integer value) {
  lua_pushinteger(L, value);
  ro_encode(e, -1, 0);
  lua_pop(L, 1);
}

/* Pushes the bytes of the error value as a string. [-0, +1, v] */
static void push_value_bytes(lua_State *L, const ro_EncodeRules *rules) {
  ro_Buffer *bytes = ro_scratch_open(L);
  int scratch = lua_gettop(L);
  ro_Encoder *e = ro_encoder_open(L, bytes, rules);
  ro_encode(e, ERROR, 0);
  ro_encoder_finish(e);
  lua_pushlstring(L, bytes->data, bytes->size);
  ro_scratch_close(bytes);
  lua_replace(L, scratch);
  lua_settop(L, scratch);
}

/* Encodes what is at the slots above, protected by its caller. */
static int encode(lua_State *L) {
  ro_EncodeRules rules = *(const ro_EncodeRules *)lua_touserdata(L, RULES);
  ro_Encoder *e;
  rules.label = "error";
  if (lua_toboolean(L, WITH_VALUE))
    push_value_bytes(L, &rules);
  else
    lua_pushnil(L);
  e = ro_encoder_open(L, lua_touserdata(L, OUT), &rules);
  ro_encode(e, WITH_VALUE, 0);
  ro_encode(e, WITH_VALUE + 1, 0);
  ro_encode(e, MESSAGE, 0);
  ro_encode(e, TRACEBACK, 0);
  encode_integer(L, e, ro_pid());
  ro_push_process_name(L);
  ro_encode(e, -1, 0);
  ro_encoder_finish(e);
  return 0;
}

static int message_of(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* Pushes the text of the error value on top. What is a RemoteError already keeps its message. */
static void push_message(lua_State *L) {
  lua_pushcfunction(L, message_of);
  lua_pushvalue(L, -2);
  if (ro_pcall_aside(L, 1, 1, 0) == LUA_OK)
    return;
  lua_pop(L, 1); /* __tostring failed or gave no string */
  lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, -1));
}

/* Calls encode with the six slots on top, which stay. Returns whether it went well, else pushes the error. */
static int try_encode(lua_State *L) {
  int first = lua_gettop(L) - WITH_VALUE + 1;
  lua_pushcfunction(L, encode);
  for (int i = 0; i < WITH_VALUE; i++)
    lua_pushvalue(L, first + i);
  return ro_pcall_aside(L, WITH_VALUE, 0, 0);
}

void ro_failure_encode(lua_State *L, int index, ro_Buffer *out, const ro_EncodeRules *rules) {
  int top = lua_gettop(L), status;
  size_t before = out->size;
  index = lua_absindex(L, index);
  ro_check_stack(L, 20, NULL);
  lua_pushvalue(L, index);
  ro_failure_caught(L);
  ro_failure_value(L, -1);
  push_message(L);
  ro_failure_traceback(L, top + 1);
  lua_remove(L, top + 1);
  lua_pushlightuserdata(L, (void *)(uintptr_t)rules);
  lua_pushlightuserdata(L, out);
  lua_pushboolean(L, 1);
  status = try_encode(L);
  if (status != LUA_OK && !ro_is_memory_error(L, status)) { /* the value can't travel: its text does */
    out->size = before;
    lua_settop(L, top + WITH_VALUE - 1);
    lua_pushboolean(L, 0);
    status = try_encode(L);
  }
  if (status != LUA_OK)
    lua_error(L);
  lua_settop(L, top);
}

/* Where the decoded parts lie, from the session's userdata on. */
enum { WHOLE = 1, SENT, TEXT, TRACE, PID, NAME };

/* Replaces a string field of the table on top from the part at `index`. */
static void set_part(lua_State *L, const char *field, int index) {
  lua_pushstring(L, field);
  lua_pushvalue(L, index);
  lua_rawset(L, -3);
}

/* Pushes the RemoteError of the parts that lie from `base` on. */
static void push_remote_error(lua_State *L, int base) {
  lua_createtable(L, 0, 5);
  set_part(L, "value", base + SENT);
  set_part(L, "message", base + TEXT);
  set_part(L, "traceback", base + TRACE);
  set_part(L, "pid", base + PID);
  set_part(L, "process", base + NAME);
  ro_push_remote_error_metatable(L);
  lua_setmetatable(L, -2);
}

/* Decodes the string that is argument 1 under the rules that are argument 2, protected by its caller. */
static int decode_value(lua_State *L) {
  size_t size;
  const char *data = lua_tolstring(L, 1, &size);
  ro_Decoder *d = ro_decoder_open(L, data, size, lua_touserdata(L, 2));
  ro_decode(d);
  ro_decoder_close(d);
  return 1;
}

/*
** Replaces the bytes of the error value at `sent` by the value; by nil where this process can't
** understand them. Returns whether it can; what it is not to blame for is raised. [-0, +0, e]
*/
static int understand(lua_State *L, int sent, const ro_DecodeRules *rules) {
  unsigned throws = ro_throws(ro_lock_of(L));
  int status;
  lua_pushcfunction(L, decode_value);
  lua_pushvalue(L, sent);
  lua_pushlightuserdata(L, (void *)(uintptr_t)rules);
  status = lua_pcall(L, 2, 1, 0);
  if (status != LUA_OK) {
    if (ro_is_memory_error(L, status) || ro_is_thrown(L, throws))
      lua_error(L);
    lua_pop(L, 1);
    lua_pushnil(L);
  }
  lua_replace(L, sent);
  return status == LUA_OK;
}

void ro_failure_decode(lua_State *L, const char *data, size_t size, const ro_DecodeRules *rules) {
  int base, whole;
  ro_Decoder *d;
  ro_check_stack(L, 20, NULL);
  d = ro_decoder_open(L, data, size, rules);
  base = lua_gettop(L);
  for (int part = WHOLE; part <= NAME; part++)
    ro_decode(d);
  if (ro_decoder_more(d) || !lua_isboolean(L, base + WHOLE) || lua_type(L, base + TEXT) != LUA_TSTRING)
    ro_raise(L, RO_PROTOCOL, "an error from another process is malformed");
  ro_decoder_close(d);
  whole = lua_toboolean(L, base + WHOLE) && lua_isstring(L, base + SENT) && understand(L, base + SENT, rules);
  if (whole && lua_istable(L, base + SENT)) {
    lua_pushvalue(L, base + TRACE);
    if (lua_isstring(L, -1))
      ro_keep_traceback(L, base + SENT);
    else
      lua_pop(L, 1);
    lua_pushvalue(L, base + SENT);
  } else {
    push_remote_error(L, base);
  }
  lua_replace(L, base);
  lua_settop(L, base);
}
