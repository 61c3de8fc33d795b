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

/* ---- the parts of an evaluation by the wire ---- */

/* When an evaluation of the view that begins now must have its answer. */
int64_t ro_view_deadline(const ro_View *view);

/*
** Encodes the chain of the view at `view`, then `operation` (unless RO_OP_ROOT) with the `count` operands from `first`
** on, into `frame`, a scratch on the stack. Sets what `pending` must know of that. Pushes the table of the functions that
** the request takes along (remote/callback.h), which must be kept as long as it is under way, or nil. [-0, +1, e]
*/
void ro_encode_request(lua_State *L, int view, ro_Operation operation, int first, int count, ro_Buffer *frame,
                       ro_Pending *pending);

/*
** Pushes something, and what an answer brings, and returns how many values that is; or raises its error. [-0, +(n + 1), e]
*/
int ro_read_answer(lua_State *L, ro_Proxy *proxy, const ro_Pending *answer);

/*
** Answers that came too late are read too where they name references, which are so let go: by the collector. What can't
** be read stays in the listener until the connection ends. [-0, +0, m]
*/
void ro_read_late_answers(lua_State *L, ro_Proxy *proxy);

/* Does the default of the view take the place of the answer that is not to be had. */
int ro_default_applies(const ro_View *view, ro_Operation operation, ro_Outcome outcome);

/* Pushes the default of the view at `view`; returns how many values. [-0, +n, e] */
int ro_give_default(lua_State *L, int view);

/* Raises the error for a request without an answer; the text of its evaluation lies on top. [-1, +0, v] */
int ro_raise_outcome(lua_State *L, int view, const ro_Pending *pending);

/* Does the calling process listen for this proxy, so that evaluations are direct. */
int ro_listens_here(const ro_Proxy *proxy);

/* get_ of views, and remoteobj.get; a lua_CFunction. */
int ro_method_get(lua_State *L);

#endif
