/*
** A client that speaks frames itself: as a module for Lua, linked with the library's src/sys and src/base.
**
**   local connection = frames.connect(proxy)
**   connection:run(payload, count, in_flight)   sends `count` requests with that payload, keeping up to
**                                               `in_flight` of them unanswered; returns when all are answered
*/
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "remote/proxy.h"
#include "sys/link.h"

#define TYPE "bench.connection"
#define MOMENT (INT64_C(50) * 1000) /* nanoseconds of trying before it waits */

typedef struct Connection {
  ro_Link link;
  uint64_t last_id;
  lua_Integer answered;
} Connection;

static Connection *check_connection(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
}

static int connection_gc(lua_State *L) {
  ro_link_close(&check_connection(L)->link);
  return 0;
}

static int connect_proxy(lua_State *L) {
  ro_Proxy *proxy = lua_touserdata(L, 1);
  Connection *connection = lua_newuserdatauv(L, sizeof *connection, 0);
  ro_Offer offer;
  int far[3], error;
  *connection = (Connection){0};
  ro_link_init(&connection->link);
  luaL_setmetatable(L, TYPE);
  luaL_argcheck(L, proxy != NULL, 1, "proxy expected");
  offer = (ro_Offer){ro_door_state(&proxy->door).generation, ro_new_id(), 0};
  error = ro_link_open(&connection->link, far);
  if (error == 0) {
    error = ro_door_post(&proxy->door, &offer, far);
    for (int i = 0; i < 3; i++)
      close(far[i]);
  }
  return error == 0 ? 1 : luaL_error(L, "cannot connect: error %d", error);
}

static void queue_request(lua_State *L, Connection *connection, const char *payload, size_t size) {
  ro_FrameHead head = {.kind = RO_FRAME_REQUEST, .id = ++connection->last_id, .deadline = RO_NEVER};
  ro_Buffer frame;
  ro_LinkStatus status;
  ro_buffer_init(&frame);
  ro_frame_begin(&frame);
  ro_buffer_add(&frame, payload, size);
  ro_frame_finish(&frame, 0, &head);
  status = ro_link_queue(&connection->link, &frame);
  ro_buffer_free(&frame);
  if (status != RO_LINK_OK)
    luaL_error(L, "not enough memory");
}

/* Counts the answers that are there. */
static void count_answers(lua_State *L, Connection *connection) {
  ro_Link *link = &connection->link;
  ro_FrameHead head;
  while (ro_link_peek(link, &head, SIZE_MAX) == RO_LINK_OK) {
    if (head.kind != RO_FRAME_REPLY)
      luaL_error(L, "a request was not answered: frame of kind %d", (int)head.kind);
    link->taken += RO_FRAME_HEAD + (size_t)head.size;
    connection->answered++;
  }
}

/* Waits for more to read or write: actively for a moment, then by blocking. */
static void wait_for_more(const Connection *connection, int64_t since) {
  int writes = ro_link_pending(&connection->link) > 0;
  struct pollfd fds[2] = {{.fd = connection->link.in, .events = POLLIN},
                          {.fd = connection->link.out, .events = POLLOUT}};
  if (ro_now() - since < MOMENT)
    sched_yield();
  else
    poll(fds, writes ? 2 : 1, -1);
}

static void exchange(lua_State *L, Connection *connection) {
  int64_t begin = ro_now();
  ro_LinkStatus status;
  ro_link_flush(&connection->link);
  while ((status = ro_link_receive(&connection->link)) == RO_LINK_AGAIN) {
    wait_for_more(connection, begin);
    ro_link_flush(&connection->link);
  }
  if (status != RO_LINK_OK)
    luaL_error(L, "the connection has ended");
  count_answers(L, connection);
}

static int connection_run(lua_State *L) {
  Connection *connection = check_connection(L);
  size_t size;
  const char *payload = luaL_checklstring(L, 2, &size);
  lua_Integer count = luaL_checkinteger(L, 3), in_flight = luaL_checkinteger(L, 4), sent = 0;
  connection->answered = 0;
  while (connection->answered < count) {
    for (; sent < count && sent - connection->answered < in_flight; sent++)
      queue_request(L, connection, payload, size);
    exchange(L, connection);
  }
  return 0;
}

__attribute__((visibility("default"))) int luaopen_frames(lua_State *L);

int luaopen_frames(lua_State *L) {
  static const luaL_Reg methods[] = {{"run", connection_run}, {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  lua_pushcfunction(L, connection_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, connect_proxy);
  lua_setfield(L, -2, "connect");
  return 1;
}
