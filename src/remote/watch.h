/*
** What is seen of the operations of a Lua state: each one, as a line or by a function of the program (a trace), and
** how many there were and how long they took (stats). While nobody looks, an operation pays a branch on `watched`.
*/
#ifndef RO_WATCH_H
#define RO_WATCH_H

#include <lua.h>

#include "base/atfork.h"
#include "base/latency.h"

/* Counts of one proxy in this process; those that are gone count in the watch. */
typedef struct ro_Counters {
  lua_Integer requests, replies, bytes_sent, bytes_received, late_replies;
  lua_Integer served, errors;
  lua_Integer references; /* that clients hold in this process */
  ro_Latency round_trips; /* of requests that were answered; while watched */
  ro_Latency executions;  /* of requests that were served; while watched */
} ro_Counters;

/* In the child of a fork, where nothing has been counted yet. Async-signal-safe. */
void ro_counters_clear(ro_Counters *counters);

/* Adds what `other` has counted; not its references, which come and go. */
void ro_counters_add(ro_Counters *counters, const ro_Counters *other);

struct ro_Telling;

typedef struct ro_Watch {
  int watched; /* times are taken: a trace is on, or somebody has asked for stats */
  int traced;  /* each operation is told */
  int fd; /* what lines are written to; -1: a function, user value 1 of the watch's userdata, is called */
  int owns_fd;
  lua_Integer lost;           /* lines that found no room since the last that did */
  struct ro_Telling *telling; /* the threads that tell of an operation now: what they do is not told */
  ro_Counters gone;           /* what proxies that were collected have counted */
  ro_ForkNode fork_node;
} ro_Watch;

/* The watch of the state: one, made at its first use, which stays as long as the state does. [-0, +0, m] */
ro_Watch *ro_watch_of(lua_State *L);

/* Pushes its userdata. [-0, +1, m] */
void ro_push_watch(lua_State *L);

/* Operations are not told any more. */
void ro_watch_untrace(ro_Watch *watch);

#endif
