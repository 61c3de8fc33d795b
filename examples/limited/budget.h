/* An allocator for Lua with a hard limit. */
#ifndef BUDGET_H
#define BUDGET_H

#include <stddef.h>

/* The memory of one Lua state, in bytes. A state has a single lock, so that this needs none. */
typedef struct Budget {
  size_t used;
  size_t limit;
  size_t refused; /* how often there was not enough */
} Budget;

/* A lua_Alloc whose context is a Budget. */
void *budget_allocate(void *context, void *block, size_t old_size, size_t new_size);

#endif
