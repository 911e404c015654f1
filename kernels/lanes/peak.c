/* The most that a core computes and that memory delivers: what the roofline of `signet bench` stands on. */
#include "kernels/lanes/peak.h"

/* Hides a value from the compiler. */
#if defined(__x86_64__)
#define SG_UNKNOWN(v) __asm__("" : "+v"(v))
#else
#define SG_UNKNOWN(v) __asm__("" : "+w"(v))
#endif

float SG_VARIANT(sg_peak_fma)(size_t rounds) {
    /* The sums converge to 1 and stay normal. Factor and term are hidden, or the compiler would know
     * the result. */
    sg_vec chain[SG_PEAK_CHAINS], half = sg_splat(0.5f), term = sg_splat(0.5f);
    SG_UNKNOWN(half);
    SG_UNKNOWN(term);
    for (int i = 0; i < SG_PEAK_CHAINS; i++) chain[i] = sg_splat((float)i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 8
        for (int u = 0; u < SG_PEAK_UNROLLED; u++)
#pragma GCC unroll 12
            for (int i = 0; i < SG_PEAK_CHAINS; i++) chain[i] = sg_fma(chain[i], half, term);
    }
    sg_vec sum = chain[0];
    for (int i = 1; i < SG_PEAK_CHAINS; i++) sum = sum + chain[i];
    float total = 0.0f;
    for (int i = 0; i < SG_WIDTH; i++) total += sum[i];
    return total;
}

void SG_VARIANT(sg_peak_triad)(float *a, const float *b, const float *c, float factor, size_t count,
                               bool stream) {
    sg_vec f = sg_splat(factor);
    if (stream)
        for (size_t i = 0; i < count; i += SG_WIDTH)
            sg_stream(a + i, sg_fma(f, sg_load(c + i), sg_load(b + i)));
    else
        for (size_t i = 0; i < count; i += SG_WIDTH)
            sg_store(a + i, sg_fma(f, sg_load(c + i), sg_load(b + i)));
}
