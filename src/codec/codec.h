/*
** Values <-> bytes: MessagePack with the extension types of docs/wire-format.md. Knows no
** descriptors and no processes. Values of one session share their back-references, so that
** a table that occurs in two arguments arrives as one table.
*/
#ifndef RO_CODEC_H
#define RO_CODEC_H

#include <lua.h>

#include "base/buffer.h"

/* The extension types. Part of the wire format: never renumber. */
enum ro_Extension {
  RO_EXT_GRAPH = 1,   /* before a session's values: back-references follow; their number of objects */
  RO_EXT_REFERENCE,   /* the object numbered so, opened earlier in the session */
  RO_EXT_INSTANCE,    /* class name, plain table */
  RO_EXT_PACKED,      /* class name, array of the values that __pack gave */
  RO_EXT_NAMED,       /* a function, module or class known on both sides, by its name */
  RO_EXT_FUNCTION,    /* code and upvalues */
  RO_EXT_GLOBALS,     /* the receiver's table of globals */
  RO_EXT_OBJECT = 16, /* the object that a proxy stands for (special) */
  RO_EXT_VIEW,        /* a proxy or view; its value where the object is (special) */
  RO_EXT_REFERRED,    /* in a reply: a reference to what the listener keeps (special) */
  RO_EXT_PROXY,       /* a proxy or view, as such everywhere (special) */
  RO_EXT_RESULT,      /* in a request: the result of an earlier one of the same connection (special) */
  RO_EXT_CALLBACK     /* in a request: a function of the client (special) */
};

typedef struct ro_Encoder ro_Encoder;
typedef struct ro_Decoder ro_Decoder;

/* How one session encodes what only its caller understands. Lives as long as the session. */
typedef struct ro_EncodeRules {
  const char *label;  /* where paths in Unsendable errors start: "argument", "result", "value", "error" */
  const void *object; /* lua_topointer of the value that travels as RO_EXT_OBJECT, or NULL */
  const void *known;  /* of one that `put_known` writes, or NULL. [-0, +0, v] */
  void (*put_known)(ro_Encoder *e, void *context);
  /*
  ** Offered each full userdata first. Writes it (ro_ext_begin, ro_ext_end, ro_encode) and
  ** returns 1, or returns 0 without writing. [-0, +0, v]
  */
  int (*userdata)(ro_Encoder *e, int index, void *context);
  void *context;
  int text; /* true: strings that are not valid UTF-8 travel as `bin` (for readers elsewhere); false: all as
               `str` */
  size_t limit; /* most bytes of the session; beyond is Unsendable; 0 for none */
} ro_EncodeRules;

typedef struct ro_DecodeRules {
  int code; /* may functions be handed out and __unpack be called */
  /*
  ** Called for extension types from RO_EXT_OBJECT on, with the payload as the part of the
  ** session that is next to be read (ro_decode) and `size` its bytes; reads all of it and
  ** pushes one value. NULL: such types raise Protocol. [-0, +1, v]
  */
  void (*special)(ro_Decoder *d, int type, size_t size, void *context);
  void *context;
} ro_DecodeRules;

/*
** Begins a session that appends to `out` (NULL: to a buffer of its own); pushes a userdata that owns
** the session's memory and must stay on the stack while it lasts. [-0, +1, m]
*/
ro_Encoder *ro_encoder_open(lua_State *L, ro_Buffer *out, const ro_EncodeRules *rules);

/*
** Encodes the value at `index`. `number` is N of "argument N" or "result N" in the path of
** an error, 0 for none. Raises Unsendable with the path; `out` is then as long as it was at
** ro_encoder_open. Raises memory errors and what a __pack raises; `out` is to be cut by its
** owner then. Called from rules->userdata, it must be in the same C function call of Lua. [-0, +0, v]
*/
void ro_encode(ro_Encoder *e, int index, int number);

/* Raises Unsendable: "cannot send PATH: " and the formatted reason; never returns. [-0, +0, v] */
_Noreturn void ro_unsendable(ro_Encoder *e, const char *format, ...);

/* Ends the session; puts what readers must know in advance before its first byte. [-0, +0, v] */
void ro_encoder_finish(ro_Encoder *e);

/* Is what is being encoded part of a function's upvalues. */
int ro_encoder_in_function(const ro_Encoder *e);

/* The state and the buffer of a session, for those who write parts themselves. */
lua_State *ro_encoder_state(ro_Encoder *e);
ro_Buffer *ro_encoder_buffer(ro_Encoder *e);

/*
** Writers of single MessagePack items; memory failure sticks in the buffer and is raised by
** ro_encoder_finish.
*/
void ro_put_integer(ro_Buffer *b, lua_Integer value);
void ro_put_string(ro_Buffer *b, const char *bytes, size_t size);
void ro_put_array(ro_Buffer *b, uint32_t count); /* header; `count` items follow */
size_t ro_ext_begin(ro_Buffer *b, int type);     /* returns a mark for ro_ext_end */
void ro_ext_end(ro_Buffer *b, size_t mark);

/*
** Begins to read `size` bytes at `data`, which must stay in place while it lasts; pushes a
** userdata that owns the session's memory. [-0, +1, m]
*/
ro_Decoder *ro_decoder_open(lua_State *L, const char *data, size_t size, const ro_DecodeRules *rules);

/*
** Ends the session, whose memory another may use from then on. One that is not ended so is
** ended when its userdata is collected.
*/
void ro_decoder_close(ro_Decoder *d);

/* Pushes the next value; there is a free slot for it. Raises Protocol. [-0, +1, v] */
void ro_decode(ro_Decoder *d);

/* Are there bytes left to read. */
int ro_decoder_more(const ro_Decoder *d);

lua_State *ro_decoder_state(ro_Decoder *d);

/* Readers of single items, raising Protocol when the next is another. */
lua_Integer ro_get_integer(ro_Decoder *d);
const char *ro_get_string(ro_Decoder *d, size_t *size); /* points into the data */
uint32_t ro_get_array(ro_Decoder *d);

/*
** Names the class (metatable) at `index` so that it travels: both sides of a fork know it
** then. A class that has a name keeps it. [-0, +0, m]
*/
void ro_codec_name_class(lua_State *L, int index, const char *name);

/* Adds pack, unpack and register to the module table on top of the stack. [-0, +0, m] */
void ro_open_codec(lua_State *L);

#endif
