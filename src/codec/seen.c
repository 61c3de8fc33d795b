#include "codec/seen.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_BITS 6
#define STRIDE_BITS 5 /* tables are farther apart than 32 bytes */
#define BLOCK_BITS 14
#define KEEP_BITS 13      /* 128 KiB */
#define KEEP_MOST_BITS 20 /* 16 MiB */

void ro_seen_free(ro_Seen *s) {
  free(s->entries);
  s->entries = NULL;
  s->bits = 0;
}

/* Is it so large that the session that ends has hardly needed it, or more than is kept anyhow. */
static int is_oversized(const ro_Seen *s) {
  return s->bits > KEEP_MOST_BITS || (s->bits > KEEP_BITS && s->used < (UINT32_C(1) << s->bits) / 32);
}

void ro_seen_clear(ro_Seen *s) {
  if (s->used == 0 && s->generation != 0)
    return;
  if (is_oversized(s))
    ro_seen_free(s);
  s->used = 0;
  if (++s->generation == 0) { /* wrapped: old entries could look new */
    if (s->entries != NULL)
      memset(s->entries, 0, sizeof *s->entries << s->bits);
    s->generation = 1;
  }
}

/*
** Where a key is looked for first. Objects that were made one after the other are walked so as well, and
** lie side by side: so do their entries, which are found in the cache then. Blocks of addresses are strewn.
*/
static uint64_t place_of(uintptr_t key, uint32_t bits) {
  uint64_t block = ((uint64_t)key >> BLOCK_BITS) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);
  return block + ((uint64_t)key >> STRIDE_BITS);
}

/* Where `key` is or belongs in a table of 2^bits entries that is not full. */
static ro_SeenEntry *find(ro_SeenEntry *entries, uint32_t bits, uint32_t generation, uintptr_t key) {
  uint64_t mask = (UINT64_C(1) << bits) - 1;
  uint64_t at = place_of(key, bits) & mask;
  while (entries[at].generation == generation && entries[at].key != key)
    at = (at + 1) & mask;
  return &entries[at];
}

static int grow(ro_Seen *s) {
  uint32_t bits = s->bits == 0 ? LEAST_BITS : s->bits < KEEP_BITS ? s->bits + 2 : s->bits + 1;
  ro_SeenEntry *entries = calloc((size_t)1 << bits, sizeof *entries);
  if (entries == NULL)
    return 0;
  for (size_t i = 0; s->bits > 0 && i < (size_t)1 << s->bits; i++)
    if (s->entries[i].generation == s->generation)
      *find(entries, bits, s->generation, s->entries[i].key) = s->entries[i];
  free(s->entries);
  s->entries = entries;
  s->bits = bits;
  return 1;
}

uint32_t *ro_seen_at(ro_Seen *s, uintptr_t key) {
  ro_SeenEntry *entry;
  if (s->bits == 0 || s->used >= (UINT32_C(1) << s->bits) / 2)
    if (!grow(s))
      return NULL;
  entry = find(s->entries, s->bits, s->generation, key);
  if (entry->generation != s->generation) {
    entry->key = key;
    entry->number = 0;
    entry->generation = s->generation;
    s->used++;
  }
  return &entry->number;
}

uint32_t ro_seen_get(const ro_Seen *s, uintptr_t key) {
  const ro_SeenEntry *entry;
  if (s->bits == 0)
    return 0;
  entry = find(s->entries, s->bits, s->generation, key);
  return entry->generation == s->generation ? entry->number : 0;
}
