/* The transforms of F(4x4, 3x3) with stride 2 and of its weight gradient. */
#include "kernels/lanes/conv_winograd_form4s2.h"

enum { TILE = 4, PATCH = 9, STEP = 8, SIDE = 9, WEIGHT_SIDE = 6 };

/* The patch begins with an odd pixel. */
static inline void input_line(const sg_vec d[PATCH], sg_vec out[SIDE]) {
    const sg_vec odd[ODD_SIDE] = {d[0], d[2], d[4], d[6], d[8]};
    odd_input(odd, out);
    for (int i = 0; i < TILE; i++) out[ODD_SIDE + i] = d[2 * i + 1];
}

static inline void gradient_line(const sg_vec d[TILE], sg_vec out[SIDE]) {
    odd_gradient(d, out);
    for (int i = 0; i < TILE; i++) out[ODD_SIDE + i] = d[i];
}

static inline void output_line(const sg_vec m[SIDE], sg_vec out[TILE]) {
    odd_output(m, out);
    for (int i = 0; i < TILE; i++) out[i] += m[ODD_SIDE + i];
}

static inline void weights_line(const sg_vec g[3], sg_vec out[WEIGHT_SIDE]) {
    odd_weights(g[0], g[2], out);
    out[ODD_SIDE] = g[1];
}

static inline void taps_line(const sg_vec u[WEIGHT_SIDE], sg_vec out[3]) {
    odd_taps(u, &out[0], &out[2]);
    out[1] = u[ODD_SIDE];
}

#include "kernels/lanes/conv_winograd_form.h"
#include "kernels/lanes/conv_winograd_form_weight.h"

const winograd_form SG_VARIANT(sg_winograd4s2_form) = {
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
