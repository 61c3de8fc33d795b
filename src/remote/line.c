#include "remote/line.h"

#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/registry.h"
#include "base/scratch.h"
#include "base/stack.h"
#include "failure/failure.h"
#include "remote/chain.h"
#include "remote/listener.h"
#include "remote/trace.h"

#define LINE "remoteobj.line"

/* User value of a line: its functions by number. */
#define FUNCTIONS 1

typedef enum LineState {
  OPEN,
  ANSWERED, /* the request is */
  LEFT,     /* the client waits for it no more */
  LOST      /* the client is gone */
} LineState;

/* A call under way, on the C stack of the thread that waits for its answer. */
typedef struct Call {
  struct Call *next;
  ro_Thread *thread;
  uint64_t id;
  int settled;
  ro_FrameKind kind; /* of the answer; RO_FRAME_REFUSED, too, when none will come */
  ro_Buffer *answer; /* receives the payload, from `offset` on */
  size_t offset;
  size_t sent, received; /* bytes of the frames; 0: none */
} Call;

struct ro_Line {
  ro_Line *next; /* of the proxy's that are open */
  ro_Proxy *proxy;
  ro_Holder *holder; /* while it is open */
  uint64_t client;   /* number of the connection */
  int home;          /* the process that listens */
  LineState state;
  Call *calls;
};

/* ---- its end ---- */

static void settle(Call *call, ro_FrameKind kind) {
  call->kind = kind;
  call->settled = 1;
  ro_thread_wake(call->thread);
}

static void end_line(ro_Line *line, LineState state) {
  if (line->state == OPEN)
    line->state = state;
  for (Call *call = line->calls; call != NULL; call = call->next)
    if (!call->settled)
      settle(call, RO_FRAME_REFUSED);
}

static void unlink_line(ro_Line *line) {
  ro_Line **at = &line->proxy->lines;
  while (*at != NULL && *at != line)
    at = &(*at)->next;
  if (*at != NULL)
    *at = line->next;
}

void ro_line_close(ro_Line *line) {
  end_line(line, ANSWERED);
  unlink_line(line);
  line->holder->line = NULL;
  line->holder = NULL;
}

/* No function is left that could call. In a fork of the listener the request's memory may be another's. */
static int line_gc(lua_State *L) {
  ro_Line *line = lua_touserdata(L, 1);
  if (line->holder != NULL && line->home == ro_pid())
    ro_line_close(line);
  return 0;
}

/* ---- what comes in ---- */

static Call *find_call(const ro_Line *line, uint64_t id) {
  Call *call = line->calls;
  while (call != NULL && call->id != id)
    call = call->next;
  return call;
}

static void answer_call(ro_Line *line, ro_Request *request) {
  Call *call = find_call(line, request->head.id);
  if (call == NULL || call->settled)
    return;
  if (request->head.kind == RO_FRAME_REFUSED) {
    end_line(line, LEFT);
    return;
  }
  ro_Buffer taken = *call->answer;
  *call->answer = request->bytes;
  request->bytes = taken;
  call->offset = request->offset;
  settle(call, request->head.kind);
}

void ro_lines_event(ro_Proxy *proxy, ro_Request *request) {
  for (ro_Line *line = proxy->lines; line != NULL; line = line->next) {
    if (line->client != request->client)
      continue;
    if (request->event == RO_CLIENT_ENDED)
      end_line(line, LOST);
    else if (request->head.kind != RO_FRAME_LEFT)
      answer_call(line, request);
    else if (line->holder->request->head.id == request->head.id)
      end_line(line, LEFT);
  }
}

void ro_lines_look(const ro_Proxy *proxy) {
  for (const ro_Line *line = proxy->lines; line != NULL; line = line->next)
    for (const Call *call = line->calls; call != NULL; call = call->next)
      ro_thread_wake(call->thread);
}

/* ---- calls ---- */

/* Raises why the line can't be used. [-0, +0, v] */
static int raise_ended(lua_State *L, LineState state, int may_have_run) {
  switch (state) {
  case LOST:
    ro_push_error(L, RO_DISCONNECTED, "the client of a callback is gone");
    break;
  case LEFT:
    ro_push_error(L, RO_TIMEOUT, "the client of a callback waits no more for the call that it came with");
    break;
  default:
    return luaL_error(L, "attempt to call a callback after the call that it came with was answered");
  }
  lua_pushboolean(L, may_have_run);
  lua_setfield(L, -2, "may_have_run");
  return lua_error(L);
}

/* Why the line can't be used now; OPEN: it can. */
static LineState state_of(const ro_Line *line) {
  const ro_Holder *holder = line->holder;
  if (line->state != OPEN)
    return line->state;
  if (holder == NULL || line->home != ro_pid())
    return ANSWERED;
  return holder->request->head.deadline <= ro_now() ? LEFT : OPEN;
}

/* Encodes the call of the client's function `number` with the `count` arguments from `first` on. [-0, +0, e] */
static void encode_call(lua_State *L, ro_Line *line, uint64_t id, lua_Integer number, int first, int count,
                        ro_Buffer *frame) {
  ro_Writer writer = {.proxy = line->proxy, .holder = line->holder};
  ro_FrameHead head = {.kind = RO_FRAME_CALLBACK, .id = id};
  ro_EncodeRules rules;
  ro_Encoder *e;
  ro_push_object(L, line->proxy);
  ro_chain_answer_rules(L, -1, &rules, &writer, "argument");
  lua_pop(L, 1);
  ro_frame_begin(frame);
  ro_buffer_add(frame, &line->holder->request->head.id, RO_FRAME_NUMBER);
  e = ro_encoder_open(L, frame, &rules);
  ro_put_integer(ro_encoder_buffer(e), number);
  for (int i = 0; i < count; i++)
    ro_encode(e, first + i, i + 1);
  ro_encoder_finish(e);
  lua_pop(L, 1);
  ro_frame_finish(frame, 0, &head);
  ro_handles_commit(L, line->holder);
}

/* Pushes the results, or raises the error, that the answer brings; returns how many. [-0, +n, v] */
static int read_answer(lua_State *L, ro_Line *line, const Call *call) {
  ro_Reader reader = {.proxy = line->proxy, .holder = line->holder};
  ro_DecodeRules rules = {.code = 1, .special = ro_chain_special, .context = &reader};
  const char *data = ro_buffer_from(call->answer, call->offset);
  size_t size = call->answer->size - call->offset;
  ro_Decoder *d;
  int count = 0;
  if (call->kind == RO_FRAME_FAILURE) {
    if (size == 0)
      return luaL_error(L, "not enough memory in the client");
    ro_failure_decode(L, data, size, &rules);
    ro_extend_traceback(L, lua_gettop(L), L, 0);
    return lua_error(L);
  }
  d = ro_decoder_open(L, data, size, &rules);
  for (; ro_decoder_more(d); count++) {
    ro_check_stack(L, 8, "too many results");
    ro_decode(d);
  }
  ro_decoder_close(d);
  return count;
}

static void unlink_call(ro_Line *line, const Call *call) {
  Call **at = &line->calls;
  while (*at != call)
    at = &(*at)->next;
  *at = call->next;
}

/* Raises an error when, for `error`, no thread would take the answer in; 0: one does. [-0, +0, v] */
static void check_attended(lua_State *L, int error) {
  if (error != 0)
    luaL_error(L, "cannot wait for the answer of a callback, for want of another thread: %s",
               strerror(error));
}

/* Sends the call and waits for its answer. Raises when none comes. [-0, +0, v] */
static void exchange(lua_State *L, ro_Line *line, Call *call, ro_Buffer *frame) {
  ro_Proxy *proxy = line->proxy;
  ro_Listener *listener = proxy->listener;
  ro_Holder *holder = line->holder;
  int status;
  check_attended(L, ro_listener_attends(listener));
  call->thread = ro_lock_holder(proxy->lock);
  call->next = line->calls;
  line->calls = call;
  call->sent = frame->size;
  ro_hub_mark(holder->hub, holder->request);
  ro_hub_send(holder->hub, holder->request, frame);
  status = ro_listener_wait(L, listener, &call->settled, holder->request->head.deadline);
  if (line->home != ro_pid())
    line->calls = NULL;
  else
    unlink_call(line, call);
  if (status < 0)
    lua_error(L);
  check_attended(L, status);
  if (!call->settled)
    raise_ended(L, LEFT, 1);
  if (call->kind == RO_FRAME_REFUSED || line->holder == NULL)
    raise_ended(L, line->state, 1);
  call->received = RO_FRAME_HEAD + call->answer->size - call->offset;
}

/* Calls the client's function `number` with the arguments from `first` on; returns how many results are on top. [-0, +n, v] */
static int perform(lua_State *L, ro_Line *line, lua_Integer number, int first, Call *call) {
  LineState state;
  int count = lua_gettop(L) - first + 1;
  ro_check_stack(L, LUA_MINSTACK, NULL);
  state = state_of(line);
  if (state != OPEN)
    return raise_ended(L, state, 0);
  call->id = ++line->proxy->last_call;
  call->answer = ro_scratch_open(L);
  encode_call(L, line, call->id, number, first, count, call->answer);
  exchange(L, line, call, call->answer);
  count = read_answer(L, line, call);
  ro_scratch_close(call->answer);
  return count;
}

/* perform(line, number, call, arguments...) */
static int perform_protected(lua_State *L) {
  enum { THE_LINE = 1, NUMBER, CALL, FIRST };
  return perform(L, lua_touserdata(L, THE_LINE), lua_tointeger(L, NUMBER), FIRST, lua_touserdata(L, CALL));
}

/*
** The same for a call whose arguments are all that is on the stack, and which is told of: for that the proxy must outlast
** it.
*/
static int perform_traced(lua_State *L, ro_Line *line, lua_Integer number, Call *call, ro_Trace *trace) {
  int count = lua_gettop(L), status;
  ro_check_stack(L, count + 8, "too many arguments");
  ro_trace_callback(L, trace, number, count);
  ro_push_proxy(L, line->proxy);
  lua_pushcfunction(L, perform_protected);
  lua_pushlightuserdata(L, line);
  lua_pushinteger(L, number);
  lua_pushlightuserdata(L, call);
  lua_rotate(L, 1, 5);
  status = lua_pcall(L, count + 3, LUA_MULTRET, 0);
  trace->request = call->sent;
  ro_trace_end(L, trace, call->received, status != LUA_OK);
  return status == LUA_OK ? lua_gettop(L) - 1 : lua_error(L);
}

/* The function that stands for one of the client's. Upvalues: the line, and the number. */
static int call_client(lua_State *L) {
  ro_Line *line = lua_touserdata(L, lua_upvalueindex(1));
  lua_Integer number = lua_tointeger(L, lua_upvalueindex(2));
  Call call = {.id = 0};
  ro_Trace trace;
  if (state_of(line) == OPEN && ro_trace_begin(&trace, line->proxy, RO_SENT, 0) != NULL)
    return perform_traced(L, line, number, &call, &trace);
  return perform(L, line, number, 1, &call);
}

/* ---- functions ---- */

/* Pushes the line of the request, made at its first need. [-0, +1, m] */
static void push_line(lua_State *L, ro_Proxy *proxy, ro_Holder *holder, int slot) {
  static const luaL_Reg metamethods[] = {{"__gc", line_gc}, {NULL, NULL}};
  ro_Line *line;
  if (holder->line == NULL) {
    line = lua_newuserdatauv(L, sizeof *line, FUNCTIONS);
    *line = (ro_Line){.proxy = proxy, .client = holder->request->client, .home = ro_pid()};
    lua_newtable(L);
    lua_setiuservalue(L, -2, FUNCTIONS);
    ro_push_metatable(L, LINE, metamethods);
    lua_setmetatable(L, -2);
    line->holder = holder;
    line->next = proxy->lines;
    proxy->lines = holder->line = line;
    lua_replace(L, slot);
  }
  lua_pushvalue(L, slot);
}

void ro_push_line_function(lua_State *L, ro_Proxy *proxy, ro_Holder *holder, int slot, lua_Integer number) {
  ro_check_stack(L, 8, NULL);
  push_line(L, proxy, holder, slot);
  lua_getiuservalue(L, -1, FUNCTIONS);
  if (lua_rawgeti(L, -1, number) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushvalue(L, -2);
    lua_pushinteger(L, number);
    lua_pushcclosure(L, call_client, 2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, number);
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
}
