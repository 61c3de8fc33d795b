/*
** Tells of operations: lines to standard error or a file, or calls of a function of the program. What comes of
** that never reaches the operation.
*/
#ifndef RO_TRACE_H
#define RO_TRACE_H

#include <lua.h>

#include "remote/client.h"
#include "remote/proxy.h"
#include "remote/text.h"

/* Which side tells of it. */
#define RO_SENT "sent"
#define RO_SERVED "served"

/* An operation that is told of when it is over; on the C stack of whoever carries it out. */
typedef struct ro_Trace {
  const ro_Proxy *proxy;
  const char *direction;
  size_t request, answer;          /* bytes of the frames */
  int64_t since, time;             /* nanoseconds: its beginning, and how long it took */
  double end;                      /* seconds since 1970 */
  char text[RO_LONGEST_TEXT + 10]; /* in Lua syntax */
} ro_Trace;

/* What carries out an evaluation; fills in what is known of its request and answer. As ro_evaluate. */
typedef int (*ro_Evaluator)(lua_State *L, int view, ro_Operation operation, int count, ro_Pending *pending);

/* Evaluates with `evaluate`, whose contract holds, and tells of it. [-count, +n, e] */
int ro_trace_evaluation(lua_State *L, int view, ro_Operation operation, int count, ro_Evaluator evaluate);

/*
** What is told of begins: `direction` is RO_SENT or RO_SERVED, `request` how many bytes it has, 0 when that is not known
** yet. Returns `trace`, or NULL when it is not to be told.
*/
ro_Trace *ro_trace_begin(ro_Trace *trace, const ro_Proxy *proxy, const char *direction, size_t request);

/* An operation of the request is about to run, with the `count` operands on top. [-0, +0, -] */
void ro_trace_step(lua_State *L, ro_Trace *trace, ro_Operation operation, int count);

/* A request's callback of that number is about to be called, with the `count` arguments on top. [-0, +0, -] */
void ro_trace_callback(lua_State *L, ro_Trace *trace, lua_Integer number, int count);

/* It is over; with `failed`, its error value is on top. [-0, +0, -] */
void ro_trace_end(lua_State *L, ro_Trace *trace, size_t answer, int failed);

/* Pushes what tostring gives of the value at `index`, the name of its type where that fails. [-0, +1, m] */
void ro_push_shown(lua_State *L, int index);

/* Adds trace to the module table on top, and does what REMOTEOBJ_TRACE says. [-0, +0, v] */
void ro_open_trace(lua_State *L);

#endif
