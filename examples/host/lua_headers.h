/* Lua and the library, for C and C++ alike. */
#ifndef LUA_HEADERS_H
#define LUA_HEADERS_H

#ifdef __cplusplus
extern "C" {
#endif
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#ifdef __cplusplus
}
#endif

#include <remoteobj.h>

#endif
