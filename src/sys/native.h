/*
** Native threads of the library. They get none of the program's signals, but those that report faults.
**
** In a fork the stacks of the threads that are gone may still hold what the program refers to, as a host's state that was
** made on one of them refers to what its allocator keeps account with. The system takes them for free, and gives them to new
** threads; so those of the library bring stacks of their own there.
*/
#ifndef RO_NATIVE_H
#define RO_NATIVE_H

#include <pthread.h>
#include <stddef.h>

#define RO_STACK_OF_WAITER ((size_t)256 * 1024) /* for a thread that only waits */

typedef struct ro_Native {
  pthread_t id;
  void *stack; /* memory of its own, or NULL */
  size_t size; /* of that */
} ro_Native;

/*
** Starts a thread that runs entry(argument), with a stack of `stack` bytes, or more if the system wants that. It is to be
** joined; or detached by its id, when it goes on as long as the process. Returns 0 and sets `native`, or returns an errno.
*/
int ro_native_start(ro_Native *native, size_t stack, void *(*entry)(void *), void *argument);

/* Waits for its end, and gives back what it had. */
void ro_native_join(ro_Native *native);

#endif
