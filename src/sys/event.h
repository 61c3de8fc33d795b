/*
** An event: a descriptor that is readable while the event is set. Processes that inherit
** the event share it.
*/
#ifndef RO_EVENT_H
#define RO_EVENT_H

typedef struct ro_Event {
  int fd;     /* readable while the event is set; -1 when closed */
  int setter; /* what setting writes to: the same descriptor where that serves */
} ro_Event;

/* A closed event. */
void ro_event_init(ro_Event *event);

/* Makes an event that is not set, close-on-exec. Returns 0, or an errno, the event being closed then. */
int ro_event_open(ro_Event *event);

/* Closes this process's copy; harmless when it is closed. Safe between fork and exec. */
void ro_event_close(ro_Event *event);

/* Sets the event; harmless when it is set. Goes on trying as long as the system has no memory for that. */
void ro_event_set(const ro_Event *event);

/* Clears the event. */
void ro_event_clear(const ro_Event *event);

#endif
