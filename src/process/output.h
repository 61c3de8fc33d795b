/* What C streams hold when a process is started: it is written once, by the parent. */
#ifndef RO_OUTPUT_H
#define RO_OUTPUT_H

/* In the parent, before the fork: writes out what is buffered. */
void ro_output_flush(void);

/* In the child, after the fork: what other threads have written since to stdout is the parent's. */
void ro_output_disown(void);

#endif
