/*
** A journal: an anonymous file that related processes append records to, each with one
** write, and that each reads at its own pace. Appending never waits for a reader, a record
** outlives its writer, and a record that a kill has torn is skipped. A record may have any
** size: what one write can't take travels as several fragments.
*/
#ifndef RO_JOURNAL_H
#define RO_JOURNAL_H

#include <stdint.h>

#include "base/buffer.h"

/* Fragments of a record that is not complete yet. */
typedef struct ro_JournalPart ro_JournalPart;

/* One process's end of a journal. A fork's copy goes on by itself from where it stands. */
typedef struct ro_Journal {
  int fd;          /* -1: closed */
  uint64_t key;    /* random: what marks the records of this journal */
  int64_t offset;  /* where this reader stands */
  int64_t scanned; /* how far an unfinished fragment at `offset` has been searched for what follows it */
  ro_JournalPart *parts;
} ro_Journal;

/* Makes an empty journal, its descriptor closed on exec. Returns 0 or an errno, `j` being closed then. */
int ro_journal_open(ro_Journal *j);

/* Closes this process's end; harmless when it is closed. */
void ro_journal_close(ro_Journal *j);

/*
** Appends one record of `size` bytes. Returns 0 or an errno (ENOSPC, EFBIG, EBADF): nothing is
** to be read of it then.
*/
int ro_journal_append(ro_Journal *j, const char *bytes, size_t size);

/*
** Says that this process will look for records that others append: until it ends, closes any descriptor of the journal, or becomes
** another program. Returns 0 or an errno.
*/
int ro_journal_attend(ro_Journal *j);

/* Has process `pid`, not this one, said so: 1 or 0; 0 of a closed journal; -1 with errno where the system does not tell. */
int ro_journal_is_attended(ro_Journal *j, int pid);

/*
** Reads the next complete record into `out` (emptied before). Returns 1; 0 when there is none
** yet; or -1 with errno (ENOMEM, or a fault of the file), the reader staying where it was.
*/
int ro_journal_next(ro_Journal *j, ro_Buffer *out);

/* May there be records that this process has not read; tells without reading. */
int ro_journal_has_more(const ro_Journal *j);

#endif
