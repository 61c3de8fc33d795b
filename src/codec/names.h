/*
** What classes, modules and functions are called, so that both sides know them by name. The
** look-ups themselves are Lua (remoteobj.names); this is the way to them.
*/
#ifndef RO_NAMES_H
#define RO_NAMES_H

#include <stdint.h>

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

/* Hashes of the addresses of all classes known so (a Bloom filter with one hash). */
typedef struct ro_NamesFilter {
  uint64_t words[16];
} ro_NamesFilter;

/* Fills the filter. What becomes known later is not in it. [-0, +0, -] */
void ro_names_filter(lua_State *L, ro_NamesFilter *filter);

/* Where the hash of an address is in the filter: the number of a bit. */
static inline unsigned ro_names_bit(const void *address) {
  return (unsigned)((uint64_t)((uintptr_t)address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54);
}

/* Was the class at the address perhaps known when the filter was filled; certainly not, if this is 0. */
static inline int ro_names_may_be_known(const ro_NamesFilter *filter, const void *address) {
  unsigned bit = ro_names_bit(address);
  return filter->words[bit / 64] >> bit % 64 & 1;
}

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
