/* The Lua half of the library as data, which scripts/embed.sh writes when the library is built. */
#ifndef RO_EMBEDDED_H
#define RO_EMBEDDED_H

#include <stddef.h>

typedef struct ro_EmbeddedFile {
  const char *module; /* what `require` calls it */
  const char *chunk;  /* what messages call it, with Lua's mark of a file name */
  const unsigned char *text;
  size_t size;
} ro_EmbeddedFile;

/* Ends with one whose module is NULL. */
extern const ro_EmbeddedFile ro_embedded_files[];

#endif
