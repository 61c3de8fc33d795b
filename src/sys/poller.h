/*
** Many descriptors watched through one, which is itself readable when any of them is ready,
** so that foreign event loops can watch it.
*/
#ifndef RO_POLLER_H
#define RO_POLLER_H

typedef struct ro_Ready {
  void *owner;  /* as given to ro_poller_add */
  int readable; /* has input, or its end */
  int writable;
} ro_Ready;

/* Makes a poller; returns its descriptor, close-on-exec, or -1 with errno. Closed by close(2). */
int ro_poller_open(void);

/* Watches `fd` for input, or for room to write. Returns 0 or an errno. */
int ro_poller_add(int poller, int fd, void *owner, int input);

/* Changes what is watched of `fd`; neither: it stays added but silent. */
void ro_poller_change(int poller, int fd, void *owner, int input, int output);

void ro_poller_remove(int poller, int fd);

/*
** Waits until something is ready, at most `milliseconds` (-1: for ever; 0: not at all).
** Returns how many of `ready` (room for `most`) were filled in; 0 also when a signal came.
*/
int ro_poller_wait(int poller, ro_Ready *ready, int most, int milliseconds);

#endif
