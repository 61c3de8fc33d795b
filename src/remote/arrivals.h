/*
** What comes in for a client: answers, each for its request, and calls of functions that requests took along.
** Nothing here waits.
*/
#ifndef RO_ARRIVALS_H
#define RO_ARRIVALS_H

#include "remote/client.h"

/* Is there anything to do for who waits for the request. */
int ro_client_has_news(const ro_Client *client, const ro_Pending *pending);

/*
** Moves bytes both ways as far as goes without blocking, until there are news for `pending`; with NULL until everything
** is settled.
*/
void ro_client_pump(struct ro_Proxy *proxy, const ro_Pending *pending);

/*
** Does the listener live, now that all has gone out that could: else the connection is lost. Whatever the listener has
** answered before is read.
*/
void ro_client_look_for_life(struct ro_Proxy *proxy, const ro_Pending *pending);

/* The call that has come in won't be run. */
void ro_client_refuse(struct ro_Proxy *proxy, const struct ro_Incoming *call);

/* The answer was taken in, but nobody will read it: if it names references they are to be let go. */
void ro_client_put_late(struct ro_Proxy *proxy, const ro_Pending *pending);

/*
** Takes the payload of an answer that nobody waited for any more, but that names references, into `into`, from *offset
** on; returns 0 when there is none.
*/
int ro_client_take_late(struct ro_Proxy *proxy, ro_Buffer *into, size_t *offset);

#endif
