/***
RemoteError, the form in which errors that are no tables arrive from other processes, and what else users see
of failures.
@module remoteobj
*/
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/atfork.h"
#include "base/error.h"
#include "base/registry.h"
#include "base/stack.h"
#include "failure/failure.h"

#define REMOTE_ERROR "remoteobj.RemoteError"

/* Registry: error table that came from elsewhere -> its traceback; keys are weak. */
static const char tracebacks_key;

/* Registry: the name of this process. */
static const char name_key;

/* Is the value at `index` a RemoteError. */
static int is_remote_error(lua_State *L, int index) {
  int same;
  if (!lua_istable(L, index) || !lua_getmetatable(L, index))
    return 0;
  luaL_getmetatable(L, REMOTE_ERROR);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

/* Pushes the message of the RemoteError at `index` as a string. */
static const char *push_message(lua_State *L, int index) {
  lua_pushliteral(L, "message");
  lua_rawget(L, index);
  luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

void ro_push_error_message(lua_State *L, int index) {
  if (is_remote_error(L, index))
    push_message(L, index);
  else
    luaL_tolstring(L, index, NULL);
}

/***
An error of another process that was no table, or could not be sent: the metatable of what stands for it.
The methods of strings work on its message, as in `err:match "boom"`.
@type RemoteError
*/

/***
What was raised; nil if it can't be sent.
@tfield any value
*/

/***
Its text.
@tfield string message
*/

/***
The traceback of the process in which it was raised.
@tfield string traceback
*/

/***
The id of that process.
@tfield integer pid
*/

/***
The name of that process.
@tfield string process
*/

/***
The message followed by the traceback.
@function RemoteError:__tostring
@treturn string
*/
static int error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  push_message(L, 1);
  lua_pushliteral(L, "traceback");
  if (lua_rawget(L, 1) != LUA_TSTRING) {
    lua_pop(L, 1);
    return 1;
  }
  lua_pushfstring(L, "%s\n%s", lua_tostring(L, -2), lua_tostring(L, -1));
  return 1;
}

/* Calls a function of strings (upvalue 1) with the message in the place of the error. */
static int call_string_function(lua_State *L) {
  if (is_remote_error(L, 1)) {
    push_message(L, 1);
    lua_replace(L, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* Pushes what strings have under the key at `key`, nil when strings have no methods. */
static int push_of_strings(lua_State *L, int key) {
  int top = lua_gettop(L);
  lua_pushliteral(L, "");
  if (luaL_getmetafield(L, -1, "__index") == LUA_TTABLE) {
    lua_pushvalue(L, key);
    lua_rawget(L, -2);
  } else {
    lua_pushnil(L);
  }
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return lua_type(L, -1);
}

/* The methods of strings, which work on the message. */
static int error_index(lua_State *L) {
  lua_settop(L, 2);
  if (push_of_strings(L, 2) == LUA_TFUNCTION)
    lua_pushcclosure(L, call_string_function, 1);
  return 1;
}

/***
The length of the message.
@function RemoteError:__len
@treturn integer
*/
static int error_length(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  push_message(L, 1);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
  return 1;
}

/***
Text, as where the error was a string: the message stands for it.
@function RemoteError:__concat
@treturn string
*/
static int error_concat(lua_State *L) {
  for (int i = 1; i <= 2; i++) {
    if (is_remote_error(L, i)) {
      push_message(L, i);
      lua_replace(L, i);
    }
  }
  lua_settop(L, 2);
  lua_concat(L, 2);
  return 1;
}

static const luaL_Reg metamethods[] = {{"__tostring", error_tostring},
                                       {"__index", error_index},
                                       {"__len", error_length},
                                       {"__concat", error_concat},
                                       {NULL, NULL}};

void ro_push_remote_error_metatable(lua_State *L) {
  ro_push_metatable(L, REMOTE_ERROR, metamethods);
}

/* ---- tracebacks of what came from elsewhere ---- */

void ro_push_known_traceback(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (!lua_istable(L, index)) {
    lua_pushnil(L);
    return;
  }
  if (is_remote_error(L, index)) {
    lua_pushliteral(L, "traceback");
    lua_rawget(L, index);
  } else {
    ro_push_kept_table(L, &tracebacks_key, "k");
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  if (lua_type(L, -1) != LUA_TSTRING) { /* fields are the user's to change */
    lua_pop(L, 1);
    lua_pushnil(L);
  }
}

void ro_keep_traceback(lua_State *L, int index) {
  index = lua_absindex(L, index);
  ro_push_kept_table(L, &tracebacks_key, "k");
  lua_pushvalue(L, index);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 2);
}

/* Replaces the traceback of the error at `index` by the string on top. [-1, +0, m] */
static void set_traceback(lua_State *L, int index) {
  if (!is_remote_error(L, index)) {
    ro_keep_traceback(L, index);
    return;
  }
  lua_pushliteral(L, "traceback");
  lua_insert(L, -2);
  lua_rawset(L, index);
}

void ro_extend_traceback(lua_State *L, int index, lua_State *from, int level) {
  int top = lua_gettop(L);
  const char *frames;
  index = lua_absindex(L, index);
  ro_check_stack(L, 12, NULL);
  ro_push_known_traceback(L, index);
  if (!lua_isnil(L, -1)) {
    ro_push_traceback(L, from, level);
    frames = strchr(lua_tostring(L, top + 2), '\n');
    ro_push_process_name(L);
    lua_pushfstring(L, "%s\ncalled by process %s (%d):%s", lua_tostring(L, top + 1), lua_tostring(L, top + 3),
                    ro_pid(), frames != NULL ? frames : "");
    set_traceback(L, index);
  }
  lua_settop(L, top);
}

/*** @section end */

/***
The traceback of the process in which an error was raised.
@function traceback
@param err any error
@treturn string text with every frame of the remote function; nil for an error that came from nowhere else
*/
static int traceback(lua_State *L) {
  luaL_checkany(L, 1);
  ro_push_known_traceback(L, 1);
  return 1;
}

/* ---- the name of the process ---- */

void ro_push_process_name(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &name_key);
}

void ro_set_process_name(lua_State *L, int index) {
  lua_pushvalue(L, index);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &name_key);
}

/* It has its place from the beginning: the registry need not grow in each child. */
static void name_main(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &name_key) == LUA_TNIL) {
    lua_pushliteral(L, "main");
    ro_set_process_name(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void ro_open_failure(lua_State *L) {
  ro_push_error_metatable(L);
  ro_codec_name_class(L, -1, RO_ERROR_METATABLE);
  lua_setfield(L, -2, "Error");
  ro_push_remote_error_metatable(L);
  ro_codec_name_class(L, -1, REMOTE_ERROR);
  lua_setfield(L, -2, "RemoteError");
  lua_pushcfunction(L, traceback);
  lua_setfield(L, -2, "traceback");
  name_main(L);
}
