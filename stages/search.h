/* Where the trainings of a search start: warm-up and prune rounds (protocol: search). */
#ifndef SG_SEARCH_H
#define SG_SEARCH_H

#include "kernels/weights.h"
#include "stages/kinds.h"

/* A fresh, dense initialisation from the search seed. Local. */
void sg_warmup_begin(sg_weights *weights, uint64_t search_seed);

/* What round t trains: `weights` holds state t - 1 and becomes its pruned continuation. lrr and aws carry
 * weights, norm parameters and running statistics over; imp rewinds them to `rewind` (the state after the
 * configured number of warm-up epochs) under the new mask. rewind is NULL for the other methods. kept:
 * surviving prunable weights. SG_CONFIG: nothing would be left. SG_FAILED: weights that are not numbers.
 * Local. */
int sg_round_begin(sg_weights *weights, enum sg_method method, double prune_fraction,
                   const sg_weights *rewind, size_t *kept);

#endif
