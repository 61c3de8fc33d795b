#include "sys/native.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atfork.h"
#include "sys/shared.h"

/* With a stack of this size a thread can be started, if at all. */
#define LARGEST_STACK ((size_t)64 << 20)

static void free_stack(ro_Native *native) {
  if (native->stack != NULL)
    munmap(native->stack, native->size);
  native->stack = NULL;
}

/* A stack of its own, above a page that nobody may touch. Returns 0 or an errno. */
static int bring_stack(ro_Native *native, pthread_attr_t *attributes, size_t stack) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  int e;
  stack = (stack + page - 1) & ~(page - 1);
  native->size = page + stack;
  native->stack = ro_private_open(native->size);
  if (native->stack == NULL)
    return errno;
  e = mprotect(native->stack, page, PROT_NONE) == 0 ? 0 : errno;
  if (e == 0)
    e = pthread_attr_setstack(attributes, (char *)native->stack + page, stack);
  if (e != 0)
    free_stack(native);
  return e;
}

/* Blocks all signals but those that report faults. */
static void block_signals(sigset_t *before) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
  sigset_t set;
  sigfillset(&set);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
    sigdelset(&set, faults[i]);
  pthread_sigmask(SIG_SETMASK, &set, before);
}

/* Returns 0 or an errno: EINVAL where the system wants a larger stack. */
static int start(ro_Native *native, size_t stack, void *(*entry)(void *), void *argument) {
  pthread_attr_t attributes;
  sigset_t before;
  int e = pthread_attr_init(&attributes);
  if (e != 0)
    return e;
  native->stack = NULL;
  e = ro_is_fork() ? bring_stack(native, &attributes, stack) : pthread_attr_setstacksize(&attributes, stack);
  if (e == 0) {
    block_signals(&before); /* which the new thread inherits */
    e = pthread_create(&native->id, &attributes, entry, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e != 0)
      free_stack(native);
  }
  pthread_attr_destroy(&attributes);
  return e;
}

/* The variables that the program has for each thread lie on the stack too; how large they are, nobody tells. */
int ro_native_start(ro_Native *native, size_t stack, void *(*entry)(void *), void *argument) {
  int e;
  if (stack < (size_t)PTHREAD_STACK_MIN)
    stack = (size_t)PTHREAD_STACK_MIN;
  while ((e = start(native, stack, entry, argument)) == EINVAL && stack < LARGEST_STACK)
    stack *= 2;
  return e;
}

void ro_native_join(ro_Native *native) {
  pthread_join(native->id, NULL);
  free_stack(native);
}
