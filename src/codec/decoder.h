/*
** What the files of the decoder share.
*/
#ifndef RO_DECODER_H
#define RO_DECODER_H

#include "base/estate.h"
#include "codec/codec.h"
#include "codec/walk.h"

/* The kinds of levels, with the Lua values that they keep. */
enum ro_DecodeKind {
  RO_D_ARRAY,    /* table */
  RO_D_MAP,      /* table, and the key when its value is being read */
  RO_D_INSTANCE, /* metatable */
  RO_D_PACKED,   /* __unpack, table of its arguments */
  RO_D_FUNCTION  /* function */
};

/*
** In a frame: `n` items are promised (entries, of a map), `i` have been begun; `mark` is where an extension's
** payload ends; `extra` is the number of a packed object; `state` in a map: has the key been read.
*/

struct ro_Decoder {
  ro_Walk walk;
  ro_Asset asset;
  const uint8_t *data;
  size_t size; /* of all the data */
  size_t stop; /* of what may be read now: the end of the data, or of the extension that a caller reads */
  size_t position;
  size_t promised; /* items that are still to come in the levels around the innermost one; each has a byte at
                      least */
  const ro_DecodeRules *rules;
  int busy;
  int graph;         /* may references come, so that objects must be kept */
  uint32_t objects;  /* numbered so far */
  uint32_t upvalues; /* the same of upvalues */
  int kept;          /* stack index of the table of numbered objects, in a session with references */
};

/* The tables in the walk's store, as fields. */
#define RO_D_OBJECTS "objects" /* number -> object */
#define RO_D_UPVALUES                                                                                        \
  "upvalues" /* 2k - 1, 2k -> the function that has upvalue k, and which of its upvalues that is */
#define RO_D_CLASSES "classes" /* class name -> metatable */

/* An extension's header. */
typedef struct ro_Extent {
  int type;
  size_t end; /* where the payload ends */
} ro_Extent;

/* Raises Protocol: where the data is damaged, and how; never returns. [-0, +0, v] */
_Noreturn void ro_damaged(const ro_Decoder *d, size_t position, const char *format, ...);

/* Raises Protocol unless there are `size` bytes at the position. [-0, +0, v] */
_Noreturn void ro_get_truncated(const ro_Decoder *d, const char *what);
static inline void ro_get_need(const ro_Decoder *d, size_t size, const char *what) {
  if (d->stop - d->position < size)
    ro_get_truncated(d, what);
}

/* The next byte, which is not consumed. [-0, +0, v] */
static inline uint8_t ro_get_tag(const ro_Decoder *d, const char *what) {
  ro_get_need(d, 1, what);
  return d->data[d->position];
}

/*
** Pushes the next value if it has no parts and returns 1; else consumes nothing and returns 0.
** [-0, +(0|1), v]
*/
int ro_get_plain(ro_Decoder *d);

/* If the next item is an array (or a map): consumes its header, sets `count` and returns 1. [-0, +0, v] */
int ro_get_array_header(ro_Decoder *d, uint32_t *count);
int ro_get_map_header(ro_Decoder *d, uint32_t *count);

/* The same for an extension, whose payload is within what may be read. [-0, +0, v] */
int ro_get_extension(ro_Decoder *d, ro_Extent *extent);

/* Reads what may stand before a session's values, and returns whether it did. [-0, +0, v] */
int ro_get_graph(ro_Decoder *d);

/* An unsigned integer of 1, 2, 4 or 8 bytes, which are there. */
uint64_t ro_get_unsigned(ro_Decoder *d, size_t width);

/* Pushes the time of an extension -1: an integer if it is a whole number of seconds. [-0, +1, v] */
void ro_get_timestamp(ro_Decoder *d, size_t end);

/* How the item at the position is called in errors. */
const char *ro_get_what(const ro_Decoder *d);

/*
** Reads an extension whose header has been consumed: pushes its value and returns 1, or
** begins a level and returns 0. [-0, +?, v]
*/
int ro_decode_extension(ro_Decoder *d, ro_Extent extent);

/* Begins a table with `count` items in an array or entries in a map. [-0, +1, v] */
void ro_decode_table(ro_Decoder *d, int kind, uint32_t count);

/*
** Raises unless `items` more can lie in what is left, beside those that the levels around
** were promised: no memory is taken on a mere promise. [-0, +0, v]
*/
void ro_decode_promise(ro_Decoder *d, size_t items);

/* Reads the next value of the innermost level: delivers it, or begins a level for it. [-0, +?, v] */
void ro_decode_value(ro_Decoder *d);

/* Begins a level around items of which `count` are to come. [-0, +0, v] */
ro_Frame *ro_decode_push(ro_Decoder *d, int kind, int slots, uint32_t count);

/* Ends the innermost level, whose slots have been replaced by the value on top. [-0, +0, v] */
void ro_decode_pop(ro_Decoder *d);

/* Gives an object that is just opened the next number. */
uint32_t ro_decode_number(ro_Decoder *d);

/* The topmost value is the object with that number. [-0, +0, m] */
void ro_decode_keep(ro_Decoder *d, uint32_t number);

/* Goes on with a level of an extension. [-?, +?, v] */
void ro_decode_step_packed(ro_Decoder *d, ro_Frame *f);
void ro_decode_step_function(ro_Decoder *d, ro_Frame *f);

/* Puts the value on top, which is complete, where it belongs. [-?, +?, v] */
void ro_decode_deliver(ro_Decoder *d);

#endif
