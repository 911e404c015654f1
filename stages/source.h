/* Where a stage gets its minibatches from: all that stages see of data sets and loaders. */
#ifndef SG_SOURCE_H
#define SG_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/batch.h"

/* What decides which samples a minibatch holds, and how they look. */
typedef struct sg_order {
    uint64_t seed;         /* of the order of an epoch */
    bool shuffle;          /* false: the data set's own order, in every epoch */
    bool augment;          /* as the source was configured to; false: the samples as they are */
    uint64_t augment_seed; /* keys the augmentation, with the epoch and the sample's number */
} sg_order;

typedef struct sg_source {
    void *context;        /* borrowed */
    uint32_t samples;     /* of an epoch */
    uint32_t minibatches; /* of an epoch; the last one may be smaller */
    int classes;
    /* Minibatch `index` of epoch `epoch`, the local rank's blocks of it. Random access: nothing is remembered
     * that could change a result. *batch stays valid until the next call. Every rank that works on
     * the network calls it for the same minibatch, and all return the same status. SG_NOMEM, SG_INTERNAL;
     * SG_DATA, SG_NOINPUT, SG_IO where samples are read when they are needed. */
    int (*get)(void *context, const sg_order *order, uint32_t epoch, uint32_t index, const sg_batch **batch);
} sg_source;

#endif
