#include "line.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What readline offers, found when the program runs: it works without. */
typedef struct Editor {
  int sought;
  char *(*read)(const char *prompt);
  void (*remember)(const char *line);
} Editor;

static const char *const LIBRARIES[] = {"libreadline.so.8", "libreadline.so", "libedit.so.2", "libedit.so"};

/* Converts what dlsym gives to a pointer to a function, which ISO C has no cast for. */
static void find(void *library, const char *name, void *function) {
  void *address = dlsym(library, name);
  memcpy(function, &address, sizeof address);
}

/* Its parsed configuration may have a part for this program; a tab is a tab. */
static void configure(void *library) {
  const char **name = dlsym(library, "rl_readline_name");
  int *inhibit_completion = dlsym(library, "rl_inhibit_completion");
  if (name != NULL)
    *name = "remoteobj";
  if (inhibit_completion != NULL)
    *inhibit_completion = 1;
}

static void load_editor(Editor *editor) {
  void *library = NULL;
  for (size_t i = 0; library == NULL && i < sizeof LIBRARIES / sizeof LIBRARIES[0]; i++)
    library = dlopen(LIBRARIES[i], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL)
    return;
  find(library, "readline", (void *)&editor->read);
  find(library, "add_history", (void *)&editor->remember);
  configure(library);
}

static const Editor *find_editor(void) {
  static Editor editor;
  if (!editor.sought) {
    editor.sought = 1;
    if (isatty(STDIN_FILENO))
      load_editor(&editor);
  }
  return &editor;
}

static char *read_plainly(const char *prompt) {
  char *line = NULL;
  size_t size = 0;
  fputs(prompt, stdout);
  fflush(stdout);
  ssize_t length = getline(&line, &size, stdin);
  if (length < 0) {
    free(line);
    return NULL;
  }
  if (length > 0 && line[length - 1] == '\n')
    line[length - 1] = '\0';
  return line;
}

char *read_line(const char *prompt) {
  const Editor *editor = find_editor();
  return editor->read != NULL ? editor->read(prompt) : read_plainly(prompt);
}

void remember_line(const char *line) {
  const Editor *editor = find_editor();
  if (editor->remember != NULL && *line != '\0')
    editor->remember(line);
}
