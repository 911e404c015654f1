/* What batch norm's two directions share. */
#ifndef SG_NORM_BATCH_H
#define SG_NORM_BATCH_H

#include <omp.h>

#include "kernels/lanes/functions.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/lanes/share.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

/* Pixels that are summed together: channels run inside, so each pixel is one sequential stream, and a
 * channel's constants and sums are touched once per group. */
enum { NORM_GROUP = 4 };

static inline int norm_used_lanes(const sg_extent *extent, int block) {
    return sg_tree_block_samples(extent->samples, SG_LANES, block, extent->reduce->rank,
                                 extent->reduce->size);
}

/* Rows, numbered through all blocks, in shares that threads help each other with. */
typedef struct norm_rows {
    size_t count;
    int threads;
    bool backwards;
    sg_queue *queue; /* [threads] */
} norm_rows;

static inline int norm_rows_create(norm_rows *r, const sg_machine *m, const sg_extent *extent,
                                   const sg_tensor *t, bool backwards) {
    *r = (norm_rows){
        .count = (size_t)extent->blocks * (size_t)t->height, .threads = m->threads, .backwards = backwards};
    SG_TRY(SG_NEW(&r->queue, (size_t)r->threads));
    sg_fill_queues(r->queue, r->count, r->threads);
    return SG_OK;
}

/* The next row for this thread, from the end of its share where it goes backwards; false when all are
 * taken. */
static inline bool norm_rows_next(norm_rows *r, size_t *row) {
    int thread = omp_get_thread_num();
    return r->backwards ? sg_take_backwards(r->queue, thread, r->threads, r->count, row)
                        : sg_take(r->queue, thread, r->threads, row);
}

/* Per channel, what a pass needs beside the tensors. The activation's argument is
 * z = (x - mean) scale + beta (+ residual); dx = scale (dz - dz_mean - (x - mean) slope). */
typedef struct norm_coefficients {
    float mean, scale, beta, dz_mean, slope;
} norm_coefficients;

static inline int norm_coefficients_create(norm_coefficients **made, const sg_norm_batch *n, int channels) {
    norm_coefficients *k;
    SG_TRY(SG_NEW(made, (size_t)channels));
    k = *made;
    for (int c = 0; c < channels; c++)
        k[c] =
            (norm_coefficients){.mean = n->mean[c], .scale = n->gamma[c] * n->inverse[c], .beta = n->beta[c]};
    return SG_OK;
}

static inline sg_vec norm_argument(const norm_coefficients *k, sg_vec x) {
    return sg_fma(x - k->mean, sg_splat(k->scale), sg_splat(k->beta));
}

#endif
