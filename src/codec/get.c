/* Reading single MessagePack items. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/huge.h"
#include "base/stack.h"
#include "codec/decoder.h"

_Noreturn void ro_damaged(const ro_Decoder *d, size_t position, const char *format, ...) {
  lua_State *L = d->walk.L;
  va_list arguments;
  ro_check_stack(L, LUA_MINSTACK, NULL);
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  ro_raise(L, RO_PROTOCOL, "damaged data at offset %I: %s", (LUAI_UACINT)position, lua_tostring(L, -1));
  abort(); /* not reached */
}

_Noreturn void ro_get_truncated(const ro_Decoder *d, const char *what) {
  ro_damaged(d, d->stop, "expected %s, found the end of the %s", what,
             d->stop == d->size ? "data" : "extension");
}

const char *ro_get_what(const ro_Decoder *d) {
  unsigned tag;
  if (d->position >= d->stop)
    return "the end";
  tag = d->data[d->position];
  if (tag <= 0x7f || tag >= 0xe0 || (tag >= 0xcc && tag <= 0xd3))
    return "an integer";
  if (tag <= 0x8f || tag == 0xde || tag == 0xdf)
    return "a map";
  if (tag <= 0x9f || tag == 0xdc || tag == 0xdd)
    return "an array";
  if (tag <= 0xbf || (tag >= 0xc4 && tag <= 0xc6) || (tag >= 0xd9 && tag <= 0xdb))
    return "a string";
  if (tag == 0xc0)
    return "nil";
  if (tag == 0xc2 || tag == 0xc3)
    return "a boolean";
  if (tag == 0xca || tag == 0xcb)
    return "a float";
  return tag == 0xc1 ? "the byte 0xc1, which begins nothing" : "an extension";
}

static uint32_t load32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t ro_get_unsigned(ro_Decoder *d, size_t width) {
  const uint8_t *p = d->data + d->position;
  d->position += width;
  switch (width) {
  case 1:
    return p[0];
  case 2:
    return (uint64_t)(p[0] << 8 | p[1]);
  case 4:
    return load32(p);
  default:
    return (uint64_t)load32(p) << 32 | load32(p + 4);
  }
}

/* The number of bytes `width` after the tag, which is consumed too. */
static uint64_t get_after_tag(ro_Decoder *d, size_t width, const char *what) {
  ro_get_need(d, 1 + width, what);
  d->position++;
  return ro_get_unsigned(d, width);
}

/* ---- numbers ---- */

static void push_unsigned(lua_State *L, uint64_t value) {
  if (value <= (uint64_t)LUA_MAXINTEGER)
    lua_pushinteger(L, (lua_Integer)value);
  else
    lua_pushnumber(L, (lua_Number)value);
}

static lua_Integer sign_extended(uint64_t value, size_t width) {
  switch (width) {
  case 1:
    return (int8_t)value;
  case 2:
    return (int16_t)value;
  case 4:
    return (int32_t)value;
  default:
    return (int64_t)value;
  }
}

static void push_float(ro_Decoder *d, size_t width) {
  uint64_t bits = get_after_tag(d, width, "a float");
  uint32_t bits32 = (uint32_t)bits;
  float small;
  double value;
  memcpy(&small, &bits32, sizeof small);
  memcpy(&value, &bits, sizeof value);
  lua_pushnumber(d->walk.L, width == 4 ? (lua_Number)small : (lua_Number)value);
}

lua_Integer ro_get_integer(ro_Decoder *d) {
  size_t position;
  uint8_t tag = ro_get_tag(d, "an integer");
  uint64_t value;
  if (tag > 0x7f && tag < 0xe0 && ro_get_graph(d))
    tag = ro_get_tag(d, "an integer");
  position = d->position;
  if (tag <= 0x7f || tag >= 0xe0) {
    d->position++;
    return (int8_t)tag;
  }
  if (tag < 0xcc || tag > 0xd3)
    ro_damaged(d, position, "expected an integer, found %s", ro_get_what(d));
  value = get_after_tag(d, (size_t)1 << (tag & 3), "an integer");
  if (tag >= 0xd0)
    return sign_extended(value, (size_t)1 << (tag & 3));
  if (value > (uint64_t)LUA_MAXINTEGER)
    ro_damaged(d, position, "expected an integer of 64 bits with sign, found a larger one");
  return (lua_Integer)value;
}

/* ---- strings ---- */

/* Consumes the header of a string (`str` or `bin`) if one comes next; returns 1 then. */
static inline int string_header(ro_Decoder *d, uint8_t tag, size_t *size) {
  if (tag >= 0xa0 && tag <= 0xbf) {
    d->position++;
    *size = tag & 0x1f;
  } else if (tag >= 0xd9 && tag <= 0xdb) {
    *size = (size_t)get_after_tag(d, (size_t)1 << (tag - 0xd9), "the length of a string");
  } else if (tag >= 0xc4 && tag <= 0xc6) {
    *size = (size_t)get_after_tag(d, (size_t)1 << (tag - 0xc4), "the length of a string");
  } else {
    return 0;
  }
  if (d->stop - d->position < *size)
    ro_damaged(d, d->position, "expected a string of %I bytes, found %I", (LUAI_UACINT)*size,
               (LUAI_UACINT)(d->stop - d->position));
  return 1;
}

const char *ro_get_string(ro_Decoder *d, size_t *size) {
  const char *bytes;
  if (!string_header(d, ro_get_tag(d, "a string"), size))
    ro_damaged(d, d->position, "expected a string, found %s", ro_get_what(d));
  bytes = (const char *)d->data + d->position;
  d->position += *size;
  return bytes;
}

/* ---- values without parts ---- */

/* Pushes a plain value other than the most frequent ones. */
static int push_other(ro_Decoder *d, uint8_t tag) {
  lua_State *L = d->walk.L;
  switch (tag) {
  case 0xc0:
    lua_pushnil(L);
    break;
  case 0xc2:
  case 0xc3:
    lua_pushboolean(L, tag & 1);
    break;
  case 0xca:
  case 0xcb:
    push_float(d, tag == 0xca ? 4 : 8);
    return 1;
  case 0xcc:
  case 0xcd:
  case 0xce:
  case 0xcf:
    push_unsigned(L, get_after_tag(d, (size_t)1 << (tag & 3), "an integer"));
    return 1;
  case 0xd0:
  case 0xd1:
  case 0xd2:
  case 0xd3:
    lua_pushinteger(L, ro_get_integer(d));
    return 1;
  case 0xc1:
    ro_damaged(d, d->position, "expected a value, found %s", ro_get_what(d));
  default:
    return 0;
  }
  d->position++;
  return 1;
}

int ro_get_plain(ro_Decoder *d) {
  lua_State *L = d->walk.L;
  uint8_t tag = ro_get_tag(d, "a value");
  size_t size;
  if (tag <= 0x7f || tag >= 0xe0) {
    d->position++;
    lua_pushinteger(L, (int8_t)tag);
    return 1;
  }
  if (tag <= 0x9f)
    return 0;
  if (string_header(d, tag, &size)) {
    ro_push_bytes(L, (const char *)d->data + d->position, size);
    d->position += size;
    return 1;
  }
  return push_other(d, tag);
}

/* ---- headers ---- */

int ro_get_array_header(ro_Decoder *d, uint32_t *count) {
  uint8_t tag = ro_get_tag(d, "an array");
  if ((tag & 0xf0) == 0x90) {
    d->position++;
    *count = tag & 0x0f;
    return 1;
  }
  if (tag != 0xdc && tag != 0xdd)
    return 0;
  *count = (uint32_t)get_after_tag(d, tag == 0xdc ? 2 : 4, "the length of an array");
  return 1;
}

uint32_t ro_get_array(ro_Decoder *d) {
  uint32_t count;
  size_t position = d->position;
  if (!ro_get_array_header(d, &count))
    ro_damaged(d, position, "expected an array, found %s", ro_get_what(d));
  if (count > d->stop - d->position)
    ro_damaged(d, position, "expected %I items, found %I bytes", (LUAI_UACINT)count,
               (LUAI_UACINT)(d->stop - d->position));
  return count;
}

int ro_get_map_header(ro_Decoder *d, uint32_t *count) {
  uint8_t tag = ro_get_tag(d, "a map");
  if ((tag & 0xf0) == 0x80) {
    d->position++;
    *count = tag & 0x0f;
    return 1;
  }
  if (tag != 0xde && tag != 0xdf)
    return 0;
  *count = (uint32_t)get_after_tag(d, tag == 0xde ? 2 : 4, "the length of a map");
  return 1;
}

int ro_get_extension(ro_Decoder *d, ro_Extent *extent) {
  uint8_t tag = ro_get_tag(d, "an extension");
  size_t size;
  if (tag >= 0xd4 && tag <= 0xd8) {
    d->position++;
    size = (size_t)1 << (tag - 0xd4);
  } else if (tag >= 0xc7 && tag <= 0xc9) {
    size = (size_t)get_after_tag(d, (size_t)1 << (tag - 0xc7), "the length of an extension");
  } else {
    return 0;
  }
  ro_get_need(d, 1, "the type of an extension");
  extent->type = d->data[d->position++];
  if (extent->type > INT8_MAX)
    extent->type -= 256; /* it is signed */
  if (d->stop - d->position < size)
    ro_damaged(d, d->position, "expected an extension of %I bytes, found %I", (LUAI_UACINT)size,
               (LUAI_UACINT)(d->stop - d->position));
  extent->end = d->position + size;
  return 1;
}

void ro_get_timestamp(ro_Decoder *d, size_t end) {
  lua_State *L = d->walk.L;
  size_t size = end - d->position;
  uint64_t bits, nanoseconds = 0;
  lua_Integer seconds = 0;
  if (size == 4) {
    seconds = (lua_Integer)ro_get_unsigned(d, 4);
  } else if (size == 8) {
    bits = ro_get_unsigned(d, 8);
    nanoseconds = bits >> 34;
    seconds = (lua_Integer)(bits & UINT64_C(0x3ffffffff));
  } else if (size == 12) {
    nanoseconds = ro_get_unsigned(d, 4);
    seconds = (lua_Integer)ro_get_unsigned(d, 8);
  } else {
    ro_damaged(d, d->position, "expected a timestamp of 4, 8 or 12 bytes, found %I", (LUAI_UACINT)size);
  }
  if (nanoseconds > 999999999)
    ro_damaged(d, d->position, "expected nanoseconds below a second, found %I", (LUAI_UACINT)nanoseconds);
  if (nanoseconds == 0)
    lua_pushinteger(L, seconds);
  else
    lua_pushnumber(L, (lua_Number)seconds + (lua_Number)nanoseconds / 1e9);
}
