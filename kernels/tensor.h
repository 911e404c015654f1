/* The lane-blocked tensor: [block][height + 2 halo][width + 2 halo][channels (+ pad)][lanes].
 *
 * A block is `lanes` samples of the minibatch, innermost: the channels x lanes values of a pixel are a packed
 * BLIS micro-panel. `data` points at pixel (0, 0) of block 0, inside the halo, so row -1 is a legal address
 * when halo >= 1. Strides are in floats; use them, never the shape, to move.
 *
 * Where the values of a pixel are a multiple of 512 bytes, cache lines of padding follow, because a stride of
 * a multiple of 4 KiB puts all pixels of a tile into one set of L1. One is enough below 4 KiB. From there on
 * five spread a dozen channels of neighbouring pixels, which a sparse kernel works on, over all sets; from 32
 * KiB on 21 also spread their pages over the sets of the TLB.
 *
 * Invariants that every kernel keeps: halo pixels are zero and never written; padding is neither written
 * nor read; lanes past the last sample hold finite values in activations and zero in gradients (so they add
 * nothing to a weight gradient). */
#ifndef SG_TENSOR_H
#define SG_TENSOR_H

#include <stddef.h>

#include "kernels/error.h"

typedef struct sg_tensor {
    float *data; /* pixel (0, 0), channel 0, lane 0 of block 0; borrowed from base */
    int blocks, channels, height, width, halo, lanes;
    size_t pixel; /* floats from a pixel to the next in its row: channels * lanes and padding */
    size_t row;   /* floats from a row to the next */
    size_t block; /* floats from a block to the next */
    float *base;  /* the allocation, owned; NULL when the tensor is a view */
} sg_tensor;

/* Makes a zeroed tensor; release with sg_tensor_release. SG_NOMEM. Local. */
int sg_tensor_init(sg_tensor *tensor, int lanes, int blocks, int channels, int height, int width, int halo);

/* The same shape and strides as a view that has no memory yet. Local. */
sg_tensor sg_tensor_shape(int lanes, int blocks, int channels, int height, int width, int halo);

/* Lays a view of that kind over memory[sg_tensor_bytes], borrowed, whose contents become the tensor's. */
void sg_tensor_lay(sg_tensor *tensor, float *memory);

/* Zeroes the halo. Local. */
void sg_tensor_clear_halo(const sg_tensor *tensor, int threads);

/* Bytes of its values, halo and padding: what sg_tensor_init allocates, and a view is laid over. Local. */
size_t sg_tensor_bytes(const sg_tensor *tensor);

/* Frees what sg_tensor_init allocated and zeroes the handle; NULL and zeroed handles are tolerated. */
void sg_tensor_release(sg_tensor *tensor);

static inline float *sg_tensor_at(const sg_tensor *t, int block, int y, int x) {
    return t->data + (ptrdiff_t)((size_t)block * t->block) + (ptrdiff_t)y * (ptrdiff_t)t->row +
           (ptrdiff_t)x * (ptrdiff_t)t->pixel;
}

/* Between the layout and plain [sample][channel][height][width] arrays; samples <= blocks * lanes. Lanes past
 * the last sample become zero. For tests, logits and tools, not for the hot path. */
void sg_tensor_from_nchw(sg_tensor *tensor, const float *nchw, int samples);
void sg_tensor_to_nchw(const sg_tensor *tensor, float *nchw, int samples);

#endif
