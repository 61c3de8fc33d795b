#include "binding.h"

#include "instrument.h"

void push_samples(lua_State *L, const double *samples, int count) {
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushnumber(L, samples[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

/* count(): how many samples there were. */
static int l_count(lua_State *L) {
  lua_pushinteger(L, instrument_count());
  return 1;
}

/* rate(): samples a second. */
static int l_rate(lua_State *L) {
  lua_pushnumber(L, instrument_rate());
  return 1;
}

/* set_rate(rate) */
static int l_set_rate(lua_State *L) {
  double rate = luaL_checknumber(L, 1);
  luaL_argcheck(L, rate >= 1 && rate <= 10000, 1, "a rate is from 1 to 10000 a second");
  instrument_set_rate(rate);
  return 0;
}

/* latest(n): a list of the last n samples, fewer if there were not so many. */
static int l_latest(lua_State *L) {
  double samples[INSTRUMENT_KEPT];
  lua_Integer n = luaL_checkinteger(L, 1);
  long first;
  luaL_argcheck(L, n >= 0 && n <= INSTRUMENT_KEPT, 1, "so many samples are not kept");
  first = instrument_count() - (long)n;
  push_samples(L, samples, instrument_read(&first, samples, (int)n));
  return 1;
}

/* wait(count): blocks until there are more than so many samples. Others may use the state meanwhile. */
static int l_wait(lua_State *L) {
  long count = (long)luaL_checkinteger(L, 1);
  int goes_on;
  remoteobj_allow_begin(L);
  goes_on = instrument_wait(count);
  remoteobj_allow_end(L);
  lua_pushboolean(L, goes_on);
  return 1;
}

int luaopen_instrument(lua_State *L) {
  static const luaL_Reg functions[] = {{"count", l_count},   {"rate", l_rate}, {"set_rate", l_set_rate},
                                       {"latest", l_latest}, {"wait", l_wait}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
