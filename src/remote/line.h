/*
** Callbacks, the listener's side. A request that came with callbacks has a line back to its client: functions that call
** those of the client, until the request is answered. A call waits inside the library, so that other requests, those of
** the same client too, are served meanwhile.
*/
#ifndef RO_LINE_H
#define RO_LINE_H

#include <lua.h>

#include "remote/handles.h"
#include "remote/proxy.h"

typedef struct ro_Line ro_Line;

/*
** Pushes the function that calls the client's function `number`; `slot` is the stack index, nil at first, that keeps
** the line of the request that `holder` serves. [-0, +1, m]
*/
void ro_push_line_function(lua_State *L, ro_Proxy *proxy, ro_Holder *holder, int slot, lua_Integer number);

/* The request has been answered, or is about to be: its functions can't be called any more. */
void ro_line_close(ro_Line *line);

/*
** What `request` tells of lines: it is the answer to a call; its client has given up one of its requests; or its client
** is gone. Takes its bytes. Lock held. [-0, +0, -]
*/
void ro_lines_event(ro_Proxy *proxy, ro_Request *request);

/* All who wait for answers are to look whether there is still a thread that takes these in. Lock held. */
void ro_lines_look(const ro_Proxy *proxy);

#endif
