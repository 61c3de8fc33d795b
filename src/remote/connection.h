/*
** The connection of a client: how it is made, how it ends, and what a fork makes of it.
*/
#ifndef RO_CONNECTION_H
#define RO_CONNECTION_H

#include <lua.h>

#include "remote/client.h"

/*
** Connects to the listener, if that is not done, and waits for room at its door until the deadline. A request with
** references or futures needs the connection of their session, `wanted`; 0: any will do. RO_ANSWERED: there is one.
** Raises what interrupts the wait, and errors of the system that keep a connection from being made. [-0, +0, v]
*/
ro_Outcome ro_client_connect(lua_State *L, struct ro_Proxy *proxy, uint64_t wanted, int64_t deadline);

/*
** The connection has ended: every request under way is settled. Whether the listener lives is not asked
** before each request: one that is found dead, without having taken it, was dead before.
*/
void ro_client_lose(struct ro_Proxy *proxy, ro_Outcome outcome);

/* Closes the connection for good; requests under way are settled as lost. */
void ro_client_close(struct ro_Proxy *proxy);

/* So many more references of the session are in use. */
void ro_client_count_references(ro_Client *client, int more);

/* Nobody needs to watch the link any more for bytes that did not go out at once, if these have gone. */
void ro_client_stop_lingering(struct ro_Proxy *proxy);

/*
** Before a fork: if this process has references, its child gets a connection of its own that has a share in what
** they name. In the parent and in the child after it.
*/
void ro_client_before_fork(struct ro_Proxy *proxy);
void ro_client_in_parent(ro_Client *client);
void ro_client_in_child(ro_Client *client);

#endif
