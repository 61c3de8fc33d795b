/* Making descriptors that no program started by exec inherits, and letting them go. */
#ifndef RO_DESCRIPTOR_H
#define RO_DESCRIPTOR_H

/* Makes a pipe, non-blocking and close-on-exec. Returns 0 or an errno. */
int ro_pipe_open(int ends[2]);

/* Makes a pair of connected local sockets of `type`, close-on-exec. Returns 0 or an errno. */
int ro_sockets_open(int type, int ends[2]);

/* Makes the descriptor non-blocking. Returns 0 or an errno. */
int ro_descriptor_unblock(int fd);

/* Makes the descriptor close-on-exec. Returns 0 or an errno. */
int ro_descriptor_hide(int fd);

/* Closes the descriptor if it is not -1, which it becomes. Safe between fork and exec. */
void ro_descriptor_close(int *fd);

/* Is the descriptor readable now, or at its end: 1 or 0; -1 with errno where the system does not tell. */
int ro_descriptor_look(int fd);

/*
** An empty file without a name, close-on-exec, that is gone when the last process has closed it. Returns
** its descriptor, or -1 with errno.
*/
int ro_anonymous_file(void);

#endif
