/* The transforms of the data gradient of F(4x4, 3x3) with stride 2: 8 x 8 of dx out of 5 x 5 of dy. In one
 * dimension dx[2i] = w1 dy[i] and dx[2i+1] = w2 dy[i] + w0 dy[i+1]. */
#include "kernels/lanes/conv_winograd_form4s2.h"

enum { TILE = 8, PATCH = 5, STEP = 4, SIDE = 9, WEIGHT_SIDE = 6 };

static inline void input_line(const sg_vec d[PATCH], sg_vec out[SIDE]) {
    odd_input(d, out);
    for (int i = 0; i < ODD_TILE; i++) out[ODD_SIDE + i] = d[i];
}

static inline void output_line(const sg_vec m[SIDE], sg_vec out[TILE]) {
    sg_vec odd[ODD_TILE];
    odd_output(m, odd);
    for (int i = 0; i < ODD_TILE; i++) {
        out[2 * i] = m[ODD_SIDE + i];
        out[2 * i + 1] = odd[i];
    }
}

/* g is turned: w2, w1, w0. */
static inline void weights_line(const sg_vec g[3], sg_vec out[WEIGHT_SIDE]) {
    odd_weights(g[0], g[2], out);
    out[ODD_SIDE] = g[1];
}

#include "kernels/lanes/conv_winograd_form.h"

const winograd_form SG_VARIANT(sg_winograd4s2_data_form) = {
    .tile = TILE,
    .patch = PATCH,
    .step = STEP,
    .before = 0,
    .side = SIDE,
    .weight_side = WEIGHT_SIDE,
    .input = input,
    .output = output,
    .weights = weights,
};
