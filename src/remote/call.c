#include "remote/call.h"

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/scratch.h"
#include "base/stack.h"
#include "failure/failure.h"
#include "future/future.h"
#include "remote/arrivals.h"
#include "remote/evaluate.h"
#include "remote/execute.h"
#include "remote/listener.h"
#include "remote/outgoing.h"
#include "remote/pending.h"
#include "remote/text.h"

#define LARGE (size_t)4096 /* bytes of an answer whose result is let go soon */

/* The future of a request. */
typedef struct Call {
  ro_Future future; /* first, so that it stands for the whole */
  ro_Proxy *proxy;
  ro_Operation operation;
  ro_Pending pending;
  ro_Buffer answer;
} Call;

/* User values of a call. */
enum {
  CALL_VIEW = RO_FUTURE_OWN,
  CALL_SUBJECT,   /* the first operand, for messages */
  CALL_FUNCTIONS, /* that the request takes along */
  CALL_USERVALUES = 3
};

/* ---- the kind of future ---- */

static int call_settled(const ro_Future *future) {
  return ((const Call *)future)->pending.settled;
}

static void call_announce(ro_Future *future) {
  ((Call *)future)->pending.future = future;
}

static void call_kept(ro_Future *future) {
  ro_buffer_free(&((Call *)future)->answer);
}

/* Its result may be let go in the listener, as nobody can name it any more. */
static void call_collect(ro_Future *future) {
  Call *call = (Call *)future;
  const ro_Pending *p = &call->pending;
  int soon = !p->settled || call->answer.size > LARGE;
  if (future->home == ro_pid() && p->settled && p->future != NULL)
    ro_pending_unannounce(&call->proxy->client, p);
  if (future->home == ro_pid() && call->proxy->door.page != NULL && future->state == 0 && p->settled &&
      p->outcome == RO_ANSWERED)
    ro_client_put_late(call->proxy, p);
  ro_buffer_free(&call->answer);
  if (future->home != ro_pid() || p->session == 0 || call->proxy->door.page == NULL)
    return;
  ro_pending_abandon(call->proxy, &call->pending);
  ro_client_release(call->proxy, p->session, -(int64_t)p->id, 1, soon);
}

/* Pushes what evaluation it was, for messages. [-0, +1, e] */
static void push_text(lua_State *L, int index) {
  static const char *const formats[] = {[RO_OP_CALL] = "%s(...)",
                                        [RO_OP_METHOD] = "%s(...)",
                                        [RO_OP_PASSTO] = "%s:passto(...)",
                                        [RO_OP_SET] = "%s = ..."};
  const Call *call = lua_touserdata(L, index);
  ro_Operation operation = call->operation;
  int subject = operation == RO_OP_METHOD || operation == RO_OP_SET || operation == RO_OP_CONTAINS;
  const char *format = (size_t)operation < sizeof formats / sizeof *formats ? formats[operation] : NULL;
  int view = lua_gettop(L) + 1;
  ro_check_stack(L, 12, NULL);
  lua_getiuservalue(L, index, CALL_VIEW);
  if (subject)
    lua_getiuservalue(L, index, CALL_SUBJECT);
  if (format != NULL)
    operation = subject ? RO_OP_INDEX : RO_OP_ROOT;
  ro_push_evaluation_text(L, view, operation, subject);
  if (format != NULL)
    lua_pushfstring(L, format, lua_tostring(L, -1));
  lua_insert(L, view);
  lua_settop(L, view);
}

static int call_open(lua_State *L) {
  const Call *call = lua_touserdata(L, 1);
  const ro_View *view;
  if (call->pending.outcome == RO_ANSWERED)
    return ro_read_answer(L, call->proxy, &call->pending);
  lua_getiuservalue(L, 1, CALL_VIEW);
  view = lua_touserdata(L, 2);
  if (ro_default_applies(view, call->operation, call->pending.outcome))
    return ro_give_default(L, 2);
  push_text(L, 1);
  return ro_raise_outcome(L, 2, &call->pending);
}

static const ro_FutureKind call_kind = {call_settled, call_open, call_kept, call_announce, call_collect};

/* Pushes the future of an evaluation with the operands from `first` on; it is settled, and nothing is under way. */
static Call *push_call(lua_State *L, int view, ro_Operation operation, int first) {
  const ro_View *v = lua_touserdata(L, view);
  Call *call = (Call *)ro_push_future(L, v->proxy->lock, &call_kind, sizeof *call, CALL_USERVALUES);
  call->proxy = v->proxy;
  call->operation = operation;
  call->pending.answer = &call->answer;
  call->pending.settled = 1;
  call->future.source = &v->proxy->client.interest;
  lua_pushvalue(L, view);
  lua_setiuservalue(L, -2, CALL_VIEW);
  if (operation == RO_OP_METHOD || operation == RO_OP_SET || operation == RO_OP_CONTAINS) {
    lua_pushvalue(L, first);
    lua_setiuservalue(L, -2, CALL_SUBJECT);
  }
  return call;
}

/* ---- calls ---- */

/* An evaluation for a protected call, whose other arguments are its view and operands. */
typedef struct Evaluation {
  ro_Operation operation;
  ro_Buffer *frame; /* NULL: to be run here */
  ro_Pending *pending;
} Evaluation;

static int evaluate_protected(lua_State *L) {
  enum { EVALUATION = 1, VIEW, FIRST };
  const Evaluation *evaluation = lua_touserdata(L, EVALUATION);
  int count = lua_gettop(L) - VIEW;
  if (evaluation->frame == NULL)
    return ro_execute_here(L, VIEW, evaluation->operation, count);
  ro_check_stack(L, 8, NULL);
  ro_encode_request(L, VIEW, evaluation->operation, FIRST, count, evaluation->frame, evaluation->pending);
  return 1;
}

/*
** Runs or encodes an evaluation with the `count` operands from `first` on; pushes the results and returns how many, or
** pushes the error and returns -1. `handler` is as in lua_pcall. [-0, +n, v]
*/
static int try_evaluation(lua_State *L, int view, const Evaluation *evaluation, int first, int count,
                          int handler) {
  int base = lua_gettop(L);
  ro_check_stack(L, count + 4, "too many arguments");
  lua_pushcfunction(L, evaluate_protected);
  lua_pushlightuserdata(L, (void *)evaluation);
  lua_pushvalue(L, view);
  for (int i = 0; i < count; i++)
    lua_pushvalue(L, first + i);
  if (ro_pcall_aside(L, count + 2, LUA_MULTRET, handler) != LUA_OK)
    return -1;
  return lua_gettop(L) - base;
}

/* The future, at `index`, of an evaluation in the listener's own process is done at once. */
static void call_here(lua_State *L, int view, ro_Operation operation, int first, int count, int index) {
  const Evaluation evaluation = {operation, NULL, NULL};
  ro_future_keep(L, index, try_evaluation(L, view, &evaluation, first, count, 0));
}

static void call_there(lua_State *L, int view, ro_Operation operation, int first, int count, int index) {
  Call *call = lua_touserdata(L, index);
  ro_Pending *pending = &call->pending;
  Evaluation evaluation = {operation, NULL, pending};
  pending->deadline = ro_view_deadline(lua_touserdata(L, view));
  pending->flags = RO_REQUEST_KEEP;
  if (call->proxy->client.late.size > 0)
    ro_read_late_answers(L, call->proxy);
  evaluation.frame = ro_scratch_open(L);
  if (try_evaluation(L, view, &evaluation, first, count, 0) < 0) {
    ro_future_keep(L, index, -1);
    ro_scratch_close(evaluation.frame);
    return;
  }
  lua_setiuservalue(L, index, CALL_FUNCTIONS);
  ro_client_send(L, call->proxy, evaluation.frame, pending);
  ro_scratch_close(evaluation.frame);
}

int ro_call(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *request) {
  int first = lua_gettop(L) - count + 1, index = lua_gettop(L) + 1;
  const Call *call;
  ro_check_stack(L, 12, NULL);
  call = push_call(L, view, operation, first);
  if (ro_listens_here(call->proxy))
    call_here(L, view, operation, first, count, index);
  else
    call_there(L, view, operation, first, count, index);
  request->sent = call->pending.sent;
  request->received = 0;
  lua_copy(L, index, first);
  lua_settop(L, first);
  return 1;
}

/* ---- what is only told ---- */

static void tell_here(lua_State *L, int view, ro_Operation operation, int first, int count) {
  const ro_Proxy *proxy = ((ro_View *)lua_touserdata(L, view))->proxy;
  const Evaluation evaluation = {operation, NULL, NULL};
  lua_pushcfunction(L, ro_failure_handler);
  if (try_evaluation(L, view, &evaluation, first, count, lua_gettop(L)) < 0)
    ro_listener_report(L, proxy->listener);
}

static void tell_there(lua_State *L, int view, ro_Operation operation, int first, int count,
                       ro_Pending *request) {
  const ro_View *v = lua_touserdata(L, view);
  ro_Buffer *frame;
  if (v->proxy->client.late.size > 0)
    ro_read_late_answers(L, v->proxy);
  frame = ro_scratch_open(L);
  *request = (ro_Pending){.deadline = ro_view_deadline(v), .flags = RO_REQUEST_ONEWAY, .answer = frame};
  ro_encode_request(L, view, operation, first, count, frame, request);
  ro_client_tell(L, v->proxy, frame, request);
  ro_scratch_close(frame);
  if (request->outcome == RO_ANSWERED || ro_default_applies(v, operation, request->outcome))
    return;
  lua_settop(L, first + count - 1);
  ro_push_evaluation_text(L, view, operation, count);
  ro_raise_outcome(L, view, request);
}

int ro_tell(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *request) {
  int first = lua_gettop(L) - count + 1;
  ro_check_stack(L, 12, NULL);
  if (ro_listens_here(((ro_View *)lua_touserdata(L, view))->proxy))
    tell_here(L, view, operation, first, count);
  else
    tell_there(L, view, operation, first, count, request);
  lua_settop(L, first - 1);
  return 0;
}

/* ---- futures as arguments ---- */

static Call *test_call(lua_State *L, int index) {
  ro_Future *future = ro_test_future(L, index);
  return future != NULL && future->kind == &call_kind ? (Call *)future : NULL;
}

/* Has the listener, as far as is known, the result of the request, or will it have it, or know how it failed. */
static int is_in_listener(const Call *call) {
  const ro_Pending *p = &call->pending;
  const ro_Client *client = &call->proxy->client;
  if (call->future.home != ro_pid() || p->session == 0 || p->session != client->session)
    return 0;
  return ro_door_state(&call->proxy->door).generation == client->generation &&
         (!p->settled || p->outcome == RO_ANSWERED);
}

int ro_put_future(ro_Encoder *e, int index, ro_Writer *writer) {
  lua_State *L = ro_encoder_state(e);
  const Call *call;
  uint64_t id;
  size_t mark;
  if (ro_test_future(L, index) == NULL)
    return 0;
  call = test_call(L, index);
  if (call == NULL || writer == NULL || writer->names == NULL || writer->proxy != call->proxy)
    ro_unsendable(e, "a future of another source: call get() first");
  if (!is_in_listener(call)) {
    ro_push_result_of(L, index, call->proxy);
    ro_encode(e, lua_gettop(L), 0);
    lua_pop(L, 1);
    return 1;
  }
  id = call->pending.id;
  ro_writer_claims(writer, call->pending.session);
  ro_buffer_add(writer->names, &id, sizeof id);
  mark = ro_ext_begin(ro_encoder_buffer(e), RO_EXT_RESULT);
  ro_put_integer(ro_encoder_buffer(e), (lua_Integer)id);
  ro_ext_end(ro_encoder_buffer(e), mark);
  return 1;
}

int ro_push_result_of(lua_State *L, int index, const ro_Proxy *proxy) {
  const Call *call = test_call(L, index);
  int base = lua_gettop(L);
  if (call == NULL || call->proxy != proxy)
    return 0;
  ro_check_stack(L, 8, NULL);
  ro_future_get(L, index, RO_NEVER);
  lua_settop(L, base + 1);
  return 1;
}
