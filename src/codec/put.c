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

/* Appends the narrowest of the headers at tag8, tag8 + 1, tag8 + 2 that can tell `size`. */
static void put_length(ro_Buffer *b, unsigned tag8, size_t size) {
  if (size <= UINT8_MAX)
    put_tagged(b, tag8, size, 1);
  else if (size <= UINT16_MAX)
    put_tagged(b, tag8 + 1, size, 2);
  else if (size <= UINT32_MAX)
    put_tagged(b, tag8 + 2, size, 4);
  else /* such a string can't be written at all */
    b->failed = 1;
}

/* Appends the header of a string. */
static void put_string_header(ro_Buffer *b, size_t size) {
  if (size <= 31)
    ro_put_byte(b, 0xa0 | (unsigned)size);
  else
    put_length(b, 0xd9, size);
}

void ro_put_string(ro_Buffer *b, const char *bytes, size_t size) {
  put_string_header(b, size);
  ro_buffer_add(b, bytes, size);
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

/* ---- text ---- */

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

/* Is every byte of the string part of well-formed UTF-8. */
static int is_utf8(const uint8_t *p, size_t size) {
  const uint8_t *end = p + size;
  while (p < end) {
    int length = *p < 0x80 ? 1 : sequence_length(p, end);
    if (length == 0)
      return 0;
    p += length;
  }
  return 1;
}

/* Copies `size` bytes; returns whether all of them are ASCII. One pass: the bytes are touched anyway. */
static int copy_ascii(uint8_t *to, const uint8_t *from, size_t size) {
  uint64_t word[4], all = 0;
  uint32_t half;
  uint8_t rest = 0;
  for (; size >= sizeof word; size -= sizeof word, from += sizeof word, to += sizeof word) {
    memcpy(word, from, sizeof word);
    all |= (word[0] | word[1]) | (word[2] | word[3]);
    memcpy(to, word, sizeof word);
  }
  for (; size >= sizeof all; size -= sizeof all, from += sizeof all, to += sizeof all) {
    memcpy(word, from, sizeof all);
    all |= word[0];
    memcpy(to, word, sizeof all);
  }
  if (size >= sizeof half) {
    memcpy(&half, from, sizeof half);
    all |= half;
    memcpy(to, &half, sizeof half);
    size -= sizeof half, from += sizeof half, to += sizeof half;
  }
  for (; size > 0; size--)
    rest |= *to++ = *from++;
  return ((all & UINT64_C(0x8080808080808080)) | (rest & 0x80)) == 0;
}

void ro_put_text(ro_Buffer *b, const char *bytes, size_t size) {
  size_t mark = b->size;
  uint8_t *to;
  put_string_header(b, size);
  to = ro_put_room(b, size);
  if (to == NULL || copy_ascii(to, (const uint8_t *)bytes, size) || is_utf8(to, size)) {
    b->size += to != NULL ? size : 0;
    return;
  }
  b->size = mark;
  put_length(b, 0xc4, size);
  ro_buffer_add(b, bytes, size);
}
