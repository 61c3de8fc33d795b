/*
** A set of addresses with a number each, emptied in no time: entries of earlier sessions
** are told by their generation. Knows no Lua.
*/
#ifndef RO_SEEN_H
#define RO_SEEN_H

#include <stdint.h>

typedef struct ro_SeenEntry {
  uintptr_t key;
  uint32_t number;
  uint32_t generation; /* in use when equal to that of the set */
} ro_SeenEntry;

typedef struct ro_Seen {
  ro_SeenEntry *entries;
  uint32_t bits; /* there is room for 2^bits entries; 0: no memory yet */
  uint32_t used;
  uint32_t generation; /* never 0 */
} ro_Seen;

/*
** Empties the set. Memory that only a large session needs is kept while such sessions follow each other.
** A set of zero bytes is ready for this.
*/
void ro_seen_clear(ro_Seen *s);

/* Gives all memory back. */
void ro_seen_free(ro_Seen *s);

/*
** The number of `key`, to be read and set: 0 when it is new. NULL when memory ran out. The
** place is good until the next call.
*/
uint32_t *ro_seen_at(ro_Seen *s, uintptr_t key);

/* The number of `key`, 0 when it is not there; adds nothing. */
uint32_t ro_seen_get(const ro_Seen *s, uintptr_t key);

#endif
