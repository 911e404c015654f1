/* Elementary functions on vectors. Only additions, multiplications, divisions and sg_fma, so the bits depend
 * on no mathematics library and are the same at every vector width. Errors in units in the last place (ulp),
 * measured by tests/unit/test_activation.c: sg_exp 2, sg_sigmoid 4 for normal results, sg_normal_cdf 4 + x^2
 * / 2 (the rounding of x^2 / 2 in its exponential). NaN goes in and comes out. */
#ifndef SG_FUNCTIONS_H
#define SG_FUNCTIONS_H

#include "kernels/lanes/simd.h"
#include "kernels/layers.h"

/* exp(x) for x in [-87, 88]; beyond it the value at the nearer end (1.6e-38, 1.7e38). Argument reduction with
 * a two-part ln 2 whose upper part has nine bits, then Cephes's polynomial (expf). */
static inline sg_vec sg_exp(sg_vec x) {
    const sg_vec magic = sg_splat(0x1.8p23f); /* adding it rounds to the nearest integer */
    x = sg_pick((sg_ivec)(x < sg_splat(-87.0f)), sg_splat(-87.0f), x);
    x = sg_pick((sg_ivec)(x > sg_splat(88.0f)), sg_splat(88.0f), x);
    sg_vec shifted = sg_fma(x, sg_splat(1.44269504088896341f), magic);
    sg_vec n = shifted - magic;
    sg_vec r = sg_fma(n, sg_splat(-0.693359375f), x);
    r = sg_fma(n, sg_splat(2.12194440e-4f), r);
    sg_vec p = sg_splat(1.9875691500e-4f);
    p = sg_fma(p, r, sg_splat(1.3981999507e-3f));
    p = sg_fma(p, r, sg_splat(8.3334519073e-3f));
    p = sg_fma(p, r, sg_splat(4.1665795894e-2f));
    p = sg_fma(p, r, sg_splat(1.6666665459e-1f));
    p = sg_fma(p, r, sg_splat(5.0000001201e-1f));
    p = sg_fma(p, r * r, r) + 1.0f;
    /* The low bits of `shifted` are n: into the exponent field. */
    return p * (sg_vec)(((sg_ivec)shifted + 127) << 23);
}

static inline sg_vec sg_sigmoid(sg_vec x) { return 1.0f / (1.0f + sg_exp(-x)); }

/* The standard normal's distribution function and, into density (never NULL), exp(-x^2 / 2) / sqrt(2 pi).
 * cdf(-|x|) = exp(-x^2 / 2) t P(t) with t = 1 / (1 + 0.3 |x|): P fitted to a relative error of 3.4e-9 on
 * |x| < 13.5, beyond which the exponential is zero in float. */
static inline sg_vec sg_normal_cdf(sg_vec x, sg_vec *density) {
    sg_vec size = (sg_vec)((sg_ivec)x & 0x7fffffff);
    sg_vec e = sg_exp(-0.5f * x * x);
    sg_vec t = 1.0f / sg_fma(size, sg_splat(0.3f), sg_splat(1.0f));
    sg_vec p = sg_splat(-0.020594693252742304f);
    p = sg_fma(p, t, sg_splat(0.11227366651301f));
    p = sg_fma(p, t, sg_splat(-0.22781787688402655f));
    p = sg_fma(p, t, sg_splat(0.19123454579167826f));
    p = sg_fma(p, t, sg_splat(-0.07894533676145088f));
    p = sg_fma(p, t, sg_splat(0.09588774700892089f));
    p = sg_fma(p, t, sg_splat(0.07848745247322095f));
    p = sg_fma(p, t, sg_splat(0.11021333516704795f));
    p = sg_fma(p, t, sg_splat(0.11957462105415656f));
    p = sg_fma(p, t, sg_splat(0.11968653717655786f));
    sg_vec tail = e * (p * t);
    *density = e * 0.3989422804014327f;
    return sg_pick((sg_ivec)(x > sg_splat(0.0f)), 1.0f - tail, tail);
}

/* Comparisons are written so that NaN passes through. */
static inline sg_vec sg_relu(sg_vec x) { return sg_pick((sg_ivec)(x < sg_splat(0.0f)), sg_splat(0.0f), x); }
static inline sg_vec sg_relu6(sg_vec x) {
    return sg_pick((sg_ivec)(x > sg_splat(6.0f)), sg_splat(6.0f), sg_relu(x));
}

/* With a constant kind these two fold to one case. */
static inline __attribute__((always_inline)) sg_vec sg_activate(enum sg_activation kind, sg_vec x) {
    sg_vec density;
    switch (kind) {
    case SG_RELU:
        return sg_relu(x);
    case SG_RELU6:
        return sg_relu6(x);
    case SG_SWISH:
        return x * sg_sigmoid(x);
    case SG_GELU:
        return x * sg_normal_cdf(x, &density);
    case SG_SIGMOID:
        return sg_sigmoid(x);
    default:
        return x;
    }
}

/* dy times the slope at x. For relu and relu6 the result y may stand in for x. */
static inline __attribute__((always_inline)) sg_vec sg_activate_back(enum sg_activation kind, sg_vec x,
                                                                     sg_vec dy) {
    const sg_vec zero = sg_splat(0.0f);
    sg_vec s, density;
    switch (kind) {
    case SG_RELU:
        return sg_pick((sg_ivec)(x > zero), dy, zero);
    case SG_RELU6:
        return sg_pick((sg_ivec)(x > zero) & (sg_ivec)(x < sg_splat(6.0f)), dy, zero);
    case SG_SWISH:
        s = sg_sigmoid(x);
        return dy * (s * sg_fma(x, 1.0f - s, sg_splat(1.0f)));
    case SG_GELU:
        s = sg_normal_cdf(x, &density);
        return dy * sg_fma(x, density, s);
    case SG_SIGMOID:
        s = sg_sigmoid(x);
        return dy * (s * (1.0f - s));
    default:
        return dy;
    }
}

#endif
