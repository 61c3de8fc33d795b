/*
** The stream of what a child yields: frames over a socket pair, bounded by what the kernel
** buffers. A byte the other way cancels it; when the reader is gone, values are dropped.
*/
#ifndef RO_STREAM_H
#define RO_STREAM_H

#include <stdint.h>

#include <lua.h>

#include "base/buffer.h"

/* The reader's side: what came and is not used yet. */
typedef struct ro_Inlet {
  ro_Buffer bytes;
  size_t used;  /* bytes at the beginning that were handed out */
  int finished; /* nothing more will come */
  int ended;    /* because the sender has said so */
} ro_Inlet;

/*
** Sends the values from `first` on, waiting while the stream is full. `*fd` becomes -1 when
** the reader is gone or has cancelled: nothing is sent then. Where it would wait although this process was told something
** (ro_thread_tell), the rest is put into `unsent`, to be sent the next time. Returns 1, or 0 when the reader has just
** cancelled. [-0, +0, v]
*/
int ro_stream_send(lua_State *L, int *fd, ro_Buffer *unsent, int first);

/* Says that no further value comes, after what is unsent. Returns as ro_stream_send. [-0, +0, v] */
int ro_stream_finish(lua_State *L, int *fd, ro_Buffer *unsent);

/* Asks the sender to end. */
void ro_stream_cancel(int fd);

/*
** Takes one frame, if need be after reading what is there without blocking. Returns 1 with the values'
** body pushed; 0 when there is none for now or, with in->finished set, ever. [-0, +(0|1), m]
*/
int ro_stream_receive(lua_State *L, int fd, ro_Inlet *in);

#endif
