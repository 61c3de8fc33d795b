/*
** A record is a short head (kind, time, process id, number, group) as one session of
** the codec, after its length, and a body: values or a failure. What the parts mean is the
** business of the Lua layer. The head is read without the body, so that a record of no
** interest costs no decoding.
*/
#include "process/record.h"

#include <errno.h>
#include <string.h>

#include <lauxlib.h>

#include "base/atfork.h"
#include "base/error.h"
#include "base/estate.h"
#include "base/scratch.h"
#include "failure/failure.h"
#include "process/values.h"
#include "sys/journal.h"

#define JOURNAL "remoteobj.journal"

/* Arguments of the appending methods, and how many values a head has. */
enum { SELF = 1, KIND, TIME, NUMBER, GROUP, CONTENT, HEAD = 5 };

typedef struct Book {
  ro_Asset asset; /* first, so that it stands for the whole */
  ro_Journal journal;
  ro_Buffer record; /* that was read, but not taken yet; or nothing */
  int owner;        /* the process that made it; forks have copies */
} Book;

static ro_Journal *check_journal(lua_State *L) {
  return &((Book *)luaL_checkudata(L, SELF, JOURNAL))->journal;
}

/*
** A fork's copy leaves the descriptor alone: a program that forks and puts its own descriptors
** in their places (dup2) before exec may have reused the number by then.
*/
static void end_journal(lua_State *L, ro_Asset *asset) {
  Book *book = (Book *)asset;
  (void)L;
  if (book->owner != ro_pid())
    book->journal.fd = -1;
  ro_journal_close(&book->journal);
  ro_buffer_free(&book->record);
}

/* journal(): an empty journal, which processes forked later share. */
static int journal_new(lua_State *L) {
  Book *book = lua_newuserdatauv(L, sizeof *book, 0);
  int code;
  memset(book, 0, sizeof *book);
  book->journal.fd = -1;
  ro_buffer_init(&book->record);
  book->owner = ro_pid();
  luaL_setmetatable(L, JOURNAL);
  ro_asset_enter(L, &book->asset, end_journal);
  code = ro_journal_open(&book->journal);
  if (code != 0)
    return luaL_error(L, "cannot open a journal: %s", strerror(code));
  return 1;
}

static int journal_gc(lua_State *L) {
  Book *book = luaL_checkudata(L, SELF, JOURNAL);
  ro_asset_end(L, &book->asset);
  return 0;
}

/* journal:close(): this process neither reads nor writes it any more. */
static int journal_close(lua_State *L) {
  return journal_gc(L);
}

static void encode_integer(lua_State *L, ro_Encoder *e, lua_Integer value) {
  lua_pushinteger(L, value);
  ro_encode(e, -1, 0);
  lua_pop(L, 1);
}

/* Writes the head of a record from the arguments, preceded by its length. */
static void encode_head(lua_State *L, ro_Buffer *out) {
  ro_EncodeRules rules = ro_values_encode_rules(L, "group");
  ro_Encoder *e;
  uint32_t length = 0;
  ro_buffer_add(out, &length, sizeof length);
  e = ro_encoder_open(L, out, &rules);
  encode_integer(L, e, luaL_checkinteger(L, KIND));
  encode_integer(L, e, luaL_checkinteger(L, TIME));
  encode_integer(L, e, ro_pid());
  encode_integer(L, e, luaL_checkinteger(L, NUMBER));
  ro_encode(e, GROUP, 0);
  ro_encoder_finish(e);
  lua_pop(L, 1);
  length = (uint32_t)(out->size - sizeof length);
  if (!out->failed)
    memcpy(out->data, &length, sizeof length);
}

static int append(lua_State *L, ro_Journal *j, ro_Buffer *bytes) {
  int code = bytes->failed ? ENOMEM : ro_journal_append(j, bytes->data, bytes->size);
  if (code != 0)
    return luaL_error(L, "cannot record: %s", strerror(code));
  ro_scratch_close(bytes);
  return 0;
}

/* A buffer for the record, where it is neither taken for an argument nor collected. */
static ro_Buffer *insert_buffer(lua_State *L) {
  ro_Buffer *record = ro_scratch_open(L);
  lua_insert(L, CONTENT);
  return record;
}

/* Appends a record of values, which errors call `label`. */
static int append_values(lua_State *L, const char *label) {
  ro_Journal *j = check_journal(L);
  ro_Buffer *record;
  if (lua_gettop(L) < GROUP)
    lua_settop(L, GROUP);
  record = insert_buffer(L);
  encode_head(L, record);
  ro_values_encode(L, CONTENT + 1, record, label);
  return append(L, j, record);
}

/* journal:append_values(kind, time, number, group, ...) */
static int journal_append_values(lua_State *L) {
  return append_values(L, "result");
}

/* journal:append_error(kind, time, number, group, err): one that is to be raised elsewhere. */
static int journal_append_error(lua_State *L) {
  return append_values(L, "error");
}

/* journal:append_failure(kind, time, number, group, failure) */
static int journal_append_failure(lua_State *L) {
  ro_Journal *j = check_journal(L);
  ro_Buffer *record;
  ro_EncodeRules rules = ro_values_encode_rules(L, "error");
  lua_settop(L, CONTENT);
  record = insert_buffer(L);
  encode_head(L, record);
  ro_failure_encode(L, CONTENT + 1, record, &rules);
  return append(L, j, record);
}

/* Pushes the values of the head of the record; returns where its content begins. [-0, +HEAD, v] */
static size_t decode_head(lua_State *L, const ro_Buffer *record) {
  ro_DecodeRules rules = ro_values_decode_rules(L);
  uint32_t length = 0;
  ro_Decoder *d;
  if (record->size >= sizeof length)
    memcpy(&length, record->data, sizeof length);
  if (record->size < sizeof length || length > record->size - sizeof length)
    ro_raise(L, RO_PROTOCOL, "a record of another process is malformed");
  d = ro_decoder_open(L, record->data + sizeof length, length, &rules);
  for (int i = 0; i < HEAD; i++)
    ro_decode(d);
  ro_decoder_close(d);
  lua_remove(L, -HEAD - 1);
  return sizeof length + length;
}

/* What journal:next gives of the record that was read. [-0, +6, v] */
static int push_record(lua_State *L) {
  const ro_Buffer *record = &((Book *)lua_touserdata(L, SELF))->record;
  size_t content = decode_head(L, record);
  ro_push_body(L, record->data + content, record->size - content);
  lua_insert(L, -HEAD - 1);
  return 1 + HEAD;
}

/*
** journal:next(): nothing when there is no further record; else body, kind, time, pid, number, group. Gives the same again
** until it was taken; one that can't be understood is an error, once.
*/
static int journal_next(lua_State *L) {
  ro_Journal *j = check_journal(L);
  ro_Buffer *record = &((Book *)lua_touserdata(L, SELF))->record;
  int state = 1, status;
  if (record->size == 0)
    state = j->fd < 0 ? 0 : ro_journal_next(j, record); /* other threads may have closed it */
  if (state <= 0)
    ro_buffer_free(record);
  if (state < 0)
    return luaL_error(L, "cannot read records: %s", strerror(errno));
  if (state == 0)
    return 0;
  lua_settop(L, SELF);
  lua_pushcfunction(L, push_record);
  lua_pushvalue(L, SELF);
  status = lua_pcall(L, 1, LUA_MULTRET, 0);
  if (status == LUA_OK)
    return lua_gettop(L) - SELF;
  if (!ro_is_memory_error(L, status))
    ro_buffer_free(record);
  return lua_error(L);
}

/* journal:taken(): the record that was given is not needed any more. */
static int journal_taken(lua_State *L) {
  Book *book = luaL_checkudata(L, SELF, JOURNAL);
  ro_buffer_free(&book->record);
  return 0;
}

/* journal:attend(): this process looks for what others append; whether there may be something already. */
static int journal_attend(lua_State *L) {
  ro_Journal *j = check_journal(L);
  int code = ro_journal_attend(j);
  if (code != 0)
    return luaL_error(L, "cannot look for errors that are thrown: %s", strerror(code));
  lua_pushboolean(L, ro_journal_has_more(j));
  return 1;
}

/* journal:attended(pid): does that process. */
static int journal_attended(lua_State *L) {
  int pid = (int)luaL_checkinteger(L, 2);
  int attended = ro_journal_is_attended(check_journal(L), pid);
  if (attended < 0)
    return luaL_error(L, "cannot tell whether process %d looks for errors that are thrown: %s", pid,
                      strerror(errno));
  lua_pushboolean(L, attended);
  return 1;
}

static const luaL_Reg methods[] = {{"append_values", journal_append_values},
                                   {"append_error", journal_append_error},
                                   {"attend", journal_attend},
                                   {"attended", journal_attended},
                                   {"append_failure", journal_append_failure},
                                   {"next", journal_next},
                                   {"taken", journal_taken},
                                   {"close", journal_close},
                                   {NULL, NULL}};

void ro_open_record(lua_State *L) {
  luaL_newmetatable(L, JOURNAL);
  lua_pushcfunction(L, journal_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, journal_new);
  lua_setfield(L, -2, "journal");
}
