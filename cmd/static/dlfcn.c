/*
** A program that is linked statically as a whole can't load C modules: they would bring a C library of their own. The
** linker puts these in place of the functions of <dlfcn.h> there (--wrap), so that `require` says so.
*/

#include <stddef.h>

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the names are the linker's. */
void *__wrap_dlopen(const char *file, int mode);
void *__wrap_dlsym(void *library, const char *name);
int __wrap_dlclose(void *library);
char *__wrap_dlerror(void);

void *__wrap_dlopen(const char *file, int mode) {
  (void)file;
  (void)mode;
  return NULL;
}

void *__wrap_dlsym(void *library, const char *name) {
  (void)library;
  (void)name;
  return NULL;
}

int __wrap_dlclose(void *library) {
  (void)library;
  return 0;
}

char *__wrap_dlerror(void) {
  static char message[] = "this program is linked statically, and loads no C modules";
  return message;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
