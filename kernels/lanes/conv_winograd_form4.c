/* The transforms of F(4x4, 3x3) and F(3x3, 4x4), on the points 0, 1, -1, 2, -2 and infinity. */
#include "kernels/lanes/conv_winograd.h"

enum { TILE = 4, STEP = TILE, PATCH = 6, SIDE = PATCH, WEIGHT_SIDE = SIDE };

/* One line by B^T:  4 0 -5 0 1 0 | 0 -4 -4 1 1 0 | 0 4 -4 -1 1 0 | 0 -2 -1 2 1 0 | 0 2 -1 -2 1 0 | 0 4 0 -5
 * 0 1. */
static inline void input_line(const sg_vec d[PATCH], sg_vec out[SIDE]) {
    const sg_vec two = sg_splat(2.0f), four = sg_splat(4.0f);
    sg_vec even = sg_fma(-four, d[2], d[4]), odd = sg_fma(-four, d[1], d[3]);
    sg_vec far_even = d[4] - d[2], far_odd = d[3] - d[1];
    out[0] = sg_fma(four, d[0] - d[2], far_even);
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = sg_fma(two, far_odd, far_even);
    out[4] = sg_fma(-two, far_odd, far_even);
    out[5] = sg_fma(-four, far_odd, d[5] - d[3]);
}

/* One line by A:  1 0 0 0 | 1 1 1 1 | 1 -1 1 -1 | 1 2 4 8 | 1 -2 4 -8 | 0 0 0 1. */
static inline void gradient_line(const sg_vec d[TILE], sg_vec out[SIDE]) {
    const sg_vec two = sg_splat(2.0f), four = sg_splat(4.0f);
    sg_vec even = d[0] + d[2], odd = d[1] + d[3];
    sg_vec far_even = sg_fma(four, d[2], d[0]), far_odd = sg_fma(four, d[3], d[1]);
    out[0] = d[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = sg_fma(two, far_odd, far_even);
    out[4] = sg_fma(-two, far_odd, far_even);
    out[5] = d[3];
}

/* One line by A^T. */
static inline void output_line(const sg_vec m[SIDE], sg_vec out[TILE]) {
    const sg_vec two = sg_splat(2.0f), four = sg_splat(4.0f), eight = sg_splat(8.0f);
    sg_vec even = m[1] + m[2], odd = m[1] - m[2], far_even = m[3] + m[4], far_odd = m[3] - m[4];
    out[0] = m[0] + even + far_even;
    out[1] = sg_fma(two, far_odd, odd);
    out[2] = sg_fma(four, far_even, even);
    out[3] = sg_fma(eight, far_odd, odd) + m[5];
}

/* One line by G:  1/4 0 0 | -1/6 -1/6 -1/6 | -1/6 1/6 -1/6 | 1/24 1/12 1/6 | 1/24 -1/12 1/6 | 0 0 1. */
static inline void weights_line(const sg_vec g[3], sg_vec out[WEIGHT_SIDE]) {
    const sg_vec sixth = sg_splat(1.0f / 6.0f), twelfth = sg_splat(1.0f / 12.0f),
                 part = sg_splat(1.0f / 24.0f);
    sg_vec sum = (g[0] + g[2]) * sixth;
    sg_vec far_even = sg_fma(part, g[0], sixth * g[2]), far_odd = twelfth * g[1];
    out[0] = sg_splat(0.25f) * g[0];
    out[1] = sg_fma(-sixth, g[1], -sum);
    out[2] = sg_fma(sixth, g[1], -sum);
    out[3] = far_even + far_odd;
    out[4] = far_even - far_odd;
    out[5] = g[2];
}

/* One line by G^T. */
static inline void taps_line(const sg_vec u[WEIGHT_SIDE], sg_vec out[3]) {
    const sg_vec quarter = sg_splat(0.25f), sixth = sg_splat(1.0f / 6.0f);
    sg_vec even = u[1] + u[2], odd = u[2] - u[1], far_even = u[3] + u[4], far_odd = u[3] - u[4];
    out[0] = sg_fma(sixth, sg_fma(quarter, far_even, -even), quarter * u[0]);
    out[1] = sg_fma(sg_splat(0.5f), far_odd, odd) * sixth;
    out[2] = sg_fma(sixth, far_even - even, u[5]);
}

#include "kernels/lanes/conv_winograd_form.h"
#include "kernels/lanes/conv_winograd_form_weight.h"

const winograd_form SG_VARIANT(sg_winograd4_form) = {
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
