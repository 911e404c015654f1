/* The kernels of one instruction set and lane count: what kernels/lanes/variant.c gathers. */
#ifndef SG_VARIANT_H
#define SG_VARIANT_H

#include "kernels/conv.h"
#include "kernels/layers.h"

/* What the machine can do at best, for measurements. */
typedef struct sg_peak_kernels {
    int flop; /* of one round of fma */
    /* Independent chains of multiply-adds in registers, as many as the pipelines take; returns their sum. */
    float (*fma)(size_t rounds);
    /* a[i] = b[i] + factor * c[i]; stream: past the caches. a, b, c 64-byte aligned, count a multiple of 16.
     */
    void (*triad)(float *a, const float *b, const float *c, float factor, size_t count, bool stream);
} sg_peak_kernels;

typedef struct sg_variant {
    const char *isa;
    int lanes;
    /* Algorithms per pass; a pass that an algorithm does not have is absent (name NULL). */
    sg_conv_algorithm direct[SG_CONV_PASSES];
    sg_conv_algorithm winograd4[SG_CONV_PASSES];
    sg_conv_algorithm winograd2[SG_CONV_PASSES];
    sg_conv_algorithm winograd4s2[SG_CONV_PASSES];
    sg_conv_algorithm sparse[SG_CONV_PASSES];
    sg_conv_algorithm depthwise[SG_CONV_PASSES];
    sg_layer_kernels layers;
    sg_peak_kernels peak;
    /* The micro-kernel for BLIS builds whose register block does not fit the lanes: plain vector code. */
    int own_rows;
    void (*own_ukernel)(const sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                        size_t c_stride, bool accumulate);
} sg_variant;

/* All that this build has, in ascending order of preference; ends with NULL. */
extern const sg_variant *const sg_variants[];

#endif
