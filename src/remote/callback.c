/***
Functions that the listener may call during a call.
@module remoteobj
*/

#include "remote/callback.h"

#include <stdlib.h>

#include <lauxlib.h>

#include "base/error.h"
#include "base/registry.h"
#include "base/scratch.h"
#include "base/stack.h"
#include "failure/failure.h"
#include "remote/outgoing.h"
#include "remote/proxy.h"
#include "remote/trace.h"

#define CALLBACK "remoteobj.callback"
#define KEPT_MEMORY (size_t)(256 * 1024)

/* In the registry: requests -> the functions that they took along, which others keep. */
static const char functions_key = 0;

/* User value of a callback. */
#define FUNCTION 1

/* ---- the value ---- */

static int test_callback(lua_State *L, int index) {
  return luaL_testudata(L, index, CALLBACK) != NULL;
}

void ro_callback_to_function(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (!test_callback(L, index))
    return;
  lua_getiuservalue(L, index, FUNCTION);
  lua_replace(L, index);
}

/***
What `callback` gives.
@type Callback
*/

/***
Calls the function, in this process.
@function Callback:__call
@param ... its arguments
@return all its results
*/
static int callback_call(lua_State *L) {
  luaL_checkudata(L, 1, CALLBACK);
  ro_callback_to_function(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int is_callable(lua_State *L, int index) {
  if (lua_isfunction(L, index))
    return 1;
  if (luaL_getmetafield(L, index, "__call") == LUA_TNIL)
    return 0;
  lua_pop(L, 1);
  return 1;
}

/*** @section end */

/***
Makes a value that, as an argument of a call or anywhere inside one, arrives in the listener as a function, which calls `func` here: on a
coroutine of its own, while this process waits for the answer. Once the call is answered or given up, or this process is gone, calling it is
an error there. Its arguments and results travel as those of any call; errors pass both ways.
@function callback
@tparam function func what is called; or any value that can be called
@treturn Callback a value for arguments
@usage
remote:each(remoteobj.callback(function(name, size)
  print(name, size) -- printed here
end))
*/
static int callback_new(lua_State *L) {
  if (!is_callable(L, 1))
    return luaL_typeerror(L, 1, "function");
  lua_settop(L, 1);
  lua_newuserdatauv(L, 0, 1);
  luaL_setmetatable(L, CALLBACK);
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, FUNCTION);
  return 1;
}

/* ---- in requests ---- */

/*
** The number of the callback at `index` in the table of the request's functions, which lies at `functions`: number ->
** function, callback -> number. [-0, +0, m]
*/
static lua_Integer number_of(lua_State *L, int index, int functions) {
  lua_Integer number;
  if (!lua_istable(L, functions)) {
    lua_newtable(L);
    lua_replace(L, functions);
  }
  lua_pushvalue(L, index);
  if (lua_rawget(L, functions) == LUA_TNUMBER) {
    number = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return number;
  }
  lua_pop(L, 1);
  number = (lua_Integer)lua_rawlen(L, functions) + 1;
  lua_getiuservalue(L, index, FUNCTION);
  lua_rawseti(L, functions, number);
  lua_pushvalue(L, index);
  lua_pushinteger(L, number);
  lua_rawset(L, functions);
  return number;
}

int ro_put_callback(ro_Encoder *e, int index, ro_Writer *writer) {
  lua_State *L = ro_encoder_state(e);
  size_t mark;
  if (!test_callback(L, index))
    return 0;
  if (writer == NULL || writer->functions == 0)
    ro_unsendable(e, "a callback, which lives no longer than the call that it is an argument of");
  mark = ro_ext_begin(ro_encoder_buffer(e), RO_EXT_CALLBACK);
  ro_put_integer(ro_encoder_buffer(e), number_of(L, index, writer->functions));
  ro_ext_end(ro_encoder_buffer(e), mark);
  return 1;
}

/* ---- calls that come in ---- */

ro_Incoming *ro_incoming_take(ro_Link *link, const ro_FrameHead *head) {
  ro_Incoming *call = calloc(1, sizeof *call);
  if (call == NULL)
    return NULL;
  if (ro_link_take(link, head, &call->bytes, &call->offset) != RO_LINK_OK) {
    free(call);
    return NULL;
  }
  call->id = head->id;
  call->request =
      ro_frame_request(ro_buffer_from(&call->bytes, call->offset), call->bytes.size - call->offset);
  return call;
}

void ro_incoming_free(ro_Incoming *call) {
  ro_buffer_free(&call->bytes);
  free(call);
}

/* A call that is run. */
typedef struct Run {
  ro_Proxy *proxy;
  const ro_Incoming *call;
  uint64_t session; /* that it came in */
  ro_Buffer *answer;
  ro_Trace *trace; /* NULL: it is not told of */
} Run;

/* Stack of what runs: the run, and the functions of the request. */
enum { RUN = 1, FUNCTIONS };

/* Pushes the function that is called, and its arguments; returns how many. [-0, +n, e] */
static int push_called(lua_State *L, const Run *run) {
  ro_Reader reader = {.proxy = run->proxy, .session = run->session};
  ro_DecodeRules rules = {.code = 1, .special = ro_chain_special, .context = &reader};
  size_t offset = run->call->offset + RO_FRAME_NUMBER;
  ro_Decoder *d =
      ro_decoder_open(L, ro_buffer_from(&run->call->bytes, offset), run->call->bytes.size - offset, &rules);
  lua_Integer number = ro_get_integer(d);
  int count = 0;
  if (lua_rawgeti(L, FUNCTIONS, number) == LUA_TNIL)
    ro_raise(L, RO_PROTOCOL, "the listener calls a function that no request has");
  for (; ro_decoder_more(d); count++) {
    ro_check_stack(L, 8, "too many arguments");
    ro_decode(d);
  }
  ro_decoder_close(d);
  if (run->trace != NULL)
    ro_trace_callback(L, run->trace, number, count);
  return count;
}

static void encode_results(lua_State *L, const Run *run, int first) {
  ro_Writer writer = {.proxy = run->proxy};
  ro_EncodeRules rules;
  int last = lua_gettop(L);
  ro_Encoder *e;
  ro_check_stack(L, 8, "too many results");
  ro_chain_rules(L, &rules, &writer);
  rules.label = "result";
  e = ro_encoder_open(L, run->answer, &rules);
  for (int i = first; i <= last; i++)
    ro_encode(e, i, i == first ? 0 : i - first + 1);
  ro_encoder_finish(e);
  if (writer.session != 0 && writer.session != run->session)
    luaL_error(L, "a reference among the results is not kept any more");
}

static int perform(lua_State *L) {
  const Run *run = lua_touserdata(L, RUN);
  int count = push_called(L, run);
  lua_call(L, count, LUA_MULTRET);
  encode_results(L, run, FUNCTIONS + 2); /* behind what the decoder has left */
  return 0;
}

/* Message handler: an error that comes from the listener passes through here, and the traceback says so. */
static int handle_error(lua_State *L) {
  lua_settop(L, 1);
  ro_extend_traceback(L, 1, L, 1);
  return ro_failure_handler(L);
}

static int encode_failure(lua_State *L) {
  const Run *run = lua_touserdata(L, RUN);
  ro_Writer writer = {.proxy = run->proxy};
  ro_EncodeRules rules;
  ro_chain_rules(L, &rules, &writer);
  ro_failure_encode(L, 2, run->answer, &rules);
  return 0;
}

/* Begins the answer, anew if need be. Without memory for that it has failed. */
static void begin_answer(Run *run) {
  ro_buffer_clear(run->answer, SIZE_MAX);
  ro_frame_begin(run->answer);
}

/* Makes the answer a failure of the error on top, which is popped. [-1, +0, -] */
static void fail(lua_State *L, Run *run) {
  begin_answer(run);
  lua_pushcfunction(L, encode_failure);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, run);
  lua_insert(L, -2);
  if (ro_pcall_aside(L, 2, 0, 0) == LUA_OK)
    return;
  lua_pop(L, 1);
  begin_answer(run); /* no memory: an empty failure says so */
}

/* Runs the call on coroutine `co`, whose stack has the functions of the request. Leaves the answer's frame. [-1, +0, -] */
static void run_on(lua_State *co, Run *run) {
  ro_FrameHead head = {.kind = RO_FRAME_REPLY, .id = run->call->id};
  int base = lua_gettop(co);
  ro_Trace trace;
  run->trace = ro_trace_begin(&trace, run->proxy, RO_SERVED,
                              RO_FRAME_HEAD + run->call->bytes.size - run->call->offset);
  begin_answer(run);
  lua_pushcfunction(co, handle_error);
  lua_pushcfunction(co, perform);
  lua_pushlightuserdata(co, run);
  lua_pushvalue(co, base);
  if (ro_pcall_aside(co, 2, 0, base + 1) != LUA_OK) {
    head.kind = RO_FRAME_FAILURE;
    lua_pushvalue(co, -1);
    fail(co, run);
  }
  ro_frame_finish(run->answer, 0, &head);
  if (run->trace != NULL)
    ro_trace_end(co, run->trace, run->answer->size, head.kind == RO_FRAME_FAILURE);
  lua_settop(co, base - 1);
}

/* Runs the call that is argument 1, of one of the functions in argument 2. */
static int run_one(lua_State *L) {
  Run *run = lua_touserdata(L, 1);
  lua_State *co = ro_push_coroutine(L);
  ro_Place here;
  run->answer = ro_scratch_open(L);
  lua_pushvalue(L, 2);
  lua_xmove(L, co, 1);
  ro_check_stack(L, 4, NULL);
  here = ro_coroutine_enter(run->proxy->lock, L, co);
  run_on(co, run);
  ro_coroutine_leave(run->proxy->lock, here);
  if (run->answer->failed)
    return luaL_error(L, "not enough memory"); /* whoever called gives up the request, and says so */
  if (run->proxy->client.session == run->session)
    ro_client_queue(L, run->proxy, run->answer);
  ro_scratch_close(run->answer);
  return 0;
}

void ro_callbacks_keep(lua_State *L, ro_Pending *pending) {
  pending->functions = lua_istable(L, -1);
  if (!pending->functions)
    return;
  ro_push_kept_table(L, &functions_key, "v");
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, pending);
  lua_pop(L, 1);
}

/* The same for a protected call, which has the run and the request as arguments. */
static int run_protected(lua_State *L) {
  const void *pending = lua_touserdata(L, 2);
  ro_push_kept_table(L, &functions_key, "v");
  lua_rawgetp(L, -1, pending);
  lua_replace(L, 2);
  lua_settop(L, 2);
  luaL_checktype(L, 2, LUA_TTABLE);
  return run_one(L);
}

int ro_callback_run(lua_State *L, ro_Proxy *proxy, const ro_Pending *pending, const ro_Incoming *call) {
  Run run = {.proxy = proxy, .call = call, .session = pending->session};
  const char *lacks = ro_stack_lacks(L, 4);
  if (lacks != NULL) {
    lua_pushstring(L, lacks);
    return -1;
  }
  lua_pushcfunction(L, run_protected);
  lua_pushlightuserdata(L, &run);
  lua_pushlightuserdata(L, (void *)(uintptr_t)pending);
  return lua_pcall(L, 2, 0, 0) == LUA_OK ? 0 : -1;
}

void ro_open_callback(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__call", callback_call}, {NULL, NULL}};
  ro_push_metatable(L, CALLBACK, metamethods);
  lua_pop(L, 1);
  lua_pushcfunction(L, callback_new);
  lua_setfield(L, -2, "callback");
  lua_pushcfunction(L, perform);
  ro_traceback_name(L, -1, NULL);
  lua_pop(L, 1);
}
