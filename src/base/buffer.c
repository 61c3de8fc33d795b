#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "base/huge.h"

#define RO_BUFFER_LEAST 256
#define TRUSTED ((size_t)64 << 20) /* bytes that room is made for on a word alone */

void ro_buffer_init(ro_Buffer *b) {
  memset(b, 0, sizeof *b);
}

void ro_buffer_free(ro_Buffer *b) {
  free(b->data);
  ro_buffer_init(b);
}

void ro_buffer_clear(ro_Buffer *b, size_t keep) {
  if (b->capacity > keep)
    ro_buffer_free(b);
  b->size = 0;
  b->failed = 0;
}

/* The capacity to have for `extra` more bytes: at least twice what it was. 0: there is no such size. */
static size_t grown(const ro_Buffer *b, size_t extra) {
  size_t twice = b->capacity < RO_BUFFER_LEAST / 2 ? RO_BUFFER_LEAST : 2 * b->capacity;
  if (extra > SIZE_MAX / 4 - b->size)
    return 0;
  return b->size + extra > twice ? b->size + extra : twice;
}

char *ro_buffer_reserve(ro_Buffer *b, size_t extra) {
  size_t wanted;
  char *data;
  if (b->failed)
    return NULL;
  if (b->data != NULL && extra <= b->capacity - b->size)
    return b->data + b->size;
  wanted = grown(b, extra);
  data = wanted == 0 ? NULL : realloc(b->data, wanted);
  if (data == NULL) {
    b->failed = 1;
    return NULL;
  }
  ro_prefer_huge_pages(data, wanted);
  b->data = data;
  b->capacity = wanted;
  return data + b->size;
}

size_t ro_buffer_promised(const ro_Buffer *b, uint64_t whole) {
  size_t most = b->size > TRUSTED ? b->size : TRUSTED;
  return whole - b->size < most ? (size_t)whole - b->size : most;
}

void ro_buffer_add(ro_Buffer *b, const void *bytes, size_t size) {
  char *to = size == 0 ? NULL : ro_buffer_reserve(b, size);
  if (to == NULL)
    return;
  memcpy(to, bytes, size);
  b->size += size;
}

void ro_buffer_drop(ro_Buffer *b, size_t size) {
  b->size -= size;
  if (b->size > 0)
    memmove(b->data, b->data + size, b->size);
}
