/*
** Linked into interpreters that valgrind watches, with --wrap=lua_close: has it note that the process has closed its state. From
** then on no memory may be lost, and no descriptor of the library's be open.
*/
#include <lua.h>
#include <valgrind/valgrind.h>

void __real_lua_close(lua_State *L);
void __wrap_lua_close(lua_State *L);

void __wrap_lua_close(lua_State *L) {
  __real_lua_close(L);
  VALGRIND_PRINTF("the state was closed\n");
}
