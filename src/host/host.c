#include "host/host.h"

#include <limits.h>

#include "remote/proxy.h"

static int host_process_requests(lua_State *L, int index, int most) {
  lua_Integer limit = most < 0 ? INT_MAX : most;
  return (int)ro_process_requests(L, index, limit);
}

void ro_open_host(lua_State *L) {
  static const ro_Host host = {RO_HOST_VERSION, ro_section_begin, ro_section_end, ro_fileno,
                               host_process_requests};
  lua_pushlightuserdata(L, (void *)&host);
  lua_setfield(L, LUA_REGISTRYINDEX, RO_HOST_KEY);
}
