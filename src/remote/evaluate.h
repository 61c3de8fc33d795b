/*
** Evaluation: a chain is run on the object, in the listener, and what comes of it is brought
** back; in the listener's own process it is run directly.
*/
#ifndef RO_EVALUATE_H
#define RO_EVALUATE_H

#include <lua.h>

#include "remote/proxy.h"

/*
** Evaluates the chain of the view at `view`, then `operation` (unless RO_OP_ROOT) with the
** `count` operands on top, which are popped, under the view's options. Pushes the results
** and returns how many. Raises the remote error; where there is no answer and no default, an
** error of the library. [-count, +n, e]
*/
int ro_evaluate(lua_State *L, int view, ro_Operation operation, int count);

/* Does the calling process listen for this proxy, so that evaluations are direct. */
int ro_listens_here(const ro_Proxy *proxy);

/* get_ of views, and remoteobj.get; a lua_CFunction. */
int ro_method_get(lua_State *L);

#endif
