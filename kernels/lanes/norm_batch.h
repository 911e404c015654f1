/* What batch norm's two directions share. */
#ifndef SG_NORM_BATCH_H
#define SG_NORM_BATCH_H

#include <omp.h>

#include "kernels/lanes/functions.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/lanes/share.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

/* Pixels that are taken together: channels run inside, so each pixel is one sequential stream, and a
 * channel's constants and sums are touched once per group. */
enum { GROUP = 4 };

static inline int used_lanes(const sg_extent *extent, int block) {
    return sg_tree_block_samples(extent->samples, SG_LANES, block, extent->reduce->rank,
                                 extent->reduce->size);
}

/* A thread's rows, numbered through all blocks. */
static inline sg_span own_rows(const sg_extent *extent, const sg_tensor *t) {
    return sg_share((size_t)extent->blocks * (size_t)t->height, omp_get_thread_num(), omp_get_num_threads());
}

/* Per channel, what a pass needs beside the tensors. The activation's argument is
 * z = (x - mean) scale + beta (+ residual); dx = scale (dz - dz_mean - (x - mean) slope). */
typedef struct coefficients {
    float mean, scale, beta, dz_mean, slope;
} coefficients;

static inline int coefficients_create(coefficients **made, const sg_norm_batch *n, int channels) {
    coefficients *k;
    SG_TRY(SG_NEW(made, (size_t)channels));
    k = *made;
    for (int c = 0; c < channels; c++)
        k[c] = (coefficients){.mean = n->mean[c], .scale = n->gamma[c] * n->inverse[c], .beta = n->beta[c]};
    return SG_OK;
}

static inline sg_vec normalised(const coefficients *k, sg_vec x) {
    return sg_fma(x - k->mean, sg_splat(k->scale), sg_splat(k->beta));
}

#endif
