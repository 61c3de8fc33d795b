/*
** What must be prepared before a fork and forgotten in its child, whoever calls fork(). The one table of the
** process that all Lua states share: a list guarded by a mutex that is held across a fork.
*/
#ifndef RO_ATFORK_H
#define RO_ATFORK_H

#include <pthread.h>

typedef struct ro_ForkNode {
  struct ro_ForkNode *next, *previous;
  void (*before)(struct ro_ForkNode *node);    /* runs before the fork, in the thread that forks; or NULL */
  void (*in_parent)(struct ro_ForkNode *node); /* runs after it, in the parent; or NULL */
  void (*in_child)(
      struct ro_ForkNode
          *node); /* runs in the child, before fork() returns there; async-signal-safe work only */
  /*
  ** Guards what other threads may be at when one forks; or NULL. It is locked for the fork, around all three functions, if that
  ** can be had within some milliseconds: who has it might be waiting for the fork to be over.
  */
  pthread_mutex_t *mutex;
  int held; /* it was. In the child: what it guards is at rest there, and can be freed; else it stays as somebody left it for ever */
} ro_ForkNode;

/*
** Links `node`, whose functions are set, into the list; it stays in place until
** ro_atfork_remove. Returns 0 or an errno.
*/
int ro_atfork_add(ro_ForkNode *node);

/* Takes `node` out again; harmless when it is not linked. */
void ro_atfork_remove(ro_ForkNode *node);

/*
** Between the two no other thread of this process forks: what must not get into another's child can be made
** meanwhile. The caller itself may fork; its child has to release too. May be nested.
*/
void ro_atfork_hold(void);
void ro_atfork_release(void);

/*
** For a native thread of the library that runs code of the program's: where that has forked by itself and come back in
** the child, ends the child, whose business this thread is not. `home` is the process of the thread, `code` the exit code.
*/
void ro_atfork_end_stray(int home, int code);

/* The id of this process, without a system call. */
int ro_pid(void);

/* Has this process been forked by one that had the library. */
int ro_is_fork(void);

#endif
