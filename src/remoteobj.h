/***
The library in C and C++ programs that embed Lua 5.4: link `libremoteobj` and Lua, nothing else; the Lua half is
inside.

A Lua state that has a listener in the background has one lock. The program holds it from the moment it
listens; requests get it while the program waits inside the library, between two VM instructions of Lua that it
runs, and in the sections that `remoteobj_allow_begin` opens. Whoever calls any of these functions but
`remoteobj_allow_end` must be the one who may use the state. Different states have nothing in common: they may
be used by different native threads at the same time. See docs/embedding.md.

Stack effects are written as in the manual of Lua: values taken, values left, errors raised (`-` none, `m` only
for memory, `e` any).
@module remoteobj.h
*/
#ifndef REMOTEOBJ_H
#define REMOTEOBJ_H

/* The version of the header; the number is 10000 * major + 100 * minor + patch. */
#define REMOTEOBJ_VERSION_MAJOR 0
#define REMOTEOBJ_VERSION_MINOR 1
#define REMOTEOBJ_VERSION_PATCH 0
#define REMOTEOBJ_VERSION "0.1.0"
#define REMOTEOBJ_VERSION_NUMBER                                                                             \
  (REMOTEOBJ_VERSION_MAJOR * 10000 + REMOTEOBJ_VERSION_MINOR * 100 + REMOTEOBJ_VERSION_PATCH)

#if defined(__GNUC__)
#define REMOTEOBJ_API __attribute__((visibility("default")))
#else
#define REMOTEOBJ_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* lua_State of Lua itself: this header needs no other. */
struct lua_State;

/***
Opens the library: for `luaL_requiref(L, "remoteobj", luaopen_remoteobj, 0)`, after `luaL_openlibs`.

Scripts then get it from `require "remoteobj"`, whatever `package.path` says. If the state has loaded the library
already, be it from files, that one is given. After an error (memory is short, say) the state is usable and it may
be called again.
Stack effect: [-0, +1, e].
@function luaopen_remoteobj
@param L the state
@treturn int 1: the module's table is on top
@raise when memory is short, when the system refuses what the library needs, or when Lua's standard libraries are
 not open
*/
REMOTEOBJ_API int luaopen_remoteobj(struct lua_State *L);

/***
Says that the caller is about to block, or to compute for long, without touching the state: requests may run
meanwhile. Pairs with `remoteobj_allow_end`; such sections don't nest.

Between the two nobody but the library may use the state, nor values that only its stack keeps. A process that is
forked meanwhile must not use the state. Costs next to nothing while the state has no listener in the background.
Stack effect: [-0, +0, m]; nothing is raised once the library is open in the state, and where it is not, nothing is done.
@function remoteobj_allow_begin
@param L the coroutine that the caller runs on
@usage
remoteobj_allow_begin(L);
count = read(device, buffer, sizeof buffer);
remoteobj_allow_end(L);
*/
REMOTEOBJ_API void remoteobj_allow_begin(struct lua_State *L);

/***
Ends the section that `remoteobj_allow_begin` has begun: waits until the requests that run let the caller have the
state again. `errno` stays as it was.

May be called from another native thread than the one that began the section: the state then belongs to that thread,
which is the way to move a state that listens. Without a section it does nothing.
Stack effect: [-0, +0, -].
@function remoteobj_allow_end
@param L what was given to `remoteobj_allow_begin`
*/
REMOTEOBJ_API void remoteobj_allow_end(struct lua_State *L);

/***
The descriptor that is readable when requests are pending, for the program's own event loop. It may be readable with
nothing to serve; once `remoteobj_process_requests` has returned 0 it is quiet. It belongs to the library, and lives until
the listener stops.
Stack effect: [-0, +0, e].
@function remoteobj_fileno
@param L the state
@tparam int idx where on the stack the proxy is, for which this process listens with `bg = false`
@treturn int the descriptor
@raise when the value is no proxy, or this process does not listen for it by hand
*/
REMOTEOBJ_API int remoteobj_fileno(struct lua_State *L, int idx);

/***
Serves what is pending, without blocking, on the calling thread. Errors of the requests go to those who made them, never
to the caller. Requests may call any function of the state, those of the program included.
Stack effect: [-0, +0, e].
@function remoteobj_process_requests
@param L the state
@tparam int idx where on the stack the proxy is, for which this process listens
@tparam int max how many requests at most; negative: as many as are pending
@treturn int how many were served
@raise when the value is no proxy, or this process does not listen for it
*/
REMOTEOBJ_API int remoteobj_process_requests(struct lua_State *L, int idx, int max);

#ifdef __cplusplus
}
#endif

#endif
