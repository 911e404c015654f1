/* Winograd's minimal filtering for 3x3 convolutions of padding 1, shared by the three passes.
 *
 *   forward           Y = A^T [ (G w G^T) . (B^T X B) ] A       a tile of outputs from a patch of inputs
 *   weight gradient   dw = G^T [ sum over tiles and samples of (A dY A^T) . (B^T X B) ] G
 *
 * with "." element by element: at each position the sum over channels (or over tiles and lanes) is a matrix
 * product, which the micro-kernel does. Pixels outside the image, beyond the padding too, enter as zeros;
 * outputs outside are computed and dropped.
 *
 * Stride 1: F(m x m, 3x3) makes m x m outputs out of (m+2)^2 inputs with as many products. m = 4 takes 4
 * times fewer multiplications than direct sums, m = 2 takes 2.25 times fewer and rounds less. The data
 * gradient is the forward pass on dy with the weights turned by 180 degrees.
 *
 * Stride 2: in one dimension every output is a tap of the even pixels, w1, plus a filter of two taps, w0 and
 * w2, over the odd ones. F(4, 2) on the odd and plain products on the even make 4 outputs out of 9 inputs
 * with 5 + 4 products, 16 out of 81 with 81 in two dimensions: 1.78 times fewer than direct sums. The four
 * plain products have the same weight, so there are 6 x 6 weights. In the data gradient, the transposed
 * operation, 5 x 5 of dy make 8 x 8 of dx, with the same products.
 *
 * Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016. */
#ifndef SG_LANES_CONV_WINOGRAD_H
#define SG_LANES_CONV_WINOGRAD_H

#include "kernels/conv.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/simd.h"

enum {
    /* The largest squares of any form: */
    WINOGRAD_POSITIONS = 81, /* side x side, */
    WINOGRAD_PATCH = 81,     /* patch x patch, */
    WINOGRAD_STEP = 64,      /* step x step, */
    WINOGRAD_TILE = 64,      /* tile x tile, */
    WINOGRAD_WEIGHTS = 36,   /* and weight_side x weight_side */
    WINOGRAD_TAPS = 9,
    WINOGRAD_LEAST_ROWS = 4, /* of the micro-kernel, for which the packing here is written */
    WINOGRAD_MOST_ROWS = 32
};

/* The transforms of one pass: plain arithmetic on lane rows (or on vectors of weights), no allocation. */
typedef struct winograd_form {
    int tile;        /* a tile has tile x tile outputs, */
    int patch, step; /* and a patch of patch x patch inputs, `step` from a tile's to the next's; */
    int before;      /* the first tile's begins so many pixels before the image */
    int side;        /* side x side positions of values, */
    int weight_side; /* weight_side x weight_side of weights: see winograd_meet */

    /* B^T X B for channels first..last-1: out[p * position + (c - first) * SG_LANES] from the pixels
     * pixel[patch^2] of a patch, each [channels][SG_LANES]. The same channels of next[step^2], pixels that a
     * following tile will read, are fetched ahead. */
    void (*input)(const float *const *pixel, const float *const *next, int first, int last, float *out,
                  size_t position);

    /* A dY A^T, the same way, from pixel[tile^2], with next[tile^2]. NULL where the weight gradient has
     * another form. */
    void (*gradient)(const float *const *pixel, const float *const *next, int first, int last, float *out,
                     size_t position);

    /* A^T M A for channels first..last-1, M at in[p * position + (c - first) * SG_LANES], stored into (added
     * to) channel c of pixel[tile^2]; NULL pixels are outside the image. bias [channels] or NULL.
     * next[tile^2] as above. */
    void (*output)(const float *in, size_t position, const float *bias, bool accumulate, float *const *pixel,
                   const float *const *next, int first, int last);

    /* G w G^T for `count` weights side by side: tap t of them at taps[t * stride], to out[p * position + i];
     * taps is readable to the next full vector, out is not aligned. */
    void (*weights)(const float *taps, size_t stride, int count, float *out, size_t position);

    /* G^T S G for a lane row of sums: sum[p * position + lane] to taps[9][SG_LANES]. NULL like gradient. */
    void (*taps)(const float *sum, size_t position, float *taps);
} winograd_form;

extern const winograd_form SG_VARIANT(sg_winograd4_form), SG_VARIANT(sg_winograd2_form),
    SG_VARIANT(sg_winograd4s2_form), SG_VARIANT(sg_winograd4s2_data_form);

static inline int winograd_positions(const winograd_form *form) { return form->side * form->side; }
static inline int winograd_weights(const winograd_form *form) {
    return form->weight_side * form->weight_side;
}

/* Weights of position w meet the values of positions first[w]..first[w+1]-1: one, but for the last row and
 * column of weights, which stand for all further ones of values. */
typedef struct winograd_meetings {
    int first[WINOGRAD_WEIGHTS + 1];
} winograd_meetings;

static inline winograd_meetings winograd_meet(const winograd_form *form) {
    winograd_meetings m = {{0}};
    int last = form->weight_side - 1, repeats = form->side - last;
    for (int w = 0; w < winograd_weights(form); w++) {
        int row = w / form->weight_side, column = w % form->weight_side;
        m.first[w + 1] = m.first[w] + (row < last ? 1 : repeats) * (column < last ? 1 : repeats);
    }
    return m;
}

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

/* The patch of the tile in row `down` and column `across` of a block's tiles. */
static inline void winograd_gather_patch(const winograd_form *form, const sg_tensor *t, int block, int down,
                                         int across, float *outside, float **pixel) {
    winograd_gather(t, block, down * form->step - form->before, across * form->step - form->before,
                    form->patch, outside, pixel);
}

/* That part of a patch which the tiles before it have not read. */
static inline void winograd_gather_step(const winograd_form *form, const sg_tensor *t, int block, int down,
                                        int across, float *outside, float **pixel) {
    int first = form->patch - form->step - form->before;
    winograd_gather(t, block, down * form->step + first, across * form->step + first, form->step, outside,
                    pixel);
}

/* Pixels are far apart, which the hardware's prefetchers do not follow. One line per vector of a row
 * suffices. */
static inline void winograd_prefetch(const float *const *pixel, int n, int at) {
#pragma GCC unroll 64
    for (int i = 0; i < n; i++) __builtin_prefetch(pixel[i] + at);
}

static inline void winograd_store_unaligned(float *p, sg_vec v) { memcpy(p, &v, sizeof v); }

#endif
