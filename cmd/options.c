#include "options.h"

#include <stddef.h>
#include <string.h>

const char *option_argument(char **argv, int *index) {
  const char *rest = argv[*index] + 2;
  if (*rest != '\0')
    return rest;
  const char *next = argv[*index + 1];
  if (next == NULL || next[0] == '-')
    return NULL;
  *index += 1;
  return next;
}

/* An option that stands alone in its word. */
static int *find_switch(Options *options, const char *word) {
  if (word[1] == '\0' || word[2] != '\0')
    return NULL;
  switch (word[1]) {
  case 'E':
    return &options->ignore_environment;
  case 'i':
    return &options->interactive;
  case 'v':
    return &options->version;
  default:
    return NULL;
  }
}

/* Reads the option at *index. */
static void parse_option(Options *options, char **argv, int *index) {
  const char *word = argv[*index];
  int *wanted = find_switch(options, word);
  if (wanted != NULL) {
    *wanted = 1;
  } else if (word[1] == 'e' || word[1] == 'l') {
    options->statements |= word[1] == 'e';
    options->lacks_argument = option_argument(argv, index) == NULL;
    if (options->lacks_argument)
      options->refused = word;
  } else if (word[1] != 'W' || word[2] != '\0') {
    options->refused = word;
  }
}

Options parse_options(char **argv) {
  Options options = {0};
  int i = argv[0] != NULL;
  while (argv[i] != NULL && argv[i][0] == '-' && options.refused == NULL) {
    if (strcmp(argv[i], "-") == 0)
      break;
    if (strcmp(argv[i], "--") == 0) {
      i++;
      break;
    }
    parse_option(&options, argv, &i);
    i++;
  }
  options.script = i;
  options.version |= options.interactive;
  return options;
}
