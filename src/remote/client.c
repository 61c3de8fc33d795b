#include "remote/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "remote/proxy.h"

void ro_client_init(ro_Client *client) {
  memset(client, 0, sizeof *client);
  ro_link_init(&client->link);
  ro_link_init(&client->heir);
}

static void settle(ro_Pending *pending, ro_Outcome outcome, int may_have_run) {
  pending->outcome = outcome;
  pending->may_have_run = may_have_run;
  pending->settled = 1;
  if (pending->thread != NULL)
    ro_thread_wake(pending->thread);
}

/* Has the request gone out whole: before that it can't have been run. */
static int is_sent(const ro_Client *client, const ro_Pending *pending) {
  return client->queued - ro_link_pending(&client->link) >= pending->end;
}

/* Has the listener, which is gone, read it whole. */
static int is_taken(const ro_Client *client, const ro_Pending *pending) {
  return client->queued - ro_link_unread(&client->link) >= pending->end;
}

static void drop_connection(ro_Client *client) {
  ro_link_close(&client->link);
  ro_buffer_clear(&client->released, 0);
  ro_buffer_clear(&client->late, 0);
  client->generation = client->session = client->key = 0;
  client->references = 0;
}

/*
** The connection has ended: every request under way is settled. Whether the listener lives is not asked
** before each request: one that is found dead, without having taken it, was dead before.
*/
static void lose(ro_Proxy *proxy, ro_Outcome outcome) {
  ro_Client *client = &proxy->client;
  int closed_well = ro_door_closed_well(&proxy->door, client->generation);
  for (ro_Pending *p = client->pending; p != NULL; p = p->next) {
    int taken = is_taken(client, p);
    if (p->settled)
      continue;
    if (closed_well || (!taken && !p->was_alive && outcome == RO_CUT_OFF))
      settle(p, RO_UNHEARD, 0);
    else
      settle(p, outcome, taken);
  }
  drop_connection(client);
}

void ro_client_close(ro_Proxy *proxy) {
  if (proxy->client.generation != 0)
    lose(proxy, RO_CUT_OFF);
  ro_buffer_free(&proxy->client.released);
  ro_buffer_free(&proxy->client.late);
}

/* ---- forks ---- */

/* Makes a link and offers its far ends to the listener. Returns 0 or an errno; nothing is left open then. */
static int offer_link(ro_Proxy *proxy, ro_Link *link, const ro_Offer *offer) {
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
** The offer goes out before the fork, so that nothing that this process lets go later can overtake it. Without
** room or descriptors there is none: references in the child raise an error then.
*/
void ro_client_before_fork(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  ro_Offer offer = {client->generation, ro_new_id(), client->key};
  if (client->generation == 0 || client->references == 0)
    return;
  client->heir_key = offer.key;
  offer_link(proxy, &client->heir, &offer);
}

void ro_client_in_parent(ro_Client *client) {
  ro_link_close_descriptors(&client->heir);
}

void ro_client_in_child(ro_Client *client) {
  ro_Link *link = &client->link, *heir = &client->heir;
  ro_link_close_descriptors(link);
  link->received.size = link->taken = link->expected = 0;
  link->outgoing.size = link->sent = 0;
  client->pending = NULL;
  client->late.size = 0;
  client->queued = 0;
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

void ro_client_release(ro_Proxy *proxy, uint64_t session, int64_t handle, uint64_t times) {
  ro_Client *client = &proxy->client;
  ro_Release release = {handle, times};
  if (client->session != session || session == 0)
    return;
  ro_buffer_add(&client->released, &release, sizeof release);
  client->released.failed = 0; /* without memory it stays until the connection ends */
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
  ro_Pending *p = client->pending;
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
  pending = find_pending(client, head->id);
  if (pending == NULL) {
    put_aside(proxy, head);
    return;
  }
  if (head->kind == RO_FRAME_REFUSED) {
    skip_frame(link, head);
    settle(pending, RO_UNHEARD, 0);
    return;
  }
  pending->kind = head->kind;
  if (ro_link_take(link, head, pending->frame, &pending->offset) != RO_LINK_OK) {
    damaged(proxy, "not enough memory for an answer");
    return;
  }
  proxy->counters.replies++;
  pending->received = RO_FRAME_HEAD + (size_t)head->size;
  if (pending->since != 0)
    ro_latency_add(&proxy->counters.round_trips, ro_now() - pending->since);
  settle(pending, RO_ANSWERED, 1);
}

static void dispatch_all(ro_Proxy *proxy, size_t limit) {
  ro_FrameHead head;
  ro_LinkStatus status;
  while ((status = ro_link_peek(&proxy->client.link, &head, limit)) == RO_LINK_OK)
    dispatch(proxy, &head);
  if (status == RO_LINK_BAD)
    damaged(proxy, "bytes that are no frame");
  else if (status == RO_LINK_TOO_LARGE)
    damaged(proxy, "a frame larger than remoteobj.limits.frame");
}

/* Moves bytes both ways as far as goes without blocking, until `pending` is settled. */
static void pump(ro_Proxy *proxy, const ro_Pending *pending) {
  ro_Link *link = &proxy->client.link;
  ro_LinkStatus status = RO_LINK_OK;
  while (!pending->settled && status == RO_LINK_OK) {
    ro_link_flush(link);
    status = ro_link_receive(link);
    if (status == RO_LINK_OK)
      dispatch_all(proxy, pending->limit);
  }
  if (status == RO_LINK_CLOSED)
    lose(proxy, RO_CUT_OFF);
  else if (status == RO_LINK_NO_MEMORY)
    damaged(proxy, "not enough memory for an answer");
}

/* ---- making the connection ---- */

/* Waits until the door may have room for one more connection, or its listener may have died. */
static void wait_for_door(lua_State *L, ro_Proxy *proxy, int64_t deadline) {
  struct pollfd fds[2] = {{.fd = proxy->door.client_end, .events = POLLOUT}};
  int64_t look = ro_door_watch(&proxy->door, &fds[1], deadline);
  ro_wait_poll(L, fds, 2, look);
}

/* Makes a connection to the listener of `generation`. Returns 0 or an errno. */
static int open_connection(ro_Proxy *proxy, uint64_t generation) {
  ro_Client *client = &proxy->client;
  ro_Offer offer = {generation, ro_new_id(), 0};
  int error = offer_link(proxy, &client->link, &offer);
  if (error != 0)
    return error;
  client->generation = generation;
  client->key = offer.key;
  client->session = ++client->last_session;
  client->queued = 0;
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
      luaL_error(L, "cannot connect to the listener: %s", strerror(error));
    else if (deadline != RO_NEVER && ro_now() >= deadline)
      return RO_TOO_LATE;
    else
      wait_for_door(L, proxy, deadline);
  }
}

/* The same for a request with references of the session `wanted`, or 0: no other connection will do. */
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
  if (client->released.size == 0)
    return;
  ro_buffer_init(&release);
  write_releases(client, &release);
  ro_buffer_add(&release, frame->data, frame->size);
  if (!release.failed) {
    ro_Buffer plain = *frame;
    *frame = release;
    release = plain;
    ro_buffer_clear(&client->released, 1024);
  }
  ro_buffer_free(&release);
}

void ro_client_send_releases(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  ro_Buffer frame;
  size_t size;
  if (client->released.size == 0 || client->generation == 0)
    return;
  ro_buffer_init(&frame);
  write_releases(client, &frame);
  size = frame.size;
  if (!frame.failed && ro_link_queue(&client->link, &frame) == RO_LINK_OK) {
    ro_buffer_clear(&client->released, 1024);
    client->queued += size;
    proxy->counters.bytes_sent += (lua_Integer)size;
    ro_link_flush(&client->link);
  }
  ro_buffer_free(&frame);
}

/* ---- requests ---- */

/* For ro_wait_actively. */
typedef struct Look {
  ro_Proxy *proxy;
  const ro_Pending *pending;
} Look;

static int look_once(void *context) {
  const Look *look = context;
  pump(look->proxy, look->pending);
  return look->pending->settled;
}

/* Does the listener live, now that the request has gone out. */
static void look_for_life(ro_Proxy *proxy, ro_Pending *pending) {
  if (ro_door_lives(&proxy->door, proxy->client.generation)) {
    pending->was_alive = 1;
    return;
  }
  pump(proxy, pending);
  if (!pending->settled)
    lose(proxy, RO_CUT_OFF);
}

/* Waits for the answer; returns 0, or -1 with the error that interrupts the wait on the stack. */
static int await(lua_State *L, ro_Proxy *proxy, ro_Pending *pending, int64_t deadline) {
  ro_Client *client = &proxy->client;
  Look look = {proxy, pending};
  ro_link_flush(&client->link);
  if (!ro_wait_actively(proxy->lock, look_once, &look))
    look_for_life(proxy, pending);
  while (!pending->settled) {
    struct pollfd fds[3];
    nfds_t count = 2;
    int64_t until;
    int n, over;
    fds[0] = (struct pollfd){.fd = client->link.in, .events = POLLIN};
    until = ro_door_watch(&proxy->door, &fds[1], deadline);
    if (ro_link_pending(&client->link) > 0)
      fds[count++] = (struct pollfd){.fd = client->link.out, .events = POLLOUT};
    n = ro_wait_poll_try(L, fds, count, until);
    if (n < 0)
      return -1;
    over = fds[1].revents != 0 || (n == 0 && !ro_door_lives(&proxy->door, client->generation));
    if (!pending->settled)
      pump(proxy, pending);
    if (!pending->settled && over)
      lose(proxy, RO_CUT_OFF); /* the process has died, and what it had answered has been read */
    if (!pending->settled && n == 0 && deadline != RO_NEVER && ro_now() >= deadline)
      settle(pending, RO_TOO_LATE, is_sent(client, pending));
  }
  return 0;
}

static void unlink_pending(ro_Client *client, const ro_Pending *pending) {
  ro_Pending **at = &client->pending;
  while (*at != NULL && *at != pending)
    at = &(*at)->next;
  if (*at != NULL)
    *at = pending->next;
}

ro_Outcome ro_client_exchange(lua_State *L, ro_Proxy *proxy, ro_Pending *pending, int64_t deadline) {
  ro_Client *client = &proxy->client;
  ro_Buffer *frame = pending->frame;
  ro_FrameHead head = {.kind = RO_FRAME_REQUEST, .deadline = deadline};
  int status;
  pending->may_have_run = pending->settled = pending->was_alive = 0;
  pending->sent = pending->received = 0;
  pending->outcome = connect_for(L, proxy, pending->session, deadline);
  if (pending->outcome != RO_ANSWERED)
    return pending->outcome;
  pending->session = client->session;
  pending->id = head.id = ++client->last_id;
  ro_frame_finish(frame, 0, &head);
  pending->sent = frame->size;
  pending->since = proxy->watch->watched ? ro_now() : 0;
  queue_releases(client, frame);
  client->queued += frame->size;
  proxy->counters.requests++;
  proxy->counters.bytes_sent += (lua_Integer)frame->size;
  if (ro_link_queue(&client->link, frame) != RO_LINK_OK)
    luaL_error(L, "not enough memory");
  pending->end = client->queued;
  pending->thread = ro_lock_holder(proxy->lock);
  pending->next = client->pending;
  client->pending = pending;
  status = await(L, proxy, pending, deadline);
  unlink_pending(client, pending);
  if (status < 0)
    lua_error(L);
  return pending->outcome;
}
