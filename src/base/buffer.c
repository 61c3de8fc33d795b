#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

#define RO_BUFFER_LEAST 256

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

char *ro_buffer_reserve(ro_Buffer *b, size_t extra) {
  size_t wanted = b->capacity < RO_BUFFER_LEAST ? RO_BUFFER_LEAST : b->capacity;
  char *data;
  if (b->failed)
    return NULL;
  if (extra <= b->capacity - b->size)
    return b->data + b->size;
  while (wanted - b->size < extra) {
    if (wanted > SIZE_MAX / 2) {
      b->failed = 1;
      return NULL;
    }
    wanted *= 2;
  }
  data = realloc(b->data, wanted);
  if (data == NULL) {
    b->failed = 1;
    return NULL;
  }
  b->data = data;
  b->capacity = wanted;
  return data + b->size;
}

void ro_buffer_add(ro_Buffer *b, const void *bytes, size_t size) {
  char *to = ro_buffer_reserve(b, size);
  if (to == NULL || size == 0)
    return;
  memcpy(to, bytes, size);
  b->size += size;
}

void ro_buffer_drop(ro_Buffer *b, size_t size) {
  b->size -= size;
  if (b->size > 0)
    memmove(b->data, b->data + size, b->size);
}
