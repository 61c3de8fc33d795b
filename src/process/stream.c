#include "process/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/scratch.h"
#include "lock/lock.h"
#include "process/values.h"

/* Bytes read at a time, as long as no frame is known to be larger. */
#define READ_STEP ((size_t)64 * 1024)

/* Between two tries to send while the system has no memory for that. */
#define NO_MEMORY_PAUSE (RO_SECOND / 1000)

/* Memory that a reader keeps between frames. */
#define KEEP ((size_t)256 * 1024)

/* Before each frame; a frame of this size and no bytes is the last. */
typedef uint64_t FrameSize;
#define LAST UINT64_MAX

/* Bytes of a frame that no process could have made. */
#define MOST (UINT64_MAX >> 8)

/* HELD: there is no room, and this process was told something that can't wait (ro_thread_is_told). */
enum State { GOING, CANCELLED, GONE, HELD };

/* What the reader has said by now. */
static enum State reader_state(int fd) {
  char byte;
  ssize_t got;
  do
    got = recv(fd, &byte, 1, MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  if (got > 0)
    return CANCELLED;
  return got == 0 || errno == ECONNRESET ? GONE : GOING;
}

/*
** Waits after send has failed with `error`: for room, or for a moment where there is no memory, and for what the reader
** may say. Raises what does not pass. [-0, +0, v]
*/
static void wait_to_send(lua_State *L, int fd, int error) {
  int full = error == EAGAIN || error == EWOULDBLOCK;
  struct pollfd wait = {.fd = fd, .events = (short)(full ? POLLIN | POLLOUT : POLLIN)};
  if (!full && error != ENOBUFS && error != ENOMEM)
    luaL_error(L, "cannot send what was yielded: %s", strerror(error));
  ro_wait_poll(L, &wait, 1, full ? RO_NEVER : ro_now() + NO_MEMORY_PAUSE);
}

/*
** Sends all of it unless the reader cancels or is gone, or, with `may_hold`, the rest is held. Leaves what is not
** sent.
*/
static enum State send_all(lua_State *L, int fd, const char **bytes, size_t *size, int may_hold) {
  while (*size > 0) {
    ssize_t sent = send(fd, *bytes, *size, MSG_DONTWAIT | MSG_NOSIGNAL);
    int error = errno;
    enum State state;
    if (sent >= 0) {
      *bytes += sent;
      *size -= (size_t)sent;
      continue;
    }
    if (error == EINTR)
      continue;
    if (error == EPIPE || error == ECONNRESET || error == EBADF ||
        error == ENOTSOCK) /* or closed by the program */
      return GONE;
    state = reader_state(fd);
    if (state != GOING)
      return state;
    if (may_hold && ro_thread_is_told(ro_lock_holder(ro_lock_of(L))))
      return HELD;
    wait_to_send(L, fd, error);
  }
  return GOING;
}

/* Sends what was held before. */
static enum State send_unsent(lua_State *L, int fd, ro_Buffer *unsent, int may_hold) {
  const char *bytes = unsent->data;
  size_t size = unsent->size;
  enum State state = size > 0 ? send_all(L, fd, &bytes, &size, may_hold) : GOING;
  if (size < unsent->size)
    ro_buffer_drop(unsent, unsent->size - size);
  return state;
}

/* Sends one frame, or holds it; the reader may have spoken before. */
static int send_frame(lua_State *L, int *fd, ro_Buffer *unsent, const char *bytes, size_t size,
                      int may_hold) {
  enum State state = reader_state(*fd);
  if (state == GOING)
    state = send_unsent(L, *fd, unsent, may_hold);
  if (state == GOING)
    state = send_all(L, *fd, &bytes, &size, may_hold);
  if (state == HELD) {
    ro_buffer_add(unsent, bytes, size);
    if (unsent->failed)
      luaL_error(L, "not enough memory");
  } else if (state != GOING) { /* nobody reads on: even a last word would wait for room for ever */
    close(*fd);
    *fd = -1;
  }
  return state != CANCELLED;
}

int ro_stream_send(lua_State *L, int *fd, ro_Buffer *unsent, int first) {
  FrameSize size = 0;
  ro_Buffer *frame;
  int going;
  if (*fd < 0)
    return 1;
  frame = ro_scratch_open(L);
  lua_insert(L, first);
  ro_buffer_add(frame, &size, sizeof size);
  ro_values_encode(L, first + 1, frame, "value");
  if (frame->failed)
    return luaL_error(L, "not enough memory");
  size = frame->size - sizeof size;
  memcpy(frame->data, &size, sizeof size);
  going = send_frame(L, fd, unsent, frame->data, frame->size, 1);
  ro_scratch_close(frame);
  lua_remove(L, first);
  return going;
}

int ro_stream_finish(lua_State *L, int *fd, ro_Buffer *unsent) {
  FrameSize size = LAST;
  if (*fd < 0)
    return 1;
  return send_frame(L, fd, unsent, (const char *)&size, sizeof size, 0);
}

void ro_stream_cancel(int fd) {
  if (fd >= 0)
    send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- the reader's side ---- */

/* How many bytes the next frame has, header included: 0 when that is not known yet. Raises when there is no such frame. [-0, +0, v] */
static uint64_t frame_size(lua_State *L, ro_Inlet *in) {
  FrameSize size;
  if (in->bytes.size - in->used < sizeof size)
    return 0;
  memcpy(&size, in->bytes.data + in->used, sizeof size);
  if (size != LAST && size > MOST) {
    in->finished = 1;
    ro_raise(L, RO_PROTOCOL, "the values of another process are malformed: %I bytes", (LUAI_UACINT)size);
  }
  return size == LAST ? LAST : size + sizeof size;
}

/* Pushes the body of the next frame if all of it is there. */
static int take_frame(lua_State *L, ro_Inlet *in) {
  uint64_t size = frame_size(L, in);
  if (size == LAST)
    in->finished = in->ended = 1;
  if (size == 0 || size == LAST || size > in->bytes.size - in->used)
    return 0;
  ro_push_body(L, in->bytes.data + in->used + sizeof(FrameSize), (size_t)size - sizeof(FrameSize));
  in->used += (size_t)size;
  return 1;
}

/* Reads once; returns whether anything came. What was handed out makes room before. */
static int read_more(lua_State *L, int fd, ro_Inlet *in) {
  uint64_t wanted;
  size_t room = READ_STEP;
  char *to;
  ssize_t got;
  if (in->used > 0)
    ro_buffer_drop(&in->bytes, in->used);
  in->used = 0;
  if (in->bytes.size == 0)
    ro_buffer_clear(&in->bytes, KEEP);
  wanted = frame_size(L, in);
  if (wanted != LAST && wanted > in->bytes.size + room)
    room = ro_buffer_promised(&in->bytes, wanted);
  to = ro_buffer_reserve(&in->bytes, room);
  if (to == NULL)
    luaL_error(L, "not enough memory"); /* there may be some the next time */
  do
    got = recv(fd, to, room, MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  if (got > 0)
    in->bytes.size += (size_t)got;
  else if (got == 0 || errno == ECONNRESET)
    in->finished = 1;
  else if (errno != EAGAIN && errno != EWOULDBLOCK)
    luaL_error(L, "cannot receive what a process has yielded: %s", strerror(errno));
  return got > 0;
}

int ro_stream_receive(lua_State *L, int fd, ro_Inlet *in) {
  if (in->finished || take_frame(L, in))
    return !in->finished;
  if (in->finished)
    return 0;
  if (fd < 0) {
    in->finished = 1;
    return 0;
  }
  while (!in->finished && read_more(L, fd, in))
    if (take_frame(L, in))
      return 1;
  return 0;
}
