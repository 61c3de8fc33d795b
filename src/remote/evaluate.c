/***
Carrying out what a view describes: here, or in the listener.
@module remoteobj
*/

#include "remote/evaluate.h"

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/scratch.h"
#include "codec/codec.h"
#include "failure/failure.h"
#include "remote/chain.h"
#include "remote/execute.h"
#include "remote/text.h"
#include "remote/trace.h"

int ro_listens_here(const ro_Proxy *proxy) {
  return proxy->listener != NULL;
}

/* ---- no answer ---- */

static int default_applies(const ro_View *view, ro_Operation operation, ro_Outcome outcome) {
  if (!(view->options.flags & RO_HAS_DEFAULT) || ro_iterates(operation) || outcome == RO_DAMAGED)
    return 0;
  return operation != RO_OP_SET || !(view->options.flags & RO_PROXYS_DEFAULT);
}

static int give_default(lua_State *L, int view) {
  int base = lua_gettop(L);
  lua_getiuservalue(L, view, RO_VIEW_DEFAULT);
  if (lua_isfunction(L, -1))
    lua_call(L, 0, LUA_MULTRET);
  return lua_gettop(L) - base;
}

/* The last operation's operands lie on top. */
static int raise_outcome(lua_State *L, int view, ro_Operation operation, int count,
                         const ro_Pending *pending) {
  const ro_View *v = lua_touserdata(L, view);
  const char *chain;
  luaL_checkstack(L, 12, NULL);
  ro_push_evaluation_text(L, view, operation, count);
  chain = lua_tostring(L, -1);
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

/* Encodes a request into the frame of `pending`, which lies on top, and sets what depends on it. [-0, +0, e] */
static void encode_request(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *pending) {
  ro_Writer writer = {.proxy = ((ro_View *)lua_touserdata(L, view))->proxy};
  ro_EncodeRules rules;
  ro_Encoder *e;
  int first = lua_gettop(L) - count;
  ro_chain_rules(L, &rules, &writer);
  ro_frame_begin(pending->frame);
  e = ro_encoder_open(L, pending->frame, &rules);
  ro_chain_encode(e, &rules, view, operation, first, count);
  ro_encoder_finish(e);
  lua_pop(L, 1);
  pending->limit = rules.limit;
  pending->session = writer.session;
}

/* Pushes what the answer brings, and something below it; returns how many values. [-0, +(n + 1), e] */
static int read_answer(lua_State *L, ro_Proxy *proxy, const ro_Pending *answer) {
  ro_Reader reader = {proxy, NULL, answer->session};
  ro_DecodeRules rules = {.code = 1, .special = ro_chain_special, .context = &reader};
  const char *data = answer->frame->data + answer->offset;
  size_t size = answer->frame->size - answer->offset;
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
      luaL_checkstack(L, 16, "too many results");
    ro_decode(d);
  }
  ro_decoder_close(d);
  return count;
}

/* Reads the answer at argument 1, for the references in it. */
static int read_late(lua_State *L) {
  const ro_Pending *answer = lua_touserdata(L, 1);
  read_answer(L, lua_touserdata(L, 2), answer);
  return 0;
}

/*
** Answers that came too late are read too where they name references, which are so let go: by the collector. What can't
** be read stays in the listener until the connection ends.
*/
static void read_late_answers(lua_State *L, ro_Proxy *proxy) {
  ro_Pending answer = {.kind = RO_FRAME_REPLY, .session = proxy->client.session};
  int top;
  answer.frame = ro_scratch_open(L);
  top = lua_gettop(L);
  while (ro_client_take_late(proxy, answer.frame, &answer.offset)) {
    lua_pushcfunction(L, read_late);
    lua_pushlightuserdata(L, &answer);
    lua_pushlightuserdata(L, proxy);
    lua_pcall(L, 2, 0, 0);
    lua_settop(L, top);
  }
  ro_scratch_close(answer.frame);
  lua_pop(L, 1);
}

static int evaluate_there(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *pending) {
  const ro_View *v = lua_touserdata(L, view);
  int64_t deadline = v->options.flags & RO_HAS_TIMEOUT ? ro_deadline(v->options.timeout) : RO_NEVER;
  int base = lua_gettop(L) - count;
  ro_Outcome outcome;
  int results;
  luaL_checkstack(L, 12, NULL);
  if (v->proxy->client.late.size > 0)
    read_late_answers(L, v->proxy);
  pending->frame = ro_scratch_open(L);
  encode_request(L, view, operation, count, pending);
  outcome = ro_client_exchange(L, v->proxy, pending, deadline);
  if (outcome != RO_ANSWERED) {
    ro_scratch_close(pending->frame);
    lua_settop(L, base + count);
    if (!default_applies(v, operation, outcome))
      return raise_outcome(L, view, operation, count, pending);
    lua_settop(L, base);
    return give_default(L, view);
  }
  results = read_answer(L, v->proxy, pending);
  ro_scratch_close(pending->frame);
  lua_rotate(L, base + 1, results);
  lua_settop(L, base + results);
  return results;
}

int ro_evaluate(lua_State *L, int view, ro_Operation operation, int count) {
  const ro_View *v;
  ro_Pending pending;
  view = lua_absindex(L, view);
  v = lua_touserdata(L, view);
  if (ro_listens_here(v->proxy))
    return ro_execute_here(L, view, operation, count);
  if (v->proxy->watch->traced)
    return ro_trace_evaluation(L, view, operation, count, evaluate_there);
  return evaluate_there(L, view, operation, count, &pending);
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
