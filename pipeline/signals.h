/* Requests to stop: SIGUSR1, SIGUSR2, SIGTERM, SIGINT, and an approaching time limit. The first sets a flag
 * that stages look at between minibatches; a second changes nothing. Local. */
#ifndef SG_SIGNALS_H
#define SG_SIGNALS_H

#include <stdbool.h>

#include "kernels/error.h"

int sg_signals_install(void);

/* Time limits count from here: the first thing that main does. */
void sg_signals_begin(void);

/* minutes > 0: a request comes `margin` seconds before they are over (counted from sg_signals_begin, or from
 * now without it), at the latest when half of them have passed. minutes 0: Slurm's end of this job (squeue),
 * where there is one. */
void sg_signals_limit(double minutes, double margin);

bool sg_stop_requested(void);
const char *sg_stop_reason(void); /* "SIGUSR1", "the time limit", "" */

#endif
