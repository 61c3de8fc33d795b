/*
** What a listener hears: the door, the connections of its clients, and which of them have
** requests. Clients are served in turn. Answers go out without blocking: what a slow client
** does not take waits here, and a client with much waiting is not read from meanwhile.
** Safe to use from several threads; knows nothing of Lua.
*/
#ifndef RO_HUB_H
#define RO_HUB_H

#include <pthread.h>
#include <stdint.h>

#include "base/atfork.h"
#include "base/patience.h"
#include "sys/door.h"
#include "sys/event.h"
#include "sys/link.h"
#include "sys/poller.h"

typedef struct ro_Connection ro_Connection;

typedef struct ro_Hub {
  pthread_mutex_t mutex; /* guards all but the descriptors' numbers */
  ro_ForkNode fork_node; /* has it across a fork */
  ro_Door *door;
  uint64_t generation;
  size_t limit; /* of a frame's payload, bytes */
  ro_Poller poller;
  ro_Event wake; /* ends a ro_hub_next that waits */
  ro_Connection *connections;
  ro_Connection *buried;                   /* have ended and wait to be freed */
  ro_Connection *ready_first, *ready_last; /* that have a whole frame */
  ro_Connection *heirs_first, *heirs_last; /* that inherit and have not been reported yet */
  ro_Connection *latest;                   /* whose request was taken last, or NULL */
  uint64_t last_number;
  int clients;
  ro_Patience patience;          /* of the thread that waits for frames */
  int is_woken;                  /* ro_hub_wake was called since the last look */
  int hurries;                   /* ro_hub_hurry was called */
  int is_shut;                   /* ro_hub_shut was called */
  int64_t deadline;              /* then: until when clients are given time */
  int since_look;                /* requests taken since the descriptors were looked at */
  int in_a_row;                  /* requests of the latest */
  struct ro_UnderWay *under_way; /* for who serves the requests, see remote/results.h; not guarded */
  struct ro_Reading *readings;   /* the same, see remote/handles.h */
} ro_Hub;

/* What ro_hub_next reports of a connection. */
typedef enum ro_RequestEvent {
  RO_FRAME_CAME,
  RO_CLIENT_INHERITS, /* its client is a fork of the one that has connection `ancestor`, and has a share in all that
                         this one holds: reported before anything else that either of them does later */
  RO_CLIENT_ENDED /* it was marked with ro_hub_mark and has ended */
} ro_RequestEvent;

/* What came in; belongs to the caller of ro_hub_next until ro_hub_done. */
typedef struct ro_Request {
  ro_Connection *connection;
  uint64_t client; /* the connection's number: never used again in this hub */
  ro_RequestEvent event;
  uint64_t ancestor; /* number of a connection */
  int is_late;       /* it came so long after the hub was shut that it need not be served */
  ro_FrameHead head;
  ro_Buffer bytes;
  size_t offset; /* the payload is `bytes` from here on */
} ro_Request;

/* Is it a request to run operations. */
static inline int ro_request_is_call(const ro_Request *request) {
  return request->event == RO_FRAME_CAME && request->head.kind == RO_FRAME_REQUEST;
}

/* Returns 0 or an errno; nothing is left open then. */
int ro_hub_open(ro_Hub *hub, ro_Door *door, uint64_t generation, size_t limit);

/* Closes every connection. No other thread uses the hub any more. */
void ro_hub_close(ro_Hub *hub);

/*
** In the child of a fork, where the descriptors have been closed: frees the memory. Not what the thread that watched the descriptors in the
** parent had in hand at that very moment.
*/
void ro_hub_discard(ro_Hub *hub);

/*
** Takes the next frame, waiting for it at most `milliseconds` (-1: for ever; 0: not at all). Returns 1
** with `request` filled in, 0 when there is none, or none any more before ro_hub_wake.
*/
int ro_hub_next(ro_Hub *hub, ro_Request *request, int milliseconds);

/*
** The door was shut: takes the last clients in, and from now on reads of each no more than what has come, so that none keeps others
** waiting by sending on and on. Two things may follow: until `deadline` the rest of a frame of which a part has come, and what a client
** with requests under way says, which may be an answer to them; what else it asks is late after `deadline`.
*/
void ro_hub_shut(ro_Hub *hub, int64_t deadline);

/* Ends the present or next wait of ro_hub_next. */
void ro_hub_wake(ro_Hub *hub);

/* Makes the poller readable if frames that have been read are left: who watches it must not miss them. */
void ro_hub_remind(ro_Hub *hub);

/* Marks the connection of `request`: its end is to be reported. */
void ro_hub_mark(ro_Hub *hub, ro_Request *request);

/* Sends a frame to the client of `request`, which goes on; the buffer is emptied. */
void ro_hub_send(ro_Hub *hub, ro_Request *request, ro_Buffer *frame);

/* The same with a frame of no more than PIPE_BUF bytes, or not at all: where it can't go out at once. */
void ro_hub_mention(ro_Hub *hub, const ro_Request *request, const ro_Buffer *frame);

/*
** Sends the frame in `answer`, if there is one, to the client of `request`, if it is still there, and lets the request
** go. Both buffers are emptied, and kept for the next.
*/
void ro_hub_done(ro_Hub *hub, ro_Request *request, ro_Buffer *answer);

/*
** Waits until everything has been written, at most until `deadline` or ro_hub_hurry; returns whether it has. Or returns -1 as soon as
** there are frames to be taken: of a client that was not heard since it had not read what was written before.
*/
int ro_hub_flush(ro_Hub *hub, int64_t deadline);

/* From now on clients are given no time to take what is written: ro_hub_flush, present or to come, writes what there is room for. */
void ro_hub_hurry(ro_Hub *hub);

/* How many clients are connected. */
int ro_hub_clients(ro_Hub *hub);

#endif
