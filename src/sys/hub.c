#include "sys/hub.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "sys/event.h"
#include "sys/poller.h"

#define MOST_WAITING                                                                                         \
  (size_t)(1024 * 1024) /* bytes of answers that a client may leave unread and still be heard */
#define LOOK_EVERY 16   /* requests, so that one eager client doesn't keep others out */
#define DIRECT_AFTER 16 /* requests of one client in a row */
#define READY_AT_ONCE 32
#define FLUSH_STEP 100 /* milliseconds */

struct ro_Connection {
  ro_Connection *next, *previous;
  ro_Connection *next_ready;
  ro_Link link;
  ro_Connection *next_heir;
  uint64_t number;
  uint64_t key;      /* what its client calls it */
  uint64_t ancestor; /* number of the connection that it inherits from */
  int is_heir;       /* in the list of those that inherit */
  int is_ready;      /* in the list of those that have a frame */
  int is_marked;     /* its end is to be reported */
  int has_ended;
  int is_buried; /* in the list of those that are to be freed */
  size_t due; /* once the hub is shut: how many bytes of those that were there then are still to be taken */
  int users;  /* requests under way */
  int reads;  /* is watched for input */
  int writes; /* is watched for room */
  int direct; /* is looked at without the poller, and not watched for input */
};

/* ---- connections ---- */

static void link_connection(ro_Hub *hub, ro_Connection *c) {
  c->next = hub->connections;
  if (c->next != NULL)
    c->next->previous = c;
  hub->connections = c;
  hub->clients++;
}

static void unlink_connection(ro_Hub *hub, ro_Connection *c) {
  if (c->previous != NULL)
    c->previous->next = c->next;
  else
    hub->connections = c->next;
  if (c->next != NULL)
    c->next->previous = c->previous;
  c->next = c->previous = NULL;
  hub->clients--;
}

static void push_ready(ro_Hub *hub, ro_Connection *c) {
  if (c->is_ready)
    return;
  c->is_ready = 1;
  c->next_ready = NULL;
  if (hub->ready_last != NULL)
    hub->ready_last->next_ready = c;
  else
    hub->ready_first = c;
  hub->ready_last = c;
}

static ro_Connection *pop_ready(ro_Hub *hub) {
  ro_Connection *c = hub->ready_first;
  if (c == NULL)
    return NULL;
  hub->ready_first = c->next_ready;
  if (hub->ready_first == NULL)
    hub->ready_last = NULL;
  c->is_ready = 0;
  return c;
}

static int has_line(const ro_Hub *hub) {
  return hub->heirs_first != NULL || hub->ready_first != NULL;
}

/* Puts the connection back in front of all others. */
static void push_back(ro_Hub *hub, ro_Connection *c) {
  c->is_ready = 1;
  c->next_ready = hub->ready_first;
  hub->ready_first = c;
  if (hub->ready_last == NULL)
    hub->ready_last = c;
}

static void push_heir(ro_Hub *hub, ro_Connection *c) {
  c->is_heir = 1;
  c->next_heir = NULL;
  if (hub->heirs_last != NULL)
    hub->heirs_last->next_heir = c;
  else
    hub->heirs_first = c;
  hub->heirs_last = c;
}

static ro_Connection *pop_heir(ro_Hub *hub) {
  ro_Connection *c = hub->heirs_first;
  if (c == NULL)
    return NULL;
  hub->heirs_first = c->next_heir;
  if (hub->heirs_first == NULL)
    hub->heirs_last = NULL;
  c->is_heir = 0;
  return c;
}

/* The connection that its client calls `key`, be it that it has ended and this was not reported yet; or NULL. */
static ro_Connection *find_connection(ro_Hub *hub, uint64_t key) {
  for (ro_Connection *c = hub->connections; c != NULL; c = c->next)
    if (c->key == key)
      return c;
  for (ro_Connection *c = hub->ready_first; c != NULL; c = c->next_ready)
    if (c->key == key)
      return c;
  return NULL;
}

/*
** Buries a connection that has ended and that nothing speaks of any more. It is freed by the
** thread that watches the descriptors, before it looks again: events about it may be under way.
*/
static void release(ro_Hub *hub, ro_Connection *c) {
  if (!c->has_ended || c->users > 0 || c->is_ready || c->is_heir || c->is_buried)
    return;
  c->is_buried = 1;
  c->next = hub->buried;
  hub->buried = c;
}

static void free_buried(ro_Hub *hub) {
  ro_Connection *c;
  while ((c = hub->buried) != NULL) {
    hub->buried = c->next;
    free(c);
  }
}

/* The client is gone or sent nonsense. A marked connection is reported before it is freed. */
static void end_connection(ro_Hub *hub, ro_Connection *c) {
  if (c->has_ended)
    return;
  ro_poller_remove(&hub->poller, c->link.in);
  if (c->writes)
    ro_poller_remove(&hub->poller, c->link.out);
  ro_link_close(&c->link);
  unlink_connection(hub, c);
  if (hub->latest == c)
    hub->latest = NULL;
  c->has_ended = 1;
  if (c->is_marked)
    push_ready(hub, c);
}

static int is_held_back(const ro_Connection *c) {
  return ro_link_pending(&c->link) > MOST_WAITING;
}

/*
** Is the client still read from, once the hub is shut: for what it had sent before, of which the end of a frame may come later
** but not too late; and while a request of it is under way, which may have called it back.
*/
static int is_heard(const ro_Hub *hub, const ro_Connection *c) {
  if (!hub->is_shut || c->users > 0 || c->due > ro_link_received(&c->link))
    return 1;
  return c->due > 0 && ro_now() < hub->deadline;
}

/*
** Watches for room while something waits to go out, and not for input while too much does. A client that can't be watched
** loses its connection: nothing would be heard of it any more.
*/
static void update_interest(ro_Hub *hub, ro_Connection *c) {
  int writes = ro_link_pending(&c->link) > 0, error = 0;
  int reads = !is_held_back(c) && !c->direct && is_heard(hub, c);
  if (writes && !c->writes)
    error = ro_poller_add(&hub->poller, c->link.out, c, 0);
  else if (!writes && c->writes)
    ro_poller_remove(&hub->poller, c->link.out);
  if (error == 0 && reads != c->reads)
    error = ro_poller_change(&hub->poller, c->link.in, c, reads, 0);
  if (error != 0) {
    end_connection(hub, c);
    return;
  }
  c->writes = writes;
  c->reads = reads;
}

/* A request of the connection is under way, or is no more, or it was read from. */
static void settle(ro_Hub *hub, ro_Connection *c) {
  if (hub->is_shut && !c->has_ended)
    update_interest(hub, c);
  release(hub, c);
}

/*
** A client that sends one request after the other is looked at directly, as long as that finds them. The poller needs
** not know of each then: to tell it takes the client, and the next look at it, longer than the rest of a write.
*/
static void look_directly(ro_Hub *hub, int directly) {
  ro_Connection *c = hub->latest;
  if (c == NULL || c->direct == directly || (directly && hub->in_a_row < DIRECT_AFTER))
    return;
  c->direct = directly;
  hub->in_a_row = 0;
  update_interest(hub, c);
  release(hub, c);
}

/* Tells the client why it is not heard, as far as that goes without waiting. */
static void tell_fault(ro_Link *link, const char *what) {
  ro_FrameHead head = {.kind = RO_FRAME_FAULT};
  ro_Buffer frame;
  size_t start;
  ro_buffer_init(&frame);
  start = ro_frame_begin(&frame);
  ro_buffer_add(&frame, what, strlen(what));
  ro_frame_finish(&frame, start, &head);
  if (!frame.failed && ro_link_queue(link, &frame) == RO_LINK_OK)
    ro_link_flush(link);
  ro_buffer_free(&frame);
}

/* Tells the client what was wrong with its bytes, and ends the connection. */
static void fault(ro_Hub *hub, ro_Connection *c, const char *what) {
  tell_fault(&c->link, what);
  end_connection(hub, c);
}

static void inherit(ro_Hub *hub, ro_Connection *c, uint64_t ancestor) {
  const ro_Connection *from = ancestor != 0 ? find_connection(hub, ancestor) : NULL;
  if (from == NULL)
    return;
  c->ancestor = from->number;
  push_heir(hub, c);
}

static void turn_away(const int ends[3]) {
  ro_Link link;
  ro_link_adopt(&link, ends);
  tell_fault(&link, "the listener has not enough memory for another client");
  ro_link_close(&link);
}

static void admit(ro_Hub *hub, const ro_Offer *offer, int ends[3]) {
  ro_Connection *c = calloc(1, sizeof *c);
  if (c == NULL || ro_poller_add(&hub->poller, ends[0], c, 1) != 0) {
    free(c);
    turn_away(ends);
    return;
  }
  ro_link_adopt(&c->link, ends);
  c->number = ++hub->last_number;
  c->key = offer->key;
  c->reads = 1;
  link_connection(hub, c);
  inherit(hub, c, offer->ancestor);
}

/* Takes one connection out of the door. A fork in between would keep its descriptors, of which it knows nothing. */
static int accept_connection(ro_Hub *hub) {
  ro_Offer offer;
  int ends[3], error;
  ro_atfork_hold();
  error = ro_door_accept(hub->door, hub->generation, &offer, ends);
  if (error == 0)
    admit(hub, &offer, ends);
  ro_atfork_release();
  return error == 0;
}

static void accept_connections(ro_Hub *hub) {
  while (accept_connection(hub)) {
  }
}

/* ---- bytes in and out ---- */

/* Puts the connection in line if a whole frame of it is there. */
static void look_for_frame(ro_Hub *hub, ro_Connection *c) {
  ro_FrameHead head;
  switch (ro_link_peek(&c->link, &head, hub->limit)) {
  case RO_LINK_OK:
    push_ready(hub, c);
    break;
  case RO_LINK_BAD:
    fault(hub, c, "the listener received bytes that are no frame");
    break;
  case RO_LINK_TOO_LARGE:
    fault(hub, c, "the listener received a frame larger than its remoteobj.limits.frame");
    break;
  default:
    break;
  }
}

static void flush(ro_Hub *hub, ro_Connection *c) {
  if (ro_link_flush(&c->link) == RO_LINK_CLOSED) {
    end_connection(hub, c);
    return;
  }
  update_interest(hub, c);
  if (!c->has_ended && !is_held_back(c))
    look_for_frame(hub, c); /* one that came in while the client was not heard */
}

static void receive(ro_Hub *hub, ro_Connection *c) {
  switch (ro_link_receive(&c->link)) {
  case RO_LINK_OK:
    look_for_frame(hub, c);
    break;
  case RO_LINK_CLOSED:
    end_connection(hub, c);
    break;
  case RO_LINK_NO_MEMORY:
    fault(hub, c, "the listener has not enough memory for the request");
    break;
  default:
    break;
  }
}

/*
** A client that has a frame in line is not read from: what it sends stays in the pipe, which bounds it, and its end is not
** seen before all that it has sent was taken.
*/
static void attend(ro_Hub *hub, const ro_Ready *ready) {
  ro_Connection *c = ready->owner;
  if (ready->owner == hub) {
    ro_event_clear(&hub->wake);
    hub->is_woken = 1;
  } else if (ready->owner == hub->door) {
    accept_connections(hub);
  } else if (!c->has_ended && ready->writable) {
    if (!c->writes) /* the system has refused to forget it */
      ro_poller_remove(&hub->poller, c->link.out);
    flush(hub, c);
  } else if (!c->has_ended && ready->readable && !c->is_ready) {
    receive(hub, c);
  }
}

/* A connection that ends while events about it wait to be looked at must stay until they have been. */
static void attend_all(ro_Hub *hub, const ro_Ready *ready, int count) {
  ro_Connection *held[READY_AT_ONCE];
  int holds = 0;
  for (int i = 0; i < count; i++) {
    if (ready[i].owner != hub && ready[i].owner != hub->door) {
      held[holds] = ready[i].owner;
      held[holds++]->users++;
    }
  }
  for (int i = 0; i < count; i++)
    attend(hub, &ready[i]);
  for (int i = 0; i < holds; i++) {
    held[i]->users--;
    settle(hub, held[i]);
  }
}

/* ---- the hub ---- */

/* The descriptors are the parent's. */
static void in_child(ro_ForkNode *node) {
  ro_Hub *hub = (ro_Hub *)((char *)node - offsetof(ro_Hub, fork_node));
  for (ro_Connection *c = hub->connections; c != NULL; c = c->next)
    ro_link_close_descriptors(&c->link);
  ro_poller_forget(&hub->poller);
  ro_event_close(&hub->wake);
}

int ro_hub_open(ro_Hub *hub, ro_Door *door, uint64_t generation, size_t limit) {
  int error;
  memset(hub, 0, sizeof *hub);
  hub->door = door;
  hub->generation = generation;
  hub->limit = limit;
  ro_event_init(&hub->wake);
  error = ro_poller_open(&hub->poller);
  if (error != 0)
    return error;
  error = ro_event_open(&hub->wake);
  if (error == 0)
    error = ro_poller_add(&hub->poller, hub->wake.fd, hub, 1);
  if (error == 0)
    error = ro_poller_add(&hub->poller, door->listener_end, door, 1);
  if (error == 0)
    error = pthread_mutex_init(&hub->mutex, NULL);
  hub->fork_node = (ro_ForkNode){.in_child = in_child, .mutex = &hub->mutex};
  if (error == 0 && (error = ro_atfork_add(&hub->fork_node)) != 0)
    pthread_mutex_destroy(&hub->mutex);
  if (error != 0) {
    ro_poller_close(&hub->poller);
    ro_event_close(&hub->wake);
  }
  return error;
}

static ro_Connection *next_in_line(ro_Hub *hub) {
  ro_Connection *c = pop_heir(hub);
  return c != NULL ? c : pop_ready(hub);
}

static void free_connections(ro_Hub *hub) {
  ro_Connection *c;
  while ((c = next_in_line(hub)) != NULL)
    release(hub, c);
  free_buried(hub);
}

void ro_hub_discard(ro_Hub *hub) {
  ro_Connection *c;
  ro_atfork_remove(&hub->fork_node);
  if (!hub->fork_node.held)
    return;
  while ((c = hub->connections) != NULL) {
    ro_link_close(&c->link);
    unlink_connection(hub, c);
    c->has_ended = 1;
    c->users = 0; /* the requests were the parent's */
    release(hub, c);
  }
  free_connections(hub);
  ro_poller_discard(&hub->poller);
}

void ro_hub_close(ro_Hub *hub) {
  ro_Connection *c;
  ro_atfork_remove(&hub->fork_node);
  while ((c = hub->connections) != NULL) {
    c->is_marked = 0;
    end_connection(hub, c);
    release(hub, c);
  }
  free_connections(hub);
  ro_poller_close(&hub->poller);
  ro_event_close(&hub->wake);
  pthread_mutex_destroy(&hub->mutex);
}

/* Is the next that the connection tells an end of what its client holds. */
static int lets_go(ro_Hub *hub, ro_Connection *c) {
  ro_FrameHead head;
  if (!c->is_marked || c->has_ended)
    return c->is_marked;
  return ro_link_peek(&c->link, &head, hub->limit) == RO_LINK_OK && head.kind == RO_FRAME_RELEASE;
}

/*
** Must the connection, taken out of the line, stand back for heirs? They have been offered through the door before
** what they inherit was let go, but are looked at when the poller says so.
*/
static int stands_back(ro_Hub *hub, ro_Connection *c) {
  if (!lets_go(hub, c))
    return 0;
  accept_connections(hub);
  if (hub->heirs_first == NULL)
    return 0;
  push_back(hub, c);
  return 1;
}

/* Takes one frame of a connection in line; returns whether there was one. */
static int take(ro_Hub *hub, ro_Connection *c, ro_Request *request) {
  request->connection = c;
  request->client = c->number;
  request->event = c->has_ended ? RO_CLIENT_ENDED : RO_FRAME_CAME;
  if (c->ancestor != 0) {
    request->event = RO_CLIENT_INHERITS;
    request->ancestor = c->ancestor;
    c->ancestor = 0;
    return 1;
  }
  if (c->has_ended) {
    if (!c->is_marked)
      return 0;
    c->is_marked = 0;
    return 1;
  }
  if (is_held_back(c) || ro_link_peek(&c->link, &request->head, hub->limit) != RO_LINK_OK)
    return 0;
  if (ro_link_take(&c->link, &request->head, &request->bytes, &request->offset) != RO_LINK_OK) {
    fault(hub, c, "the listener has not enough memory for the request");
    return 0;
  }
  request->is_late = hub->is_shut && c->due == 0 && ro_now() >= hub->deadline;
  c->due -= c->due < RO_FRAME_HEAD + request->head.size ? c->due : RO_FRAME_HEAD + (size_t)request->head.size;
  look_for_frame(hub, c);
  if (c->has_ended) /* by what follows the frame */
    return 1;
  if (c != hub->latest) {
    look_directly(hub, 0);
    hub->in_a_row = 0;
  }
  hub->latest = c;
  hub->in_a_row++;
  return 1;
}

static int take_ready(ro_Hub *hub, ro_Request *request) {
  ro_Connection *c;
  int found = 0;
  while (!found && (c = next_in_line(hub)) != NULL) {
    if (stands_back(hub, c))
      continue;
    c->users++;
    found = take(hub, c, request);
    if (!found)
      c->users--;
    settle(hub, c);
  }
  return found;
}

/* What one look at the descriptors brings; for ro_patience_try. */
typedef struct Look {
  ro_Hub *hub;
  ro_Ready ready[READY_AT_ONCE];
  int count;
} Look;

/* Has the client that was served last sent its next request, as one does that works in a loop. */
static int look_at_latest(ro_Hub *hub) {
  ro_Connection *c;
  int found;
  pthread_mutex_lock(&hub->mutex);
  c = hub->latest;
  if (c != NULL && !is_held_back(c) && is_heard(hub, c)) {
    receive(hub, c);
    release(hub, c);
  }
  found = has_line(hub);
  pthread_mutex_unlock(&hub->mutex);
  return found;
}

static int look_once(void *context) {
  Look *l = context;
  if (l->hub->since_look < LOOK_EVERY && look_at_latest(l->hub))
    return 1;
  l->hub->since_look = 0;
  l->count = ro_poller_wait(&l->hub->poller, l->ready, READY_AT_ONCE, 0);
  return l->count;
}

/* Waits for the descriptors, actively at first. */
static void wait_for_ready(Look *l, int milliseconds) {
  ro_Hub *hub = l->hub;
  int64_t start;
  l->count = 0;
  if (milliseconds != 0) {
    start = ro_now();
    if (ro_patience_try(&hub->patience, look_once, l) != 0)
      return;
    pthread_mutex_lock(&hub->mutex);
    look_directly(hub, 0);
    pthread_mutex_unlock(&hub->mutex);
  }
  l->count = ro_poller_wait(&hub->poller, l->ready, READY_AT_ONCE, milliseconds);
  if (milliseconds != 0)
    ro_patience_learn(&hub->patience, start);
}

/* Looks at the descriptors until a frame is there, nothing more is going on, or the hub is woken. */
static int look(ro_Hub *hub, ro_Request *request, int milliseconds) {
  Look l = {.hub = hub};
  int found, wait;
  hub->is_woken = 0;
  do {
    free_buried(hub);
    look_directly(hub, milliseconds != 0 && !has_line(hub));
    wait = has_line(hub) ? 0 : milliseconds;
    pthread_mutex_unlock(&hub->mutex);
    wait_for_ready(&l, wait);
    pthread_mutex_lock(&hub->mutex);
    if (l.count > 0)
      hub->since_look = 0;
    attend_all(hub, l.ready, l.count);
    found = take_ready(hub, request);
  } while (!found && (l.count > 0 || wait != 0) && (milliseconds == 0 || !hub->is_woken));
  return found;
}

int ro_hub_next(ro_Hub *hub, ro_Request *request, int milliseconds) {
  int found = 0;
  pthread_mutex_lock(&hub->mutex);
  if (++hub->since_look < LOOK_EVERY)
    found = take_ready(hub, request);
  if (!found)
    found = look(hub, request, milliseconds);
  pthread_mutex_unlock(&hub->mutex);
  return found;
}

void ro_hub_shut(ro_Hub *hub, int64_t deadline) {
  ro_Connection *c, *next;
  pthread_mutex_lock(&hub->mutex);
  accept_connections(hub);
  ro_poller_remove(&hub->poller, hub->door->listener_end);
  hub->is_shut = 1;
  hub->deadline = deadline;
  for (c = hub->connections; c != NULL; c = next) {
    next = c->next;
    c->due = ro_link_received(&c->link) + ro_link_arrived(&c->link);
    settle(hub, c);
  }
  pthread_mutex_unlock(&hub->mutex);
}

void ro_hub_wake(ro_Hub *hub) {
  ro_event_set(&hub->wake);
}

void ro_hub_remind(ro_Hub *hub) {
  pthread_mutex_lock(&hub->mutex);
  if (has_line(hub))
    ro_event_set(&hub->wake);
  pthread_mutex_unlock(&hub->mutex);
}

void ro_hub_mark(ro_Hub *hub, ro_Request *request) {
  pthread_mutex_lock(&hub->mutex);
  request->connection->is_marked = 1;
  if (request->connection->has_ended) {
    push_ready(hub, request->connection);
    ro_hub_wake(hub);
  }
  pthread_mutex_unlock(&hub->mutex);
}

static void send(ro_Hub *hub, ro_Connection *c, ro_Buffer *answer) {
  int was_held_back = is_held_back(c);
  if (!answer->failed && ro_link_queue(&c->link, answer) == RO_LINK_OK)
    flush(hub, c);
  else
    fault(hub, c, "the listener has not enough memory for the answer");
  if (was_held_back && c->is_ready)
    ro_hub_wake(hub); /* whoever waits for frames has not seen this one */
}

void ro_hub_send(ro_Hub *hub, ro_Request *request, ro_Buffer *frame) {
  pthread_mutex_lock(&hub->mutex);
  if (!request->connection->has_ended)
    send(hub, request->connection, frame);
  pthread_mutex_unlock(&hub->mutex);
  ro_buffer_clear(frame, MOST_WAITING);
}

void ro_hub_mention(ro_Hub *hub, const ro_Request *request, const ro_Buffer *frame) {
  pthread_mutex_lock(&hub->mutex);
  if (!request->connection->has_ended && !frame->failed)
    ro_link_write_now(&request->connection->link, frame);
  pthread_mutex_unlock(&hub->mutex);
}

void ro_hub_done(ro_Hub *hub, ro_Request *request, ro_Buffer *answer) {
  ro_Connection *c = request->connection;
  pthread_mutex_lock(&hub->mutex);
  if ((answer->size > 0 || answer->failed) && !c->has_ended)
    send(hub, c, answer);
  c->users--;
  settle(hub, c);
  pthread_mutex_unlock(&hub->mutex);
  request->connection = NULL;
  ro_buffer_clear(answer, MOST_WAITING);
  ro_buffer_clear(&request->bytes, MOST_WAITING);
}

/* Has everything been written; and read, of what clients had sent before the hub was shut. */
static int is_flushed(ro_Hub *hub) {
  for (const ro_Connection *c = hub->connections; c != NULL; c = c->next)
    if (ro_link_pending(&c->link) > 0 || c->due > ro_link_received(&c->link))
      return 0;
  return 1;
}

int ro_hub_flush(ro_Hub *hub, int64_t deadline) {
  int done, last = 0;
  pthread_mutex_lock(&hub->mutex);
  while (!(done = has_line(hub) ? -1 : is_flushed(hub)) && !last) {
    ro_Ready ready[READY_AT_ONCE];
    int count;
    last = hub->hurries || ro_now() >= deadline;
    pthread_mutex_unlock(&hub->mutex);
    count = ro_poller_wait(&hub->poller, ready, READY_AT_ONCE, last ? 0 : FLUSH_STEP);
    pthread_mutex_lock(&hub->mutex);
    attend_all(hub, ready, count);
  }
  pthread_mutex_unlock(&hub->mutex);
  return done;
}

void ro_hub_hurry(ro_Hub *hub) {
  pthread_mutex_lock(&hub->mutex);
  hub->hurries = 1;
  pthread_mutex_unlock(&hub->mutex);
  ro_hub_wake(hub);
}

int ro_hub_clients(ro_Hub *hub) {
  int clients;
  pthread_mutex_lock(&hub->mutex);
  clients = hub->clients;
  pthread_mutex_unlock(&hub->mutex);
  return clients;
}
