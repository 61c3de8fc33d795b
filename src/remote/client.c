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
  client->generation = 0;
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
}

void ro_client_forget(ro_Client *client) {
  ro_link_close_descriptors(&client->link);
  client->link.received.size = client->link.taken = 0;
  client->link.outgoing.size = client->link.sent = 0;
  client->released.size = 0;
  client->generation = 0;
  client->pending = NULL;
}

void ro_client_release(ro_Proxy *proxy, uint64_t generation, uint64_t handle) {
  ro_Client *client = &proxy->client;
  if (client->generation != generation || generation == 0)
    return;
  ro_buffer_add(&client->released, &handle, sizeof handle);
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
    proxy->counters.late_replies++;
    skip_frame(link, head);
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

/* Offers the far ends of a new pair of pipes to the listener of `generation`. Returns 0 or an errno. */
static int offer(ro_Proxy *proxy, uint64_t generation) {
  ro_Client *client = &proxy->client;
  int far[3];
  int error = ro_link_open(&client->link, far);
  if (error != 0)
    return error;
  error = ro_door_post(&proxy->door, generation, far);
  for (int i = 0; i < 3; i++)
    close(far[i]);
  if (error != 0) {
    ro_link_close(&client->link);
    return error;
  }
  client->generation = generation;
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
    error = offer(proxy, state.generation);
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

/* ---- requests ---- */

/* Puts the handles that finalizers have let go in front of the next request. */
static void queue_releases(ro_Client *client, ro_Buffer *frame) {
  ro_Buffer release;
  ro_FrameHead head = {.kind = RO_FRAME_RELEASE};
  size_t start;
  if (client->released.size == 0)
    return;
  ro_buffer_init(&release);
  start = ro_frame_begin(&release);
  ro_buffer_add(&release, client->released.data, client->released.size);
  ro_frame_finish(&release, start, &head);
  ro_buffer_add(&release, frame->data, frame->size);
  if (!release.failed) {
    ro_Buffer plain = *frame;
    *frame = release;
    release = plain;
    ro_buffer_clear(&client->released, 1024);
  }
  ro_buffer_free(&release);
}

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
  pending->outcome = connect_client(L, proxy, deadline);
  if (pending->outcome != RO_ANSWERED)
    return pending->outcome;
  pending->id = head.id = ++client->last_id;
  ro_frame_finish(frame, 0, &head);
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
