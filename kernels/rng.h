/* Random numbers without state: Philox4x32-10 (Salmon et al., SC 2011; Random123), keyed by seed, counted by
 * (purpose, a, b, c). The same four numbers give the same result on any rank, thread, day. Local; cannot
 * fail. */
#ifndef SG_RNG_H
#define SG_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a number is for. Values are part of the results' identity: append, never renumber. */
enum sg_purpose {
    SG_RNG_INIT = 1, /* a = parameter index, b = element / 4 */
    SG_RNG_ORDER,    /* a = epoch, b = position */
    SG_RNG_AUGMENT,  /* a = epoch, b = sample */
    SG_RNG_ALPHA,    /* a = epoch, b = minibatch */
    SG_RNG_DROPOUT,  /* a = step, b = sample, c = layer and element */
    SG_RNG_SIGN,     /* random_signs: a = parameter index, b = element / 128 */
    SG_RNG_SHAPES,   /* the procedural data set: a = split, b = sample, c = draw */
    SG_RNG_TEST      /* tests */
};

typedef struct sg_random {
    uint32_t word[4];
} sg_random;

sg_random sg_rng(uint64_t seed, enum sg_purpose purpose, uint32_t a, uint32_t b, uint32_t c);

/* [0, 1) with 24 bits: exact in float. */
static inline float sg_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

/* (0, 1) with 32 bits, never 0 or 1: for logarithms. */
static inline double sg_open_uniform(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

/* An integer in [0, n) from a word; n > 0. The chances of any two differ by 2^-32 at most. */
static inline uint32_t sg_below(uint32_t word, uint32_t n) { return (uint32_t)(((uint64_t)word * n) >> 32); }

/* A standard normal pair (Box-Muller) from two words. */
void sg_normal_pair(uint32_t first, uint32_t second, float out[2]);

/* order[0..n): a permutation of 0..n-1 (Fisher-Yates), the same for the same (seed, purpose, epoch, n). */
void sg_permutation(uint64_t seed, enum sg_purpose purpose, uint32_t epoch, uint32_t n, uint32_t *order);

#endif
