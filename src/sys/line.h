/* Lines that several processes write to one file, terminal or pipe, each whole. */
#ifndef RO_LINE_H
#define RO_LINE_H

#include <stddef.h>

/*
** Opens the file for lines at its end, made if it is not there. Returns a descriptor, or -1 with errno set: also for
** a named pipe that nobody reads.
*/
int ro_line_open(const char *path);

/*
** Would a line be taken at once: 1; 0 when it might have to wait for whoever reads; -1 when nobody ever will. Waits
** for that at most so many milliseconds.
*/
int ro_line_fits(int fd, int milliseconds);

/* Writes the line in one write(2); returns whether it was. SIGPIPE doesn't come of it. */
int ro_line_write(int fd, const char *line, size_t size);

#endif
