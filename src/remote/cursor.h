/*
** Iterating over a remote table, the listener's side. A cursor is what a loop of a client has
** still to see: the keys that the table had when the loop began, the iterator of the
** table's own __pairs, or a list from an index on. It lives under a handle in its connection's
** table until it is used up, released, or the connection ends. Entries are sent in chunks of
** bounded size.
*/
#ifndef RO_CURSOR_H
#define RO_CURSOR_H

#include <lua.h>

#include "codec/codec.h"
#include "remote/chain.h"
#include "remote/proxy.h"

/*
** Encodes the answer to an operation that iterates: RO_OP_PAIRS and RO_OP_IPAIRS over the value on top of the
** stack, RO_OP_NEXT with the cursor of that `handle`. [-0, +0, e]
*/
void ro_cursor_answer(ro_Encoder *e, ro_Writer *writer, ro_Operation operation, lua_Integer handle);

#endif
