/* One minibatch as the local rank sees it. */
#ifndef SG_BATCH_H
#define SG_BATCH_H

#include <stdint.h>

#include "kernels/tensor.h"

typedef struct sg_batch {
    sg_tensor input;  /* the local blocks: block j is the minibatch's block j * ranks + rank */
    int32_t *label;   /* [local blocks * lanes]; -1 in unused lanes. Owned by whoever made the batch */
    uint32_t *sample; /* [local blocks * lanes]: the sample's number in its data set (random numbers) */
    int samples;      /* of the whole minibatch, over all ranks */
    int blocks;       /* of the whole minibatch: ceil(samples / lanes) */
} sg_batch;

#endif
