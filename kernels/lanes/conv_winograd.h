/* Winograd's minimal filtering for 3x3 convolutions of stride 1 and padding 1, shared by the three passes.
 *
 *   F(m x m, 3x3):   Y = A^T [ (G w G^T) . (B^T X B) ] A        an m x m tile of outputs from (m+2)^2 inputs
 *   F(3x3, m x m):   dw = G^T [ sum over tiles and samples of (A dY A^T) . (B^T X B) ] G
 *
 * with "." element by element: at each of the (m+2)^2 positions the sum over channels (or over tiles and
 * lanes) is a matrix product, which the micro-kernel does. m = 4 takes 4 times fewer multiplications than
 * direct sums, m = 2 takes 2.25 times fewer and rounds less. Pixels outside the image, beyond the padding
 * too, enter as zeros; outputs outside are computed and dropped.
 *
 * Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016. */
#ifndef SG_LANES_CONV_WINOGRAD_H
#define SG_LANES_CONV_WINOGRAD_H

#include "kernels/conv.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/simd.h"

enum {
    WINOGRAD_TILE = 4,       /* the largest m, */
    WINOGRAD_POSITIONS = 36, /* and (m + 2)^2 */
    WINOGRAD_TAPS = 9,
    WINOGRAD_LEAST_ROWS = 4, /* of the micro-kernel, for which the packing here is written */
    WINOGRAD_MOST_ROWS = 32
};

/* The transforms of one tile size: plain arithmetic on lane rows (or on vectors of weights), no allocation.
 */
typedef struct winograd_form {
    int tile;      /* m */
    int positions; /* (m + 2)^2 */

    /* B^T X B for channels first..last-1: out[p * position + (c - first) * SG_LANES] from the pixels
     * pixel[(m+2)^2] of a patch, each [channels][SG_LANES]. The same channels of next[m^2], pixels that a
     * following tile will read, are fetched ahead. */
    void (*input)(const float *const *pixel, const float *const *next, int first, int last, float *out,
                  size_t position);

    /* A dY A^T, the same way, from pixel[m^2]. */
    void (*gradient)(const float *const *pixel, const float *const *next, int first, int last, float *out,
                     size_t position);

    /* A^T M A for channels first..last-1, M at in[p * position + (c - first) * SG_LANES], stored into (added
     * to) channel c of pixel[m^2]; NULL pixels are outside the image. bias [channels] or NULL. next[m^2] as
     * above. */
    void (*output)(const float *in, size_t position, const float *bias, bool accumulate, float *const *pixel,
                   const float *const *next, int first, int last);

    /* G w G^T for `count` weights side by side: tap t of them at taps[t * stride], to out[p * position + i];
     * taps is readable to the next full vector, out is not aligned. */
    void (*weights)(const float *taps, size_t stride, int count, float *out, size_t position);

    /* G^T S G for a lane row of sums: sum[p * position + lane] to taps[9][SG_LANES]. */
    void (*taps)(const float *sum, size_t position, float *taps);
} winograd_form;

extern const winograd_form SG_VARIANT(sg_winograd4_form), SG_VARIANT(sg_winograd2_form);

static inline int winograd_ceil(int a, int b) { return (a + b - 1) / b; }

/* Floats between two positions that hold `rows` lane rows each: an odd number of rows, so that the positions
 * of one channel, written or read together, do not meet in one set of L1. */
static inline size_t winograd_position(size_t rows) { return (rows | 1) * SG_LANES; }

/* The pixels of an n x n square whose first is (y, x) of a block; those outside the image are `outside`. */
static inline void winograd_gather(const sg_tensor *t, int block, int y, int x, int n, float *outside,
                                   float **pixel) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            bool inside = y + i >= 0 && y + i < t->height && x + j >= 0 && x + j < t->width;
            pixel[i * n + j] = inside ? sg_tensor_at(t, block, y + i, x + j) : outside;
        }
}

/* Pixels are far apart, which the hardware's prefetchers do not follow. One line per vector of a row
 * suffices. */
static inline void winograd_prefetch(const float *const *pixel, int n, int at) {
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) __builtin_prefetch(pixel[i] + at);
}

static inline void winograd_store_unaligned(float *p, sg_vec v) { memcpy(p, &v, sizeof v); }

#endif
