#include "remote/handles.h"

#include <string.h>

#include <lauxlib.h>

#include "base/registry.h"
#include "base/stack.h"
#include "remote/results.h"

/* The tables of all connections are kept in the registry under the hub. The last number given out is at 0. */
#define LAST 0

/* Fields of the table of a connection that holds objects. */
#define OBJECTS "objects" /* number -> object */
#define NUMBERS "numbers" /* object -> number */
#define TIMES "times"     /* number -> how often the client has got it and not let it go */

/* ---- tables ---- */

void ro_push_handles(lua_State *L, ro_Hub *hub, ro_Request *request) {
  ro_check_stack(L, 4, NULL);
  ro_push_kept_table(L, hub, NULL);
  if (lua_rawgeti(L, -1, (lua_Integer)request->client) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)request->client);
    ro_hub_mark(hub, request);
  }
  lua_remove(L, -2);
}

/* Pushes the table of a connection, or nothing when it has none; returns whether it has. [-0, +(0|1), -] */
static int push_existing(lua_State *L, const ro_Hub *hub, uint64_t client) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, hub) == LUA_TTABLE) {
    lua_rawgeti(L, -1, (lua_Integer)client);
    lua_remove(L, -2);
  }
  if (lua_istable(L, -1))
    return 1;
  lua_pop(L, 1);
  return 0;
}

lua_Integer ro_handle_new(lua_State *L, int handles) {
  lua_Integer handle;
  handles = lua_absindex(L, handles);
  lua_rawgeti(L, handles, LAST);
  handle = lua_tointeger(L, -1) + 1;
  lua_pop(L, 1);
  lua_pushinteger(L, handle);
  lua_rawseti(L, handles, LAST);
  return handle;
}

void ro_handles_forget(lua_State *L, const ro_Hub *hub) {
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, hub);
}

/* ---- objects: `handles` has them, or is about to ---- */

/* Pushes the field of the table at `handles`, made at its first need. [-0, +1, m] */
static void push_field(lua_State *L, int handles, const char *field) {
  if (lua_getfield(L, handles, field) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, handles, field);
}

/* Pushes field[handle]. [-0, +1, -] */
static int push_entry(lua_State *L, int handles, const char *field, lua_Integer handle) {
  if (lua_getfield(L, handles, field) == LUA_TTABLE) {
    lua_rawgeti(L, -1, handle);
    lua_remove(L, -2);
  }
  return lua_type(L, -1);
}

/* field[handle] = the value on top. [-1, +0, m] */
static void set_entry(lua_State *L, int handles, const char *field, lua_Integer handle) {
  push_field(L, handles, field);
  lua_insert(L, -2);
  lua_rawseti(L, -2, handle);
  lua_pop(L, 1);
}

static lua_Integer times_of(lua_State *L, int handles, lua_Integer handle) {
  lua_Integer times;
  push_entry(L, handles, TIMES, handle);
  times = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return times;
}

static void set_times(lua_State *L, int handles, lua_Integer handle, lua_Integer times) {
  lua_pushinteger(L, times);
  set_entry(L, handles, TIMES, handle);
}

/* numbers[the object on top] = handle; 0 takes it out. [-1, +0, m] */
static void set_number(lua_State *L, int handles, lua_Integer handle) {
  push_field(L, handles, NUMBERS);
  lua_insert(L, -2);
  if (handle != 0)
    lua_pushinteger(L, handle);
  else
    lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

int ro_is_referable(lua_State *L, int index) {
  return lua_type(L, index) >= LUA_TTABLE || lua_islightuserdata(L, index);
}

/* Keeps the object at `index` under a new handle, which is returned. [-0, +0, m] */
static lua_Integer keep_object(lua_State *L, const ro_Holder *holder, int handles, int index) {
  lua_Integer handle = ro_handle_new(L, handles);
  set_times(L, handles, handle, 0);
  lua_pushvalue(L, index);
  set_entry(L, handles, OBJECTS, handle);
  lua_pushvalue(L, index);
  set_number(L, handles, handle);
  ++*holder->objects;
  return handle;
}

static void drop_object(lua_State *L, const ro_Holder *holder, int handles, lua_Integer handle) {
  if (push_entry(L, handles, OBJECTS, handle) == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  set_number(L, handles, 0);
  for (int i = 0; i < 2; i++) {
    lua_pushnil(L);
    set_entry(L, handles, i == 0 ? OBJECTS : TIMES, handle);
  }
  --*holder->objects;
}

lua_Integer ro_handle_give(lua_State *L, ro_Holder *holder, int index) {
  int top = lua_gettop(L);
  lua_Integer handle;
  index = lua_absindex(L, index);
  ro_check_stack(L, 10, NULL);
  ro_push_handles(L, holder->hub, holder->request);
  push_field(L, top + 1, NUMBERS);
  lua_pushvalue(L, index);
  if (lua_rawget(L, -2) == LUA_TNIL)
    handle = keep_object(L, holder, top + 1, index);
  else
    handle = lua_tointeger(L, -1);
  lua_settop(L, top);
  ro_buffer_add(&holder->given, &handle, sizeof handle);
  if (holder->given.failed)
    luaL_error(L, "not enough memory");
  return handle;
}

/* Calls `end` for each handle that was given. [-0, +0, m] */
static void end_given(lua_State *L, ro_Holder *holder,
                      void (*end)(lua_State *L, const ro_Holder *holder, int handles, lua_Integer handle)) {
  if (holder->given.size > 0 && push_existing(L, holder->hub, holder->request->client)) {
    for (size_t at = 0; at < holder->given.size; at += sizeof(lua_Integer)) {
      lua_Integer handle;
      memcpy(&handle, holder->given.data + at, sizeof handle);
      end(L, holder, lua_gettop(L), handle);
    }
    lua_pop(L, 1);
  }
  ro_buffer_free(&holder->given);
}

static void count_once(lua_State *L, const ro_Holder *holder, int handles, lua_Integer handle) {
  (void)holder;
  set_times(L, handles, handle, times_of(L, handles, handle) + 1);
}

static void drop_unless_held(lua_State *L, const ro_Holder *holder, int handles, lua_Integer handle) {
  if (times_of(L, handles, handle) == 0)
    drop_object(L, holder, handles, handle);
}

void ro_handles_commit(lua_State *L, ro_Holder *holder) {
  holder->named = (int64_t)(holder->given.size / sizeof(lua_Integer));
  end_given(L, holder, count_once);
}

void ro_handles_undo(lua_State *L, ro_Holder *holder) {
  end_given(L, holder, drop_unless_held);
}

void ro_push_handled(lua_State *L, const ro_Holder *holder, lua_Integer handle) {
  ro_check_stack(L, 6, NULL);
  ro_push_handles(L, holder->hub, holder->request);
  if (push_entry(L, lua_gettop(L), OBJECTS, handle) == LUA_TNIL)
    luaL_error(L, "the listener keeps no object with the handle %I", (LUAI_UACINT)handle);
  lua_remove(L, -2);
}

/* ---- what clients tell ---- */

static void release(lua_State *L, const ro_Holder *holder, int handles, const ro_Release *r) {
  lua_Integer times;
  if (r->handle == LAST)
    return;
  lua_pushnil(L);
  lua_rawseti(L, handles, (lua_Integer)r->handle);
  if (r->handle < 0) {
    ro_result_release(holder->hub, holder->request->client, -(uint64_t)r->handle);
    return;
  }
  times = times_of(L, handles, (lua_Integer)r->handle);
  if (r->times < (uint64_t)times)
    set_times(L, handles, (lua_Integer)r->handle, times - (lua_Integer)r->times);
  else
    drop_object(L, holder, handles, (lua_Integer)r->handle);
}

/* The same for all that is in the bytes from `at` on. */
static void release_all(lua_State *L, const ro_Holder *holder, int handles, const ro_Buffer *bytes,
                        size_t at) {
  for (; at + sizeof(ro_Release) <= bytes->size; at += sizeof(ro_Release)) {
    ro_Release one;
    memcpy(&one, bytes->data + at, sizeof one);
    release(L, holder, handles, &one);
  }
}

/* A request of that client that is still read, or NULL. */
static ro_Reading *find_reading(const ro_Hub *hub, uint64_t client) {
  ro_Reading *reading = hub->readings;
  while (reading != NULL && reading->holder->request->client != client)
    reading = reading->next;
  return reading;
}

/* Without memory it stays until the connection ends. */
static void put_off(ro_Reading *reading, const ro_Buffer *bytes, size_t at) {
  ro_buffer_add(&reading->released, ro_buffer_from(bytes, at), bytes->size - at);
  reading->released.failed = 0;
}

void ro_handles_release(lua_State *L, const ro_Holder *holder) {
  const ro_Request *r = holder->request;
  ro_Reading *reading = find_reading(holder->hub, r->client);
  if (reading != NULL) {
    put_off(reading, &r->bytes, r->offset);
    return;
  }
  ro_push_handles(L, holder->hub, holder->request); /* results under way have no table yet */
  release_all(L, holder, lua_gettop(L), &r->bytes, r->offset);
  lua_pop(L, 1);
}

void ro_reading_begin(ro_Reading *reading, const ro_Holder *holder) {
  *reading = (ro_Reading){.next = holder->hub->readings, .holder = holder};
  holder->hub->readings = reading;
}

/* release_put_off(reading) */
static int release_put_off(lua_State *L) {
  const ro_Reading *reading = lua_touserdata(L, 1);
  const ro_Holder *holder = reading->holder;
  if (push_existing(L, holder->hub, holder->request->client))
    release_all(L, holder, lua_gettop(L), &reading->released, 0);
  return 0;
}

void ro_reading_end(lua_State *L, ro_Reading *reading) {
  ro_Reading **link, *other;
  int status = LUA_OK;
  if (reading->holder == NULL)
    return;
  for (link = &reading->holder->hub->readings; *link != reading;)
    link = &(*link)->next;
  *link = reading->next;
  other = find_reading(reading->holder->hub, reading->holder->request->client);
  if (other != NULL) {
    put_off(other, &reading->released, 0);
  } else if (reading->released.size > 0 && lua_checkstack(L, LUA_MINSTACK)) {
    lua_pushcfunction(L, release_put_off);
    lua_pushlightuserdata(L, reading);
    status = lua_pcall(L, 1, 0, 0);
  }
  ro_buffer_free(&reading->released);
  reading->holder = NULL;
  if (status != LUA_OK)
    lua_error(L);
}

/* The field of the table at `to` becomes a copy of that at `from`; returns how many entries it has. [-0, +0, m] */
static lua_Integer copy_field(lua_State *L, int from, int to, const char *field) {
  lua_Integer count = 0;
  lua_newtable(L);
  push_field(L, from, field);
  for (lua_pushnil(L); lua_next(L, -2); count++) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -5);
  }
  lua_pop(L, 1);
  lua_setfield(L, to, field);
  return count;
}

/* What the ancestor had let go before, the heir never had. */
static void inherit_releases(lua_State *L, const ro_Holder *holder, int handles) {
  for (const ro_Reading *r = holder->hub->readings; r != NULL; r = r->next)
    if (r->holder->request->client == holder->request->ancestor)
      release_all(L, holder, handles, &r->released, 0);
}

void ro_handles_inherit(lua_State *L, const ro_Holder *holder) {
  int from = lua_gettop(L) + 1, to = from + 1;
  ro_check_stack(L, LUA_MINSTACK, NULL);
  if (!push_existing(L, holder->hub, holder->request->ancestor))
    return;
  ro_push_handles(L, holder->hub, holder->request);
  *holder->objects += copy_field(L, from, to, OBJECTS);
  copy_field(L, from, to, NUMBERS);
  copy_field(L, from, to, TIMES);
  lua_rawgeti(L, from, LAST);
  lua_rawseti(L, to, LAST);
  inherit_releases(L, holder, to);
  lua_settop(L, from - 1);
}

void ro_handles_forget_client(lua_State *L, const ro_Holder *holder) {
  const ro_Request *r = holder->request;
  if (!push_existing(L, holder->hub, r->client))
    return;
  if (lua_getfield(L, -1, OBJECTS) == LUA_TTABLE)
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
      --*holder->objects;
  lua_pop(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, holder->hub);
  lua_pushnil(L);
  lua_rawseti(L, -2, (lua_Integer)r->client);
  lua_pop(L, 1);
}
