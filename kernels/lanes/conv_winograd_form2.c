/* The transforms of F(2x2, 3x3) and F(3x3, 2x2), on the points 0, 1, -1 and infinity. */
#include "kernels/lanes/conv_winograd.h"

enum { TILE = 2, STEP = TILE, PATCH = 4, SIDE = PATCH, WEIGHT_SIDE = SIDE };

/* One line by B^T:  1 0 -1 0 | 0 1 1 0 | 0 -1 1 0 | 0 1 0 -1. */
static inline void input_line(const sg_vec d[PATCH], sg_vec out[SIDE]) {
    out[0] = d[0] - d[2];
    out[1] = d[1] + d[2];
    out[2] = d[2] - d[1];
    out[3] = d[1] - d[3];
}

/* One line by A:  1 0 | 1 1 | 1 -1 | 0 -1. */
static inline void gradient_line(const sg_vec d[TILE], sg_vec out[SIDE]) {
    out[0] = d[0];
    out[1] = d[0] + d[1];
    out[2] = d[0] - d[1];
    out[3] = -d[1];
}

/* One line by A^T. */
static inline void output_line(const sg_vec m[SIDE], sg_vec out[TILE]) {
    out[0] = m[0] + m[1] + m[2];
    out[1] = m[1] - m[2] - m[3];
}

/* One line by G:  1 0 0 | 1/2 1/2 1/2 | 1/2 -1/2 1/2 | 0 0 1. */
static inline void weights_line(const sg_vec g[3], sg_vec out[WEIGHT_SIDE]) {
    const sg_vec half = sg_splat(0.5f);
    sg_vec sum = g[0] + g[2];
    out[0] = g[0];
    out[1] = half * (sum + g[1]);
    out[2] = half * (sum - g[1]);
    out[3] = g[2];
}

/* One line by G^T. */
static inline void taps_line(const sg_vec u[WEIGHT_SIDE], sg_vec out[3]) {
    const sg_vec half = sg_splat(0.5f);
    sg_vec sum = half * (u[1] + u[2]);
    out[0] = u[0] + sum;
    out[1] = half * (u[1] - u[2]);
    out[2] = sum + u[3];
}

#include "kernels/lanes/conv_winograd_form.h"
#include "kernels/lanes/conv_winograd_form_weight.h"

const winograd_form SG_VARIANT(sg_winograd2_form) = {
    .tile = TILE,
    .patch = PATCH,
    .step = STEP,
    .before = 1,
    .side = SIDE,
    .weight_side = WEIGHT_SIDE,
    .input = input,
    .gradient = gradient,
    .output = output,
    .weights = weights,
    .taps = back,
};
