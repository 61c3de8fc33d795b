/*
** One side of a private connection: two pipes, bytes waiting to go out, bytes that have come
** in. All input and output is non-blocking. Each side keeps a copy of the read end of the
** pipe that it writes (the guard), so a write never meets a pipe without a reader: no
** SIGPIPE is ever raised, and the death of the peer shows as the end of the other pipe.
*/
#ifndef RO_LINK_H
#define RO_LINK_H

#include "base/buffer.h"
#include "sys/frame.h"

typedef struct ro_Link {
  int in, out, guard; /* descriptors, -1 when closed */
  ro_Buffer received;
  size_t taken;    /* bytes of `received` that have been used */
  size_t expected; /* size of the frame of which a part has come in; 0: not known */
  ro_Buffer outgoing;
  size_t sent; /* bytes of `outgoing` that have gone */
} ro_Link;

typedef enum ro_LinkStatus {
  RO_LINK_OK,
  RO_LINK_AGAIN,     /* nothing more for now */
  RO_LINK_CLOSED,    /* the peer is gone */
  RO_LINK_BAD,       /* bytes that are no frame */
  RO_LINK_TOO_LARGE, /* a frame over the limit */
  RO_LINK_NO_MEMORY
} ro_LinkStatus;

/* A closed link without memory. */
void ro_link_init(ro_Link *link);

/*
** Makes the two pipes of a closed link, which goes on with what memory it has; `far` receives the peer's
** in, out and guard, which the caller owns. Returns 0 or an errno; nothing is left open then.
*/
int ro_link_open(ro_Link *link, int far[3]);

/* Takes over the peer's side: the descriptors in, out and guard. */
void ro_link_adopt(ro_Link *link, const int ends[3]);

/* Closes the descriptors and frees the memory. */
void ro_link_close(ro_Link *link);

/* Closes the descriptors only; safe between fork and exec. */
void ro_link_close_descriptors(ro_Link *link);

int ro_link_is_open(const ro_Link *link);

/*
** Queues the bytes of `frame`, leaving it empty (by exchange where nothing is queued).
** RO_LINK_NO_MEMORY leaves both as they were.
*/
ro_LinkStatus ro_link_queue(ro_Link *link, ro_Buffer *frame);

/* Bytes queued and not yet written. */
size_t ro_link_pending(const ro_Link *link);

/* Bytes queued that the peer has not read, as far as the system tells: those in the pipe, too. */
size_t ro_link_unread(const ro_Link *link);

/* Bytes that have been read and not taken. */
size_t ro_link_received(const ro_Link *link);

/* Bytes that the peer has written and that are still to be read, as far as the system tells. */
size_t ro_link_arrived(const ro_Link *link);

/* Writes what goes without blocking. OK: all is written; AGAIN: the pipe is full; CLOSED. */
ro_LinkStatus ro_link_flush(ro_Link *link);

/*
** Writes the bytes of `frame`, no more than PIPE_BUF, if they can go out at once and nothing is queued. Returns whether.
*/
int ro_link_write_now(const ro_Link *link, const ro_Buffer *frame);

/* Reads once what is there. OK: something came; AGAIN; CLOSED; NO_MEMORY. */
ro_LinkStatus ro_link_receive(ro_Link *link);

/*
** Looks at the next frame that has come in whole: OK fills `head`; AGAIN: more bytes are
** needed; BAD; TOO_LARGE when its payload exceeds `limit` bytes.
*/
ro_LinkStatus ro_link_peek(ro_Link *link, ro_FrameHead *head, size_t limit);

/*
** Takes the frame that ro_link_peek has shown out of the link: its payload is then the bytes of `into`
** from *offset to its end. Exchanges buffers where that saves a copy. OK or NO_MEMORY.
*/
ro_LinkStatus ro_link_take(ro_Link *link, const ro_FrameHead *head, ro_Buffer *into, size_t *offset);

#endif
