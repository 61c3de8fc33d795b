#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

void print_message(const char *program, const char *message) {
  fflush(stdout);
  if (program != NULL)
    fprintf(stderr, "%s: ", program);
  fprintf(stderr, "%s\n", message);
  fflush(stderr);
}

int report(lua_State *L, const char *program, int status) {
  if (status != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    print_message(program, message != NULL ? message : "(error message not a string)");
    lua_pop(L, 1);
  }
  return status;
}

/* ---- Ctrl-C ---- */

static lua_State *interruptible; /* of the handler, which gets no argument */

static void handle_interrupts(void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

static void raise_interrupted(lua_State *L, lua_Debug *where) {
  (void)where;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

/* A second Ctrl-C ends the program, which may not come to the hook or take the error for its own. */
static void on_interrupt(int number) {
  (void)number;
  handle_interrupts(SIG_DFL);
  lua_sethook(interruptible, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* ---- calls ---- */

/* The handler of errors: a text with the traceback, or what the error's own __tostring gives. */
static int describe_error(lua_State *L) {
  if (!lua_isstring(L, 1)) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
      return 1;
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    lua_replace(L, 1);
  }
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

int call_interruptibly(lua_State *L, int arguments, int results) {
  int handler = lua_gettop(L) - arguments;
  lua_pushcfunction(L, describe_error);
  lua_insert(L, handler);
  interruptible = L;
  handle_interrupts(on_interrupt);
  int status = lua_pcall(L, arguments, results, handler);
  handle_interrupts(SIG_DFL);
  lua_remove(L, handler);
  return status;
}

int run_text(lua_State *L, const char *text, const char *chunk) {
  int status = luaL_loadbuffer(L, text, strlen(text), chunk);
  return status == LUA_OK ? call_interruptibly(L, 0, 0) : status;
}

int run_file(lua_State *L, const char *name) {
  int status = luaL_loadfile(L, name);
  return status == LUA_OK ? call_interruptibly(L, 0, 0) : status;
}
