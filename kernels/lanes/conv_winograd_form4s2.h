/* F(4, 2), a filter of two taps, in one dimension, on the points 0, 1, -1, 2 and infinity. */
#ifndef SG_CONV_WINOGRAD_FORM4S2_H
#define SG_CONV_WINOGRAD_FORM4S2_H

#include "kernels/lanes/conv_winograd.h"

enum { ODD_SIDE = 5, ODD_TILE = 4 };

/* B^T:  2 -1 -2 1 0 | 0 2 1 -1 0 | 0 -2 3 -1 0 | 0 -1 0 1 0 | 0 2 -1 -2 1. */
static inline void odd_input(const sg_vec d[ODD_SIDE], sg_vec out[ODD_SIDE]) {
    const sg_vec two = sg_splat(2.0f);
    sg_vec outer = d[3] - d[1], inner = d[2] - d[3];
    out[0] = sg_fma(two, d[0] - d[2], outer);
    out[1] = sg_fma(two, d[1], inner);
    out[2] = sg_fma(two, d[2] - d[1], inner);
    out[3] = outer;
    out[4] = sg_fma(-two, outer, d[4] - d[2]);
}

/* A:  1 0 0 0 | 1 1 1 1 | 1 -1 1 -1 | 1 2 4 8 | 0 0 0 1. */
static inline void odd_gradient(const sg_vec d[ODD_TILE], sg_vec out[ODD_SIDE]) {
    const sg_vec two = sg_splat(2.0f), four = sg_splat(4.0f);
    sg_vec even = d[0] + d[2], odd = d[1] + d[3];
    out[0] = d[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = sg_fma(two, sg_fma(four, d[3], d[1]), sg_fma(four, d[2], d[0]));
    out[4] = d[3];
}

/* A^T. */
static inline void odd_output(const sg_vec m[ODD_SIDE], sg_vec out[ODD_TILE]) {
    const sg_vec two = sg_splat(2.0f), four = sg_splat(4.0f), eight = sg_splat(8.0f);
    sg_vec even = m[1] + m[2], odd = m[1] - m[2];
    out[0] = m[0] + even + m[3];
    out[1] = sg_fma(two, m[3], odd);
    out[2] = sg_fma(four, m[3], even);
    out[3] = sg_fma(eight, m[3], odd) + m[4];
}

/* G:  1/2 0 | 1/2 1/2 | 1/6 -1/6 | 1/6 1/3 | 0 1. */
static inline void odd_weights(sg_vec g0, sg_vec g1, sg_vec out[ODD_SIDE]) {
    const sg_vec half = sg_splat(0.5f), sixth = sg_splat(1.0f / 6.0f), third = sg_splat(1.0f / 3.0f);
    out[0] = half * g0;
    out[1] = half * (g0 + g1);
    out[2] = sixth * (g0 - g1);
    out[3] = sg_fma(third, g1, sixth * g0);
    out[4] = g1;
}

/* G^T. */
static inline void odd_taps(const sg_vec u[ODD_SIDE], sg_vec *g0, sg_vec *g1) {
    const sg_vec half = sg_splat(0.5f), sixth = sg_splat(1.0f / 6.0f), third = sg_splat(1.0f / 3.0f);
    *g0 = sg_fma(half, u[0] + u[1], sixth * (u[2] + u[3]));
    *g1 = sg_fma(half, u[1], -sixth * u[2]) + sg_fma(third, u[3], u[4]);
}

#endif
