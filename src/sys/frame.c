#include "sys/frame.h"

#include <string.h>

static const char magic[4] = {'R', 'O', 'B', '1'};

static void put_u64(char *to, uint64_t value) {
  for (int i = 0; i < 8; i++)
    to[i] = (char)(unsigned char)(value >> (8 * i));
}

static uint64_t get_u64(const char *from) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++)
    value |= (uint64_t)(unsigned char)from[i] << (8 * i);
  return value;
}

size_t ro_frame_begin(ro_Buffer *b) {
  size_t start = b->size;
  if (ro_buffer_reserve(b, RO_FRAME_HEAD) != NULL)
    b->size += RO_FRAME_HEAD;
  return start;
}

void ro_frame_finish(ro_Buffer *b, size_t start, ro_FrameHead *head) {
  char *at = b->data + start;
  if (b->failed)
    return;
  head->size = b->size - start - RO_FRAME_HEAD;
  memcpy(at, magic, sizeof magic);
  memset(at + 4, 0, 4);
  at[4] = (char)head->kind;
  put_u64(at + 8, head->id);
  put_u64(at + 16, (uint64_t)head->deadline);
  put_u64(at + 24, head->size);
}

int ro_frame_parse(const char *bytes, ro_FrameHead *head) {
  int kind = (unsigned char)bytes[4];
  if (memcmp(bytes, magic, sizeof magic) != 0 || memcmp(bytes + 5, "\0\0", 3) != 0)
    return -1;
  if (kind < RO_FRAME_REQUEST || kind > RO_FRAME_RELEASE)
    return -1;
  head->kind = (ro_FrameKind)kind;
  head->id = get_u64(bytes + 8);
  head->deadline = (int64_t)get_u64(bytes + 16);
  head->size = get_u64(bytes + 24);
  return 0;
}
