/* Runs pieces of Lua for the command, with tracebacks, until Ctrl-C. */
#ifndef CMD_RUN_H
#define CMD_RUN_H

#include <lua.h>

/* Prints a message to the standard error, behind the name of the program unless that is NULL. */
void print_message(const char *program, const char *message);

/* Prints the error on top of the stack if `status` tells that there is one. Returns `status`. [-(0|1), +0, -] */
int report(lua_State *L, const char *program, int status);

/*
** Calls a function as lua_pcall does. An error gets a traceback; Ctrl-C raises one. Returns the status.
** [-(arguments + 1), +(results|1), -]
*/
int call_interruptibly(lua_State *L, int arguments, int results);

/* Runs a text that messages call `chunk`. Returns the status. [-0, +(0|1), -] */
int run_text(lua_State *L, const char *text, const char *chunk);

/* Runs a file, the standard input where `name` is NULL. Returns the status. [-0, +(0|1), -] */
int run_file(lua_State *L, const char *name);

#endif
