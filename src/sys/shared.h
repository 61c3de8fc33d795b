/* Memory that a process shares with those that are forked later. */
#ifndef RO_SHARED_H
#define RO_SHARED_H

#include <stddef.h>

/* New memory, all zeros, to be unmapped by munmap; NULL with errno when the system refuses. */
void *ro_shared_open(size_t size);

#endif
