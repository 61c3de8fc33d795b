#include "remote/connection.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "remote/arrivals.h"
#include "remote/proxy.h"
#include "sys/life.h"

/* ---- what forks inherit ---- */

/* Another thread, of another state, may fork at any moment, and reads these then. */
static void set_inheritance(ro_Client *client, uint64_t generation, uint64_t key, lua_Integer references) {
  ro_atfork_hold();
  client->generation = generation;
  client->key = key;
  client->references = references;
  ro_atfork_release();
}

void ro_client_count_references(ro_Client *client, int more) {
  set_inheritance(client, client->generation, client->key, client->references + more);
}

/* ---- the end ---- */

static void drop_connection(ro_Client *client) {
  ro_link_close(&client->link);
  ro_buffer_clear(&client->released, 0);
  ro_buffer_clear(&client->late, 0);
  set_inheritance(client, 0, 0, 0);
  client->session = 0;
}

void ro_client_stop_lingering(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  if (!client->lingers || ro_link_pending(&client->link) > 0)
    return;
  client->lingers = 0;
  ro_interest_drop(proxy->lock, &client->interest);
}

void ro_client_lose(ro_Proxy *proxy, ro_Outcome outcome) {
  ro_Client *client = &proxy->client;
  int closed_well = ro_door_closed_well(&proxy->door, client->generation);
  uint64_t taken_bytes = client->first != NULL ? client->queued - ro_link_unread(&client->link) : 0;
  while (client->first != NULL) {
    ro_Pending *p = client->first;
    int taken = taken_bytes >= p->end;
    if (closed_well && taken && p->flags & RO_REQUEST_ONEWAY) /* then no more was promised */
      ro_pending_settle(proxy, p, RO_ANSWERED, 1);
    else if (closed_well || (!taken && p->end > client->seen_alive && outcome == RO_CUT_OFF))
      ro_pending_settle(proxy, p, RO_UNHEARD, 0);
    else
      ro_pending_settle(proxy, p, outcome, taken);
  }
  drop_connection(client);
  ro_client_stop_lingering(proxy);
  ro_interest_changed(proxy->lock, &client->interest);
}

void ro_client_close(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  if (client->generation != 0)
    ro_client_lose(proxy, RO_CUT_OFF);
  ro_link_close(&client->link); /* in a fork it has no connection, but memory */
  ro_buffer_free(&client->released);
  ro_buffer_free(&client->late);
  while (client->interest.users > 0)
    ro_interest_drop(proxy->lock, &client->interest);
}

/* ---- offers ---- */

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

/* ---- forks ---- */

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

/* ---- making it ---- */

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
  set_inheritance(client, generation, offer.key, 0);
  client->session = ++client->last_session;
  client->queued = client->seen_alive = 0;
  return 0;
}

static int is_connected(ro_Proxy *proxy, ro_DoorState state) {
  return proxy->client.generation == state.generation && ro_link_is_open(&proxy->client.link);
}

/* Ends the connection to the listener before: it may have answered requests that nobody has waited for since. */
static void leave_former(ro_Proxy *proxy) {
  if (proxy->client.generation != 0)
    ro_client_pump(proxy, NULL);
  if (proxy->client.generation != 0)
    ro_client_lose(proxy, RO_CUT_OFF);
}

static ro_Outcome connect_client(lua_State *L, ro_Proxy *proxy, int64_t deadline) {
  for (;;) {
    ro_DoorState state = ro_door_state(&proxy->door), after;
    int error;
    if (state.phase == RO_DOOR_OPEN && is_connected(proxy, state))
      return RO_ANSWERED;
    if (!ro_door_is_open(&proxy->door, &state))
      return RO_UNHEARD;
    leave_former(proxy);
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

ro_Outcome ro_client_connect(lua_State *L, ro_Proxy *proxy, uint64_t wanted, int64_t deadline) {
  ro_Outcome outcome;
  if (wanted != 0 && wanted != proxy->client.session)
    return RO_GONE;
  outcome = connect_client(L, proxy, deadline);
  if (outcome == RO_UNHEARD || outcome == RO_ANSWERED)
    return wanted != 0 && wanted != proxy->client.session ? RO_GONE : outcome;
  return outcome;
}
