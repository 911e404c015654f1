/* The values of a network: trainable parameters, running statistics, mask. */
#ifndef SG_WEIGHTS_H
#define SG_WEIGHTS_H

#include "kernels/net.h"

typedef struct sg_weights {
    const sg_net *net; /* borrowed */
    float *values; /* [net->values] parameter p at net->param[p].offset, canonical order; zero where pruned */
    float *mean;   /* [net->channels_tracked] running means */
    float *variance; /* [net->channels_tracked] running (unbiased) variances */
    int64_t batches; /* num_batches_tracked */
    uint8_t *mask;   /* [net->values] 1 survives, 0 pruned; 1 for everything that is not prunable */
} sg_weights;

/* All of this file is local, and what does not say otherwise cannot fail. */

/* Zero values, mask all ones, means 0, variances 1. net is borrowed. SG_NOMEM. */
int sg_weights_create(sg_weights **weights, const sg_net *net);
/* NULL is tolerated, the pointer cleared. */
void sg_weights_destroy(sg_weights **weights);

/* Fresh initialisation of every parameter from the seed (SG_RNG_INIT), statistics reset; the mask is kept and
 * applied. The value of an element depends on (seed, parameter number, element) alone. */
void sg_weights_init(sg_weights *weights, uint64_t seed);
void sg_weights_reset_statistics(sg_weights *weights);        /* means 0, variances 1, batches 0 */
void sg_weights_copy(sg_weights *to, const sg_weights *from); /* same net */
void sg_weights_apply_mask(sg_weights *weights);              /* values 0 where pruned */

/* out = lambda * one + (1 - lambda) * two for every trainable parameter; statistics reset. lambda exactly 0
 * or 1 copies the bits. All three are of one net; one and two have equal masks, which out takes over. */
void sg_weights_interpolate(sg_weights *out, const sg_weights *one, const sg_weights *two, double lambda);

size_t sg_weights_prunable(const sg_net *net);          /* values with SG_ROLE_WEIGHT */
size_t sg_weights_surviving(const sg_weights *weights); /* prunable and not pruned */
double sg_weights_density(const sg_weights *weights);   /* surviving / prunable; 1 where none is prunable */

/* The surviving values of all parameters, compact: what gradients, moments and their sums over ranks are
 * stored as. Parameter p has support[p].count values at offset[p]. */
typedef struct sg_survivors {
    int params;
    sg_support *support; /* [params] index NULL: all survive */
    size_t *offset;      /* [params] */
    size_t total;
    uint32_t *storage; /* owned by this object */
} sg_survivors;

/* Of the mask as it is now; weights are not kept. SG_NOMEM. */
int sg_survivors_create(sg_survivors **survivors, const sg_weights *weights);
/* NULL is tolerated, the pointer cleared. */
void sg_survivors_destroy(sg_survivors **survivors);

#endif
