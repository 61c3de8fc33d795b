/*
** A program with an instrument, for which users write scripts. It has its own event loop and threads, and two Lua states:
** one for the scripts, served by the event loop, one for the analysis of all samples, on a thread of its own.
**
** Usage: host [--rate N] [--lua FOLDER] script.lua ...
** Runs each script in a process of its own, where `instrument` is a proxy of the instrument here. Ends when all scripts
** have ended, or on SIGTERM or SIGINT: with 0; with 1 when a script has failed; with 2 when it could not begin.
*/
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis.h"
#include "instrument.h"
#include "signals.h"
#include "state.h"

enum { REQUESTS_IN_A_ROW = 100 };

typedef struct Options {
  double rate;
  const char *folder; /* of control.lua and analysis.lua */
  char **scripts;     /* ends with NULL */
} Options;

static Options read_options(char **argv) {
  Options options = {100, "lua", NULL};
  int i = 1;
  for (; argv[i] != NULL && argv[i + 1] != NULL; i += 2) {
    if (strcmp(argv[i], "--rate") == 0)
      options.rate = strtod(argv[i + 1], NULL); /* what is no number is refused as 0 */
    else if (strcmp(argv[i], "--lua") == 0)
      options.folder = argv[i + 1];
    else
      break;
  }
  options.scripts = argv + i;
  return options;
}

/* ---- what the host does in the state of the scripts, see control.lua ---- */

/* The proxy that scripts use, and what C needs of it. */
typedef struct Control {
  lua_State *L;
  char **scripts;
  int requests; /* readable when there are some */
  int running;  /* scripts that have not ended */
  int failures; /* scripts that have failed */
} Control;

static int start_scripts(lua_State *L) {
  Control *control = (Control *)lua_touserdata(L, 1);
  lua_getglobal(L, "proxy");
  control->requests = remoteobj_fileno(L, -1);
  for (char **script = control->scripts; *script != NULL; script++) {
    lua_getglobal(L, "start");
    lua_pushstring(L, *script);
    lua_call(L, 1, 0);
  }
  return 0;
}

static int serve(lua_State *L) {
  lua_getglobal(L, "proxy");
  remoteobj_process_requests(L, -1, REQUESTS_IN_A_ROW);
  return 0;
}

static int look_after_scripts(lua_State *L) {
  Control *control = (Control *)lua_touserdata(L, 1);
  lua_getglobal(L, "look_after");
  lua_call(L, 0, 2);
  control->running = (int)lua_tointeger(L, -2);
  control->failures = (int)lua_tointeger(L, -1);
  return 0;
}

static int finish(lua_State *L) {
  lua_getglobal(L, "finish");
  lua_call(L, 0, 0);
  return 0;
}

/* ---- the event loop ---- */

static int run_loop(Control *control, int signals) {
  int stop = 0, error = 0;
  while (!stop && !error && control->running > 0) {
    struct pollfd fds[2] = {{signals, POLLIN, 0}, {control->requests, POLLIN, 0}};
    int which;
    if (poll(fds, 2, -1) < 0 && errno != EINTR)
      return -1;
    which = signals_read();
    stop = which & SIGNALS_STOP;
    if (which & SIGNALS_CHILD)
      error = state_run(control->L, look_after_scripts, control);
    if (fds[1].revents != 0 && !error)
      error = state_run(control->L, serve, NULL);
  }
  if (stop)
    printf("host: asked to end\n");
  return error;
}

static int run_scripts(lua_State *L, char **scripts, int signals) {
  Control control = {L, scripts, -1, 0, 0};
  int error = state_run(L, start_scripts, &control);
  if (error == 0)
    error = state_run(L, look_after_scripts, &control);
  if (error == 0)
    error = run_loop(&control, signals);
  if (state_run(L, finish, NULL) != 0 || error != 0)
    return 2;
  return control.failures > 0;
}

/* ---- the program ---- */

static lua_State *open_control(const Options *options) {
  char file[4096];
  snprintf(file, sizeof file, "%s/control.lua", options->folder);
  return state_open(file);
}

static int start_analysis(const Options *options) {
  char file[4096];
  snprintf(file, sizeof file, "%s/analysis.lua", options->folder);
  return analysis_start(file);
}

int main(int argc, char **argv) {
  Options options = read_options(argv);
  int signals, code = 2;
  lua_State *L;
  if (argc < 2 || options.rate < 1 || options.scripts[0] == NULL) {
    fprintf(stderr, "usage: host [--rate N] [--lua FOLDER] script.lua ...\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0); /* lines of several threads and processes */
  signals = signals_open();
  if (signals < 0 || instrument_start(options.rate) != 0) {
    perror("host");
    return 2;
  }
  L = open_control(&options);
  if (L != NULL && start_analysis(&options) == 0) {
    code = run_scripts(L, options.scripts, signals);
    instrument_stop();
    analysis_join();
  }
  if (L != NULL)
    lua_close(L);
  printf("host: ends with %d\n", code);
  return code;
}
