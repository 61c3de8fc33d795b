/* Functions of the program that are called while it waits inside the library. */
#ifndef RO_CALLBACK_H
#define RO_CALLBACK_H

#include <lua.h>

/*
** Calls the function below the `count` arguments on top, which are all popped. An error that it raises becomes a
** warning that names `what`; one that was thrown in is raised where the caller goes on. [-(count + 1), +0, -]
*/
void ro_call_back(lua_State *L, int count, const char *what);

/* Pops the error value on top and makes a warning of it: "error in WHAT: ...". [-1, +0, -] */
void ro_warn(lua_State *L, const char *what);

/*
** watch(fd, func): as long as it is not closed, every wait of the library watches the descriptor and calls func()
** when it is readable; a lua_CFunction.
*/
int ro_watch_new(lua_State *L);

#endif
