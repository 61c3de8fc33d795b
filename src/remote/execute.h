/*
** Runs operations on real values: what a listener does with a chain, and what an evaluation
** in the listener's own process does without any bytes.
*/
#ifndef RO_EXECUTE_H
#define RO_EXECUTE_H

#include <lua.h>

#include "remote/proxy.h"

typedef struct ro_Machine {
  lua_State *L;
  int value; /* stack slot of the value that the next operation works on */
  int level; /* how many classes above its own names are looked up: RO_OP_SUPER */
} ro_Machine;

/* Starts with the value on top of the stack, which becomes the machine's slot. [-0, +0, -] */
void ro_machine_begin(ro_Machine *m, lua_State *L);

/*
** Runs one operation with the `count` operands on top, which are popped; pushes its results and
** returns how many. Not for the operations that iterate (remote/cursor.h). [-count, +n, e]
*/
int ro_machine_apply(ro_Machine *m, ro_Operation operation, int count);

/* Makes the first of the results on top the value that the next operation works on. [-results, +0, -] */
void ro_machine_keep(ro_Machine *m, int results);

/*
** Evaluates the chain of the view at `view`, then `operation` (unless RO_OP_ROOT) with the
** `count` operands on top, which are popped, on the object itself; pushes the results and
** returns how many. Views of the same proxy among the operands stand for their values, the
** object itself among the results for the proxy, and the results may become references. [-count, +n, e]
*/
int ro_execute_here(lua_State *L, int view, ro_Operation operation, int count);

/* Pushes the first value that the view at `view` leads to, whatever it is. [-0, +1, e] */
void ro_value_here(lua_State *L, int view);

/*
** Keeps the functions of the Lua layer that know classes: a table with `super_lookup` and
** `known_classes`. [-1, +0, m]
*/
void ro_use_classes(lua_State *L);

/* Pushes the function of that name. [-0, +1, -] */
void ro_push_class_function(lua_State *L, const char *name);

#endif
