/*
** The children of one Lua state. Whoever holds a handle waits for its child himself; the
** family reaps those whose handles were dropped, and sees to all that are left when the state
** is closed: daemons are killed, others waited for. Knows no Lua.
*/
#ifndef RO_FAMILY_H
#define RO_FAMILY_H

#include <pthread.h>
#include <sys/types.h>

#include "base/atfork.h"
#include "base/buffer.h"
#include "sys/life.h"
#include "sys/native.h"

typedef struct ro_Family ro_Family;

typedef struct ro_Child {
  struct ro_Child *next;
  ro_Family *family; /* NULL: on no list, since it is not started, has ended, or is another process's */
  ro_Life life;
  pid_t owner; /* the process that started it; forks of that have copies of this record */
  int stream;  /* the end of the socket pair that carries its yields, or -1 */
  int far_end; /* the child's end of it: kept open, so that its death is no event of the stream too; or -1 */
  int heeded;  /* the signal that it heeds (ro_lock_heed), or 0 */
  int daemon;  /* must not outlive this process */
  int bound;   /* nor its handle */
  int held;    /* has a handle */
  int shown;   /* the program has the descriptor of its life */
  int waits;   /* how many wait for its end: threads, and on each of them perhaps one within the other */
  int settled; /* nobody needs it any more, but those */
  int ended, status; /* reaped, and the status as wait() gives it */
  int lost;          /* ended, but somebody else took the status */
  int reaping;       /* a thread waits for it */
  ro_Native reaper;
} ro_Child;

struct ro_Family {
  ro_ForkNode fork;      /* first: the node's address is the family's */
  pthread_mutex_t mutex; /* guards `ended`, `status`, `lost` against reapers */
  ro_Child *children;
  /* in a child: what its forks must not keep; -1 */
  int outlet;       /* its end of its own stream */
  ro_Buffer unsent; /* what that had no room for when something else was more urgent */
  int heeded;       /* the signal that it is to heed, or 0 */
  int own;          /* what tells its parent of its end (sys/life.h) */
};

/* Readies a family without children. Returns 0 or an errno. */
int ro_family_open(ro_Family *f);

/* Kills the daemons, waits for everybody, frees all. May block. */
void ro_family_close(ro_Family *f);

/* A child record with a handle, in no family yet; NULL when memory is short. */
ro_Child *ro_child_new(void);

/*
** Strikes children off the list that have ended, and gives back what those without handles hold:
** before a fork, which has then less to forget.
*/
void ro_family_sweep(ro_Family *f);

/* Takes a started child into the family. */
void ro_family_add(ro_Family *f, ro_Child *child);

/* Was it started by this very process. */
int ro_child_is_own(const ro_Child *child);

/* Has the child ended; takes its status if so. Never blocks. Of a child of this process. */
int ro_child_ended(ro_Child *child);

/* Does the child run. In forks of the process that started it too. */
int ro_child_alive(ro_Child *child);

/*
** Sends a signal, with `value` if that is not NULL. Returns 1 when it went to a living process, 0 when that had
** ended already, or a negated errno.
*/
int ro_child_signal(ro_Child *child, int signal, void *value);

/*
** The handle is gone: the child goes on, unless it is bound to it, and is reaped when it ends. Never blocks. Frees the
** record when it can.
*/
void ro_child_drop(ro_Child *child);

/*
** Closes, of a child of this process that has ended, what nobody needs any more: the descriptor of its life, unless the
** program has that; when the last who waits for it does so no longer.
*/
void ro_child_settle(ro_Child *child);

/* Around a wait for the descriptor of its life. */
void ro_child_wait_begin(ro_Child *child);
void ro_child_wait_end(ro_Child *child);

/* The descriptor of the child's life, for the program; -1 with errno. */
int ro_child_sentinel(ro_Child *child);

/* Closes both ends of the child's stream in this process; harmless when they are closed. */
void ro_child_close_stream(ro_Child *child);

#endif
