#include "sys/frame.h"

#include <string.h>

static const char magic[4] = {'R', 'O', 'B', '1'};

/* Little-endian; in shapes that compilers know. */
static void put_u32(char *to, uint32_t value) {
  unsigned char *p = (unsigned char *)to;
  p[0] = (unsigned char)value;
  p[1] = (unsigned char)(value >> 8);
  p[2] = (unsigned char)(value >> 16);
  p[3] = (unsigned char)(value >> 24);
}

static void put_u64(char *to, uint64_t value) {
  put_u32(to, (uint32_t)value);
  put_u32(to + 4, (uint32_t)(value >> 32));
}

static uint32_t get_u32(const char *from) {
  const unsigned char *p = (const unsigned char *)from;
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const char *from) {
  return get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

size_t ro_frame_begin(ro_Buffer *b) {
  size_t start = b->size;
  if (ro_buffer_reserve(b, RO_FRAME_HEAD) != NULL)
    b->size += RO_FRAME_HEAD;
  return start;
}

void ro_frame_finish(ro_Buffer *b, size_t start, ro_FrameHead *head) {
  char *at;
  if (b->failed)
    return;
  at = b->data + start;
  head->size = b->size - start - RO_FRAME_HEAD;
  memcpy(at, magic, sizeof magic);
  memset(at + 4, 0, 4);
  at[4] = (char)head->kind;
  at[5] = (char)head->flags;
  put_u64(at + 8, head->id);
  put_u64(at + 16, (uint64_t)head->deadline);
  put_u64(at + 24, head->size);
}

int ro_frame_parse(const char *bytes, ro_FrameHead *head) {
  int kind = (unsigned char)bytes[4], flags = (unsigned char)bytes[5];
  if (memcmp(bytes, magic, sizeof magic) != 0 || memcmp(bytes + 6, "\0", 2) != 0)
    return -1;
  if (kind < RO_FRAME_REQUEST || kind > RO_FRAME_TAKEN)
    return -1;
  if ((flags & ~RO_REQUEST_FLAGS) != 0 || (flags != 0 && kind != RO_FRAME_REQUEST))
    return -1;
  head->kind = (ro_FrameKind)kind;
  head->flags = flags;
  head->id = get_u64(bytes + 8);
  head->deadline = (int64_t)get_u64(bytes + 16);
  head->size = get_u64(bytes + 24);
  return 0;
}

uint64_t ro_frame_request(const char *payload, size_t size) {
  uint64_t id = 0;
  if (size >= RO_FRAME_NUMBER)
    memcpy(&id, payload, RO_FRAME_NUMBER);
  return id;
}
