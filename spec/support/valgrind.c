/*
** Linked into interpreters that valgrind watches, with --wrap=lua_close: has it note that the process has closed its state. From
** then on no memory may be lost, and no descriptor of the library's be open.
**
** And the stack of the main thread is there from the beginning: valgrind may fail to extend it when a signal is delivered, and
** ends the program.
*/
#include <lua.h>
#include <valgrind/valgrind.h>

#define STACK (1024 * 1024)
#define PAGE 4096

void __real_lua_close(lua_State *L);
void __wrap_lua_close(lua_State *L);

void __wrap_lua_close(lua_State *L) {
  __real_lua_close(L);
  VALGRIND_PRINTF("the state was closed\n");
}

__attribute__((constructor)) static void extend_stack(void) {
  volatile char room[STACK];
  for (int i = STACK - 1; i >= 0; i -= PAGE) /* as a stack grows */
    room[i] = 0;
}
