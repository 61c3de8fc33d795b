#include "remote/seats.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/stack.h"
#include "remote/line.h"
#include "remote/serve.h"
#include "sys/event.h"

#define MOST_IDLE 4 /* threads that stay for the next burst of requests that wait */

struct ro_Seat {
  ro_Seat *next;
  ro_Listener *listener;
  lua_State *L; /* the coroutine that requests run on: the listener keeps it, the proxy lies on its stack */
  ro_Native native;
  ro_Thread *thread;
  ro_Request request;
  ro_Buffer answer; /* the frame that goes back */
  int leads;
  int attends;         /* has a request that is not answered */
  int serves;          /* runs it */
  int ended;           /* has no thread, or one that is about to end */
  int joinable;        /* a thread was started and is still to be joined */
  ro_Seat *behind;     /* the next of those that wait for the turn */
  pthread_cond_t turn; /* with the roles: it has been granted */
  int granted;
};

static void *seat_main(void *argument);
static void observe_wait(void *context, int waiting);

static void lock_roles(ro_Listener *listener) {
  pthread_mutex_lock(&listener->mutex);
}

static void unlock_roles(ro_Listener *listener) {
  pthread_mutex_unlock(&listener->mutex);
}

/* ---- making seats; roles locked ---- */

static void join_seat(ro_Seat *seat) {
  if (seat->joinable)
    ro_native_join(&seat->native);
  seat->joinable = 0;
}

/* A seat without a thread: one whose thread has ended, or a new one; NULL when neither is to be had. */
static ro_Seat *vacant_seat(ro_Listener *listener) {
  ro_Seat *seat = listener->seats;
  while (seat != NULL && !seat->ended)
    seat = seat->next;
  if (seat != NULL || listener->spare == NULL)
    return seat;
  seat = calloc(1, sizeof *seat);
  if (seat == NULL)
    return NULL;
  pthread_cond_init(&seat->turn, NULL);
  seat->listener = listener;
  seat->L = listener->spare;
  seat->ended = 1;
  seat->next = listener->seats;
  listener->seats = seat;
  listener->spare = NULL;
  return seat;
}

/* Starts a thread that will take the lead when it is free. Returns 0 or an errno. */
static int start_seat(ro_Listener *listener) {
  ro_Seat *seat = vacant_seat(listener);
  int error;
  if (seat == NULL)
    return ENOMEM;
  join_seat(seat);
  seat->thread = ro_thread_new(listener->lock, observe_wait, seat);
  if (seat->thread == NULL)
    return ENOMEM;
  error = ro_thread_start(&seat->native, seat_main, seat);
  if (error != 0) {
    ro_thread_end(seat->thread);
    return error;
  }
  seat->joinable = 1;
  seat->ended = 0;
  listener->threads++;
  listener->idle++; /* as good as waiting for the lead */
  return 0;
}

/* A coroutine for a seat of the listener on top. [-0, +0, m] */
static lua_State *new_coroutine(lua_State *L) {
  lua_State *co;
  lua_getiuservalue(L, -1, RO_LISTENER_COROUTINES);
  co = ro_push_coroutine(L);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_getiuservalue(L, -2, RO_LISTENER_PROXY);
  lua_xmove(L, co, 1);
  lua_pop(L, 1);
  return co;
}

/*
** Makes sure that a coroutine is there for one more seat: called while a request may still raise
** errors. [-0, +0, m]
*/
static void prepare_spare(lua_State *L, void *context) {
  ro_Listener *listener = context;
  lua_State *spare;
  if (listener->spare != NULL)
    return;
  ro_check_stack(L, 4, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, listener);
  spare = new_coroutine(L);
  lua_pop(L, 1);
  lock_roles(listener);
  listener->spare = spare;
  unlock_roles(listener);
}

/* ---- roles ---- */

/*
** Waits for the lead, unless the seat has kept it; returns 0 when there is nothing to lead any more, or others suffice.
** Roles locked.
*/
static int take_lead(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  while (listener->leading && !seat->leads && !listener->over) {
    if (listener->idle >= MOST_IDLE)
      return 0;
    listener->idle++;
    pthread_cond_wait(&listener->lead_is_free, &listener->mutex);
    listener->idle--;
  }
  if (listener->over)
    return 0;
  listener->leading = seat->leads = 1;
  return 1;
}

/* Roles locked. */
static void give_lead(ro_Seat *seat) {
  if (!seat->leads)
    return;
  seat->leads = seat->listener->leading = 0;
  pthread_cond_signal(&seat->listener->lead_is_free);
}

/*
** Roles locked. First come, first served: one that waits again and again inside the library must not get ahead each time
** of others that were woken.
*/
static void take_turn(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  if (!listener->turn_taken) {
    listener->turn_taken = 1;
    return;
  }
  seat->behind = NULL;
  if (listener->turn_last != NULL)
    listener->turn_last->behind = seat;
  else
    listener->turn_first = seat;
  listener->turn_last = seat;
  for (seat->granted = 0; !seat->granted;)
    pthread_cond_wait(&seat->turn, &listener->mutex);
}

/* Gives it to the first who waits, or to nobody. Roles locked. */
static void give_turn(ro_Listener *listener) {
  ro_Seat *next = listener->turn_first;
  if (next == NULL) {
    listener->turn_taken = 0;
    return;
  }
  listener->turn_first = next->behind;
  if (next->behind == NULL)
    listener->turn_last = NULL;
  next->granted = 1;
  pthread_cond_signal(&next->turn);
}

/* Makes sure that a seat waits for requests, or is about to, other than `seat`. Returns 0 or an errno. Roles locked. */
static int leave_lead(ro_Listener *listener, ro_Seat *seat) {
  if (seat != NULL)
    give_lead(seat);
  return listener->leading || listener->idle > 0 ? 0 : start_seat(listener);
}

/* A request goes on: where nobody else waits for others, or is about to, its seat will. Roles locked. */
static void resume_lead(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  if (!listener->leading && listener->idle == 0)
    listener->leading = seat->leads = 1;
}

/*
** A request is about to wait inside the library, or has waited. Where there is no thread to take the lead the next request
** waits for this one, and who can't wait for that is to look.
*/
static void observe_wait(void *context, int waiting) {
  ro_Seat *seat = context;
  ro_Listener *listener = seat->listener;
  if (!seat->serves || ro_pid() != listener->home)
    return;
  lock_roles(listener);
  if (!waiting) {
    take_turn(seat);
    resume_lead(seat);
  } else {
    give_turn(listener);
    if (seat->leads && leave_lead(listener, seat) != 0)
      ro_lines_look(listener->proxy);
  }
  unlock_roles(listener);
}

/* The seat whose request the calling thread runs; NULL: none. Roles locked. */
static ro_Seat *seat_of_caller(ro_Listener *listener) {
  ro_Seat *seat = listener->seats;
  while (seat != NULL && (seat->ended || !seat->serves || !pthread_equal(seat->native.id, pthread_self())))
    seat = seat->next;
  return seat;
}

int ro_seats_attend(ro_Listener *listener) {
  ro_Seat *seat;
  int error;
  lock_roles(listener);
  seat = seat_of_caller(listener);
  error = listener->over ? 0 : leave_lead(listener, seat);
  if (error != 0 && seat != NULL)
    resume_lead(seat);
  unlock_roles(listener);
  return error;
}

/* ---- serving ---- */

/* A request may have forked by other means than ours; its child must not serve, and nobody else hears of its error. */
static void end_stray_child(const ro_Listener *listener, int succeeded) {
  if (ro_pid() != listener->home && !succeeded)
    fprintf(stderr, "remoteobj: a request failed in process %d, which it had forked\n", ro_pid());
  ro_atfork_end_stray(listener->home, succeeded ? 0 : 1);
}

/*
** A listener that stops refuses what it has not begun, unless it is to fulfill all that was sent. It is told to stop by
** a holder of the state's lock, as the caller is.
*/
static int is_refused(const ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  if (ro_listener_drops_late(listener, &seat->request))
    return 1;
  return listener->stopping && !listener->proxy->fulfill_final && ro_request_is_call(&seat->request);
}

/* Runs the seat's request, with the lock of the state held. */
static void run_request(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  ro_Service service = {.proxy = listener->proxy,
                        .hub = &listener->hub,
                        .request = &seat->request,
                        .answer = &seat->answer,
                        .prepare = prepare_spare,
                        .context = listener};
  int answered;
  if (ro_request_is_expired(&seat->request))
    return;
  seat->serves = 1;
  answered = ro_serve(seat->L, &service);
  seat->serves = 0;
  end_stray_child(listener, answered);
  if (ro_lock_closes(listener->lock) && !answered) { /* an error that only says so is no answer */
    listener->broke_off = 1;
    ro_buffer_clear(&seat->answer, 0);
  }
}

/* Answers the seat's request, in its turn. */
static void answer(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  int refused = 1;
  if (ro_lock_enter(seat->thread, seat->L, listener->options.preempt) == 0) {
    refused = is_refused(seat);
    if (!refused)
      run_request(seat);
    ro_lock_leave(seat->thread);
  }
  if (refused && ro_request_is_call(&seat->request))
    ro_refuse(&seat->request, &seat->answer);
}

/* Returns with the roles locked. */
static void serve(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  lock_roles(listener);
  seat->attends = 1;
  take_turn(seat);
  listener->active++;
  unlock_roles(listener);
  answer(seat);
  ro_hub_done(&listener->hub, &seat->request, &seat->answer);
  lock_roles(listener);
  seat->attends = 0;
  give_turn(listener);
  if (--listener->active == 0 && listener->stopping)
    ro_hub_wake(&listener->hub);
}

/* Everything is answered: the end of the listener, by the seat that leads, if there is no more. Returns with the roles locked. */
static void finish(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  int well = ro_listener_say_farewell(listener);
  lock_roles(listener);
  if (well < 0)
    return;
  listener->leaves = 1;
  unlock_roles(listener);
  ro_listener_leave(listener, well);
  if (ro_lock_enter(seat->thread, seat->L, listener->options.preempt) == 0) {
    ro_listener_retire(seat->L, listener);
    ro_lock_leave(seat->thread);
  }
  lock_roles(listener);
  listener->over = 1;
  pthread_cond_broadcast(&listener->lead_is_free);
}

/* One round of the seat that leads. Roles locked, but not meanwhile. */
static void lead(ro_Seat *seat) {
  ro_Listener *listener = seat->listener;
  int ends = listener->stopping && listener->active == 0;
  unlock_roles(listener);
  if (ro_hub_next(&listener->hub, &seat->request, ends ? 0 : -1))
    serve(seat);
  else if (ends)
    finish(seat);
  else
    lock_roles(listener);
}

static void *seat_main(void *argument) {
  ro_Seat *seat = argument;
  ro_Listener *listener = seat->listener;
  ro_thread_adopt(seat->thread);
  lock_roles(listener);
  listener->idle--;
  while (take_lead(seat))
    lead(seat);
  give_lead(seat);
  unlock_roles(listener);
  ro_thread_end(seat->thread);
  lock_roles(listener);
  seat->ended = 1;
  if (--listener->threads == 0)
    ro_event_set(&listener->done);
  unlock_roles(listener);
  return NULL;
}

/* ---- forks ---- */

static void in_child(ro_ForkNode *node) {
  ro_Listener *listener = (ro_Listener *)((char *)node - offsetof(ro_Listener, fork_node));
  ro_event_close(&listener->done);
  listener->threads = 0;
}

/* ---- the background as a whole ---- */

int ro_seats_prepare(lua_State *L, ro_Listener *listener) {
  lua_createtable(L, 1, 0);
  lua_setiuservalue(L, -2, RO_LISTENER_COROUTINES);
  listener->spare = new_coroutine(L);
  return ro_lock_activate(L);
}

int ro_seats_open(ro_Listener *listener) {
  int error;
  pthread_mutex_init(&listener->mutex, NULL);
  pthread_cond_init(&listener->lead_is_free, NULL);
  listener->fork_node = (ro_ForkNode){.in_child = in_child, .mutex = &listener->mutex};
  error = ro_event_open(&listener->done);
  if (error == 0)
    error = ro_atfork_add(&listener->fork_node);
  if (error != 0)
    return error;
  lock_roles(listener);
  error = start_seat(listener);
  unlock_roles(listener);
  return error;
}

/* The hub may be closed as soon as the roles are unlocked. */
void ro_seats_stop(ro_Listener *listener) {
  lock_roles(listener);
  listener->stopping = 1;
  ro_hub_wake(&listener->hub);
  unlock_roles(listener);
}

void ro_seats_hurry(ro_Listener *listener) {
  lock_roles(listener);
  if (!listener->leaves)
    ro_hub_hurry(&listener->hub);
  unlock_roles(listener);
}

int ro_seats_include_caller(ro_Listener *listener) {
  int found;
  lock_roles(listener);
  found = seat_of_caller(listener) != NULL;
  unlock_roles(listener);
  return found;
}

void ro_seats_close(ro_Listener *listener) {
  ro_Seat *seat;
  ro_atfork_remove(&listener->fork_node);
  while ((seat = listener->seats) != NULL) {
    listener->seats = seat->next;
    join_seat(seat);
    ro_buffer_free(&seat->request.bytes);
    ro_buffer_free(&seat->answer);
    pthread_cond_destroy(&seat->turn);
    free(seat);
  }
  ro_event_close(&listener->done);
  pthread_mutex_destroy(&listener->mutex);
  pthread_cond_destroy(&listener->lead_is_free);
}

/* What others wait for when a process forks can't be destroyed in its child. */
void ro_seats_discard(ro_Listener *listener) {
  ro_Seat *seat, *next;
  ro_atfork_remove(&listener->fork_node);
  for (seat = listener->fork_node.held ? listener->seats : NULL; seat != NULL; seat = next) {
    next = seat->next;
    if (seat->attends)
      continue;
    ro_buffer_free(&seat->request.bytes);
    ro_buffer_free(&seat->answer);
    free(seat);
  }
  listener->seats = NULL;
}
