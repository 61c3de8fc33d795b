/* Lines that somebody types. */
#ifndef CMD_LINE_H
#define CMD_LINE_H

/*
** Prompts for a line and reads it: with readline where that is installed and the standard input is a terminal.
** Returns the line without its end, to be freed, or NULL at the end of the input.
*/
char *read_line(const char *prompt);

/* Puts a line into the history, where there is one. */
void remember_line(const char *line);

#endif
