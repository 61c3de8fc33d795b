/*
** Evaluations that are not waited for: calls, whose results a future brings, and what is only told.
*/
#ifndef RO_CALL_H
#define RO_CALL_H

#include <lua.h>

#include "codec/codec.h"
#include "remote/chain.h"
#include "remote/proxy.h"

/*
** As ro_evaluate, but pushes a future. Raises only what interrupts the sending. `request` receives what is known of
** the request when it has been sent. [-count, +1, v]
*/
int ro_call(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *request);

/*
** Sends it and pushes nothing. Raises when it can't be sent: what the arguments raise; where nobody listens and no
** default applies, an error of the library. [-count, +0, e]
*/
int ro_tell(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *request);

/*
** Writes the future at `index` as the result that it stands for, for ro_EncodeRules.userdata; returns 0 if it is
** none. `writer` is as in ro_chain_userdata. [-0, +0, v]
*/
int ro_put_future(ro_Encoder *e, int index, ro_Writer *writer);

/*
** Is the value at `index` a future of that proxy; then pushes its first result, waiting for it. Raises its error.
** [-0, +(0|1), e]
*/
int ro_push_result_of(lua_State *L, int index, const ro_Proxy *proxy);

#endif
