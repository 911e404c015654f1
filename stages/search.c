#include "stages/search.h"

#include <string.h>

#include "kernels/select.h"

void sg_warmup_begin(sg_weights *weights, uint64_t search_seed) {
    memset(weights->mask, 1, weights->net->values);
    sg_weights_init(weights, search_seed);
}

static void rewind_under_mask(sg_weights *weights, const sg_weights *rewind) {
    const sg_net *net = weights->net;
    memcpy(weights->values, rewind->values, net->values * sizeof *weights->values);
    memcpy(weights->mean, rewind->mean, net->channels_tracked * sizeof *weights->mean);
    memcpy(weights->variance, rewind->variance, net->channels_tracked * sizeof *weights->variance);
    weights->batches = rewind->batches;
    sg_weights_apply_mask(weights);
}

int sg_round_begin(sg_weights *weights, enum sg_method method, double prune_fraction,
                   const sg_weights *rewind, size_t *kept) {
    SG_TRY(sg_prune_global(weights, prune_fraction, kept));
    if (method == SG_METHOD_IMP) {
        SG_CHECK(rewind != NULL, SG_INTERNAL, "a round of imp began without the state to rewind to");
        rewind_under_mask(weights, rewind);
    }
    return SG_OK;
}
