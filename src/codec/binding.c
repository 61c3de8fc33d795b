/***
pack, unpack and register.
@module remoteobj
*/
#include <lauxlib.h>

#include "base/huge.h"
#include "base/options.h"
#include "base/stack.h"
#include "codec/encoder.h"
#include "codec/names.h"

/***
The encoding of values as they travel: MessagePack with extensions (docs/wire-format.md).
@function pack
@param ... any values that can travel
@treturn string their encodings, one after the other
@raise `Unsendable` for a value that can't travel
*/
static int pack(lua_State *L) {
  static const ro_EncodeRules rules = {.label = "value", .text = 1};
  int n = lua_gettop(L);
  ro_Encoder *e = ro_encoder_open(L, NULL, &rules);
  const ro_Buffer *out = ro_encoder_buffer(e);
  for (int i = 1; i <= n; i++) {
    ro_encode(e, i, i > 1 ? i : 0);
    ro_encoder_next(e);
  }
  ro_push_bytes(L, out->size > 0 ? out->data : "", out->size);
  ro_encoder_release(e);
  return 1;
}

/* Reads the options of unpack at `index` into `rules`. */
static void get_options(lua_State *L, int index, ro_DecodeRules *rules) {
  static const char *const names[] = {"code", NULL};
  if (lua_isnoneornil(L, index))
    return;
  luaL_checktype(L, index, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int option = ro_check_option(L, index, names, RO_ALL_OPTIONS);
    rules->code = ro_check_flag(L, index, names[option]);
  }
}

/***
The values that a string encodes. Runs no code and gives no function unless asked to.
@function unpack
@tparam string bytes what `pack` or another MessagePack library has made
@tparam[opt] table options what the bytes may do
@tparam[opt=false] boolean options.code allow functions, and classes with `__unpack`: for bytes that can be
 trusted
@return all values
@raise `Protocol` for bytes that are no such encoding
*/
static int unpack(lua_State *L) {
  ro_DecodeRules rules = {0, NULL, NULL};
  size_t size;
  const char *data;
  ro_Decoder *d;
  int first;
  luaL_checktype(L, 1, LUA_TSTRING);
  data = lua_tolstring(L, 1, &size);
  get_options(L, 2, &rules);
  d = ro_decoder_open(L, data, size, &rules);
  first = lua_gettop(L) + 1;
  while (ro_decoder_more(d)) {
    ro_check_stack(L, LUA_MINSTACK, "too many values");
    ro_decode(d);
  }
  ro_decoder_close(d);
  return lua_gettop(L) - first + 1;
}

void ro_open_codec(lua_State *L) {
  static const luaL_Reg functions[] = {{"pack", pack}, {"unpack", unpack}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  ro_names_open(L);
  lua_getfield(L, -1, "register");
  lua_setfield(L, -3, "register");
  lua_pop(L, 1);
}
