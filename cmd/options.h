/* The command line: options, then a script and its arguments. */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

typedef struct Options {
  int version;            /* -v, or -i, which implies it */
  int interactive;        /* -i */
  int ignore_environment; /* -E */
  int statements;         /* at least one -e */
  int script;             /* index of the script, the number of arguments where there is none */
  const char *refused;    /* the argument that isn't understood, or NULL */
  int lacks_argument;     /* why it isn't: the argument of -e or -l is missing */
} Options;

/* Reads the command line; `argv` ends with NULL. */
Options parse_options(char **argv);

/*
** The argument of the -e or -l at *index, in the same word or the next one, to which *index moves on then.
** NULL where there is none.
*/
const char *option_argument(char **argv, int *index);

#endif
