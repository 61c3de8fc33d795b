#include "remote/client.h"

#include <stddef.h>
#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "future/future.h"
#include "remote/arrivals.h"
#include "remote/callback.h"
#include "remote/connection.h"
#include "remote/outgoing.h"
#include "remote/proxy.h"

#define MOST_ANNOUNCING 8
#define MOST_QUEUED (size_t)(1024 * 1024) /* bytes of requests that may wait for room in the pipe */

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

/* ---- calls of functions that requests took along ---- */

/* Runs the next call of a function that the request took along; returns 0, or -1 with an error. [-0, +(0|1), -] */
static int run_call(lua_State *L, ro_Proxy *proxy, ro_Pending *pending) {
  ro_Incoming *call = ro_pending_next_call(&proxy->client, pending);
  int status = ro_callback_run(L, proxy, pending, call);
  if (status < 0 && proxy->client.generation != 0)
    ro_client_refuse(proxy, call);
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

static void attend_client(lua_State *L, ro_Interest *interest) {
  ro_Proxy *proxy = proxy_of(interest);
  if (proxy->client.generation != 0)
    ro_client_pump(proxy, NULL);
  if (proxy->client.generation != 0 && proxy->client.first != NULL)
    ro_client_look_for_life(proxy, NULL);
  ro_pending_expire(proxy);
  ro_client_stop_lingering(proxy);
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

/* ---- sending ---- */

/* Queues the request and returns 1; or settles it, when there is nobody to send it to, and returns 0. [-0, +0, v] */
static int begin(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending) {
  ro_Client *client = &proxy->client;
  ro_FrameHead head = {.kind = RO_FRAME_REQUEST, .flags = pending->flags, .deadline = pending->deadline};
  pending->may_have_run = 0;
  pending->sent = pending->received = 0;
  pending->settled = 1;
  pending->calls = NULL;
  pending->outcome = ro_client_connect(L, proxy, pending->session, pending->deadline);
  pending->session = 0;
  if (pending->outcome != RO_ANSWERED)
    return 0;
  pending->id = head.id = ++client->last_id;
  pending->session = client->session;
  client->limit = pending->limit;
  ro_frame_finish(frame, 0, &head);
  pending->sent = frame->size;
  pending->since = proxy->watch->watched ? ro_now() : 0;
  ro_client_queue_releases(client, frame);
  proxy->counters.requests++;
  if (!ro_client_queue_frame(proxy, frame))
    luaL_error(L, "not enough memory");
  pending->end = client->queued;
  pending->settled = 0;
  ro_pending_link(client, pending);
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
  ro_client_pump(look->proxy, look->pending);
  return ro_client_has_news(&look->proxy->client, look->pending);
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
  if (!ro_client_has_news(client, pending))
    ro_client_pump(proxy, pending);
  if (!ro_client_has_news(client, pending) && over)
    ro_client_lose(proxy, RO_CUT_OFF); /* the process has died, and what it had answered has been read */
  if (!pending->settled && n == 0 && pending->deadline != RO_NEVER && ro_now() >= pending->deadline)
    ro_pending_settle(proxy, pending, RO_TOO_LATE, ro_pending_is_sent(client, pending));
  return 0;
}

/*
** Runs what the listener has called. An answer that came meanwhile is too late if the time is over now: it can hardly
** have come before, since its request waited for these calls. Returns as wait_for_link.
*/
static int run_calls(lua_State *L, ro_Proxy *proxy, ro_Pending *pending) {
  int status = 0, called = pending->calls != NULL;
  if (!ro_client_has_news(&proxy->client, pending))
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
    ro_client_look_for_life(proxy, pending);
  while (!pending->settled) {
    if (run_calls(L, proxy, pending) != 0)
      return -1;
    if (!ro_client_has_news(&proxy->client, pending) && wait_for_link(L, proxy, pending) != 0)
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

/*
** Was the listener's door open after all had gone out, or has the listener read the request? What has come by the time
** that the door is shut is run.
*/
static int is_in_time(const ro_Proxy *proxy, const ro_Pending *pending) {
  const ro_Client *client = &proxy->client;
  ro_DoorState state = ro_door_state(&proxy->door);
  if (state.generation == client->generation && state.phase == RO_DOOR_OPEN)
    return 1;
  return client->queued - ro_link_unread(&client->link) >= pending->end;
}

ro_Outcome ro_client_exchange(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending) {
  int failed;
  pending->thread = ro_lock_holder(proxy->lock);
  failed = begin(L, proxy, frame, pending) && await(L, proxy, pending) != 0;
  if (failed)
    ro_pending_abandon(proxy, pending);
  if (pending->functions && pending->session != 0 && pending->session == proxy->client.session)
    ro_link_flush(&proxy->client.link);
  if (failed)
    lua_error(L);
  return pending->outcome;
}

void ro_client_send(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending) {
  pending->thread = NULL;
  if (!begin(L, proxy, frame, pending))
    return;
  if (await_room(L, proxy, pending, MOST_QUEUED) != 0) {
    ro_pending_abandon(proxy, pending);
    lua_error(L);
  }
  linger(proxy);
}

void ro_client_tell(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame, ro_Pending *pending) {
  int failed;
  pending->thread = ro_lock_holder(proxy->lock);
  if (!begin(L, proxy, frame, pending))
    return;
  failed = await_room(L, proxy, pending, 0) != 0;
  while (!failed && !pending->settled && !is_in_time(proxy, pending))
    failed = wait_for_link(L, proxy, pending) != 0;
  ro_pending_abandon(proxy, pending);
  if (failed)
    lua_error(L);
}
