/*
** The door of a proxy: what every related process inherits. A page of shared memory says
** who listens, a pair of sockets carries the ends of new connections to the listener, and
** an event (the gate) is set while somebody listens. Nobody holds a lock that a death
** could leave behind: the page changes hands by compare-and-swap.
*/
#ifndef RO_DOOR_H
#define RO_DOOR_H

#include <stdint.h>
#include <sys/types.h>

#include "sys/event.h"
#include "sys/tenure.h"

/* How far the listener of a generation is. */
typedef enum ro_DoorPhase { RO_DOOR_FREE, RO_DOOR_OPENING, RO_DOOR_OPEN, RO_DOOR_CLOSING } ro_DoorPhase;

typedef struct ro_DoorState {
  uint64_t generation; /* counts the listeners that there have been, from 1 */
  pid_t pid;           /* of the listener */
  ro_DoorPhase phase;
} ro_DoorState;

/* What a client says of the connection that it offers. */
typedef struct ro_Offer {
  uint64_t generation; /* of the listener that it is meant for */
  uint64_t key;        /* of the connection: no other one of this proxy has it */
  uint64_t ancestor;   /* key of the connection whose holdings it inherits; 0: none */
} ro_Offer;

typedef struct ro_DoorPage ro_DoorPage;

typedef struct ro_Door {
  ro_DoorPage *page;
  int client_end, listener_end; /* of the socket pair */
  ro_Event gate;                /* set while somebody listens */
  ro_Tenure tenure;             /* of the listener that was looked at last */
} ro_Door;

/*
** An id for a proxy or a connection, which no other of a related process has: no two are made by one process in the
** same nanosecond.
*/
uint64_t ro_new_id(void);

/* Makes a door that nobody listens behind. Returns 0 or an errno; nothing is left open then. */
int ro_door_open(ro_Door *door);

/* Closes this process's copies. */
void ro_door_close(ro_Door *door);

ro_DoorState ro_door_state(const ro_Door *door);

/*
** Is somebody listening now: open, and the process lives. `state` (may be NULL) receives
** what was seen. Where the system doesn't tell, it counts as alive.
*/
int ro_door_is_open(ro_Door *door, ro_DoorState *state);

/* Can the end of the listener be watched that ro_door_is_open has just found to live. Returns 0 or an errno. */
int ro_door_blindness(const ro_Door *door);

/* Why it is not certain that the listener lives that ro_door_is_open has just found to: an errno, or 0. */
int ro_door_doubt(const ro_Door *door);

/*
** Does the listener of `generation`, whom ro_door_is_open has found open before, live. For less than that
** costs, and true after it was closed too, as long as the process goes on.
*/
int ro_door_lives(const ro_Door *door, uint64_t generation);

/*
** A connection of that listener has ended, which is mostly because its process dies: that closes its descriptors a moment
** before its end shows. Waits for this moment, so that nobody takes it for alive any more, but not for long.
*/
void ro_door_await_end(const ro_Door *door, uint64_t generation);

/*
** Prepares `p` for a wait for the end of the listener that ro_door_is_open found last. Returns when to
** look whether it has come, though `p` says nothing: `deadline`, or earlier.
*/
int64_t ro_door_watch(const ro_Door *door, struct pollfd *p, int64_t deadline);

/* Was the listener of `generation` closed in good order: everything that it took was answered. */
int ro_door_closed_well(const ro_Door *door, uint64_t generation);

/* ---- for the listener ---- */

/*
** Becomes the listener, phase OPENING: when the door is free or its listener has died. Returns 0 and the
** new generation, EBUSY and the state that stands in the way, or another errno, be it why that listener may have died.
*/
int ro_door_claim(ro_Door *door, ro_DoorState *state);

/* OPENING to OPEN: wakes those who wait for a listener. */
void ro_door_announce(ro_Door *door);

/* OPEN to CLOSING: no new client comes in. */
void ro_door_shut(ro_Door *door);

/* CLOSING to FREE; `well` says that everything that was taken was answered. */
void ro_door_leave(ro_Door *door, int well);

/*
** Takes a connection out of the door: 0, what was said of it and its descriptors (in, out, guard), EAGAIN when none
** waits, or another errno. Those meant for an earlier generation are dropped.
*/
int ro_door_accept(ro_Door *door, uint64_t generation, ro_Offer *offer, int ends[3]);

/* ---- for clients ---- */

/*
** Sends a connection's far ends to the listener; the caller closes its copies. 0, EAGAIN (full) or another errno.
*/
int ro_door_post(ro_Door *door, const ro_Offer *offer, const int ends[3]);

/* Clears a gate that was left set by a listener that died; sets it again if another one came in between. */
void ro_door_mend_gate(ro_Door *door);

#endif
