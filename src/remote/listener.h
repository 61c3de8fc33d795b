/*
** The listener of a proxy. In the background it is a native thread that waits for requests
** holding nothing, takes the lock of the state for each, and runs it on a coroutine of its own.
** A request that waits inside the library leaves its place to another thread, so that the next
** requests are served meanwhile; two requests never interleave but where one of them waits.
*/
#ifndef RO_LISTENER_H
#define RO_LISTENER_H

#include <lua.h>

#include "remote/proxy.h"

typedef struct ro_Listener ro_Listener;

typedef struct ro_ListenOptions {
  int background; /* serve from a thread; else only when the program says so */
  int preempt;    /* interrupt a program that runs Lua */
} ro_ListenOptions;

/*
** Starts to listen for the proxy whose own userdata is at `index`; raises an error when somebody
** listens already or the system refuses. The function on top, or nil, is popped: errors of requests that
** have no answer go to it. [-1, +0, v]
*/
void ro_listener_start(lua_State *L, int index, ro_ListenOptions options);

/*
** Stops the listener: no new clients, what has been sent is served or refused, nobody is left waiting.
** Called from one of its own requests it returns at once, and the listener ends after that
** request. [-0, +0, v]
*/
void ro_listener_stop(lua_State *L, ro_Listener *listener);

/* Gives back what the proxy's last listener has left, if it has ended while nobody waited for that. [-0, +0, -] */
void ro_listener_clear_up(ro_Proxy *proxy);

/* Has the proxy's listener in this process been told to stop, and not ended yet. */
int ro_listener_stops(const ro_Proxy *proxy);

/* Is the caller a request of the listener. */
int ro_listener_runs_caller(ro_Listener *listener);

/*
** The state is being closed, or the process ends: what has not begun is refused, what runs gets an error,
** the threads are waited for. Raises nothing. [-0, +0, -]
*/
void ro_listener_abandon(lua_State *L, ro_Listener *listener);

/*
** Passes the error on top, which lua_pcall has just caught with ro_failure_handler, to the function for errors of requests
** without an answer; without one it becomes a warning. [-1, +0, -]
*/
void ro_listener_report(lua_State *L, const ro_Listener *listener);

/* How many clients are connected. */
int ro_listener_clients(ro_Listener *listener);

/* Does it serve by itself. */
int ro_listener_is_background(const ro_Listener *listener);

/* Which of the door's listeners it is. */
uint64_t ro_listener_generation(const ro_Listener *listener);

/* The descriptor that is readable when there is something to serve. [-0, +0, v] */
int ro_listener_fileno(lua_State *L, ro_Listener *listener);

/*
** Waits until there may be something to serve, or `deadline`. Returns 0 at the deadline, as ro_wait_poll. Where the
** descriptor can't be had just now it looks every now and then: who has clients goes on serving them. [-0, +0, v]
*/
int ro_listener_await(lua_State *L, ro_Listener *listener, int64_t deadline);

/*
** Serves on the calling thread what is pending, at most `most` requests (refuses them with `refuse`);
** returns how many. Not for listeners in the background. [-0, +0, v]
*/
lua_Integer ro_listener_process(lua_State *L, ro_Listener *listener, lua_Integer most, int refuse);

/* Will another request be served while the caller waits inside one. Returns 0, or an errno: there is no thread for it. */
int ro_listener_attends(ro_Listener *listener);

/*
** Waits inside one of the listener's requests until *settled, which another request sets, until `deadline`, or until
** there is no thread any more to serve that. One in the foreground serves meanwhile. Returns 0; an errno, of which there is no
** thread; or -1 with what interrupts the wait on the stack. Needs eight free stack slots. [-0, +(0|1), -]
*/
int ro_listener_wait(lua_State *L, ro_Listener *listener, const int *settled, int64_t deadline);

/* Does anybody listen for the proxy now; an error where the system does not tell. [-0, +0, v] */
int ro_somebody_listens(lua_State *L, ro_Proxy *proxy);

/* Adds the methods that have to do with listening to the table on top of the stack. [-0, +0, m] */
void ro_set_listening_methods(lua_State *L);

#endif
