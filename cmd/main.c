/* The command `remoteobj`: the interpreter of Lua with the library inside. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "interactive.h"
#include "options.h"
#include "remoteobj.h"
#include "run.h"

typedef struct Command {
  const char *name; /* of the program, for messages */
  char **argv;
  Options options;
  int succeeded;
} Command;

static void print_usage(const Command *command) {
  const Options *options = &command->options;
  const char *problem =
      options->lacks_argument ? "%s: '%s' needs argument\n" : "%s: unrecognized option '%s'\n";
  fprintf(stderr, problem, command->name, options->refused);
  fprintf(stderr,
          "usage: %s [-e statement] [-l module] [-l name=module] [-i] [-v] [-E] [-W] [--] [script [argument "
          "...]]\n"
          "'man remoteobj' tells what they mean\n",
          command->name);
}

static void print_version(void) {
  puts("remoteobj " REMOTEOBJ_VERSION ", " LUA_COPYRIGHT);
  fflush(stdout);
}

/* ---- what a script finds ---- */

/* The script is `arg[0]`, its arguments follow, what comes before it has negative numbers. [-0, +0, m] */
static void set_arguments(lua_State *L, const Command *command) {
  int script = command->options.script;
  if (command->argv[script] == NULL)
    script = 0;
  lua_newtable(L);
  for (int i = 0; command->argv[i] != NULL; i++) {
    lua_pushstring(L, command->argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

/* The library is found before any file of it, and opened by the first `require`. [-0, +0, m] */
static void preload_library(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_remoteobj);
  lua_setfield(L, -2, "remoteobj");
  lua_pop(L, 1);
}

static void open_libraries(lua_State *L, const Command *command) {
  if (command->options.ignore_environment) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  preload_library(L);
  set_arguments(L, command);
  lua_gc(L, LUA_GCGEN, 0, 0);
}

/* ---- what the command line asks for ---- */

static int require_module(lua_State *L, const char *module, const char *global) {
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  int status = call_interruptibly(L, 1, 1);
  if (status == LUA_OK)
    lua_setglobal(L, global);
  return status;
}

/* The argument of -l: `module`, or `name=module`. */
static int run_require(lua_State *L, const char *argument) {
  const char *equals = strchr(argument, '=');
  if (equals == NULL)
    return require_module(L, argument, argument);
  const char *global = lua_pushlstring(L, argument, (size_t)(equals - argument));
  int status = require_module(L, equals + 1, global);
  lua_remove(L, status == LUA_OK ? -1 : -2);
  return status;
}

/* LUA_INIT, or the one for this version: statements, or a file after an @. */
static int run_init(lua_State *L) {
  const char *name = "=LUA_INIT_" LUA_VERSION_MAJOR "_" LUA_VERSION_MINOR;
  const char *init = getenv(name + 1);
  if (init == NULL)
    init = getenv((name = "=LUA_INIT") + 1);
  if (init == NULL)
    return LUA_OK;
  return *init == '@' ? run_file(L, init + 1) : run_text(L, init, name);
}

static int run_option(lua_State *L, char **argv, int *index) {
  switch (argv[*index][1]) {
  case 'e':
    return run_text(L, option_argument(argv, index), "=(command line)");
  case 'l':
    return run_require(L, option_argument(argv, index));
  case 'W':
    lua_warning(L, "@on", 0);
    return LUA_OK;
  default:
    return LUA_OK;
  }
}

/* Runs the options in their order, until one fails. */
static int run_options(lua_State *L, const Command *command) {
  int status = LUA_OK;
  for (int i = 1; i < command->options.script && status == LUA_OK; i++)
    status = run_option(L, command->argv, &i);
  return status;
}

/* Pushes the script's arguments, out of the table in which they may have been changed. [-0, +count, e] */
static int push_arguments(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE)
    luaL_error(L, "'arg' is not a table");
  int count = (int)luaL_len(L, -1);
  luaL_checkstack(L, count + LUA_MINSTACK, "too many arguments to script");
  for (int i = 1; i <= count; i++)
    lua_rawgeti(L, -i, i);
  lua_remove(L, -count - 1);
  return count;
}

static int run_script(lua_State *L, const Command *command) {
  char *const *script = command->argv + command->options.script;
  if (*script == NULL)
    return LUA_OK;
  int is_input = strcmp(script[0], "-") == 0 && strcmp(script[-1], "--") != 0;
  int status = luaL_loadfile(L, is_input ? NULL : script[0]);
  return status == LUA_OK ? call_interruptibly(L, push_arguments(L), 0) : status;
}

/* At the prompt the library is at hand as a global too. */
static void interact(lua_State *L) {
  report(L, NULL, require_module(L, "remoteobj", "remoteobj"));
  run_interactively(L);
}

/* Without anything to do it is as with -i on a terminal, else the standard input is the script. */
static void run_rest(lua_State *L, const Command *command) {
  const Options *options = &command->options;
  if (options->interactive) {
    interact(L);
  } else if (command->argv[options->script] != NULL || options->statements || options->version) {
    return;
  } else if (isatty(STDIN_FILENO)) {
    print_version();
    interact(L);
  } else {
    report(L, command->name, run_file(L, NULL));
  }
}

/* The whole of it, where errors are caught. */
static int run_command(lua_State *L) {
  Command *command = lua_touserdata(L, 1);
  const Options *options = &command->options;
  lua_settop(L, 0);
  if (options->version)
    print_version();
  open_libraries(L, command);
  int status = options->ignore_environment ? LUA_OK : run_init(L);
  if (status == LUA_OK)
    status = run_options(L, command);
  if (status == LUA_OK)
    status = run_script(L, command);
  if (report(L, command->name, status) == LUA_OK) {
    run_rest(L, command);
    command->succeeded = 1;
  }
  return 0;
}

static int run_in_state(Command *command) {
  lua_State *L = luaL_newstate();
  if (L == NULL) {
    print_message(command->name, "cannot create state: not enough memory");
    return 0;
  }
  lua_pushcfunction(L, run_command);
  lua_pushlightuserdata(L, command);
  int status = report(L, command->name, lua_pcall(L, 1, 0, 0));
  lua_close(L);
  return status == LUA_OK && command->succeeded;
}

int main(int argc, char **argv) {
  Command command = {.name = "remoteobj", .argv = argv};
  if (argc > 0 && argv[0][0] != '\0')
    command.name = argv[0];
  command.options = parse_options(argv);
  if (command.options.refused != NULL) {
    print_usage(&command);
    return EXIT_FAILURE;
  }
  return run_in_state(&command) ? EXIT_SUCCESS : EXIT_FAILURE;
}
