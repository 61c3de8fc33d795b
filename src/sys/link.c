#include "sys/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sys/descriptor.h"

#define LEAST_READ (size_t)(64 * 1024)
#define KEPT_MEMORY (size_t)(256 * 1024) /* larger buffers go back to the heap when empty */
#define WORTH_EXCHANGE (size_t)(16 * 1024)

void ro_link_init(ro_Link *link) {
  memset(link, 0, sizeof *link);
  link->in = link->out = link->guard = -1;
}

int ro_link_open(ro_Link *link, int far[3]) {
  int there[2], back[2], error;
  if ((error = ro_pipe_open(there)) != 0)
    return error;
  if ((error = ro_pipe_open(back)) != 0) {
    close(there[0]);
    close(there[1]);
    return error;
  }
  far[2] = fcntl(back[0], F_DUPFD_CLOEXEC, 0);
  link->guard = fcntl(there[0], F_DUPFD_CLOEXEC, 0);
  link->in = back[0];
  link->out = there[1];
  far[0] = there[0];
  far[1] = back[1];
  if (far[2] >= 0 && link->guard >= 0)
    return 0;
  error = errno;
  for (int i = 0; i < 3; i++)
    ro_descriptor_close(&far[i]);
  ro_link_close_descriptors(link);
  return error;
}

void ro_link_adopt(ro_Link *link, const int ends[3]) {
  ro_link_init(link);
  link->in = ends[0];
  link->out = ends[1];
  link->guard = ends[2];
}

void ro_link_close_descriptors(ro_Link *link) {
  ro_descriptor_close(&link->in);
  ro_descriptor_close(&link->out);
  ro_descriptor_close(&link->guard);
}

void ro_link_close(ro_Link *link) {
  ro_link_close_descriptors(link);
  ro_buffer_free(&link->received);
  ro_buffer_free(&link->outgoing);
  link->taken = link->sent = 0;
}

int ro_link_is_open(const ro_Link *link) {
  return link->in >= 0;
}

size_t ro_link_pending(const ro_Link *link) {
  return link->outgoing.size - link->sent;
}

static size_t in_pipe(int fd) {
  int bytes = 0;
  return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

size_t ro_link_unread(const ro_Link *link) {
  return ro_link_pending(link) + in_pipe(link->guard);
}

size_t ro_link_received(const ro_Link *link) {
  return link->received.size - link->taken;
}

size_t ro_link_arrived(const ro_Link *link) {
  return in_pipe(link->in);
}

ro_LinkStatus ro_link_queue(ro_Link *link, ro_Buffer *frame) {
  if (ro_link_pending(link) == 0) {
    ro_Buffer empty = link->outgoing;
    link->outgoing = *frame;
    link->sent = 0;
    *frame = empty;
    ro_buffer_clear(frame, KEPT_MEMORY);
    return RO_LINK_OK;
  }
  if (link->sent > link->outgoing.size / 2) {
    ro_buffer_drop(&link->outgoing, link->sent);
    link->sent = 0;
  }
  if (ro_buffer_reserve(&link->outgoing, frame->size) == NULL) {
    link->outgoing.failed = 0;
    return RO_LINK_NO_MEMORY;
  }
  ro_buffer_add(&link->outgoing, frame->data, frame->size);
  ro_buffer_clear(frame, KEPT_MEMORY);
  return RO_LINK_OK;
}

ro_LinkStatus ro_link_flush(ro_Link *link) {
  while (ro_link_pending(link) > 0) {
    ssize_t n = write(link->out, link->outgoing.data + link->sent, ro_link_pending(link));
    if (n > 0)
      link->sent += (size_t)n;
    else if (n < 0 && errno == EINTR)
      continue;
    else
      return n < 0 && errno == EAGAIN ? RO_LINK_AGAIN : RO_LINK_CLOSED;
  }
  ro_buffer_clear(&link->outgoing, KEPT_MEMORY);
  link->sent = 0;
  return RO_LINK_OK;
}

int ro_link_write_now(const ro_Link *link, const ro_Buffer *frame) {
  return ro_link_pending(link) == 0 && write(link->out, frame->data, frame->size) == (ssize_t)frame->size;
}

/* Moves what is left to the front, so that the room behind it can be used. */
static void compact(ro_Link *link) {
  if (link->taken == 0)
    return;
  if (link->taken == link->received.size)
    ro_buffer_clear(&link->received, KEPT_MEMORY);
  else
    ro_buffer_drop(&link->received, link->taken);
  link->taken = 0;
}

/*
** Makes room for what is to be read next and returns how much that is; 0: there is no memory. Of a large frame no more is read than is
** its own: then it can be taken without a copy.
*/
static size_t make_room(const ro_Link *link, ro_Buffer *b) {
  size_t due = link->expected > b->size ? ro_buffer_promised(b, link->expected) : 0;
  if (ro_buffer_reserve(b, due == 0 ? LEAST_READ : due) == NULL)
    return 0;
  return due > LEAST_READ ? due : b->capacity - b->size;
}

ro_LinkStatus ro_link_receive(ro_Link *link) {
  ro_Buffer *b = &link->received;
  size_t room;
  ssize_t n;
  compact(link);
  room = make_room(link, b);
  if (room == 0) {
    b->failed = 0;
    return RO_LINK_NO_MEMORY;
  }
  do {
    n = read(link->in, b->data + b->size, room);
  } while (n < 0 && errno == EINTR);
  if (n > 0) {
    b->size += (size_t)n;
    return RO_LINK_OK;
  }
  return n < 0 && errno == EAGAIN ? RO_LINK_AGAIN : RO_LINK_CLOSED;
}

ro_LinkStatus ro_link_peek(ro_Link *link, ro_FrameHead *head, size_t limit) {
  size_t there = ro_link_received(link);
  link->expected = 0;
  if (there < RO_FRAME_HEAD)
    return RO_LINK_AGAIN;
  if (ro_frame_parse(link->received.data + link->taken, head) != 0)
    return RO_LINK_BAD;
  if (head->size > limit)
    return RO_LINK_TOO_LARGE;
  if (there - RO_FRAME_HEAD >= head->size)
    return RO_LINK_OK;
  link->expected = RO_FRAME_HEAD + (size_t)head->size;
  return RO_LINK_AGAIN;
}

ro_LinkStatus ro_link_take(ro_Link *link, const ro_FrameHead *head, ro_Buffer *into, size_t *offset) {
  size_t begin = link->taken + RO_FRAME_HEAD;
  size_t end = begin + (size_t)head->size;
  ro_buffer_clear(into, KEPT_MEMORY);
  if (head->size >= WORTH_EXCHANGE && end == link->received.size) {
    ro_Buffer empty = *into;
    *into = link->received;
    link->received = empty;
    link->taken = 0;
    *offset = begin;
    return RO_LINK_OK;
  }
  ro_buffer_add(into, link->received.data + begin, (size_t)head->size);
  if (into->failed) {
    ro_buffer_clear(into, KEPT_MEMORY);
    return RO_LINK_NO_MEMORY;
  }
  *offset = 0;
  link->taken = end;
  return RO_LINK_OK;
}
