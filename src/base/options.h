/*
** Tables of options that functions take: the names that are known, and values of the right kind. What is
** wrong is an argument error.
*/
#ifndef RO_OPTIONS_H
#define RO_OPTIONS_H

#include <lua.h>

/* For ro_check_option: all names may be given. */
#define RO_ALL_OPTIONS (~0u)

/*
** The place in `names`, which ends with NULL, of the key at -2 in the table of argument `argument` that is
** being walked over. Only names whose bit (1 << place) is in `allowed` are known; the error lists them.
** [-0, +0, v]
*/
int ro_check_option(lua_State *L, int argument, const char *const names[], unsigned allowed);

/* The boolean on top, which is the value of option `name`. [-0, +0, v] */
int ro_check_flag(lua_State *L, int argument, const char *name);

/* The number of seconds on top, not negative, which is the value of option `name`. [-0, +0, v] */
double ro_check_seconds(lua_State *L, int argument, const char *name);

#endif
