/* What peak.c contributes to its instruction set's table. */
#ifndef SG_PEAK_H
#define SG_PEAK_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/lanes/simd.h"

/* Twelve chains hide a latency of up to six cycles on two pipelines; with two operands they fit 16 registers.
 */
enum { SG_PEAK_CHAINS = 12, SG_PEAK_UNROLLED = 8 };

float SG_VARIANT(sg_peak_fma)(size_t rounds);
void SG_VARIANT(sg_peak_triad)(float *a, const float *b, const float *c, float factor, size_t count,
                               bool stream);

#define SG_PEAK_TABLE                                                                                        \
    {                                                                                                        \
        .flop = 2 * SG_WIDTH * SG_PEAK_CHAINS * SG_PEAK_UNROLLED, .fma = SG_VARIANT(sg_peak_fma),            \
        .triad = SG_VARIANT(sg_peak_triad),                                                                  \
    }

#endif
