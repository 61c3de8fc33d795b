/* One request, run: from the bytes of the operations to the bytes of the answer. */
#ifndef RO_SERVE_H
#define RO_SERVE_H

#include <lua.h>

#include "remote/handles.h"
#include "remote/proxy.h"
#include "remote/results.h"
#include "sys/hub.h"

typedef struct ro_Service {
  ro_Proxy *proxy;
  ro_Hub *hub;
  ro_Request *request;
  ro_Buffer *answer;                            /* receives the frame that goes back */
  void (*prepare)(lua_State *L, void *context); /* called first, protected; may be NULL. [-0, +0, e] */
  void *context;
  ro_Holder holder;       /* the rest is ro_serve's own: the client */
  struct ro_Trace *trace; /* what is told of the request, or NULL */
  ro_UnderWay under_way;  /* the request, if its result is to be kept */
  ro_Reading reading;     /* it, while it is read */
  int inherits;           /* the answer is the failure of a request that this one names */
} ro_Service;

/*
** Runs the request of `service` on L, with the lock held and the proxy's own userdata on top, and leaves the
** answer's frame, if there is one, in `answer`. Returns whether it succeeded; raises nothing. [-0, +0, -]
*/
int ro_serve(lua_State *L, ro_Service *service);

/* Leaves the frame that refuses the request in `answer`, if it is one that gets an answer. */
void ro_refuse(const ro_Request *request, ro_Buffer *answer);

/* Keeps what runs a request out of tracebacks. [-0, +0, m] */
void ro_open_serve(lua_State *L);

#endif
