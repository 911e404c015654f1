/* The kernels of one instruction set and lane count: what kernels/lanes/variant.c gathers. */
#ifndef SG_VARIANT_H
#define SG_VARIANT_H

#include "kernels/conv.h"
#include "kernels/layers.h"

typedef struct sg_variant {
    const char *isa;
    int lanes;
    /* Algorithms per pass; a pass that an algorithm does not have is absent (name NULL). */
    sg_conv_algorithm direct[SG_CONV_PASSES];
    sg_conv_algorithm winograd4[SG_CONV_PASSES];
    sg_conv_algorithm winograd2[SG_CONV_PASSES];
    sg_conv_algorithm sparse[SG_CONV_PASSES];
    sg_conv_algorithm depthwise[SG_CONV_PASSES];
    sg_layer_kernels layers;
    /* The micro-kernel for BLIS builds whose register block does not fit the lanes: plain vector code. */
    int own_rows;
    void (*own_ukernel)(const sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                        size_t c_stride, bool accumulate);
} sg_variant;

/* All that this build has, in ascending order of preference; ends with NULL. */
extern const sg_variant *const sg_variants[];

#endif
