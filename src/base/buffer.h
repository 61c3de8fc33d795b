/*
** A growable run of bytes in the C heap. The first failure to get memory sticks: later
** writes are harmless and `failed` reports it in one place, so writers need no checks of
** their own. A buffer that must outlive a Lua error is owned by a userdata (ro_newbuffer).
*/
#ifndef RO_BUFFER_H
#define RO_BUFFER_H

#include <stddef.h>
#include <stdint.h>

typedef struct ro_Buffer {
  char *data;
  size_t size;     /* bytes in use */
  size_t capacity; /* bytes allocated */
  int failed;      /* memory ran out; the content is not to be used */
} ro_Buffer;

/* Makes `b` empty without memory of its own. */
void ro_buffer_init(ro_Buffer *b);

/* Gives the memory back; the buffer is as after ro_buffer_init. */
void ro_buffer_free(ro_Buffer *b);

/* Forgets the content and a failure; keeps the memory unless it is larger than `keep` bytes. */
void ro_buffer_clear(ro_Buffer *b, size_t keep);

/*
** Makes room for `extra` more bytes and returns where they go, or NULL when memory ran
** out. `size` is not changed: the caller adds what it wrote.
*/
char *ro_buffer_reserve(ro_Buffer *b, size_t extra);

/*
** How much room to make for the rest of something that begins with the buffer and has `whole` bytes, more than are there, as far as
** its sender has promised: of very much, never more than has come already, or than a size of which no page is touched before its bytes come.
*/
size_t ro_buffer_promised(const ro_Buffer *b, uint64_t whole);

/* Appends `size` bytes. */
void ro_buffer_add(ro_Buffer *b, const void *bytes, size_t size);

/* The content from `offset` on; never NULL, not even where there is none. */
static inline const char *ro_buffer_from(const ro_Buffer *b, size_t offset) {
  return offset < b->size ? b->data + offset : "";
}

/* Removes the first `size` bytes. */
void ro_buffer_drop(ro_Buffer *b, size_t size);

#endif
