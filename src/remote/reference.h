/*
** References: views whose chain begins with the operation RO_OP_REFERENCE, on an object that stays in the listener
** though no other chain may lead to it. In a client they name it by a handle (remote/handles.h), in the listener's
** own process they have the object itself.
*/
#ifndef RO_REFERENCE_H
#define RO_REFERENCE_H

#include <lua.h>

#include "remote/proxy.h"

/*
** What a reference has as operand, which all views on the same object share: the claim to the object. When it is
** collected or closed, the object may go.
*/
typedef struct ro_Claim {
  ro_Proxy *proxy;
  int64_t handle;    /* 0 in the listener's process: the object is its user value RO_CLAIM_OBJECT */
  uint64_t session;  /* of the client */
  uint64_t received; /* how often the handle has been */
  uint64_t number;   /* for its text */
  uint64_t generation;
  int released;
} ro_Claim;

/* Pushes the reference to the object that the listener calls `handle`, which was received in `session`. [-0, +1, m] */
void ro_push_reference(lua_State *L, ro_Proxy *proxy, uint64_t session, int64_t handle);

/* Pushes a reference to the object at `index`, in the listener's process. [-0, +1, m] */
void ro_push_local_reference(lua_State *L, ro_Proxy *proxy, int index);

/*
** The claim that is at `index`: the operand of a reference. An error when it was let go. [-0, +0, v]
*/
ro_Claim *ro_check_claim(lua_State *L, int index);

/* Replaces the claim on top by its object, in the listener's process; an error when it is not kept here. [-1, +1, v] */
void ro_claim_to_object(lua_State *L);

/*
** For the `count` results on top of evaluating the view at `view` in the listener's process: makes references of those
** that are to be some, and of the object of the reference that the chain began with. [-0, +0, v]
*/
void ro_refer_here(lua_State *L, int view, int count);

/* __close of views: lets go what a reference names. ref_ of views. Both are lua_CFunctions. */
int ro_view_close(lua_State *L);
int ro_method_ref(lua_State *L);

#endif
