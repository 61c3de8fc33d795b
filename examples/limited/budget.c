#include "budget.h"

#include <stdlib.h>

void *budget_allocate(void *context, void *block, size_t old_size, size_t new_size) {
  Budget *budget = (Budget *)context;
  void *moved;
  if (block == NULL)
    old_size = 0; /* Lua says there what the memory is for */
  if (new_size == 0) {
    free(block);
    budget->used -= old_size;
    return NULL;
  }
  if (new_size > old_size && new_size - old_size > budget->limit - budget->used) {
    budget->refused++;
    return NULL;
  }
  moved = realloc(block, new_size);
  if (moved != NULL)
    budget->used += new_size - old_size;
  return moved;
}
