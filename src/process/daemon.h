/* The rule that a daemon never outlives its parent, however the parent ends. */
#ifndef RO_DAEMON_H
#define RO_DAEMON_H

#include "sys/life.h"

/* In a child: from now on it is killed when the parent ends. Returns 0 or an errno. */
int ro_daemon_begin(const ro_Birth *birth);

#endif
