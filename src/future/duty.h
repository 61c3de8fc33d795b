/*
** Duties: functions in Lua that take in what has come and settle the futures that others wait for. A duty is done when
** a future has been settled that it follows, and is told under which number it follows that. Where it fails, for want of
** memory mostly, it is due: every wait of the library does it again, a moment later, and for everything; who waits for one
** of its futures does it himself, and raises what comes of that. He also
** hears what else it has failed with, as that may have been an error that was thrown into the program.
** So nothing that it has to do is forgotten, and nobody waits for what won't be done.
*/
#ifndef RO_DUTY_H
#define RO_DUTY_H

#include <lua.h>

typedef struct ro_Duty ro_Duty;

/*
** duty(func [, lasts]) -> duty; a lua_CFunction. One that lasts is not collected while it follows something. The function must do what there is to do and has not been done yet, wherever it has been torn
** the last time, also while it is being done further out. Called as func(number) it may leave it at what follows from that future.
*/
int ro_duty_new(lua_State *L);

/* perform(duty [, number]): does it now; a lua_CFunction. Raises nothing: if it fails it is due. */
int ro_duty_perform(lua_State *L);

/*
** atomic(func, ...): calls func so that no other thread runs meanwhile, but where it waits inside the library;
** preemptible(func, ...): others run again between two instructions, as where a function of the program is called in the
** midst of the former. Both give its results and raise its errors; it can't yield. lua_CFunctions.
*/
int ro_call_atomic(lua_State *L);
int ro_call_preemptible(lua_State *L);

/* The duty at `index`, or an error. [-0, +0, v] */
ro_Duty *ro_check_duty(lua_State *L, int index);

/* Has it failed, so that who waits for one of its futures has to do it. */
int ro_duty_is_due(const ro_Duty *duty);

/*
** Does it; returns 0, or -1 with its error, or one that nobody has heard yet, on the stack; an error that was thrown in is
** raised where the caller goes on. Needs four free stack slots. [-0, +(0|1), -]
*/
int ro_duty_do(lua_State *L, ro_Duty *duty);

/* It follows a future more, which refers to it from now on; the duty is at `index`. [-0, +0, -] */
void ro_duty_follow(lua_State *L, int index);

/* The future that it follows under that number was settled: does the duty. Needs four free stack slots. [-0, +0, -] */
void ro_duty_notice(lua_State *L, ro_Duty *duty, lua_Integer number);

/* That future was collected. [-0, +0, -] */
void ro_duty_leave(lua_State *L, ro_Duty *duty);

#endif
