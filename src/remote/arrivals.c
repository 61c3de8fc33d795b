#include "remote/arrivals.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "remote/callback.h"
#include "remote/connection.h"
#include "remote/outgoing.h"
#include "remote/proxy.h"

/* ---- damage ---- */

/* The connection ends for what the first `size` bytes of `text` say. */
static void fault(ro_Proxy *proxy, const char *text, size_t size) {
  ro_Client *client = &proxy->client;
  snprintf(client->fault, sizeof client->fault, "%.*s",
           (int)(size < sizeof client->fault ? size : sizeof client->fault), text);
  ro_client_lose(proxy, RO_DAMAGED);
}

static void damaged(ro_Proxy *proxy, const char *text) {
  fault(proxy, text, strlen(text));
}

/* ---- late answers ---- */

static void skip_frame(ro_Link *link, const ro_FrameHead *head) {
  link->taken += RO_FRAME_HEAD + (size_t)head->size;
}

/*
** An answer that nobody waits for any more. What it names must be let go all the same, but where there is no memory, or more has come than
** any answer may have: then it stays until the connection ends.
*/
static void put_aside(ro_Proxy *proxy, const ro_FrameHead *head) {
  ro_Client *client = &proxy->client;
  proxy->counters.late_replies++;
  if (head->kind == RO_FRAME_REPLY && head->deadline != 0 && client->late.size <= client->limit) {
    ro_buffer_add(&client->late, client->link.received.data + client->link.taken,
                  RO_FRAME_HEAD + (size_t)head->size);
    client->late.failed = 0;
  }
  skip_frame(&client->link, head);
}

void ro_client_put_late(ro_Proxy *proxy, const ro_Pending *pending) {
  ro_Buffer *late = &proxy->client.late;
  ro_FrameHead head = {.kind = RO_FRAME_REPLY, .id = pending->id, .deadline = pending->named};
  size_t start;
  if (pending->named == 0 || pending->session != proxy->client.session)
    return;
  start = ro_frame_begin(late);
  ro_buffer_add(late, ro_buffer_from(pending->answer, pending->offset),
                pending->answer->size - pending->offset);
  ro_frame_finish(late, start, &head);
  if (late->failed) {
    late->failed = 0;
    late->size = start;
  }
}

int ro_client_take_late(ro_Proxy *proxy, ro_Buffer *into, size_t *offset) {
  ro_Buffer *late = &proxy->client.late;
  ro_FrameHead head;
  if (late->size == 0 || ro_frame_parse(late->data, &head) != 0)
    return 0;
  ro_buffer_clear(into, 0);
  ro_buffer_add(into, late->data, RO_FRAME_HEAD + (size_t)head.size);
  ro_buffer_drop(late, RO_FRAME_HEAD + (size_t)head.size);
  *offset = RO_FRAME_HEAD;
  return !into->failed;
}

/* ---- calls of callbacks ---- */

void ro_client_refuse(ro_Proxy *proxy, const ro_Incoming *call) {
  ro_client_queue_bare(proxy, RO_FRAME_REFUSED, call->id);
  ro_link_flush(&proxy->client.link);
}

/* A call of a function that a request took along: for who waits for its answer. */
static void take_call(ro_Proxy *proxy, const ro_FrameHead *head) {
  ro_Client *client = &proxy->client;
  ro_Incoming *call = ro_incoming_take(&client->link, head), **last;
  ro_Pending *pending;
  if (call == NULL) {
    damaged(proxy, "not enough memory for a call of a callback");
    return;
  }
  pending = ro_pending_find(client, call->request);
  if (pending == NULL || !pending->functions) {
    ro_client_refuse(proxy, call);
    ro_incoming_free(call);
    return;
  }
  for (last = &pending->calls; *last != NULL; last = &(*last)->next) {
  }
  *last = call;
  if (pending->thread != NULL) {
    ro_thread_wake(pending->thread);
  } else {
    client->future_calls++;
    ro_wait_notify(proxy->lock);
  }
}

/* ---- frames ---- */

/* Gives one whole frame to the request that it answers. */
static void dispatch(ro_Proxy *proxy, const ro_FrameHead *head) {
  ro_Client *client = &proxy->client;
  ro_Link *link = &client->link;
  ro_Pending *pending;
  proxy->counters.bytes_received += (lua_Integer)(RO_FRAME_HEAD + head->size);
  if (head->kind == RO_FRAME_FAULT) {
    fault(proxy, link->received.data + link->taken + RO_FRAME_HEAD, (size_t)head->size);
    return;
  }
  if (head->kind == RO_FRAME_CALLBACK) {
    take_call(proxy, head);
    return;
  }
  pending = ro_pending_find(client, head->id);
  if (head->kind == RO_FRAME_TAKEN) {
    skip_frame(link, head);
    if (pending != NULL && pending->flags & RO_REQUEST_ONEWAY)
      ro_pending_settle(proxy, pending, RO_ANSWERED, 1);
    return;
  }
  if (pending == NULL) {
    put_aside(proxy, head);
    return;
  }
  if (head->kind == RO_FRAME_REFUSED) {
    skip_frame(link, head);
    ro_pending_settle(proxy, pending, RO_UNHEARD, 0);
    return;
  }
  pending->kind = head->kind;
  pending->named = head->kind == RO_FRAME_REPLY ? head->deadline : 0;
  if (ro_link_take(link, head, pending->answer, &pending->offset) != RO_LINK_OK) {
    damaged(proxy, "not enough memory for an answer");
    return;
  }
  proxy->counters.replies++;
  pending->received = RO_FRAME_HEAD + (size_t)head->size;
  if (pending->since != 0)
    ro_latency_add(&proxy->counters.round_trips, ro_now() - pending->since);
  ro_pending_settle(proxy, pending, RO_ANSWERED, 1);
}

static void dispatch_all(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  ro_FrameHead head;
  ro_LinkStatus status;
  while ((status = ro_link_peek(&client->link, &head, client->limit)) == RO_LINK_OK)
    dispatch(proxy, &head);
  if (status == RO_LINK_BAD)
    damaged(proxy, "bytes that are no frame");
  else if (status == RO_LINK_TOO_LARGE)
    damaged(proxy, "a frame larger than remoteobj.limits.frame");
}

/* ---- reading ---- */

int ro_client_has_news(const ro_Client *client, const ro_Pending *pending) {
  return pending->settled || pending->calls != NULL || client->future_calls > 0;
}

/* The listener has ended the connection, or died: then it must not be found listening after that. */
static void lose_ended(ro_Proxy *proxy) {
  uint64_t generation = proxy->client.generation;
  if (!ro_door_closed_well(&proxy->door, generation))
    ro_door_await_end(&proxy->door, generation);
  ro_client_lose(proxy, RO_CUT_OFF);
}

void ro_client_pump(ro_Proxy *proxy, const ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  ro_LinkStatus status = RO_LINK_OK;
  do {
    ro_link_flush(&client->link);
    status = ro_link_receive(&client->link);
    if (status == RO_LINK_OK)
      dispatch_all(proxy);
  } while (status == RO_LINK_OK &&
           (pending != NULL ? !ro_client_has_news(client, pending) : client->first != NULL));
  if (status == RO_LINK_CLOSED)
    lose_ended(proxy);
  else if (status == RO_LINK_NO_MEMORY)
    damaged(proxy, "not enough memory for an answer");
}

void ro_client_look_for_life(ro_Proxy *proxy, const ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  uint64_t session = client->session;
  if (ro_door_lives(&proxy->door, client->generation)) {
    client->seen_alive = client->queued;
    return;
  }
  ro_client_pump(proxy, pending);
  if (client->session == session && !(pending != NULL && ro_client_has_news(client, pending)))
    ro_client_lose(proxy, RO_CUT_OFF);
}
