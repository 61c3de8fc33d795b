/*
** Bytes that come in over a connection: frames are cut out of them as they lie there, whatever pieces they come in; what
** is none ends it. The first byte of the input says how large the pieces are.
*/
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/link.h"

#define LIMIT (size_t)(1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input {
  const uint8_t *data;
  size_t size;
  size_t sent; /* into the pipe */
  size_t read; /* as frames */
  size_t piece;
  int pipe;
} Input;

static void expect(int condition, const char *what) {
  if (!condition) {
    fprintf(stderr, "%s\n", what);
    abort();
  }
}

static void send_piece(Input *in) {
  size_t left = in->size - in->sent;
  ssize_t n = write(in->pipe, in->data + in->sent, left < in->piece ? left : in->piece);
  expect(n > 0, "a pipe is full that is being read");
  in->sent += (size_t)n;
}

/* The frame is the next bytes of the input. */
static void check_frame(Input *in, const ro_FrameHead *head, const ro_Buffer *payload, size_t offset) {
  expect(head->size <= LIMIT, "a frame above the limit");
  expect(in->read + RO_FRAME_HEAD + head->size <= in->sent, "a frame that has not come");
  expect(payload->size - offset == head->size, "a payload of another size");
  if (head->size > 0)
    expect(memcmp(payload->data + offset, in->data + in->read + RO_FRAME_HEAD, head->size) == 0,
           "other bytes");
  in->read += RO_FRAME_HEAD + (size_t)head->size;
}

/* Takes all frames that are there; returns how it goes on. */
static ro_LinkStatus take_frames(Input *in, ro_Link *link, ro_Buffer *payload) {
  ro_FrameHead head;
  ro_LinkStatus status;
  while ((status = ro_link_peek(link, &head, LIMIT)) == RO_LINK_OK) {
    size_t offset;
    expect(ro_link_take(link, &head, payload, &offset) == RO_LINK_OK, "a frame that is there can't be taken");
    check_frame(in, &head, payload, offset);
  }
  return status;
}

static void run(Input *in, ro_Link *link) {
  ro_Buffer payload;
  ro_buffer_init(&payload);
  while (in->sent < in->size) {
    send_piece(in);
    expect(ro_link_receive(link) == RO_LINK_OK, "what was sent does not come");
    if (take_frames(in, link, &payload) != RO_LINK_AGAIN)
      break;
  }
  ro_buffer_free(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int ends[2], descriptors[3];
  ro_Link link;
  Input in = {data + 1, size - 1, 0, 0, 0, -1};
  if (size < 2)
    return 0;
  in.piece = data[0] == 0 ? 4096 : data[0];
  expect(pipe(ends) == 0, "no pipe");
  in.pipe = ends[1];
  descriptors[0] = ends[0];
  descriptors[1] = ends[1];
  descriptors[2] = dup(ends[0]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  ro_link_adopt(&link, descriptors);
  run(&in, &link);
  ro_link_close(&link);
  return 0;
}
