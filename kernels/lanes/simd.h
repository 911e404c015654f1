/* Vectors for the kernels in this directory, which are compiled once per instruction set and lane count.
 *
 * The Makefile passes -DSG_ISA=portable|avx2|avx512 and -DSG_LANES=16|32; SG_VARIANT(name) appends both.
 * A lane row (SG_LANES floats) is SG_ROW native vectors. All files here are compiled with
 * -ffp-contract=off: products and sums fuse only where sg_fma says so, which makes AVX2 and AVX-512 give the
 * same bits (every operation is per lane and in source order). Lane sums go through sg_row_sum, whose order
 * is fixed too. Loads and stores assume 64-byte alignment of lane rows. */
#ifndef SG_SIMD_H
#define SG_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if !defined(SG_ISA) || !defined(SG_LANES)
#error "kernels/lanes is compiled with -DSG_ISA=... -DSG_LANES=..."
#endif
#define SG_PASTE3_(a, b, c) a##_##b##_##c
#define SG_PASTE3(a, b, c) SG_PASTE3_(a, b, c)
#define SG_VARIANT(name) SG_PASTE3(name, SG_ISA, SG_LANES)

#if defined(__AVX512F__)
#include <immintrin.h>
#define SG_VECTOR_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define SG_VECTOR_BYTES 32
#else
#define SG_VECTOR_BYTES 16
#endif

enum { SG_WIDTH = SG_VECTOR_BYTES / 4, SG_ROW = SG_LANES / SG_WIDTH };

typedef float sg_vec __attribute__((vector_size(SG_VECTOR_BYTES), may_alias));
typedef int32_t sg_ivec __attribute__((vector_size(SG_VECTOR_BYTES), may_alias));

static inline sg_vec sg_load(const float *p) { return *(const sg_vec *)p; }
static inline void sg_store(float *p, sg_vec v) { *(sg_vec *)p = v; }

/* A store past the caches, for values that leave them before they are read. The end of a parallel region
 * makes it visible to other threads. */
static inline void sg_stream(float *p, sg_vec v) {
#if SG_VECTOR_BYTES == 64
    _mm512_stream_ps(p, (__m512)v);
#elif SG_VECTOR_BYTES == 32
    _mm256_stream_ps(p, (__m256)v);
#else
    sg_store(p, v);
#endif
}

static inline sg_vec sg_splat(float x) { return x - (sg_vec){0}; }

/* a * b + c, rounded once where the instruction set can. */
static inline sg_vec sg_fma(sg_vec a, sg_vec b, sg_vec c) {
#if SG_VECTOR_BYTES == 64
    return (sg_vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif SG_VECTOR_BYTES == 32
    return (sg_vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* condition ? a : b per lane; condition is a comparison's result (all ones or all zeros). */
static inline sg_vec sg_pick(sg_ivec condition, sg_vec a, sg_vec b) {
    return (sg_vec)(((sg_ivec)a & condition) | ((sg_ivec)b & ~condition));
}
static inline sg_vec sg_vmax(sg_vec a, sg_vec b) { return sg_pick((sg_ivec)(a > b), a, b); }

/* Square roots, correctly rounded. */
static inline sg_vec sg_sqrt(sg_vec a) {
#if SG_VECTOR_BYTES == 64
    return (sg_vec)_mm512_sqrt_ps((__m512)a);
#elif SG_VECTOR_BYTES == 32
    return (sg_vec)_mm256_sqrt_ps((__m256)a);
#else
    for (int i = 0; i < SG_WIDTH; i++) a[i] = sqrtf(a[i]);
    return a;
#endif
}

/* The sum of a lane row: halves added until one is left, the same tree at every vector width. */
static inline float sg_row_sum(const float *row) {
    sg_vec part[SG_ROW];
    memcpy(part, row, sizeof part);
    for (int half = SG_ROW / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
#if SG_VECTOR_BYTES == 64
    __m512 all = (__m512)part[0];
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif SG_VECTOR_BYTES == 32
    __m256 eight = (__m256)part[0];
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#else
    sg_vec four = part[0];
#endif
    return (four[0] + four[2]) + (four[1] + four[3]);
}
static inline double sg_row_sum_double(const double *row) {
    double part[SG_LANES];
    memcpy(part, row, sizeof part);
    for (int half = SG_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

#endif
