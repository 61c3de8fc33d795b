/***
What has been done, in numbers.
@module remoteobj
*/

#include "remote/stats.h"

#include <stdlib.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "remote/listener.h"
#include "remote/proxy.h"
#include "remote/trace.h"
#include "remote/watch.h"

static void set_counter(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static lua_Integer references_of(const ro_Proxy *proxy) {
  return proxy->counters.references + proxy->client.references;
}

static int clients_of(const ro_Proxy *proxy) {
  return proxy->listener != NULL ? ro_listener_clients(proxy->listener) : 0;
}

static void set_seconds(lua_State *L, const char *name, double nanoseconds) {
  lua_pushnumber(L, (lua_Number)(nanoseconds / (double)RO_SECOND));
  lua_setfield(L, -2, name);
}

static void set_times(lua_State *L, const char *name, const ro_Latency *l) {
  lua_createtable(L, 0, 5);
  set_counter(L, "count", (lua_Integer)l->count);
  set_seconds(L, "mean", l->count > 0 ? (double)l->sum / (double)l->count : 0);
  set_seconds(L, "median", (double)ro_latency_quantile(l, 0.5));
  set_seconds(L, "p99", (double)ro_latency_quantile(l, 0.99));
  set_seconds(L, "max", (double)l->most);
  lua_setfield(L, -2, name);
}

/* Pushes what proxies and the total have alike. [-0, +1, m] */
static void push_counters(lua_State *L, const ro_Counters *c, lua_Integer references, int clients) {
  lua_createtable(L, 0, 14);
  set_counter(L, "requests", c->requests);
  set_counter(L, "replies", c->replies);
  set_counter(L, "bytes_sent", c->bytes_sent);
  set_counter(L, "bytes_received", c->bytes_received);
  set_counter(L, "late_replies", c->late_replies);
  set_counter(L, "served", c->served);
  set_counter(L, "errors", c->errors);
  set_counter(L, "references", references);
  set_counter(L, "clients", clients);
  set_times(L, "round_trips", &c->round_trips);
  set_times(L, "executions", &c->executions);
}

/* Pushes the table of a proxy. [-0, +1, m] */
static void push_proxy_stats(lua_State *L, const ro_Proxy *proxy) {
  push_counters(L, &proxy->counters, references_of(proxy), clients_of(proxy));
  lua_pushboolean(L, proxy->listener != NULL);
  lua_setfield(L, -2, "listening");
  set_counter(L, "id", (lua_Integer)proxy->id);
  ro_push_object(L, proxy);
  ro_push_shown(L, -1);
  lua_setfield(L, -3, "name");
  lua_pop(L, 1);
}

/* By their ids, which grow with the time. */
static int compare_age(const void *a, const void *b) {
  const ro_Proxy *left = *(ro_Proxy *const *)a, *right = *(ro_Proxy *const *)b;
  return (left->id > right->id) - (left->id < right->id);
}

/*
** Pushes a list that keeps the proxies, and the array of them, in the order of their age. [-0, +2, m]
*/
static ro_Proxy **push_by_age(lua_State *L, lua_Unsigned *count) {
  ro_Proxy **proxies;
  ro_push_proxies(L);
  *count = lua_rawlen(L, -1);
  proxies = lua_newuserdatauv(L, ((size_t)*count + 1) * sizeof(ro_Proxy *), 0);
  for (lua_Unsigned i = 0; i < *count; i++) {
    lua_rawgeti(L, -2, (lua_Integer)i + 1);
    proxies[i] = lua_touserdata(L, -1);
    lua_pop(L, 1);
  }
  qsort(proxies, (size_t)*count, sizeof(ro_Proxy *), compare_age);
  return proxies;
}

/***
What this process has sent and served: numbers and bytes, how many failed, how long it took. Evaluations in the
listener's own process don't count. A fork begins with nothing counted.

To take times costs each operation two looks at the clock. So the first call lets the process begin with it, and those
that are forked later: a program that wants to know all times calls it at its start.
@function stats
@treturn ProcessStats a snapshot
@usage
for _, proxy in ipairs(remoteobj.stats().proxies) do
  print(proxy.name, proxy.requests, proxy.round_trips.median)
end
*/
static int l_stats(lua_State *L) {
  ro_Watch *watch = ro_watch_of(L);
  ro_Counters total = watch->gone;
  lua_Unsigned count;
  lua_Integer references = 0;
  int clients = 0;
  ro_Proxy **proxies;
  watch->watched = 1;
  lua_settop(L, 0);
  lua_createtable(L, 0, 3);
  proxies = push_by_age(L, &count);
  lua_createtable(L, (int)count, 0);
  for (lua_Unsigned i = 0; i < count; i++) {
    ro_counters_add(&total, &proxies[i]->counters);
    references += references_of(proxies[i]);
    clients += clients_of(proxies[i]);
    push_proxy_stats(L, proxies[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, 1, "proxies");
  push_counters(L, &total, references, clients);
  lua_setfield(L, 1, "total");
  lua_settop(L, 1);
  set_counter(L, "pid", ro_pid());
  return 1;
}

/***
@type Proxy
*/

/***
What this process has counted for the proxy. Evaluations in the listener's own process don't count.
@function Proxy:stats_
@treturn Stats a snapshot
*/
int ro_method_stats(lua_State *L) {
  push_proxy_stats(L, ro_check_view(L, 1)->proxy);
  return 1;
}

void ro_open_stats(lua_State *L) {
  lua_pushcfunction(L, l_stats);
  lua_setfield(L, -2, "stats");
}

/***
What `Proxy:stats_` gives: a snapshot of what this process has counted for a proxy.
@type Stats
*/

/***
What `tostring` gives of the object here; nil in the total of `stats`.
@tfield string name
*/

/***
The same in all processes that share the proxy; nil in the total.
@tfield integer id
*/

/***
Does this process listen; nil in the total.
@tfield boolean listening
*/

/***
Requests sent.
@tfield integer requests
*/

/***
Replies received.
@tfield integer replies
*/

/***
Bytes of requests and replies sent.
@tfield integer bytes_sent
*/

/***
Bytes of requests and replies received.
@tfield integer bytes_received
*/

/***
Replies that nobody waited for any more.
@tfield integer late_replies
*/

/***
Requests that were executed here, failed ones included.
@tfield integer served
*/

/***
How many of those failed.
@tfield integer errors
*/

/***
Clients that are connected now.
@tfield integer clients
*/

/***
References that this process has to objects in the listener; in the listener, those that all clients have.
@tfield integer references
*/

/***
From sending a request to having its answer.
@tfield Times round_trips
*/

/***
From beginning to serve a request to having its answer ready, with what it has waited for.
@tfield Times executions
*/

/***
What `stats` gives: a snapshot of this process.
@type ProcessStats
*/

/***
The process.
@tfield integer pid
*/

/***
All proxies together, those that are gone included.
@tfield Stats total
*/

/***
Those that there are, the oldest first.
@tfield {Stats,...} proxies
*/

/***
How long things took that were counted since the process, or one that it is a fork of, asked for `stats` first or
traced. All are 0 where there was nothing.
@type Times
*/

/***
How many.
@tfield integer count
*/

/***
Seconds on average.
@tfield number mean
*/

/***
The seconds that half of them took at most, right within an eighth.
@tfield number median
*/

/***
The seconds that 99 of 100 took at most, right within an eighth.
@tfield number p99
*/

/***
The longest, seconds.
@tfield number max
*/
