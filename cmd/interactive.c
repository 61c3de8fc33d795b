#include "interactive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "line.h"
#include "remoteobj.h"
#include "run.h"

#define CHUNK "=stdin"

/* Scripts may choose the prompts. [-0, +1, e] */
static const char *push_prompt(lua_State *L, const char *variable, const char *standard) {
  if (lua_getglobal(L, variable) == LUA_TNIL) {
    lua_pop(L, 1);
    return lua_pushstring(L, standard);
  }
  const char *prompt = luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
  return prompt;
}

/* Requests run while nobody types. Returns whether there was a line. [-0, +(0|1), e] */
static int push_line(lua_State *L, const char *variable, const char *standard) {
  const char *prompt = push_prompt(L, variable, standard);
  remoteobj_allow_begin(L);
  char *line = read_line(prompt);
  remoteobj_allow_end(L);
  lua_pop(L, 1);
  if (line == NULL)
    return 0;
  lua_pushstring(L, line);
  free(line);
  return 1;
}

/* Does the message on top say that the text is right as far as it goes? */
static int is_incomplete(lua_State *L, int status) {
  static const char END[] = "<eof>";
  size_t length, end = sizeof END - 1;
  if (status != LUA_ERRSYNTAX)
    return 0;
  const char *message = lua_tolstring(L, -1, &length);
  return length >= end && strcmp(message + length - end, END) == 0;
}

static int load_text(lua_State *L) {
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);
  return luaL_loadbuffer(L, text, length, CHUNK);
}

/* Takes the line on top for an expression, whose value is asked for. [-0, +(0|1), m] */
static int load_expression(lua_State *L) {
  const char *line = lua_tostring(L, -1);
  lua_pushfstring(L, "return %s", *line == '=' ? line + 1 : line);
  int status = load_text(L);
  lua_remove(L, -2);
  if (status != LUA_OK)
    lua_pop(L, 1);
  return status;
}

/* Takes the line on top, and those that follow it as long as it needs more, for statements. [-0, +1, e] */
static int load_statements(lua_State *L) {
  int status;
  while (is_incomplete(L, status = load_text(L)) && push_line(L, "_PROMPT2", ">> ")) {
    const char *text = lua_tostring(L, -3), *more = lua_tostring(L, -1);
    lua_pushfstring(L, "%s\n%s", text, more);
    lua_replace(L, -4);
    lua_pop(L, 2);
  }
  return status;
}

/* Prints what a chunk has given: all that is on the stack. [-all, +0, -] */
static void print_results(lua_State *L) {
  int count = lua_gettop(L);
  if (count == 0)
    return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  lua_getglobal(L, "print");
  lua_insert(L, 1);
  if (lua_pcall(L, count, 0, 0) != LUA_OK)
    print_message(NULL, lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1)));
}

/* Runs the line on top. [-1, +0, e] */
static void run_line(lua_State *L) {
  int status = load_expression(L);
  if (status != LUA_OK)
    status = load_statements(L);
  remember_line(lua_tostring(L, -2));
  lua_remove(L, -2);
  if (status == LUA_OK)
    status = call_interruptibly(L, 0, LUA_MULTRET);
  if (report(L, NULL, status) == LUA_OK)
    print_results(L);
}

void run_interactively(lua_State *L) {
  lua_settop(L, 0);
  while (push_line(L, "_PROMPT", "> ")) {
    run_line(L);
    lua_settop(L, 0);
  }
  putchar('\n');
  fflush(stdout);
}
