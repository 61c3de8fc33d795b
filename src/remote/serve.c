#include "remote/serve.h"

#include <lauxlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "codec/codec.h"
#include "failure/failure.h"
#include "remote/chain.h"
#include "remote/cursor.h"
#include "remote/execute.h"
#include "remote/handles.h"
#include "remote/trace.h"

#define KEPT_MEMORY (size_t)(256 * 1024)

/* ---- operations ---- */

/*
** Arguments of what runs protected: the service, and the proxy's userdata, which gives way to the object. Behind it
** the object of the reference that a request begins with.
*/
enum { SERVICE = 1, OBJECT, REFERRED };

/* How the answer is to be encoded. */
typedef struct Manner {
  ro_Operation operation; /* one that iterates; RO_OP_ROOT: none */
  lua_Integer number;     /* its operand */
  int refers;             /* results become references */
} Manner;

/*
** Runs the operations on the object; leaves the results on top and returns how many: the value
** itself before an operation that iterates. [-0, +n, e]
*/
static int run_operations(lua_State *L, ro_Decoder *d, const ro_Reader *reader, Manner *manner,
                          ro_Trace *trace) {
  lua_Integer length = ro_chain_length(d);
  int results = 1;
  ro_Machine machine;
  lua_pushvalue(L, OBJECT);
  ro_machine_begin(&machine, L);
  lua_pushvalue(L, OBJECT);
  for (lua_Integer i = 0; i < length; i++) {
    int count;
    ro_Operation operation;
    ro_machine_keep(&machine, results);
    operation = ro_chain_next(d, reader, &count);
    if (trace != NULL)
      ro_trace_step(L, trace, operation, count);
    if (ro_iterates(operation) && i == length - 1) {
      manner->operation = operation;
      manner->number = count > 0 ? luaL_checkinteger(L, -1) : 0;
      lua_settop(L, machine.value);
      return 1;
    }
    if (operation == RO_OP_REFER && i == 0) {
      manner->refers = 1;
      lua_pushvalue(L, OBJECT);
      results = 1;
      continue;
    }
    if (operation == RO_OP_REFERENCE)
      lua_copy(L, -1, REFERRED);
    results = ro_machine_apply(&machine, operation, count);
  }
  return results;
}

/* Has the value at `index` an identity: then its address. */
static const void *address_of(lua_State *L, int index) {
  return ro_is_referable(L, index) ? lua_topointer(L, index) : NULL;
}

static void put_referred(ro_Encoder *e, void *context) {
  ro_chain_put_object(e, context, REFERRED);
}

/* Rules for what goes back to the client: the object, which is at `object`, goes as such. [-0, +0, e] */
static void answer_rules(lua_State *L, int object, ro_EncodeRules *rules, ro_Writer *writer,
                         const char *label) {
  ro_chain_rules(L, rules, writer);
  rules->label = label;
  rules->object = address_of(L, object);
}

/* Encodes the `count` values on top as results. [-0, +0, e] */
static void encode_results(lua_State *L, ro_Service *s, const Manner *manner, int count) {
  int first = lua_gettop(L) - count + 1;
  ro_Writer writer = {s->proxy, &s->holder, manner->refers, 0};
  ro_EncodeRules rules;
  ro_Encoder *e;
  luaL_checkstack(L, 12, "too many results");
  answer_rules(L, OBJECT, &rules, &writer, "result");
  rules.known = address_of(L, REFERRED);
  rules.put_known = put_referred;
  e = ro_encoder_open(L, s->answer, &rules);
  if (manner->operation != RO_OP_ROOT) {
    lua_pushvalue(L, first);
    ro_cursor_answer(e, &writer, manner->operation, manner->number);
  } else {
    for (int i = 0; i < count; i++)
      ro_chain_put_result(e, &writer, first + i, i == 0 ? 0 : i + 1);
  }
  ro_encoder_finish(e);
  ro_handles_commit(L, &s->holder);
}

/* Runs the operations of a request and encodes what comes of it. [-0, +n, e] */
static void serve_request(lua_State *L, ro_Service *s) {
  ro_Request *r = s->request;
  ro_Reader reader = {s->proxy, &s->holder, 0};
  ro_DecodeRules rules = {.code = 1, .special = ro_chain_special, .context = &reader};
  Manner manner = {RO_OP_ROOT, 0, 0};
  ro_Decoder *d;
  int results;
  lua_getiuservalue(L, OBJECT, RO_VIEW_PARENT);
  lua_replace(L, OBJECT);
  lua_pushnil(L);
  d = ro_decoder_open(L, r->bytes.data + r->offset, r->bytes.size - r->offset, &rules);
  results = run_operations(L, d, &reader, &manner, s->trace);
  ro_decoder_close(d);
  ro_buffer_clear(&r->bytes, KEPT_MEMORY); /* large ones make room for the answer */
  encode_results(L, s, &manner, results);
}

/* What is no call. */
static void serve_event(lua_State *L, const ro_Holder *holder) {
  switch (holder->request->event) {
  case RO_CLIENT_ENDED:
    ro_handles_forget_client(L, holder);
    break;
  case RO_CLIENT_INHERITS:
    ro_handles_inherit(L, holder);
    break;
  default:
    ro_handles_release(L, holder);
  }
}

static int serve_protected(lua_State *L) {
  ro_Service *s = lua_touserdata(L, SERVICE);
  if (s->prepare != NULL)
    s->prepare(L, s->context);
  if (ro_request_is_call(s->request))
    serve_request(L, s);
  else
    serve_event(L, &s->holder);
  return 0;
}

/* Encodes the failure that is argument 2. */
static int encode_failure(lua_State *L) {
  ro_Service *s = lua_touserdata(L, 1);
  ro_Writer writer = {s->proxy, NULL, 0, 0}; /* errors bring no references: their texts do */
  ro_EncodeRules rules;
  ro_push_object(L, s->proxy);
  answer_rules(L, -1, &rules, &writer, "error");
  lua_pop(L, 1);
  ro_failure_encode(L, 2, s->answer, &rules);
  return 0;
}

static void finish_answer(ro_Service *s, ro_FrameKind kind) {
  ro_FrameHead head = {.kind = kind, .id = s->request->head.id, .deadline = s->holder.named};
  ro_frame_finish(s->answer, 0, &head);
}

static void answer_failure(lua_State *L, ro_Service *s) {
  s->proxy->counters.errors++;
  ro_handles_undo(L, &s->holder);
  s->answer->size = RO_FRAME_HEAD;
  s->answer->failed = 0;
  lua_pushcfunction(L, encode_failure);
  lua_pushlightuserdata(L, s);
  lua_pushvalue(L, -3);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    s->answer->size = RO_FRAME_HEAD; /* no memory: an empty failure says so */
    s->answer->failed = 0;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  finish_answer(s, RO_FRAME_FAILURE);
}

/*
** Runs the request and answers it, with the proxy on top. Leaves values on the stack, the error value that it has
** raised on top.
*/
static int serve(lua_State *L, ro_Service *s) {
  int proxy = lua_gettop(L), succeeded;
  lua_pushcfunction(L, ro_failure_handler);
  lua_pushcfunction(L, serve_protected);
  lua_pushlightuserdata(L, s);
  lua_pushvalue(L, proxy);
  succeeded = lua_pcall(L, 2, 0, proxy + 1) == LUA_OK;
  if (succeeded) {
    finish_answer(s, RO_FRAME_REPLY);
  } else {
    lua_pushvalue(L, -1);
    answer_failure(L, s);
  }
  return succeeded;
}

/* The same of a request proper, which is counted and, while somebody looks, timed and told of. */
static int serve_watched(lua_State *L, ro_Service *s) {
  ro_Counters *counters = &s->proxy->counters;
  int64_t since = 0;
  int succeeded;
  ro_Trace trace;
  counters->served++;
  if (s->proxy->watch->watched) {
    s->trace = ro_trace_begin(&trace, s->proxy, RO_FRAME_HEAD + (size_t)s->request->head.size);
    since = ro_now();
  }
  succeeded = serve(L, s);
  if (since != 0)
    ro_latency_add(&counters->executions, ro_now() - since);
  if (s->trace != NULL)
    ro_trace_end(L, s->trace, s->answer->size, !succeeded);
  return succeeded;
}

int ro_serve(lua_State *L, ro_Service *s) {
  int base = lua_gettop(L), succeeded;
  s->holder = (ro_Holder){.hub = s->hub, .request = s->request, .objects = &s->proxy->counters.references};
  s->trace = NULL;
  ro_frame_begin(s->answer);
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    finish_answer(s, RO_FRAME_FAILURE);
    return 0;
  }
  if (ro_request_is_call(s->request)) {
    succeeded = serve_watched(L, s);
  } else {
    succeeded = serve(L, s);
    ro_buffer_clear(s->answer, 0);
  }
  lua_settop(L, base);
  return succeeded;
}

void ro_refuse(const ro_Request *request, ro_Buffer *answer) {
  ro_FrameHead head = {.kind = RO_FRAME_REFUSED, .id = request->head.id};
  size_t start = ro_frame_begin(answer);
  ro_frame_finish(answer, start, &head);
}

void ro_open_serve(lua_State *L) {
  lua_pushcfunction(L, serve_protected);
  ro_traceback_name(L, -1, NULL);
  lua_pop(L, 1);
}
