/*
** The public functions but luaopen_remoteobj. They need nothing of the rest of the library but the table that a state's
** copy of it has put into the registry (host/host.h): so a C module that links the static library gets these alone,
** and works with whatever copy the script has required.
*/
#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#include <lauxlib.h>

#include "host/host.h"
#include "remoteobj.h"

/* ---- the sections that are open, in all states ---- */

/*
** The end of a section must not touch the state, which others are using: it is found here. A section belongs to its
** thread's record, so that nothing is allocated.
*/
typedef struct Sections {
  pthread_mutex_t mutex;
  pthread_once_t once;
  ro_Section *first;
} Sections;

static Sections sections = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_ONCE_INIT, NULL};

/* The threads that opened them are not in the child, or must not go on there. */
static void forget_in_child(void) {
  pthread_mutex_init(&sections.mutex, NULL);
  sections.first = NULL;
}

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, forget_in_child);
}

static void add_section(ro_Section *section) {
  pthread_once(&sections.once, watch_forks);
  pthread_mutex_lock(&sections.mutex);
  section->next = sections.first;
  sections.first = section;
  pthread_mutex_unlock(&sections.mutex);
}

/* The section that was opened with L, or NULL. */
static ro_Section *take_section(const lua_State *L) {
  ro_Section **at, *section;
  pthread_mutex_lock(&sections.mutex);
  at = &sections.first;
  while (*at != NULL && (*at)->L != L)
    at = &(*at)->next;
  section = *at;
  if (section != NULL)
    *at = section->next;
  pthread_mutex_unlock(&sections.mutex);
  return section;
}

/* ---- the functions ---- */

/* The state's copy of the library; NULL when it has none, or one of another version. [-0, +0, m] */
static const ro_Host *host_of(lua_State *L) {
  const ro_Host *host;
  if (!lua_checkstack(L, 1))
    return NULL;
  lua_getfield(L, LUA_REGISTRYINDEX, RO_HOST_KEY);
  host = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return host != NULL && host->version == RO_HOST_VERSION ? host : NULL;
}

static const ro_Host *check_host(lua_State *L) {
  const ro_Host *host = host_of(L);
  if (host == NULL)
    luaL_error(
        L,
        "this Lua state has not loaded remoteobj, or another version of it than the program was built with");
  return host;
}

void remoteobj_allow_begin(lua_State *L) {
  const ro_Host *host = host_of(L);
  ro_Section *section = host != NULL ? host->allow_begin(L) : NULL;
  if (section == NULL)
    return;
  section->L = L;
  section->end = host->allow_end;
  add_section(section);
}

void remoteobj_allow_end(lua_State *L) {
  int saved = errno;
  ro_Section *section = take_section(L);
  if (section != NULL)
    section->end(section);
  errno = saved;
}

int remoteobj_fileno(lua_State *L, int idx) {
  return check_host(L)->fileno(L, lua_absindex(L, idx));
}

int remoteobj_process_requests(lua_State *L, int idx, int max) {
  return check_host(L)->process_requests(L, lua_absindex(L, idx), max);
}
