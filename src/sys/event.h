/*
** An event: a descriptor that is readable while the event is set. Processes that inherit
** the descriptor share the event.
*/
#ifndef RO_EVENT_H
#define RO_EVENT_H

/* Makes an event that is not set, close-on-exec. Returns its descriptor, or -1 with errno. */
int ro_event_open(void);

/* Sets the event; harmless when it is set. */
void ro_event_set(int fd);

/* Clears the event. */
void ro_event_clear(int fd);

#endif
