/* Global magnitude pruning: which of the surviving prunable weights stay.
 *
 * All surviving values of parameters with role SG_ROLE_WEIGHT compete in one list, in tensor order, then
 * index. The k largest magnitudes stay; among equal magnitudes the earlier ones in the list stay, so exactly
 * k are left. Magnitudes are compared by their bits, so denormals and zeros of either sign are ordered too,
 * whatever the floating-point mode. Cost: three passes over the values, no sorting. Local. */
#ifndef SG_SELECT_H
#define SG_SELECT_H

#include "kernels/weights.h"

/* How many of n weights stay when `fraction` is pruned: floor(n * (1 - fraction)), computed in integers for
 * the decimal number of 15 places nearest to fraction. A configuration's 0.2 of 10 keeps 8 and 0.9 of 10
 * keeps 1, which floor() of the binary product would make 0. 0 <= fraction < 1 and a non-empty list are the
 * caller's promise; pruning to nothing gives 0. */
size_t sg_prune_count(size_t n, double fraction);

/* Prunes `fraction` of the surviving prunable weights: clears their mask and sets their values to zero. *kept
 * receives how many stay (may be NULL). On an error nothing has changed:
 * SG_CONFIG when fraction is not in [0, 1) or nothing would stay, SG_FAILED, naming the tensor, when a
 * surviving weight is not finite (training has diverged). */
int sg_prune_global(sg_weights *weights, double fraction, size_t *kept);

#endif
