/* Memory from the system: that a process shares with those that are forked later, and that it has for itself. */
#ifndef RO_SHARED_H
#define RO_SHARED_H

#include <stddef.h>

/* New memory, all zeros, to be unmapped by munmap; NULL with errno when the system refuses. */
void *ro_shared_open(size_t size);

/* The same, of which forks get a copy. */
void *ro_private_open(size_t size);

#endif
