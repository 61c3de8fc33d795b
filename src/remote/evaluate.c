/***
Carrying out what a view describes: here, or in the listener.
@module remoteobj
*/

#include "remote/evaluate.h"

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/scratch.h"
#include "base/stack.h"
#include "codec/codec.h"
#include "failure/failure.h"
#include "future/future.h"
#include "remote/arrivals.h"
#include "remote/call.h"
#include "remote/callback.h"
#include "remote/chain.h"
#include "remote/execute.h"
#include "remote/text.h"
#include "remote/trace.h"

int ro_listens_here(const ro_Proxy *proxy) {
  return proxy->listener != NULL;
}

/* ---- no answer ---- */

int ro_default_applies(const ro_View *view, ro_Operation operation, ro_Outcome outcome) {
  if (!(view->options.flags & RO_HAS_DEFAULT) || ro_iterates(operation) || outcome == RO_DAMAGED)
    return 0;
  return operation != RO_OP_SET || !(view->options.flags & RO_PROXYS_DEFAULT);
}

int ro_give_default(lua_State *L, int view) {
  int base = lua_gettop(L);
  lua_getiuservalue(L, view, RO_VIEW_DEFAULT);
  if (lua_isfunction(L, -1))
    lua_call(L, 0, LUA_MULTRET);
  return lua_gettop(L) - base;
}

int ro_raise_outcome(lua_State *L, int view, const ro_Pending *pending) {
  const ro_View *v = lua_touserdata(L, view);
  const char *chain = lua_tostring(L, -1);
  ro_check_stack(L, 12, NULL);
  switch (pending->outcome) {
  case RO_CUT_OFF:
    ro_push_error(L, RO_DISCONNECTED, "the listener ended before it answered %s", chain);
    break;
  case RO_TOO_LATE:
    ro_push_error(L, RO_TIMEOUT, "no answer to %s within %f seconds", chain, v->options.timeout);
    break;
  case RO_GONE:
    return ro_raise(
        L, RO_NOT_LISTENING,
        "the object of the reference in %s is not kept any more: the connection that it came by has ended",
        chain);
  case RO_DAMAGED:
    return ro_raise(L, RO_PROTOCOL, "the connection for %s was ended: %s", chain, v->proxy->client.fault);
  default:
    return ro_raise(L, RO_NOT_LISTENING, "nobody listens for %s", chain);
  }
  lua_pushboolean(L, pending->may_have_run);
  lua_setfield(L, -2, "may_have_run");
  return lua_error(L);
}

/* ---- by the wire ---- */

int64_t ro_view_deadline(const ro_View *view) {
  return view->options.flags & RO_HAS_TIMEOUT ? ro_deadline(view->options.timeout) : RO_NEVER;
}

/* Puts the ids of the requests whose results were named behind the session. [-0, +0, v] */
static void put_names(lua_State *L, ro_Buffer *frame, ro_Pending *pending) {
  const ro_Buffer *names = ro_scratch_side(frame);
  uint64_t count = names->size / sizeof count;
  if (count == 0)
    return;
  pending->flags |= RO_REQUEST_NAMES;
  ro_buffer_add(frame, names->data, names->size);
  ro_buffer_add(frame, &count, sizeof count);
  if (names->failed || frame->failed)
    luaL_error(L, "not enough memory");
  if (frame->size - RO_FRAME_HEAD > pending->limit)
    ro_raise(L, RO_UNSENDABLE,
             "cannot send a request with so many futures: larger than remoteobj.limits.frame");
}

void ro_encode_request(lua_State *L, int view, ro_Operation operation, int first, int count, ro_Buffer *frame,
                       ro_Pending *pending) {
  const ro_View *v = lua_touserdata(L, view);
  ro_EncodeRules rules;
  ro_Writer writer = {.proxy = v->proxy, .names = ro_scratch_side(frame)};
  ro_Encoder *e;
  lua_pushnil(L);
  if (!(pending->flags & RO_REQUEST_ONEWAY))
    writer.functions = lua_gettop(L);
  ro_chain_rules(L, &rules, &writer);
  ro_frame_begin(frame);
  e = ro_encoder_open(L, frame, &rules);
  ro_chain_encode(e, &rules, view, operation, first, count);
  ro_encoder_finish(e);
  lua_pop(L, 1);
  pending->limit = rules.limit;
  pending->session = writer.session;
  ro_callbacks_keep(L, pending);
  put_names(L, frame, pending);
}

int ro_read_answer(lua_State *L, ro_Proxy *proxy, const ro_Pending *answer) {
  ro_Reader reader = {.proxy = proxy, .session = answer->session};
  ro_DecodeRules rules = {.code = 1, .special = ro_chain_special, .context = &reader};
  const char *data = ro_buffer_from(answer->answer, answer->offset);
  size_t size = answer->answer->size - answer->offset;
  ro_Decoder *d;
  int count = 0;
  if (answer->kind == RO_FRAME_FAILURE) {
    if (size == 0)
      return luaL_error(L, "not enough memory in the listener");
    ro_failure_decode(L, data, size, &rules);
    return lua_error(L);
  }
  d = ro_decoder_open(L, data, size, &rules);
  for (; ro_decoder_more(d); count++) {
    if (count % 8 == 0)
      ro_check_stack(L, 16, "too many results");
    ro_decode(d);
  }
  ro_decoder_close(d);
  return count;
}

/* Reads the answer at argument 1, for the references in it. */
static int read_late(lua_State *L) {
  const ro_Pending *answer = lua_touserdata(L, 1);
  ro_read_answer(L, lua_touserdata(L, 2), answer);
  return 0;
}

void ro_read_late_answers(lua_State *L, ro_Proxy *proxy) {
  ro_Pending answer = {.kind = RO_FRAME_REPLY, .session = proxy->client.session};
  int top;
  answer.answer = ro_scratch_open(L);
  top = lua_gettop(L);
  while (ro_client_take_late(proxy, answer.answer, &answer.offset)) {
    lua_pushcfunction(L, read_late);
    lua_pushlightuserdata(L, &answer);
    lua_pushlightuserdata(L, proxy);
    ro_pcall_aside(L, 2, 0, 0);
    lua_settop(L, top);
  }
  ro_scratch_close(answer.answer);
  lua_pop(L, 1);
}

static int evaluate_there(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *pending) {
  const ro_View *v = lua_touserdata(L, view);
  ro_Proxy *proxy = v->proxy;
  int base = lua_gettop(L) - count;
  ro_Outcome outcome;
  int results;
  ro_check_stack(L, 12, NULL);
  if (proxy->client.late.size > 0)
    ro_read_late_answers(L, proxy);
  pending->deadline = ro_view_deadline(v);
  pending->flags = 0;
  pending->future = NULL;
  pending->answer = ro_scratch_open(L);
  ro_encode_request(L, view, operation, base + 1, count, pending->answer, pending);
  outcome = ro_client_exchange(L, proxy, pending->answer, pending);
  if (outcome != RO_ANSWERED) {
    ro_scratch_close(pending->answer);
    lua_settop(L, base + count);
    if (!ro_default_applies(v, operation, outcome)) {
      ro_push_evaluation_text(L, view, operation, count);
      return ro_raise_outcome(L, view, pending);
    }
    lua_settop(L, base);
    return ro_give_default(L, view);
  }
  results = ro_read_answer(L, proxy, pending);
  ro_scratch_close(pending->answer);
  lua_rotate(L, base + 1, results);
  lua_settop(L, base + results);
  if (proxy->client.due != NULL && lua_checkstack(L, RO_FUTURE_ANNOUNCING)) /* else the next wait does that */
    ro_client_announce(L, proxy);
  return results;
}

int ro_evaluate(lua_State *L, int view, ro_Operation operation, int count) {
  ro_Evaluator evaluate = evaluate_there;
  const ro_View *v;
  ro_Pending pending;
  view = lua_absindex(L, view);
  v = lua_touserdata(L, view);
  if ((v->options.flags & RO_IS_NOT_AWAITED) && !ro_iterates(operation))
    evaluate = v->options.flags & RO_IS_ASYNC ? ro_call : ro_tell;
  else if (ro_listens_here(v->proxy))
    return ro_execute_here(L, view, operation, count);
  if (v->proxy->watch->traced && !ro_listens_here(v->proxy))
    return ro_trace_evaluation(L, view, operation, count, evaluate);
  return evaluate(L, view, operation, count, &pending);
}

/***
Evaluates a view, as `Proxy:get_` does: for code that is handed views.
@function get
@tparam Proxy view a view, or the proxy itself
@tparam[opt] table options what holds for this evaluation
@param[opt] options.default the value that takes the place of an answer that can't be had, or a function that
 gives it
@tparam[opt] number options.timeout seconds
@return all results
@raise what the evaluation raises; `NotListening`, `Disconnected` or `Timeout` where there is no answer
*/

/***
A proxy, or a view of one: the proxy with a chain of operations that are not carried out yet. Fields and keys
give views; a call, an assignment, `#` and `pairs` carry the chain out, in one request and one reply. Names
that end or begin with an underscore are the proxy's own, and so are the words `super`, `passto`, `poll`,
`process_requests`, `cancel_requests` and `wait_until_listening`; all others are the object's.

Whatever is evaluated raises what the operation has raised in the listener; `NotListening`, `Disconnected` or
`Timeout` where there is no answer and no default; `Unsendable` for a value that can't travel.
@type Proxy
*/

/***
Evaluates the view.
@function Proxy:get_
@tparam[opt] table options what holds for this evaluation
@param[opt] options.default the value that takes the place of an answer that can't be had, or a function that
 gives it
@tparam[opt] number options.timeout seconds
@return all results
@raise what the evaluation raises
@usage print(remote.speed:get_ { default = 0, timeout = 1 })
*/
int ro_method_get(lua_State *L) {
  ro_check_view(L, 1);
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    ro_push_copy(L, 1);
    ro_merge_options(L, 2, RO_OPTION_DEFAULT | RO_OPTION_TIMEOUT);
    lua_replace(L, 1);
  }
  lua_settop(L, 1);
  return ro_evaluate(L, 1, RO_OP_ROOT, 0);
}
