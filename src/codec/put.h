/*
** Writing MessagePack items: the parts of codec.h's writers that the encoder wants inline,
** and those that only it needs.
*/
#ifndef RO_PUT_H
#define RO_PUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* Room for `extra` more bytes, as ro_buffer_reserve but inline while there is some. */
static inline uint8_t *ro_put_room(ro_Buffer *b, size_t extra) {
  if (b->capacity - b->size >= extra)
    return (uint8_t *)b->data + b->size;
  return (uint8_t *)ro_buffer_reserve(b, extra);
}

/* Appends one byte. */
static inline void ro_put_byte(ro_Buffer *b, unsigned byte) {
  uint8_t *to = ro_put_room(b, 1);
  if (to == NULL)
    return;
  *to = (uint8_t)byte;
  b->size++;
}

/* Stores `value` at `to`, most significant byte first. */
static inline void ro_store16(uint8_t *to, unsigned value) {
  to[0] = (uint8_t)(value >> 8);
  to[1] = (uint8_t)value;
}

static inline void ro_store32(uint8_t *to, uint32_t value) {
  to[0] = (uint8_t)(value >> 24);
  to[1] = (uint8_t)(value >> 16);
  to[2] = (uint8_t)(value >> 8);
  to[3] = (uint8_t)value;
}

static inline void ro_store64(uint8_t *to, uint64_t value) {
  ro_store32(to, (uint32_t)(value >> 32));
  ro_store32(to + 4, (uint32_t)value);
}

/* Appends a float, always as float64. */
void ro_put_float(ro_Buffer *b, double value);

/*
** Appends a string: as `str` if it is well-formed UTF-8, else as `bin`, for readers that tell
** text from bytes.
*/
void ro_put_text(ro_Buffer *b, const char *bytes, size_t size);

/* Appends the header of a reference to object `number`, and the number. */
void ro_put_reference(ro_Buffer *b, uint32_t number);

/* Begins a `bin` of unknown length; returns a mark for ro_binary_end, which sets the length. */
size_t ro_binary_begin(ro_Buffer *b);
void ro_binary_end(ro_Buffer *b, size_t mark);

#endif
