/*
** How long a listener answers behind its door: whether the process that has become the
** listener of a generation lives, told to processes that are no relatives but by the door.
** The door's shared memory comes from here too.
*/
#ifndef RO_TENURE_H
#define RO_TENURE_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct ro_Tenure {
  int fd;              /* of the listener that was looked at last; or of the file whose locks tell; -1 */
  uint64_t generation; /* that `fd` belongs to */
  int error;           /* why there is no `fd` of a listener that lives for all that is known; or 0 */
  int doubt;           /* why it is not certain either that it lives; or 0 */
} ro_Tenure;

/* Gives zeroed memory of `size` bytes that this process and all that it forks share; NULL with errno. */
void *ro_tenure_open(ro_Tenure *tenure, size_t size);

/* Closes this process's copy; the memory stays. */
void ro_tenure_close(ro_Tenure *tenure);

/*
** This process is about to become the listener of `generation`. Fills in what others are to know it by.
** Returns 0, EBUSY when another is about to, or another errno.
*/
int ro_tenure_begin(ro_Tenure *tenure, uint64_t generation, uint64_t *mark);

/* It is not any more, or has not become it. */
void ro_tenure_end(ro_Tenure *tenure, uint64_t generation);

/*
** Does the listener of `generation`, process `pid`, live. `mark` is what ro_tenure_begin gave it, 0 when that
** is not known. Where the system doesn't tell, it counts as alive.
*/
int ro_tenure_goes_on(ro_Tenure *tenure, pid_t pid, uint64_t generation, uint64_t mark);

/*
** Can the end of the listener be watched that ro_tenure_goes_on has just said to live. Returns 0 or an errno.
*/
int ro_tenure_error(const ro_Tenure *tenure);

/* Why it is not certain that a listener lives of which ro_tenure_goes_on has just said so: an errno, or 0. */
int ro_tenure_doubt(const ro_Tenure *tenure);

/* The same of a listener that ro_tenure_goes_on was asked about before, for less. */
int ro_tenure_lasts(const ro_Tenure *tenure, uint64_t generation);

/*
** Prepares `p` for a wait for the end of the listener that was looked at last. Returns when to look
** whether it has come, though `p` says nothing: `deadline`, or earlier.
*/
int64_t ro_tenure_watch(const ro_Tenure *tenure, struct pollfd *p, int64_t deadline);

#endif
