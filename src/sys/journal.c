#include "sys/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/platform.h"
#include "sys/descriptor.h"

#if RO_HAS_GETRANDOM
#include <sys/random.h>
#endif

/* Most bytes of a fragment: Linux moves less than 2 GiB by one write. */
#define FRAGMENT_LIMIT ((size_t)1 << 30)

/* Bytes searched at a time for the fragment that follows a torn one. */
#define SEARCH_STEP 65536

/* Before each fragment. Machine words: the journal never leaves the machine. */
typedef struct Header {
  uint64_t key;    /* the journal's */
  uint64_t check;  /* over the rest of the header and the bytes */
  uint64_t size;   /* bytes that follow */
  int64_t record;  /* with `writer`, which record this is a fragment of */
  uint32_t writer; /* process id */
  uint32_t last;   /* is it the record's last fragment */
} Header;

struct ro_JournalPart {
  ro_JournalPart *next;
  int64_t record;
  uint32_t writer;
  ro_Buffer bytes;
};

/* ---- the check ---- */

static uint64_t mix(uint64_t sum, uint64_t word) {
  sum = (sum ^ word) * UINT64_C(0x9E3779B97F4A7C15);
  return sum ^ (sum >> 29);
}

static uint64_t word_at(const char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

/* Four independent sums, so that the processor need not wait for one before it begins the next. */
static uint64_t check_of(const Header *h, const char *bytes) {
  uint64_t sum[4] = {h->size, (uint64_t)h->record, h->writer, h->last + UINT64_C(1)};
  size_t i = 0, size = (size_t)h->size;
  uint64_t rest = 0;
  for (; i + 32 <= size; i += 32)
    for (int lane = 0; lane < 4; lane++)
      sum[lane] = mix(sum[lane], word_at(bytes + i + 8 * (size_t)lane));
  for (; i + 8 <= size; i += 8)
    sum[0] = mix(sum[0], word_at(bytes + i));
  if (i < size)
    memcpy(&rest, bytes + i, size - i);
  return mix(mix(mix(mix(h->key, sum[0]), sum[1]), sum[2]), mix(sum[3], rest));
}

/* ---- opening and closing ---- */

static int open_appending(void) {
  int fd = ro_anonymous_file();
  if (fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) != 0)
    ro_descriptor_close(&fd);
  return fd;
}

/* Fills in bytes that nobody can guess; returns whether it could. */
static int random_bytes(void *to, size_t size) {
#if RO_HAS_GETRANDOM
  return getrandom(to, size, GRND_NONBLOCK) == (ssize_t)size;
#else
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  int done = fd >= 0 && read(fd, to, size) == (ssize_t)size;
  ro_descriptor_close(&fd);
  return done;
#endif
}

static uint64_t random_key(const void *salt) {
  uint64_t key;
  if (random_bytes(&key, sizeof key))
    return key;
  return mix(mix((uint64_t)ro_now(), (uint64_t)getpid()), (uint64_t)(uintptr_t)salt);
}

int ro_journal_open(ro_Journal *j) {
  memset(j, 0, sizeof *j);
  j->fd = open_appending();
  if (j->fd < 0)
    return errno;
  j->key = random_key(j);
  return 0;
}

static void free_part(ro_JournalPart *part) {
  ro_buffer_free(&part->bytes);
  free(part);
}

void ro_journal_close(ro_Journal *j) {
  while (j->parts != NULL) {
    ro_JournalPart *part = j->parts;
    j->parts = part->next;
    free_part(part);
  }
  ro_descriptor_close(&j->fd);
}

/* ---- writing ---- */

/* The kernel serializes appends, so a fragment is torn only by a kill or a full disk. */
static int write_fragment(ro_Journal *j, Header *h, const char *bytes) {
  struct iovec parts[2] = {{h, sizeof *h}, {(void *)(uintptr_t)bytes, (size_t)h->size}};
  ssize_t wanted = (ssize_t)(sizeof *h + h->size), written;
  h->key = j->key;
  h->check = check_of(h, bytes);
  do
    written = writev(j->fd, parts, 2);
  while (written < 0 && errno == EINTR);
  if (written < 0)
    return errno;
  return written == wanted ? 0 : ENOSPC;
}

int ro_journal_append(ro_Journal *j, const char *bytes, size_t size) {
  Header h = {.record = ro_now(), .writer = (uint32_t)getpid()};
  int code = 0;
  if (j->fd < 0)
    return EBADF;
  do {
    h.size = size < FRAGMENT_LIMIT ? size : FRAGMENT_LIMIT;
    h.last = h.size == size;
    code = write_fragment(j, &h, bytes);
    bytes += h.size;
    size -= (size_t)h.size;
  } while (code == 0 && !h.last);
  return code;
}

/* ---- reading ---- */

/* Reads exactly `size` bytes at `offset`. Returns 1, 0 when the file is shorter, -1 with errno. */
static int read_at(int fd, void *to, size_t size, int64_t offset) {
  size_t done = 0;
  while (done < size) {
    ssize_t got = pread(fd, (char *)to + done, size - done, (off_t)offset + (off_t)done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return (int)got;
    done += (size_t)got;
  }
  return 1;
}

enum Finding { FAULT = -1, SHORT, WHOLE, WRONG };

/* Looks whether the file of `length` bytes has a fragment at `offset`; if so appends its bytes to `out`. */
static enum Finding read_fragment(ro_Journal *j, int64_t offset, int64_t length, Header *h, ro_Buffer *out) {
  size_t before = out->size;
  char *to;
  int state = read_at(j->fd, h, sizeof *h, offset);
  if (state <= 0)
    return (enum Finding)state;
  if (h->key != j->key || h->size > FRAGMENT_LIMIT)
    return WRONG;
  if ((int64_t)h->size > length - offset - (int64_t)sizeof *h)
    return SHORT;
  to = ro_buffer_reserve(out, (size_t)h->size);
  if (to == NULL) {
    ro_buffer_clear(out, 0);
    errno = ENOMEM;
    return FAULT;
  }
  state = read_at(j->fd, to, (size_t)h->size, offset + (int64_t)sizeof *h);
  if (state <= 0)
    return (enum Finding)state;
  if (check_of(h, to) != h->check)
    return WRONG;
  out->size = before + (size_t)h->size;
  return WHOLE;
}

/* Where `key` first stands in the `size` bytes; NULL when nowhere. */
static const char *find_word(const char *bytes, size_t size, const uint64_t *key) {
  const char *at = bytes;
  while (size - (size_t)(at - bytes) >= sizeof *key) {
    at = memchr(at, *(const unsigned char *)key, size - (size_t)(at - bytes) - sizeof *key + 1);
    if (at == NULL || memcmp(at, key, sizeof *key) == 0)
      return at;
    at++;
  }
  return NULL;
}

/* Where the journal's key stands next, from `from` on; `length` when nowhere; -1 with errno. */
static int64_t find_key(ro_Journal *j, int64_t from, int64_t length) {
  char step[SEARCH_STEP];
  while (from + (int64_t)sizeof j->key <= length) {
    size_t size = length - from < SEARCH_STEP ? (size_t)(length - from) : SEARCH_STEP;
    int state = read_at(j->fd, step, size, from);
    const char *at;
    if (state < 0)
      return -1;
    at = state == 0 ? NULL : find_word(step, size, &j->key);
    if (at != NULL)
      return from + (at - step);
    from += (int64_t)(size - sizeof j->key + 1);
  }
  return length;
}

/*
** What is at the reader's place is not whole. Either it is being written (then nothing follows
** it), or it was torn: then a whole fragment follows somewhere behind, and the reader moves there.
** Between them there may be further torn ones; only the last of all can still become whole.
** Returns 1 when the reader has moved, 0 when it has to wait, -1 with errno.
*/
static int step_over(ro_Journal *j, int64_t length) {
  Header h;
  ro_Buffer probe;
  enum Finding found = WRONG;
  int64_t at = j->scanned > j->offset ? j->scanned : j->offset + 1;
  int64_t unfinished = length - (int64_t)sizeof j->key + 1; /* a key may be cut at the end */
  ro_buffer_init(&probe);
  while ((at = find_key(j, at, length)) >= 0 && at < length) {
    ro_buffer_clear(&probe, SIZE_MAX);
    found = read_fragment(j, at, length, &h, &probe);
    if (found == WHOLE || found == FAULT)
      break;
    if (found == SHORT)
      unfinished = at;
    at++;
  }
  ro_buffer_free(&probe);
  if (at < 0 || found == FAULT)
    return -1;
  if (at >= length) {
    j->scanned = unfinished;
    return 0;
  }
  j->offset = at;
  return 1;
}

/* The link to the fragments before this one of its record; it holds NULL when there are none. */
static ro_JournalPart **find_part(ro_Journal *j, const Header *h) {
  ro_JournalPart **link = &j->parts;
  while (*link != NULL && ((*link)->record != h->record || (*link)->writer != h->writer))
    link = &(*link)->next;
  return link;
}

/* Keeps a fragment that isn't its record's last; its bytes leave `out`. Returns 0 or -1 with errno. */
static int keep_part(ro_Journal *j, const Header *h, ro_Buffer *out) {
  ro_JournalPart **link = find_part(j, h);
  if (*link == NULL) {
    ro_JournalPart *part = calloc(1, sizeof *part);
    if (part == NULL)
      return -1;
    part->record = h->record;
    part->writer = h->writer;
    *link = part;
  }
  ro_buffer_add(&(*link)->bytes, out->data, out->size);
  if ((*link)->bytes.failed) {
    errno = ENOMEM;
    return -1;
  }
  ro_buffer_clear(out, 0);
  return 0;
}

/* Puts what came before in front of a record's last fragment in `out`. Returns 0 or -1 with errno. */
static int join_parts(ro_Journal *j, const Header *h, ro_Buffer *out) {
  ro_JournalPart **link = find_part(j, h), *part = *link;
  ro_Buffer last = *out;
  if (part == NULL)
    return 0;
  ro_buffer_add(&part->bytes, out->data, out->size);
  if (part->bytes.failed) {
    errno = ENOMEM;
    return -1;
  }
  *out = part->bytes;
  part->bytes = last;
  *link = part->next;
  free_part(part);
  return 0;
}

int ro_journal_next(ro_Journal *j, ro_Buffer *out) {
  for (;;) {
    Header h;
    struct stat file;
    enum Finding found;
    ro_buffer_clear(out, 0);
    if (fstat(j->fd, &file) != 0)
      return -1;
    if (j->offset >= file.st_size)
      return 0;
    found = read_fragment(j, j->offset, file.st_size, &h, out);
    if (found == FAULT)
      return -1;
    if (found != WHOLE) {
      int moved = step_over(j, file.st_size);
      if (moved <= 0)
        return moved;
      continue;
    }
    if ((h.last ? join_parts(j, &h, out) : keep_part(j, &h, out)) != 0)
      return -1;
    j->offset += (int64_t)(sizeof h + h.size);
    j->scanned = 0;
    if (h.last)
      return 1;
  }
}

int ro_journal_has_more(const ro_Journal *j) {
  struct stat now;
  return fstat(j->fd, &now) != 0 || now.st_size > j->offset;
}

/* ---- who looks ---- */

/* The sign is a record lock, which no fork inherits and no exec leaves in place. */
static struct flock sign(void) {
  return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
}

int ro_journal_attend(ro_Journal *j) {
  struct flock lock = sign();
  return fcntl(j->fd, F_SETLK, &lock) == 0 ? 0 : errno;
}

int ro_journal_is_attended(ro_Journal *j, int pid) {
  struct flock lock = sign();
  if (j->fd < 0)
    return 0;
  return fcntl(j->fd, F_GETLK, &lock) == 0 ? lock.l_type != F_UNLCK && lock.l_pid == pid : -1;
}
