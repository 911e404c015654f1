/* Learning-rate schedules (protocol: training constants). */
#ifndef SG_LEARNING_RATE_H
#define SG_LEARNING_RATE_H

#include "stages/kinds.h"

/* The rate of `epoch` (from 0) of `epochs`. step: x0.1 from epoch ceil(E/2), x0.01 from ceil(3E/4); cosine:
 * from lr to lr/1000, once per epoch: lr (0.001 + 0.999 (1 + cos(pi e / E)) / 2); constant: lr. Local; cannot
 * fail. */
double sg_learning_rate(enum sg_schedule schedule, double lr, int epoch, int epochs);

#endif
