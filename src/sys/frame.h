/*
** Frames: what travels over a connection. A fixed head of 32 bytes, then the payload. See
** "Frames" in docs/wire-format.md.
*/
#ifndef RO_FRAME_H
#define RO_FRAME_H

#include <stdint.h>

#include "base/buffer.h"

#define RO_FRAME_HEAD 32 /* bytes */

/* Part of the wire format: never renumber. */
typedef enum ro_FrameKind {
  RO_FRAME_REQUEST = 1, /* to the listener: operations to run */
  RO_FRAME_REPLY,       /* to the client: the results */
  RO_FRAME_FAILURE,     /* to the client: the error that was raised */
  RO_FRAME_REFUSED,     /* to the client: was not and will not be run */
  RO_FRAME_FAULT,       /* to the client: what was wrong with its bytes, as text; the connection ends */
  RO_FRAME_RELEASE,     /* to the listener: handles that the client has let go, no reply */
  RO_FRAME_CALLBACK, /* to the client: a call of a function that a request took along. Its answer, with the same id, is a
                           reply, a failure, or refused when the request is not waited for any more */
  RO_FRAME_LEFT, /* to the listener: the client does not wait for the request any more, whose functions it has */
  RO_FRAME_TAKEN /* to the client: a request without an answer is run, though the listener stops */
} ro_FrameKind;

/* What holds for a request, besides its operations. Part of the wire format. */
enum {
  RO_REQUEST_KEEP =
      1, /* its result is kept in the listener until it is let go, since later ones may name it */
  RO_REQUEST_NAMES =
      2, /* behind the session stand the ids of requests whose results it names, and their number */
  RO_REQUEST_ONEWAY = 4, /* no answer at all */
  RO_REQUEST_FLAGS = RO_REQUEST_KEEP | RO_REQUEST_NAMES | RO_REQUEST_ONEWAY
};

typedef struct ro_FrameHead {
  ro_FrameKind kind;
  int flags;   /* of a request */
  uint64_t id; /* of the request; its answer carries the same */
  int64_t
      deadline;  /* of the request, on the monotonic clock in nanoseconds (base/clock.h); of a reply: how many
                       references it names */
  uint64_t size; /* bytes of payload */
} ro_FrameHead;

/* What the payload of RO_FRAME_RELEASE consists of. */
typedef struct ro_Release {
  int64_t handle;
  uint64_t times; /* that the client has received the handle */
} ro_Release;

#define RO_FRAME_NUMBER 8 /* bytes of a number before a session */

/* The payload of RO_FRAME_CALLBACK begins with the id of the request; 0 when it is too short for that. */
uint64_t ro_frame_request(const char *payload, size_t size);

/* Appends room for a head to `b`; ro_frame_finish fills it in. Returns where the frame begins. */
size_t ro_frame_begin(ro_Buffer *b);

/* Completes the frame that begins at `start` and ends with the buffer; sets head->size. */
void ro_frame_finish(ro_Buffer *b, size_t start, ro_FrameHead *head);

/* Reads a head from RO_FRAME_HEAD bytes; returns 0, or -1 when they are no head. */
int ro_frame_parse(const char *bytes, ro_FrameHead *head);

#endif
