/*
** Calls that fail when a spec says so. Programs that link failing.c with `-Wl,--wrap=NAME` for each name in it have their
** own and their libraries' calls of these functions (not those within the C library) go through here.
*/
#ifndef FAILING_H
#define FAILING_H

#include <lua.h>

/*
** The functions for scripts, as a table. [-0, +1, m]
**   fail(name, n, code [, times [, every]])   the n-th call of `name` from now on fails with errno `code`; with `times`
**                       so many calls in a row (default 1; -1: all), with `every` only each so-manieth of those
**   calls(name) -> n    how many there were since then
**   names -> list       all that can fail
**   codes -> table      errno by name
*/
int failing_push(lua_State *L);

#endif
