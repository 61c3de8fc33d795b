/* The second Lua state, on a thread of its own: it is fed with all samples and answers requests meanwhile. */
#ifndef ANALYSIS_H
#define ANALYSIS_H

/* Opens the state with the script `file` and starts the thread. Returns 0, or -1 after a message. */
int analysis_start(const char *file);

/* Waits for the thread, which ends when the instrument has stopped, and closes the state. */
void analysis_join(void);

#endif
