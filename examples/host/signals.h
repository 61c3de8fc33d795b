/*
** The signals that the host understands, as bytes that come out of a pipe: SIGTERM and SIGINT ask it to end, SIGCHLD says
** that a child has ended.
*/
#ifndef SIGNALS_H
#define SIGNALS_H

/* Installs the handlers. Returns the descriptor to poll, or -1. */
int signals_open(void);

/* Reads what has come: the bits below. */
enum { SIGNALS_STOP = 1, SIGNALS_CHILD = 2 };
int signals_read(void);

#endif
