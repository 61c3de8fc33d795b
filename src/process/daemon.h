/* The rule that a daemon never outlives its parent, however the parent ends. */
#ifndef RO_DAEMON_H
#define RO_DAEMON_H

#include <sys/types.h>

/* What a child needs to know of the process and the thread that forked it. */
typedef struct ro_Parent {
  pid_t pid;
  int main_thread; /* it was forked by the process's first thread */
} ro_Parent;

/* Describes the caller, who is about to fork. */
ro_Parent ro_parent_here(void);

/* In the child: from now on it is killed when the parent ends. Returns 0 or an errno. */
int ro_daemon_begin(const ro_Parent *parent);

#endif
