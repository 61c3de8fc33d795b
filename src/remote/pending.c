#include "remote/pending.h"

#include "base/clock.h"
#include "remote/callback.h"
#include "remote/outgoing.h"
#include "remote/proxy.h"

void ro_pending_link(ro_Client *client, ro_Pending *pending) {
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

ro_Pending *ro_pending_find(ro_Client *client, uint64_t id) {
  ro_Pending *p = client->first;
  while (p != NULL && p->id != id)
    p = p->next;
  return p;
}

ro_Incoming *ro_pending_next_call(ro_Client *client, ro_Pending *pending) {
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
  while ((call = ro_pending_next_call(&proxy->client, pending)) != NULL)
    ro_incoming_free(call);
  if (tell && pending->functions && pending->session == proxy->client.session)
    ro_client_queue_bare(proxy, RO_FRAME_LEFT, pending->id);
}

void ro_pending_settle(ro_Proxy *proxy, ro_Pending *pending, ro_Outcome outcome, int may_have_run) {
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

void ro_pending_abandon(ro_Proxy *proxy, ro_Pending *pending) {
  if (pending->settled)
    return;
  unlink_pending(&proxy->client, pending);
  pending->settled = 1;
  end_calls(proxy, pending, 1);
}

void ro_pending_unannounce(ro_Client *client, const ro_Pending *pending) {
  ro_Pending **link = &client->due, *last = NULL;
  while (*link != NULL && *link != pending) {
    last = *link;
    link = &last->next;
  }
  if (*link == NULL)
    return;
  *link = pending->next;
  if (client->last_due == pending)
    client->last_due = last;
}

int ro_pending_is_sent(const ro_Client *client, const ro_Pending *pending) {
  return client->queued - ro_link_pending(&client->link) >= pending->end;
}

void ro_pending_expire(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  int64_t now, earliest = RO_NEVER;
  if (client->earliest == RO_NEVER || client->earliest > (now = ro_now()))
    return;
  for (ro_Pending *p = client->first, *next; p != NULL; p = next) {
    next = p->next;
    if (p->thread != NULL)
      continue;
    if (p->deadline <= now)
      ro_pending_settle(proxy, p, RO_TOO_LATE, ro_pending_is_sent(client, p));
    else if (p->deadline < earliest)
      earliest = p->deadline;
  }
  client->earliest = earliest;
}
