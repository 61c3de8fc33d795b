/*
** Chains as bytes: the operations of a view and their operands. See "Requests" in
** docs/wire-format.md.
*/
#ifndef RO_CHAIN_H
#define RO_CHAIN_H

#include <lua.h>

#include "codec/codec.h"
#include "remote/proxy.h"

/* Rules for what a client sends: views travel as such, paths of errors start at `argument`. */
void ro_chain_rules(lua_State *L, ro_EncodeRules *rules);

/* Writes a proxy or view; for ro_EncodeRules.userdata. [-0, +0, v] */
int ro_chain_userdata(ro_Encoder *e, int index, void *context);

/*
** Encodes the chain of the view at `view`, followed, unless `operation` is RO_OP_ROOT, by that
** operation with the `count` operands from `first` on. `rules` are the session's, for the paths
** of errors; NULL where no assignment can be part of the chain. [-0, +0, v]
*/
void ro_chain_encode(ro_Encoder *e, ro_EncodeRules *rules, int view, ro_Operation operation, int first,
                     int count);

/* Reads how many operations follow. Raises Protocol. [-0, +0, v] */
lua_Integer ro_chain_length(ro_Decoder *d);

/* Reads the next operation and pushes its operands; fills *count. Raises Protocol. [-0, +count, v] */
ro_Operation ro_chain_next(ro_Decoder *d, int *count);

/* Whose object and views the bytes that are being read speak of. */
typedef struct ro_Reader {
  const ro_Proxy *proxy;
  int serves; /* the reader is the listener: the object and views of it give values; else proxies and views */
} ro_Reader;

/*
** For ro_DecodeRules.special: RO_EXT_OBJECT, RO_EXT_VIEW and RO_EXT_PROXY. `context` is a ro_Reader, or
** NULL where no proxy is spoken to. [-0, +1, v]
*/
void ro_chain_special(ro_Decoder *d, int type, size_t size, void *context);

#endif
