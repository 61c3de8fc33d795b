#include "codec/put.h"

#include <string.h>

#include "codec/codec.h"

/* Appends `tag` and the low `width` bytes of `value`. */
static void put_tagged(ro_Buffer *b, unsigned tag, uint64_t value, int width) {
  uint8_t bytes[8];
  uint8_t *to = ro_put_room(b, (size_t)width + 1);
  if (to == NULL)
    return;
  ro_store64(bytes, value);
  to[0] = (uint8_t)tag;
  memcpy(to + 1, bytes + 8 - width, (size_t)width);
  b->size += (size_t)width + 1;
}

static void put_negative(ro_Buffer *b, lua_Integer value) {
  if (value >= -32)
    ro_put_byte(b, (unsigned)(value & 0xff));
  else if (value >= INT8_MIN)
    put_tagged(b, 0xd0, (uint64_t)value, 1);
  else if (value >= INT16_MIN)
    put_tagged(b, 0xd1, (uint64_t)value, 2);
  else if (value >= INT32_MIN)
    put_tagged(b, 0xd2, (uint64_t)value, 4);
  else
    put_tagged(b, 0xd3, (uint64_t)value, 8);
}

void ro_put_integer(ro_Buffer *b, lua_Integer value) {
  if (value < 0)
    put_negative(b, value);
  else if (value <= 0x7f)
    ro_put_byte(b, (unsigned)value);
  else if (value <= UINT8_MAX)
    put_tagged(b, 0xcc, (uint64_t)value, 1);
  else if (value <= UINT16_MAX)
    put_tagged(b, 0xcd, (uint64_t)value, 2);
  else if (value <= UINT32_MAX)
    put_tagged(b, 0xce, (uint64_t)value, 4);
  else
    put_tagged(b, 0xcf, (uint64_t)value, 8);
}

void ro_put_float(ro_Buffer *b, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_tagged(b, 0xcb, bits, 8);
}

/* Appends the bytes after a header with the narrowest of the length forms at tag8, tag8 + 1, tag8 + 2. */
static void put_bytes(ro_Buffer *b, unsigned tag8, const char *bytes, size_t size) {
  if (size > UINT32_MAX) { /* such a string can't be written at all */
    b->failed = 1;
    return;
  }
  if (size <= UINT8_MAX)
    put_tagged(b, tag8, size, 1);
  else if (size <= UINT16_MAX)
    put_tagged(b, tag8 + 1, size, 2);
  else
    put_tagged(b, tag8 + 2, size, 4);
  ro_buffer_add(b, bytes, size);
}

void ro_put_string(ro_Buffer *b, const char *bytes, size_t size) {
  uint8_t *to;
  if (size > 31) {
    put_bytes(b, 0xd9, bytes, size);
    return;
  }
  to = ro_put_room(b, size + 1);
  if (to == NULL)
    return;
  to[0] = (uint8_t)(0xa0 | size);
  if (size > 0)
    memcpy(to + 1, bytes, size);
  b->size += size + 1;
}

void ro_put_binary(ro_Buffer *b, const char *bytes, size_t size) {
  put_bytes(b, 0xc4, bytes, size);
}

void ro_put_array(ro_Buffer *b, uint32_t count) {
  if (count <= 15)
    ro_put_byte(b, 0x90 | count);
  else if (count <= UINT16_MAX)
    put_tagged(b, 0xdc, count, 2);
  else
    put_tagged(b, 0xdd, count, 4);
}

void ro_put_reference(ro_Buffer *b, uint32_t number) {
  int width = number <= UINT8_MAX ? 1 : number <= UINT16_MAX ? 2 : 4;
  unsigned tag = width == 1 ? 0xd4 : width == 2 ? 0xd5 : 0xd6;
  ro_put_byte(b, tag);
  put_tagged(b, RO_EXT_REFERENCE, number, width);
}

/* Sets the 32 bit length at `at` of an item whose content runs from `from` to the end. */
static void patch_length(ro_Buffer *b, size_t at, size_t from) {
  size_t size = b->size - from;
  if (size > UINT32_MAX)
    b->failed = 1;
  if (!b->failed)
    ro_store32((uint8_t *)b->data + at, (uint32_t)size);
}

/* A mark is where the content begins, so it is never 0. */
size_t ro_ext_begin(ro_Buffer *b, int type) {
  put_tagged(b, 0xc9, 0, 4);
  ro_put_byte(b, (unsigned)(type & 0xff));
  return b->size;
}

void ro_ext_end(ro_Buffer *b, size_t mark) {
  patch_length(b, mark - 5, mark);
}

size_t ro_binary_begin(ro_Buffer *b) {
  put_tagged(b, 0xc6, 0, 4);
  return b->size;
}

void ro_binary_end(ro_Buffer *b, size_t mark) {
  patch_length(b, mark - 4, mark);
}

/* How many of the bytes from `p` on are ASCII, in steps of eight while that is possible. */
static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end) {
  while (end - p >= 8) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    if (word & UINT64_C(0x8080808080808080))
      break;
    p += 8;
  }
  while (p < end && *p < 0x80)
    p++;
  return p;
}

/* The length of the well-formed sequence of several bytes at `p`, or 0. */
static int sequence_length(const uint8_t *p, const uint8_t *end) {
  int length = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
  uint8_t least = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80; /* below: a longer form than needed */
  uint8_t most = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;  /* above: a surrogate, or beyond 10FFFF */
  if (*p < 0xc2 || *p > 0xf4 || end - p < length || p[1] < least || p[1] > most)
    return 0;
  for (int i = 2; i < length; i++)
    if ((p[i] & 0xc0) != 0x80)
      return 0;
  return length;
}

int ro_is_utf8(const char *bytes, size_t size) {
  const uint8_t *p = (const uint8_t *)bytes;
  const uint8_t *end = p + size;
  while ((p = skip_ascii(p, end)) < end) {
    int length = sequence_length(p, end);
    if (length == 0)
      return 0;
    p += length;
  }
  return 1;
}
