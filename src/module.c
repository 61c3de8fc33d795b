/* The C half of the library: everything on one table, which remoteobj/init.lua completes. */

#include <dlfcn.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/limits.h"
#include "codec/codec.h"
#include "failure/failure.h"
#include "lock/lock.h"
#include "process/process.h"
#include "remote/proxy.h"

/*
** The module stays in memory until the process ends, also when a state that loaded it is
** closed: its signal handler and what it registered for forks point into it.
*/
static void stay_loaded(void) {
  static const char inside = 0;
  Dl_info info;
  if (dladdr(&inside, &info) != 0 && info.dli_fname != NULL)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
}

LUAMOD_API __attribute__((visibility("default"))) int luaopen_remoteobj_core(lua_State *L) {
  luaL_checkversion(L);
  stay_loaded();
  lua_newtable(L);
  ro_push_limits(L);
  lua_setfield(L, -2, "limits");
  ro_open_codec(L);
  ro_open_lock(L);
  ro_open_failure(L);
  ro_open_remote(L);
  ro_open_process(L);
  return 1;
}
