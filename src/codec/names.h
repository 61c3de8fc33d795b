/*
** What classes, modules and functions are called, so that both sides know them by name. The
** look-ups themselves are Lua (remoteobj.names); this is the way to them.
*/
#ifndef RO_NAMES_H
#define RO_NAMES_H

#include <lua.h>

/* What RO_EXT_NAMED names; the words are part of the wire format. */
#define RO_NAMED_FUNCTION "function"
#define RO_NAMED_MODULE "module"
#define RO_NAMED_CLASS "class"

/* Loads remoteobj.names and keeps it; pushes its table. [-0, +1, v] */
void ro_names_open(lua_State *L);

/*
** Calls the function `name` of remoteobj.names with the `arguments` topmost values. The
** functions are listed in that module. [-arguments, +results, v]
*/
void ro_names_call(lua_State *L, const char *name, int arguments, int results);

/* Is any class known by registration or because it belongs to a proxied object. [-0, +0, -] */
int ro_names_any_known(lua_State *L);

/*
** Pushes the name of the class at `index` known so and returns 1; else returns 0 and pushes
** nothing. [-0, +(0|1), -]
*/
int ro_names_known(lua_State *L, int index);

/*
** Calls `visit` with the address of every Lua function that has a name: those that are
** loaded modules, their fields, or fields of such fields. [-0, +0, v]
*/
void ro_names_visit_functions(lua_State *L, void (*visit)(void *context, const void *function),
                              void *context);

#endif
