#include "remote/client.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "future/future.h"
#include "remote/callback.h"
#include "remote/proxy.h"
#include "sys/life.h"

#define MOST_ANNOUNCING 8
#define WORTH_RELEASING (64 * sizeof(ro_Release)) /* bytes of handles that may wait for more */

/* ---- what goes out ---- */

/* Queues a frame, which is emptied; returns whether there was memory for it. */
static int queue(ro_Proxy *proxy, ro_Buffer *frame) {
  size_t size = frame->size;
  if (ro_link_queue(&proxy->client.link, frame) != RO_LINK_OK)
    return 0;
  proxy->client.queued += size;
  proxy->counters.bytes_sent += (lua_Integer)size;
  return 1;
}

void ro_client_queue(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame) {
  if (!queue(proxy, frame))
    luaL_error(L, "not enough memory");
  ro_link_flush(&proxy->client.link);
}

/* Queues a frame without payload. Without memory there is none. */
static void queue_bare(ro_Proxy *proxy, ro_FrameKind kind, uint64_t id) {
  ro_FrameHead head = {.kind = kind, .id = id};
  ro_Buffer frame;
  ro_buffer_init(&frame);
  ro_frame_begin(&frame);
  ro_frame_finish(&frame, 0, &head);
  if (!frame.failed)
    queue(proxy, &frame);
  ro_buffer_free(&frame);
}

/* ---- requests under way ---- */

static void link_pending(ro_Client *client, ro_Pending *pending) {
  pending->next = NULL;
  pending->previous = client->last;
  *(client->last != NULL ? &client->last->next : &client->first) = pending;
  client->last = pending;
  if (pending->thread == NULL && pending->deadline < client->earliest)
    client->earliest = pending->deadline;
}

static void unlink_pending(ro_Client *client, const ro_Pending *pending) {
  *(pending->previous != NULL ? &pending->previous->next : &client->first) = pending->next;
  *(pending->next != NULL ? &pending->next->previous : &client->last) = pending->previous;
}

static ro_Incoming *next_call(ro_Client *client, ro_Pending *pending) {
  ro_Incoming *call = pending->calls;
  if (call == NULL)
    return NULL;
  pending->calls = call->next;
  if (pending->thread == NULL)
    client->future_calls--;
  return call;
}

/*
** The functions that the request took along can't be called any more; the listener is told, if it may still try, with what
** goes out next: finalizers come here.
*/
static void end_calls(ro_Proxy *proxy, ro_Pending *pending, int tell) {
  ro_Incoming *call;
  while ((call = next_call(&proxy->client, pending)) != NULL)
    ro_incoming_free(call);
  if (tell && pending->functions && pending->session == proxy->client.session)
    queue_bare(proxy, RO_FRAME_LEFT, pending->id);
}

/* Who waits for it is told. */
static void settle(ro_Proxy *proxy, ro_Pending *pending, ro_Outcome outcome, int may_have_run) {
  ro_Client *client = &proxy->client;
  unlink_pending(client, pending);
  pending->outcome = outcome;
  pending->may_have_run = may_have_run;
  pending->settled = 1;
  end_calls(proxy, pending, outcome == RO_TOO_LATE);
  if (pending->thread != NULL) {
    ro_thread_wake(pending->thread);
    return;
  }
  if (pending->future != NULL) {
    pending->next = NULL;
    *(client->due != NULL ? &client->last_due->next : &client->due) = pending;
    client->last_due = pending;
  }
  ro_wait_notify(proxy->lock);
}

void ro_client_abandon(ro_Proxy *proxy, ro_Pending *pending) {
  if (pending->settled)
    return;
  unlink_pending(&proxy->client, pending);
  pending->settled = 1;
  end_calls(proxy, pending, 1);
}

/* Has the request gone out whole: before that it can't have been run. */
static int is_sent(const ro_Client *client, const ro_Pending *pending) {
  return client->queued - ro_link_pending(&client->link) >= pending->end;
}

/* Settles the futures whose time is over. */
static void expire(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  int64_t now, earliest = RO_NEVER;
  if (client->earliest == RO_NEVER || client->earliest > (now = ro_now()))
    return;
  for (ro_Pending *p = client->first, *next; p != NULL; p = next) {
    next = p->next;
    if (p->thread != NULL)
      continue;
    if (p->deadline <= now)
      settle(proxy, p, RO_TOO_LATE, is_sent(client, p));
    else if (p->deadline < earliest)
      earliest = p->deadline;
  }
  client->earliest = earliest;
}

/* ---- the end of a connection ---- */

static void drop_connection(ro_Client *client) {
  ro_link_close(&client->link);
  ro_buffer_clear(&client->released, 0);
  ro_buffer_clear(&client->late, 0);
  client->generation = client->session = client->key = 0;
  client->references = 0;
}

/* Nobody needs to watch the link any more for bytes that did not go out at once. */
static void stop_lingering(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  if (!client->lingers || ro_link_pending(&client->link) > 0)
    return;
  client->lingers = 0;
  ro_interest_drop(proxy->lock, &client->interest);
}

/*
** The connection has ended: every request under way is settled. Whether the listener lives is not asked
** before each request: one that is found dead, without having taken it, was dead before.
*/
static void lose(ro_Proxy *proxy, ro_Outcome outcome) {
  ro_Client *client = &proxy->client;
  int closed_well = ro_door_closed_well(&proxy->door, client->generation);
  uint64_t taken_bytes = client->first != NULL ? client->queued - ro_link_unread(&client->link) : 0;
  while (client->first != NULL) {
    ro_Pending *p = client->first;
    int taken = taken_bytes >= p->end;
    if (closed_well || (!taken && p->end > client->seen_alive && outcome == RO_CUT_OFF))
      settle(proxy, p, RO_UNHEARD, 0);
    else
      settle(proxy, p, outcome, taken);
  }
  drop_connection(client);
  stop_lingering(proxy);
  ro_interest_changed(proxy->lock, &client->interest);
}

void ro_client_close(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  if (client->generation != 0)
    lose(proxy, RO_CUT_OFF);
  ro_link_close(&client->link); /* in a fork it has no connection, but memory */
  ro_buffer_free(&client->released);
  ro_buffer_free(&client->late);
  while (client->interest.users > 0)
    ro_interest_drop(proxy->lock, &client->interest);
}

/* ---- forks ---- */

static int open_and_post(ro_Proxy *proxy, ro_Link *link, const ro_Offer *offer) {
  int far[3];
  int error = ro_link_open(link, far);
  if (error != 0)
    return error;
  error = ro_door_post(&proxy->door, offer, far);
  for (int i = 0; i < 3; i++)
    close(far[i]);
  if (error != 0)
    ro_link_close(link);
  return error;
}

/*
** Makes a link and offers its far ends to the listener. Returns 0 or an errno; nothing is left open then. A fork in
** between would keep the far ends for ever.
*/
static int offer_link(ro_Proxy *proxy, ro_Link *link, const ro_Offer *offer) {
  int error;
  ro_atfork_hold();
  error = open_and_post(proxy, link, offer);
  ro_atfork_release();
  return error;
}

/*
** The offer goes out before the fork, so that nothing that this process lets go later can overtake it. Without
** room or descriptors there is none: references in the child raise an error then.
*/
void ro_client_before_fork(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  ro_Offer offer = {client->generation, ro_new_id(), client->key};
  if (client->references == 0 || ro_door_state(&proxy->door).generation != client->generation)
    return;
  client->heir_key = offer.key;
  offer_link(proxy, &client->heir, &offer);
}

void ro_client_in_parent(ro_Client *client) {
  ro_link_close_descriptors(&client->heir);
}

/* What is under way, and who waits for it, is the parent's. */
static void forget_requests(ro_Client *client) {
  client->first = client->last = client->due = NULL;
  client->announcing = client->lingers = client->future_calls = 0;
  client->earliest = RO_NEVER;
  client->interest.users = 0;
  client->late.size = 0;
}

void ro_client_in_child(ro_Client *client) {
  ro_Link *link = &client->link, *heir = &client->heir;
  ro_link_close_descriptors(link);
  link->received.size = link->taken = link->expected = 0;
  link->outgoing.size = link->sent = 0;
  client->queued = client->seen_alive = 0;
  forget_requests(client);
  if (!ro_link_is_open(heir)) {
    client->released.size = 0;
    client->generation = client->session = client->key = 0;
    client->references = 0;
    return;
  }
  link->in = heir->in;
  link->out = heir->out;
  link->guard = heir->guard;
  ro_link_init(heir);
  client->key = client->heir_key;
}

void ro_client_release(ro_Proxy *proxy, uint64_t session, int64_t handle, uint64_t times, int soon) {
  ro_Client *client = &proxy->client;
  ro_Release release = {handle, times};
  if (client->session != session || session == 0)
    return;
  ro_buffer_add(&client->released, &release, sizeof release);
  client->released.failed = 0; /* without memory it stays until the connection ends */
  client->release_soon |= soon;
}

/* ---- what comes in ---- */

/* The connection ends for what the first `size` bytes of `text` say. */
static void fault(ro_Proxy *proxy, const char *text, size_t size) {
  ro_Client *client = &proxy->client;
  snprintf(client->fault, sizeof client->fault, "%.*s",
           (int)(size < sizeof client->fault ? size : sizeof client->fault), text);
  lose(proxy, RO_DAMAGED);
}

static void damaged(ro_Proxy *proxy, const char *text) {
  fault(proxy, text, strlen(text));
}

static ro_Pending *find_pending(ro_Client *client, uint64_t id) {
  ro_Pending *p = client->first;
  while (p != NULL && p->id != id)
    p = p->next;
  return p;
}

static void skip_frame(ro_Link *link, const ro_FrameHead *head) {
  link->taken += RO_FRAME_HEAD + (size_t)head->size;
}

/* An answer that nobody waits for any more. What it names must be let go all the same. */
static void put_aside(ro_Proxy *proxy, const ro_FrameHead *head) {
  ro_Client *client = &proxy->client;
  proxy->counters.late_replies++;
  if (head->kind == RO_FRAME_REPLY && head->deadline != 0) {
    ro_buffer_add(&client->late, client->link.received.data + client->link.taken,
                  RO_FRAME_HEAD + (size_t)head->size);
    client->late.failed = 0; /* without memory it stays until the connection ends */
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

static void refuse_call(ro_Proxy *proxy, const ro_Incoming *call) {
  queue_bare(proxy, RO_FRAME_REFUSED, call->id);
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
  pending = find_pending(client, call->request);
  if (pending == NULL || !pending->functions) {
    refuse_call(proxy, call);
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
  pending = find_pending(client, head->id);
  if (pending == NULL) {
    put_aside(proxy, head);
    return;
  }
  if (head->kind == RO_FRAME_REFUSED) {
    skip_frame(link, head);
    settle(proxy, pending, RO_UNHEARD, 0);
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
  settle(proxy, pending, RO_ANSWERED, 1);
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

/* Is there anything to do for who waits for the request. */
static int has_news(const ro_Client *client, const ro_Pending *pending) {
  return pending->settled || pending->calls != NULL || client->future_calls > 0;
}

/* The listener has ended the connection, or died: then it must not be found listening after that. */
static void lose_ended(ro_Proxy *proxy) {
  uint64_t generation = proxy->client.generation;
  if (!ro_door_closed_well(&proxy->door, generation))
    ro_door_await_end(&proxy->door, generation);
  lose(proxy, RO_CUT_OFF);
}

/*
** Moves bytes both ways as far as goes without blocking, until there are news for `pending`; with NULL until everything
** is settled.
*/
static void pump(ro_Proxy *proxy, const ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  ro_LinkStatus status = RO_LINK_OK;
  do {
    ro_link_flush(&client->link);
    status = ro_link_receive(&client->link);
    if (status == RO_LINK_OK)
      dispatch_all(proxy);
  } while (status == RO_LINK_OK && (pending != NULL ? !has_news(client, pending) : client->first != NULL));
  if (status == RO_LINK_CLOSED)
    lose_ended(proxy);
  else if (status == RO_LINK_NO_MEMORY)
    damaged(proxy, "not enough memory for an answer");
}

/* Does the listener live, now that all has gone out that could. Whatever it has answered before is read. */
static void look_for_life(ro_Proxy *proxy, const ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  uint64_t session = client->session;
  if (ro_door_lives(&proxy->door, client->generation)) {
    client->seen_alive = client->queued;
    return;
  }
  pump(proxy, pending);
  if (client->session == session && !(pending != NULL && has_news(client, pending)))
    lose(proxy, RO_CUT_OFF);
}

/* Fills in what to wait for; may lower *until. Returns how many descriptors: the listener's end is the second. */
static nfds_t watch_link(const ro_Proxy *proxy, struct pollfd *fds, int64_t *until) {
  const ro_Link *link = &proxy->client.link;
  fds[0] = (struct pollfd){.fd = link->in, .events = POLLIN};
  *until = ro_door_watch(&proxy->door, &fds[1], *until);
  if (ro_link_pending(link) == 0)
    return 2;
  fds[2] = (struct pollfd){.fd = link->out, .events = POLLOUT};
  return 3;
}

/* ---- what every wait of the library does for futures, and for bytes that linger ---- */

static ro_Proxy *proxy_of(ro_Interest *interest) {
  return (ro_Proxy *)((char *)interest - offsetof(ro_Proxy, client.interest));
}

static nfds_t watch_client(ro_Interest *interest, struct pollfd *fds, int64_t *until) {
  const ro_Proxy *proxy = proxy_of(interest);
  const ro_Client *client = &proxy->client;
  if ((client->due != NULL && client->announcing < MOST_ANNOUNCING) || client->future_calls > 0)
    *until = 0;
  if (client->generation == 0)
    return 0;
  if (client->earliest < *until)
    *until = client->earliest;
  return watch_link(proxy, fds, until);
}

/* Bytes that nobody waits for have not all gone out: waits of the library send them on. */
static void linger(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  if (ro_link_pending(&client->link) == 0)
    return;
  if (!client->lingers)
    ro_interest_use(proxy->lock, &client->interest);
  client->lingers = 1;
  ro_interest_changed(proxy->lock, &client->interest);
}

/* Runs the next call of a function that the request took along; returns 0, or -1 with an error. [-0, +(0|1), -] */
static int run_call(lua_State *L, ro_Proxy *proxy, ro_Pending *pending) {
  ro_Incoming *call = next_call(&proxy->client, pending);
  int status = ro_callback_run(L, proxy, pending, call);
  if (status < 0 && proxy->client.generation != 0)
    refuse_call(proxy, call);
  ro_incoming_free(call);
  return status;
}

/* A request of a future that has calls to be run, or NULL. */
static ro_Pending *called_future(const ro_Client *client) {
  ro_Pending *p = client->future_calls > 0 ? client->first : NULL;
  while (p != NULL && (p->thread != NULL || p->calls == NULL))
    p = p->next;
  return p;
}

/* Any thread that waits runs what requests of futures took along. */
static void run_future_calls(lua_State *L, ro_Proxy *proxy) {
  ro_Pending *pending;
  while ((pending = called_future(&proxy->client)) != NULL)
    if (run_call(L, proxy, pending) < 0)
      lua_pop(L, 1); /* no memory: the listener has been told */
}

static void attend_client(lua_State *L, ro_Interest *interest) {
  ro_Proxy *proxy = proxy_of(interest);
  if (proxy->client.generation != 0)
    pump(proxy, NULL);
  if (proxy->client.generation != 0 && proxy->client.first != NULL)
    look_for_life(proxy, NULL);
  expire(proxy);
  stop_lingering(proxy);
  run_future_calls(L, proxy);
  ro_client_announce(L, proxy);
}

void ro_client_init(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  memset(client, 0, sizeof *client);
  ro_link_init(&client->link);
  ro_link_init(&client->heir);
  client->earliest = RO_NEVER;
  client->interest.watch = watch_client;
  client->interest.attend = attend_client;
}

/* ---- making the connection ---- */

/* Waits until the door may have room for one more connection, or its listener may have died. */
static void wait_for_door(lua_State *L, ro_Proxy *proxy, int64_t deadline) {
  struct pollfd fds[2] = {{.fd = proxy->door.client_end, .events = POLLOUT}};
  int64_t look = ro_door_watch(&proxy->door, &fds[1], deadline);
  ro_wait_poll(L, fds, 2, look);
}

/* Raises why there is no connection, errno `error`. [-0, +0, v] */
static void raise_unconnected(lua_State *L, int error) {
  const char *obstacle = ro_life_obstacle();
  luaL_error(L, "cannot connect to the listener: %s", obstacle != NULL ? obstacle : strerror(error));
}

/* Makes a connection to the listener of `generation`, whose end can be watched: else it might never end. Returns 0 or an errno. */
static int open_connection(ro_Proxy *proxy, uint64_t generation) {
  ro_Client *client = &proxy->client;
  ro_Offer offer = {generation, ro_new_id(), 0};
  int error = ro_door_blindness(&proxy->door);
  if (error == 0)
    error = offer_link(proxy, &client->link, &offer);
  if (error != 0)
    return error;
  client->generation = generation;
  client->key = offer.key;
  client->session = ++client->last_session;
  client->queued = client->seen_alive = 0;
  return 0;
}

static int is_connected(ro_Proxy *proxy, ro_DoorState state) {
  return proxy->client.generation == state.generation && ro_link_is_open(&proxy->client.link);
}

static ro_Outcome connect_client(lua_State *L, ro_Proxy *proxy, int64_t deadline) {
  for (;;) {
    ro_DoorState state = ro_door_state(&proxy->door), after;
    int error;
    if (state.phase == RO_DOOR_OPEN && is_connected(proxy, state))
      return RO_ANSWERED;
    if (!ro_door_is_open(&proxy->door, &state))
      return RO_UNHEARD;
    if (proxy->client.generation != 0)
      lose(proxy, RO_CUT_OFF);
    error = open_connection(proxy, state.generation);
    /* an offer that reached the door before it was shut is certain to be looked at */
    after = ro_door_state(&proxy->door);
    if (error == 0 && after.generation == state.generation && after.phase == RO_DOOR_OPEN)
      return RO_ANSWERED;
    if (error == 0)
      drop_connection(&proxy->client);
    else if (error != EAGAIN)
      raise_unconnected(L, error);
    else if (deadline != RO_NEVER && ro_now() >= deadline)
      return RO_TOO_LATE;
    else
      wait_for_door(L, proxy, deadline);
  }
}

/* ---- requests ---- */

/* The same for a request with references or futures of the session `wanted`, or 0: no other connection will do. */
static ro_Outcome connect_for(lua_State *L, ro_Proxy *proxy, uint64_t wanted, int64_t deadline) {
  ro_Outcome outcome;
  if (wanted != 0 && wanted != proxy->client.session)
    return RO_GONE;
  outcome = connect_client(L, proxy, deadline);
  if (outcome == RO_UNHEARD || outcome == RO_ANSWERED)
    return wanted != 0 && wanted != proxy->client.session ? RO_GONE : outcome;
  return outcome;
}

/* ---- releases ---- */

/* Appends a frame of what has been let go. */
static void write_releases(ro_Client *client, ro_Buffer *frame) {
  ro_FrameHead head = {.kind = RO_FRAME_RELEASE};
  size_t start = ro_frame_begin(frame);
  ro_buffer_add(frame, client->released.data, client->released.size);
  ro_frame_finish(frame, start, &head);
}

/* Puts what finalizers have let go in front of the next request. */
static void queue_releases(ro_Client *client, ro_Buffer *frame) {
  ro_Buffer release;
  if (client->released.size < WORTH_RELEASING && !client->release_soon)
    return;
  ro_buffer_init(&release);
  write_releases(client, &release);
  ro_buffer_add(&release, frame->data, frame->size);
  if (!release.failed) {
    ro_Buffer plain = *frame;
    *frame = release;
    release = plain;
    ro_buffer_clear(&client->released, 1024);
    client->release_soon = 0;
  }
  ro_buffer_free(&release);
}

void ro_client_send_releases(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  ro_Buffer frame;
  if (client->released.size == 0 || client->generation == 0)
    return;
  ro_buffer_init(&frame);
  write_releases(client, &frame);
  if (!frame.failed && queue(proxy, &frame)) {
    ro_buffer_clear(&client->released, 1024);
    client->release_soon = 0;
    ro_link_flush(&client->link);
  }
  ro_buffer_free(&frame);
}

/* Queues the request and returns 1; or settles it, when there is nobody to send it to, and returns 0. [-0, +0, v] */
static int begin(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  ro_FrameHead head = {.kind = RO_FRAME_REQUEST, .flags = pending->flags, .deadline = pending->deadline};
  pending->may_have_run = 0;
  pending->sent = pending->received = 0;
  pending->settled = 1;
  pending->calls = NULL;
  pending->outcome = connect_for(L, proxy, pending->session, pending->deadline);
  pending->session = 0;
  if (pending->outcome != RO_ANSWERED)
    return 0;
  pending->id = head.id = ++client->last_id;
  pending->session = client->session;
  client->limit = pending->limit;
  ro_frame_finish(frame, 0, &head);
  pending->sent = frame->size;
  pending->since = proxy->watch->watched ? ro_now() : 0;
  queue_releases(client, frame);
  proxy->counters.requests++;
  if (!queue(proxy, frame))
    luaL_error(L, "not enough memory");
  pending->end = client->queued;
  pending->settled = 0;
  link_pending(client, pending);
  return 1;
}

/* ---- waiting for the answer, or for room ---- */

/* For ro_wait_actively. */
typedef struct Look {
  ro_Proxy *proxy;
  const ro_Pending *pending;
} Look;

static int look_once(void *context) {
  const Look *look = context;
  pump(look->proxy, look->pending);
  return has_news(&look->proxy->client, look->pending);
}

/*
** Waits once for something to happen on the link of a request that is not settled; returns 0, or -1 with the error that
** interrupts the wait on the stack. [-0, +(0|1), -]
*/
static int wait_for_link(lua_State *L, ro_Proxy *proxy, ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  struct pollfd fds[3];
  int64_t until = pending->deadline;
  nfds_t count = watch_link(proxy, fds, &until);
  int over, n = ro_wait_poll_try(L, fds, count, until);
  if (n < 0)
    return -1;
  over = fds[1].revents != 0 || (n == 0 && !ro_door_lives(&proxy->door, client->generation));
  if (!has_news(client, pending))
    pump(proxy, pending);
  if (!has_news(client, pending) && over)
    lose(proxy, RO_CUT_OFF); /* the process has died, and what it had answered has been read */
  if (!pending->settled && n == 0 && pending->deadline != RO_NEVER && ro_now() >= pending->deadline)
    settle(proxy, pending, RO_TOO_LATE, is_sent(client, pending));
  return 0;
}

/*
** Runs what the listener has called. An answer that came meanwhile is too late if the time is over now: it can hardly
** have come before, since its request waited for these calls. Returns as wait_for_link.
*/
static int run_calls(lua_State *L, ro_Proxy *proxy, ro_Pending *pending) {
  int status = 0, called = pending->calls != NULL;
  if (!has_news(&proxy->client, pending))
    return 0;
  while (status == 0 && !pending->settled && pending->calls != NULL)
    status = run_call(L, proxy, pending);
  if (status == 0)
    run_future_calls(L, proxy);
  if (called && pending->settled && pending->outcome == RO_ANSWERED && pending->deadline != RO_NEVER &&
      ro_now() >= pending->deadline) {
    proxy->counters.late_replies++;
    ro_client_put_late(proxy, pending);
    pending->outcome = RO_TOO_LATE;
  }
  return status;
}

/* Waits for the answer; as wait_for_link. */
static int await(lua_State *L, ro_Proxy *proxy, ro_Pending *pending) {
  Look look = {proxy, pending};
  ro_link_flush(&proxy->client.link);
  if (!ro_wait_actively(proxy->lock, look_once, &look))
    look_for_life(proxy, pending);
  while (!pending->settled) {
    if (run_calls(L, proxy, pending) != 0)
      return -1;
    if (!has_news(&proxy->client, pending) && wait_for_link(L, proxy, pending) != 0)
      return -1;
  }
  return 0;
}

/* Waits until no more than `most` bytes have still to go out; as wait_for_link. */
static int await_room(lua_State *L, ro_Proxy *proxy, ro_Pending *pending, size_t most) {
  ro_link_flush(&proxy->client.link);
  while (!pending->settled && ro_link_pending(&proxy->client.link) > most)
    if (wait_for_link(L, proxy, pending) != 0)
      return -1;
  return 0;
}

ro_Outcome ro_client_exchange(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending) {
  int failed;
  pending->thread = ro_lock_holder(proxy->lock);
  failed = begin(L, proxy, frame, pending) && await(L, proxy, pending) != 0;
  if (failed)
    ro_client_abandon(proxy, pending);
  if (pending->functions && pending->session != 0 && pending->session == proxy->client.session)
    ro_link_flush(&proxy->client.link);
  if (failed)
    lua_error(L);
  return pending->outcome;
}

void ro_client_send(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending, size_t most) {
  pending->thread = NULL;
  if (!begin(L, proxy, frame, pending))
    return;
  if (await_room(L, proxy, pending, most) != 0) {
    ro_client_abandon(proxy, pending);
    lua_error(L);
  }
  linger(proxy);
}

/* A function that waits itself lets others be called meanwhile, not without end. */
void ro_client_announce(lua_State *L, ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  if (client->due == NULL || client->announcing >= MOST_ANNOUNCING)
    return;
  client->announcing++;
  while (client->due != NULL) {
    ro_Future *future = client->due->future;
    client->due = client->due->next;
    ro_future_announce(L, future);
  }
  client->announcing--;
}
