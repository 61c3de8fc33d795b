#include "remote/serve.h"

#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/stack.h"
#include "codec/codec.h"
#include "failure/failure.h"
#include "remote/chain.h"
#include "remote/cursor.h"
#include "remote/execute.h"
#include "remote/handles.h"
#include "remote/line.h"
#include "remote/listener.h"
#include "remote/trace.h"

#define KEPT_MEMORY (size_t)(256 * 1024)

/* ---- operations ---- */

/*
** Arguments of what runs protected: the service, and the proxy's userdata, which gives way to the object. Behind it
** the object of the reference that a request begins with, the line to its client, and the results of others that it names.
*/
enum { SERVICE = 1, OBJECT, REFERRED, LINE, RESULTS };

/* How the answer is to be encoded. */
typedef struct Manner {
  ro_Operation operation; /* one that iterates; RO_OP_ROOT: none */
  lua_Integer number;     /* its operand */
  int refers;             /* results become references */
} Manner;

/* The handle of a loop, on top. [-0, +0, v] */
static lua_Integer check_loop(lua_State *L) {
  if (!lua_isinteger(L, -1))
    ro_raise(L, RO_PROTOCOL, "a loop with a %s for its handle", luaL_typename(L, -1));
  return lua_tointeger(L, -1);
}

/*
** Runs the operations on the object; leaves the results on top and returns how many: the value
** itself before an operation that iterates. [-0, +n, e]
*/
static int run_operations(lua_State *L, ro_Decoder *d, const ro_Reader *reader, Manner *manner,
                          ro_Service *s) {
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
    if (i == length - 1)
      ro_reading_end(L, &s->reading);
    if (s->trace != NULL)
      ro_trace_step(L, s->trace, operation, count);
    if (ro_iterates(operation) && i == length - 1) {
      manner->operation = operation;
      manner->number = count > 0 ? check_loop(L) : 0;
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

static void put_referred(ro_Encoder *e, void *context) {
  ro_chain_put_object(e, context, REFERRED);
}

/* Encodes the `count` values on top as results. [-0, +0, e] */
static void encode_results(lua_State *L, ro_Service *s, const Manner *manner, int count) {
  int first = lua_gettop(L) - count + 1;
  ro_Writer writer = {.proxy = s->proxy, .holder = &s->holder, .refers = manner->refers};
  ro_EncodeRules rules;
  ro_Encoder *e;
  ro_check_stack(L, 12, "too many results");
  ro_chain_answer_rules(L, OBJECT, &rules, &writer, "result");
  if (!lua_isnil(L, REFERRED))
    rules.known = lua_topointer(L, REFERRED);
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

static uint64_t number_at(const ro_Request *r, size_t at) {
  uint64_t number;
  memcpy(&number, r->bytes.data + at, sizeof number);
  return number;
}

/* Pushes the result of an earlier request; if that has failed, this one fails with the same. [-0, +1, e] */
static void push_result(lua_State *L, ro_Service *s, uint64_t id) {
  const char *failure;
  size_t size;
  if (ro_result_push(L, s->hub, s->request, id))
    return;
  failure = lua_tolstring(L, -1, &size);
  ro_buffer_add(s->answer, failure, size);
  s->inherits = !s->answer->failed;
  luaL_error(L, "the request that an argument is the result of has failed");
}

/*
** Pushes the table of the results that the request names, by ids, or nil; returns how many bytes its session
** has. [-0, +1, e]
*/
static size_t take_results(lua_State *L, ro_Service *s) {
  const ro_Request *r = s->request;
  size_t size = r->bytes.size - r->offset, first;
  uint64_t count;
  if (!(r->head.flags & RO_REQUEST_NAMES)) {
    lua_pushnil(L);
    return size;
  }
  count = size >= sizeof count ? number_at(r, r->bytes.size - sizeof count) : 0;
  if (count == 0 || count > size / sizeof count - 1)
    ro_raise(L, RO_PROTOCOL, "a request that names %I results in %I bytes", (LUAI_UACINT)count,
             (LUAI_UACINT)size);
  first = r->bytes.size - ((size_t)count + 1) * sizeof count;
  lua_newtable(L);
  for (size_t i = 0; i < count; i++) {
    uint64_t id = number_at(r, first + i * sizeof id);
    push_result(L, s, id);
    lua_rawseti(L, -2, (lua_Integer)id);
  }
  return first - r->offset;
}

/* Keeps the first of the `count` results from `first` on, or nil. [-0, +1, m] */
static void keep_result(lua_State *L, ro_Service *s, int first, int count) {
  if (count > 0)
    lua_pushvalue(L, first);
  else
    lua_pushnil(L);
  ro_result_keep(L, &s->under_way, s->hub, s->request, -1, 0);
}

/* Runs the operations of a request and encodes what comes of it. [-0, +n, e] */
static void serve_request(lua_State *L, ro_Service *s) {
  ro_Request *r = s->request;
  ro_Reader reader = {.proxy = s->proxy, .holder = &s->holder, .results = RESULTS, .line = LINE};
  ro_DecodeRules rules = {.code = 1, .special = ro_chain_special, .context = &reader};
  Manner manner = {RO_OP_ROOT, 0, 0};
  ro_Decoder *d;
  size_t size;
  int results, first;
  lua_getiuservalue(L, OBJECT, RO_VIEW_PARENT);
  lua_replace(L, OBJECT);
  lua_settop(L, LINE);
  ro_reading_begin(&s->reading, &s->holder);
  size = take_results(L, s);
  d = ro_decoder_open(L, ro_buffer_from(&r->bytes, r->offset), size, &rules);
  results = run_operations(L, d, &reader, &manner, s);
  first = lua_gettop(L) - results + 1;
  ro_decoder_close(d);
  ro_buffer_clear(&r->bytes, KEPT_MEMORY); /* large ones make room for the answer */
  if (r->head.flags & RO_REQUEST_ONEWAY)
    return;
  encode_results(L, s, &manner, results);
  if (r->head.flags & RO_REQUEST_KEEP)
    keep_result(L, s, first, results);
}

/* What is no call: what clients hold. */
static void serve_event(lua_State *L, ro_Service *s) {
  const ro_Request *request = s->request;
  if (request->event == RO_CLIENT_INHERITS)
    ro_handles_inherit(L, &s->holder);
  else if (request->event == RO_CLIENT_ENDED)
    ro_handles_forget_client(L, &s->holder);
  else if (request->head.kind == RO_FRAME_RELEASE)
    ro_handles_release(L, &s->holder);
}

/* May a request wait for this, as it has called a callback. */
static int concerns_lines(const ro_Request *request) {
  if (request->event == RO_FRAME_CAME)
    return request->head.kind != RO_FRAME_REQUEST && request->head.kind != RO_FRAME_RELEASE;
  return request->event == RO_CLIENT_ENDED;
}

static int serve_protected(lua_State *L) {
  ro_Service *s = lua_touserdata(L, SERVICE);
  if (s->prepare != NULL)
    s->prepare(L, s->context);
  if (ro_request_is_call(s->request))
    serve_request(L, s);
  else
    serve_event(L, s);
  return 0;
}

/* Encodes the failure that is argument 2. */
static int encode_failure(lua_State *L) {
  ro_Service *s = lua_touserdata(L, 1);
  ro_Writer writer = {.proxy = s->proxy}; /* errors bring no references: their texts do */
  ro_EncodeRules rules;
  ro_push_object(L, s->proxy);
  ro_chain_answer_rules(L, -1, &rules, &writer, "error");
  lua_pop(L, 1);
  ro_failure_encode(L, 2, s->answer, &rules);
  return 0;
}

static void finish_answer(ro_Service *s, ro_FrameKind kind) {
  ro_FrameHead head = {.kind = kind, .id = s->request->head.id, .deadline = s->holder.named};
  ro_frame_finish(s->answer, 0, &head);
}

/* Begins the answer, anew if need be. Without memory for that it has failed, which ends the connection. */
static void begin_answer(ro_Service *s) {
  ro_buffer_clear(s->answer, SIZE_MAX);
  ro_frame_begin(s->answer);
}

/* Keeps the failure that has been encoded as the result of the request. */
static int keep_failure(lua_State *L) {
  ro_Service *s = lua_touserdata(L, 1);
  lua_pushlstring(L, s->answer->data + RO_FRAME_HEAD, s->answer->size - RO_FRAME_HEAD);
  ro_result_keep(L, &s->under_way, s->hub, s->request, -1, 1);
  return 0;
}

/* The error is on top. [-1, +0, -] */
static void answer_failure(lua_State *L, ro_Service *s) {
  ro_handles_undo(L, &s->holder);
  if (!s->inherits) {
    begin_answer(s);
    lua_pushcfunction(L, encode_failure);
    lua_pushlightuserdata(L, s);
    lua_pushvalue(L, -3);
    if (ro_pcall_aside(L, 2, 0, 0) != LUA_OK) {
      begin_answer(s); /* no memory: an empty failure says so */
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  finish_answer(s, RO_FRAME_FAILURE);
  if (!(s->request->head.flags & RO_REQUEST_KEEP) || s->answer->failed)
    return;
  lua_pushcfunction(L, keep_failure);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    lua_pop(L, 1); /* no memory: later requests that name it are told that it was not run */
}

/*
** Runs the service, whose proxy is on top, protected; returns whether it succeeded, else its error is on top.
** [-0, +n, -]
*/
static int run_service(lua_State *L, ro_Service *s) {
  int handler = lua_gettop(L) + 1;
  lua_pushcfunction(L, ro_failure_handler);
  lua_pushcfunction(L, serve_protected);
  lua_pushlightuserdata(L, s);
  lua_pushvalue(L, handler - 1);
  return ro_pcall_aside(L, 2, 0, handler) == LUA_OK;
}

/*
** Tells the client that its request is run, which it may wait to know when the listener stops. While it waits it reads, and the
** pipe has room; a client that does not keeps nobody waiting.
*/
static void tell_taken(const ro_Service *s) {
  ro_FrameHead head = {.kind = RO_FRAME_TAKEN, .id = s->request->head.id};
  ro_Buffer frame;
  ro_buffer_init(&frame);
  ro_frame_begin(&frame);
  ro_frame_finish(&frame, 0, &head);
  ro_hub_mention(s->hub, s->request, &frame);
  ro_buffer_free(&frame);
}

/*
** Runs the request and answers it, with the proxy on top. Leaves values on the stack, the error value that it has
** raised on top. [-0, +n, -]
*/
static int serve_call(lua_State *L, ro_Service *s) {
  int flags = s->request->head.flags, succeeded;
  if (flags & RO_REQUEST_ONEWAY && ro_listener_stops(s->proxy))
    tell_taken(s);
  if (flags & RO_REQUEST_KEEP)
    ro_result_begin(&s->under_way, s->proxy->lock, s->hub, s->request);
  succeeded = run_service(L, s);
  if (!succeeded) {
    s->proxy->counters.errors++;
    lua_pushvalue(L, -1);
  }
  if (flags & RO_REQUEST_ONEWAY) {
    if (!succeeded)
      ro_listener_report(L, s->proxy->listener);
    ro_buffer_clear(s->answer, KEPT_MEMORY);
  } else if (succeeded) {
    finish_answer(s, RO_FRAME_REPLY);
  } else {
    answer_failure(L, s);
  }
  if (flags & RO_REQUEST_KEEP)
    ro_result_end(&s->under_way, s->hub);
  return succeeded;
}

/* The same, which is counted and, while somebody looks, timed and told of. */
static int serve_watched(lua_State *L, ro_Service *s) {
  ro_Counters *counters = &s->proxy->counters;
  int64_t since = 0;
  int succeeded;
  ro_Trace trace;
  counters->served++;
  if (s->proxy->watch->watched) {
    s->trace = ro_trace_begin(&trace, s->proxy, RO_SERVED, RO_FRAME_HEAD + (size_t)s->request->head.size);
    since = ro_now();
  }
  succeeded = serve_call(L, s);
  if (since != 0)
    ro_latency_add(&counters->executions, ro_now() - since);
  if (s->trace != NULL)
    ro_trace_end(L, s->trace, s->answer->size, !succeeded);
  return succeeded;
}

/* end_reading(service) */
static int end_reading(lua_State *L) {
  ro_reading_end(L, &((ro_Service *)lua_touserdata(L, SERVICE))->reading);
  return 0;
}

/* An error, or a chain of no operations, has ended the request before its end was read. */
static void break_off_reading(lua_State *L, ro_Service *s) {
  if (s->reading.holder == NULL)
    return;
  lua_pushcfunction(L, end_reading);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    lua_pop(L, 1); /* no memory: it stays until the connection ends */
}

int ro_serve(lua_State *L, ro_Service *s) {
  int base = lua_gettop(L), succeeded;
  s->inherits = 0;
  s->holder = (ro_Holder){.hub = s->hub, .request = s->request, .objects = &s->proxy->counters.references};
  s->trace = NULL;
  s->reading = (ro_Reading){.holder = NULL};
  if (concerns_lines(s->request))
    ro_lines_event(s->proxy, s->request); /* takes no memory: whoever waits for it hears of it in any case */
  begin_answer(s);
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    finish_answer(s, RO_FRAME_FAILURE);
    return 0;
  }
  if (ro_request_is_call(s->request)) {
    succeeded = serve_watched(L, s);
  } else {
    succeeded = run_service(L, s);
    ro_buffer_clear(s->answer, 0);
  }
  if (s->holder.line != NULL)
    ro_line_close(s->holder.line);
  lua_settop(L, base);
  break_off_reading(L, s);
  return succeeded;
}

void ro_refuse(const ro_Request *request, ro_Buffer *answer) {
  ro_FrameHead head = {.kind = RO_FRAME_REFUSED, .id = request->head.id};
  size_t start;
  if (request->head.flags & RO_REQUEST_ONEWAY)
    return;
  start = ro_frame_begin(answer);
  ro_frame_finish(answer, start, &head);
}

void ro_open_serve(lua_State *L) {
  lua_pushcfunction(L, serve_protected);
  ro_traceback_name(L, -1, NULL);
  lua_pop(L, 1);
}
