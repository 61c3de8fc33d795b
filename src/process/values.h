/*
** How values travel between a process and those it started: by the codec, code included,
** and with what a higher layer has added (proxies).
*/
#ifndef RO_VALUES_H
#define RO_VALUES_H

#include <lua.h>

#include "base/buffer.h"
#include "codec/codec.h"

/* What a higher layer knows to encode and decode; the fields are as in the codec's rules. */
typedef struct ro_ValueHooks {
  int (*userdata)(ro_Encoder *e, int index, void *context);
  void (*special)(ro_Decoder *d, int type, size_t size, void *context);
  void *context;
} ro_ValueHooks;

/* Sets the hooks of the state, instead of those before. [-0, +0, m] */
void ro_values_set_hooks(lua_State *L, const ro_ValueHooks *hooks);

/* The state's rules for values; paths in errors start at `label`. [-0, +0, -] */
ro_EncodeRules ro_values_encode_rules(lua_State *L, const char *label);
ro_DecodeRules ro_values_decode_rules(lua_State *L);

/* Encodes the values at `first` and above, as one session that begins with their count. [-0, +0, v] */
void ro_values_encode(lua_State *L, int first, ro_Buffer *out, const char *label);

/*
** Pushes a body, a userdata with a copy of the encoded content of a record or a frame that came in. It needs no
** finalizer: those of a million yields would wait for the collector longer than memory should. [-0, +1, m]
*/
void ro_push_body(lua_State *L, const char *bytes, size_t size);

/* Makes the metatable of bodies, whose methods are values() and failure(). [-0, +0, m] */
void ro_open_values(lua_State *L);

#endif
