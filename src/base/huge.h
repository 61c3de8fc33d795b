/*
** Memory for bulk data. To touch a page for the first time costs more than to fill it; so large
** blocks ask the system for huge pages before they are filled. That is a hint: nothing else
** depends on whether it is taken, nor on where the memory comes from.
*/
#ifndef RO_HUGE_H
#define RO_HUGE_H

#include <stddef.h>

#include <lua.h>

#define RO_WORTH_HUGE_PAGES ((size_t)4 << 20) /* bytes */

/* Asks for huge pages under a block of `size` bytes that has not been filled yet; small ones stay as they are. */
void ro_prefer_huge_pages(void *block, size_t size);

/* As lua_pushlstring, with that hint for the memory of the string. [-0, +1, m] */
void ro_push_bytes(lua_State *L, const char *bytes, size_t size);

#endif
