/*
** Chains as bytes: the operations of a view and their operands. See "Requests" in
** docs/wire-format.md.
*/
#ifndef RO_CHAIN_H
#define RO_CHAIN_H

#include <lua.h>

#include "codec/codec.h"
#include "remote/handles.h"
#include "remote/proxy.h"

/* Whose references may be written, and to whom. */
typedef struct ro_Writer {
  const ro_Proxy *proxy;
  ro_Holder *holder; /* the client that gets references, where the writer is the listener; else NULL */
  int refers;        /* results become references, where they can */
  int functions; /* stack index of what receives the functions of callbacks that are written; 0: there can be none */
  uint64_t
      session; /* of a client: receives what references and futures that were written belong to; 0: none were */
  ro_Buffer *
      names; /* of a client: receives the ids of the requests whose futures were written; NULL: none can be */
} ro_Writer;

/* The client writes something that only the session has a right to. */
void ro_writer_claims(ro_Writer *writer, uint64_t session);

/*
** Rules for what goes over a connection: views travel as such, paths of errors start at `argument`. `writer` lives as
** long as the rules. [-0, +0, v]
*/
void ro_chain_rules(lua_State *L, ro_EncodeRules *rules, ro_Writer *writer);

/* The same for what the listener says: its object, which is at `object`, goes as such. [-0, +0, e] */
void ro_chain_answer_rules(lua_State *L, int object, ro_EncodeRules *rules, ro_Writer *writer,
                           const char *label);

/*
** Writes a proxy, view, future or callback; for ro_EncodeRules.userdata. `context` is a ro_Writer, or NULL where no proxy is spoken to
** and no reference can be written. [-0, +0, v]
*/
int ro_chain_userdata(ro_Encoder *e, int index, void *context);

/*
** Encodes the chain of the view at `view`, followed, unless `operation` is RO_OP_ROOT, by that
** operation with the `count` operands from `first` on. `rules` are the session's, by ro_chain_rules. [-0, +0, v]
*/
void ro_chain_encode(ro_Encoder *e, ro_EncodeRules *rules, int view, ro_Operation operation, int first,
                     int count);

/* Writes a reference to the object at `index`, from the listener. [-0, +0, v] */
void ro_chain_put_object(ro_Encoder *e, ro_Writer *writer, int index);

/* Encodes a result, as ro_encode does, or a reference to it. [-0, +0, v] */
void ro_chain_put_result(ro_Encoder *e, ro_Writer *writer, int index, int number);

/* Reads how many operations follow. Raises Protocol. [-0, +0, v] */
lua_Integer ro_chain_length(ro_Decoder *d);

/* Whose object, views and references the bytes that are being read speak of. */
typedef struct ro_Reader {
  ro_Proxy *proxy;
  ro_Holder
      *holder; /* the client that sent them, where the reader is the listener: the object, views of it and
                        references give values; else, with NULL, proxies and views */
  uint64_t session; /* of a client: that the bytes were received in */
  int results; /* of the listener: stack index of the results that the request names, by ids; 0: it can name none */
  int line; /* in the listener: stack index of what receives the line to the client; 0: there can be no callbacks */
} ro_Reader;

/*
** Reads the next operation and pushes its operands; fills *count. That of a reference is its object in the
** listener, else a view. Raises Protocol. [-0, +count, v]
*/
ro_Operation ro_chain_next(ro_Decoder *d, const ro_Reader *reader, int *count);

/*
** For ro_DecodeRules.special: RO_EXT_OBJECT and the types that follow it. `context` is a ro_Reader, or
** NULL where no proxy is spoken to. [-0, +1, v]
*/
void ro_chain_special(ro_Decoder *d, int type, size_t size, void *context);

#endif
