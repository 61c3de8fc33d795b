/*
** What the files of the encoder share. A session is a userdata; the one that was last made
** is kept and used again when it is free.
*/
#ifndef RO_ENCODER_H
#define RO_ENCODER_H

#include "base/estate.h"
#include "codec/codec.h"
#include "codec/names.h"
#include "codec/seen.h"
#include "codec/walk.h"

/* The kinds of levels, with the Lua values that they keep. */
enum ro_EncodeKind {
  RO_E_ARRAY,   /* table */
  RO_E_FIRST,   /* table, key, value: a map of which nothing is written but the header */
  RO_E_MAP,     /* table, key: the entry of that key is being or has been written */
  RO_E_KEY,     /* table, key, value: the key, no plain one, is being written */
  RO_E_PACKED,  /* instance, array of what __pack gave */
  RO_E_FUNCTION /* function */
};

/* A class of this session. */
typedef struct ro_Class {
  const char *name; /* anchored in the walk's store */
  size_t size;
  lua_Integer pack; /* place of its __pack in the store, or 0 */
} ro_Class;

struct ro_Encoder {
  ro_Walk walk;
  ro_Asset asset;
  ro_Buffer *out;
  ro_Buffer own; /* `out` of sessions that bring none */
  const ro_EncodeRules *rules;
  size_t start; /* of the session in `out` */
  size_t stop;  /* `out` must not be longer than that */
  ro_Seen seen; /* addresses of objects, upvalues and classes */
  uint32_t objects, upvalues;
  int references; /* was any written */
  int number;     /* of the argument or result, for paths */
  int scanned;    /* are the functions that have names in `seen` */
  int busy;
  int known;             /* are there classes that travel by name; -1: not asked yet */
  int lookups;           /* how many tables were looked for among them since it was asked */
  ro_NamesFilter filter; /* of them, once there were many look-ups */
  const void *globals;   /* address of the table of globals */
  ro_Class *classes;
  uint32_t class_count, class_capacity;
};

/* Addresses are even; so these tell different things about one address apart. */
#define RO_KEY_OBJECT(p) ((uintptr_t)(p))        /* number of the object */
#define RO_KEY_METATABLE(p) ((uintptr_t)(p) + 1) /* number of the class whose instances have it */
#define RO_KEY_UPVALUE(p) ((uintptr_t)(p) + 2)   /* number of the upvalue */
#define RO_KEY_CLASS(p) ((uintptr_t)(p) + 3)     /* number of the class that it is */
#define RO_KEY_NAMED(p) ((uintptr_t)(p) + 4)     /* not 0: the Lua function has a name */

/* In the number of an object: its __pack has not been dealt with wholly. */
#define RO_SEEN_OPEN UINT32_C(0x80000000)

/* As ro_seen_at; raises when memory is short. [-0, +0, v] */
uint32_t *ro_encoder_seen(ro_Encoder *e, uintptr_t key);

/*
** Ends one session and begins the next in the same buffer: for several values, each with
** references of its own. [-0, +0, v]
*/
void ro_encoder_next(ro_Encoder *e);

/* Ends the last session without ceremony, after ro_encoder_next. */
void ro_encoder_release(ro_Encoder *e);

/*
** Writes the value at `index` if it has no parts (nil, boolean, number, string) and returns 1;
** else 0. [-0, +0, v]
*/
int ro_encode_plain(ro_Encoder *e, int index, int type);

/* Writes the topmost value: wholly, or its beginning, with a level for the rest. [-1, +?, v] */
void ro_encode_open(ro_Encoder *e);

/*
** The same for a table without regard to its metatable; `ext` is the mark of the extension
** around it, or 0. [-1, +?, v]
*/
void ro_encode_content(ro_Encoder *e, size_t ext);

/* Goes on with the innermost level, until it opens another or is done. [-?, +?, v] */
void ro_encode_step(ro_Encoder *e);

/* The parts of ro_encode_open and ro_encode_step for functions. [-1, +?, v] */
void ro_encode_function(ro_Encoder *e);
void ro_encode_upvalue(ro_Encoder *e, ro_Frame *f);

/* The parts of ro_encode_open for instances; the metatable lies above the object. [-2, +?, v] */
void ro_encode_instance(ro_Encoder *e);

/* The part of ro_encode_open for full userdata. [-1, +?, v] */
void ro_encode_userdata(ro_Encoder *e);

/* Writes RO_EXT_NAMED with the name on top. [-1, +0, -] */
void ro_encode_named(ro_Encoder *e, const char *what);

/* Writes RO_EXT_GLOBALS in place of the topmost value. [-1, +0, -] */
void ro_encode_globals(ro_Encoder *e);

/* Raises Unsendable because the session is longer than its limit. [-0, +0, v] */
_Noreturn void ro_too_large(ro_Encoder *e);

#endif
