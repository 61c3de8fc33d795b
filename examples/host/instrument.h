/*
** A simulated instrument: a thread of its own measures at a rate that can be changed, and keeps the last samples. Knows
** nothing of Lua. All functions may be called by any thread.
*/
#ifndef INSTRUMENT_H
#define INSTRUMENT_H

#define INSTRUMENT_KEPT 1024 /* samples that are kept */

/* Begins to measure, `rate` times a second. Returns 0 or an errno. */
int instrument_start(double rate);

/* Ends the measuring; whoever waits returns. */
void instrument_stop(void);

double instrument_rate(void);
void instrument_set_rate(double rate);

/* How many samples were taken until now. */
long instrument_count(void);

/*
** Copies the samples from number `first` on (the first of all is 0) as far as they are still kept, at most `most`.
** Returns how many; `*first` becomes the number of the first one that was copied.
*/
int instrument_read(long *first, double *samples, int most);

/* Waits until there are more than `count` samples. Returns 0 when the instrument has stopped. */
int instrument_wait(long count);

#endif
