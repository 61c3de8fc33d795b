/* The C half of the library: everything on one table, which remoteobj/init.lua completes. */

#include "core.h"

#include <dlfcn.h>
#include <stddef.h>

#include "base/estate.h"
#include "base/limits.h"
#include "base/platform.h"
#include "codec/codec.h"
#include "failure/failure.h"
#include "future/future.h"
#include "host/host.h"
#include "lock/lock.h"
#include "process/process.h"
#include "remote/proxy.h"
#include "thread/thread.h"

/* A program that is linked statically as a whole has neither, and nothing that could be unloaded. */
#if RO_HAS_DLADDR
#pragma weak dladdr
#pragma weak dlopen
#endif

/*
** The shared object that this code is part of stays in memory until the process ends, also when a state
** that loaded it is closed: its signal handler and what it registered for forks point into it.
** In a program itself, rather than in a shared object, this does nothing. Elsewhere the
** linker has to see to it (-z nodelete).
*/
static void stay_loaded(void) {
#if RO_HAS_DLADDR
  static const char inside = 0;
  Dl_info info;
  if (dladdr == NULL || dlopen == NULL)
    return;
  if (dladdr(&inside, &info) != 0 && info.dli_fname != NULL)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
#endif
}

int ro_open_core(lua_State *L) {
  stay_loaded();
  lua_newtable(L);
  ro_push_limits(L);
  lua_setfield(L, -2, "limits");
  ro_open_codec(L);
  ro_open_lock(L);
  ro_open_failure(L);
  ro_open_future(L);
  ro_open_remote(L);
  ro_open_process(L);
  ro_open_thread(L);
  ro_open_host(L);
  ro_open_estate(L);
  return 1;
}
