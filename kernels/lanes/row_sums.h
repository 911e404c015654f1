/* The sums of many lane rows: sg_row_sum's bits, some rows at a time, one vector of results after another. */
#ifndef SG_ROW_SUMS_H
#define SG_ROW_SUMS_H

#include "kernels/lanes/simd.h"

/* Rows that are summed together: callers round up what they allocate for rows. */
enum { SG_ROWS_TOGETHER = 16 };

/* A lane row folded to one native vector: halves added, as sg_row_sum begins. */
static inline sg_vec sg_row_fold(const float *row) {
    sg_vec v[SG_ROW];
    for (int i = 0; i < SG_ROW; i++) v[i] = sg_load(row + i * SG_WIDTH);
    for (int half = SG_ROW / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v[i] = v[i] + v[i + half];
    return v[0];
}

#if SG_VECTOR_BYTES == 64
/* Rows k, k + 4, k + 8, k + 12, each folded to the four values of one quarter. */
static inline __m512 sg_row_quarters(const float *rows, int k) {
    __m512 a = (__m512)sg_row_fold(rows + k * SG_LANES), b = (__m512)sg_row_fold(rows + (k + 4) * SG_LANES);
    __m512 c = (__m512)sg_row_fold(rows + (k + 8) * SG_LANES),
           d = (__m512)sg_row_fold(rows + (k + 12) * SG_LANES);
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}
static inline void sg_row_sums_together(const float *rows, float *sums) {
    __m512 a = sg_row_quarters(rows, 0), b = sg_row_quarters(rows, 1), c = sg_row_quarters(rows, 2);
    __m512 d = sg_row_quarters(rows, 3);
    __m512 ab = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_ps(c, d, 0x44), _mm512_shuffle_ps(c, d, 0xee));
    _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xdd)));
}
#elif SG_VECTOR_BYTES == 32
/* Rows k and k + 4, each folded to the four values of one half. */
static inline __m256 sg_row_halves(const float *rows, int k) {
    __m256 a = (__m256)sg_row_fold(rows + k * SG_LANES), b = (__m256)sg_row_fold(rows + (k + 4) * SG_LANES);
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
static inline void sg_row_sums_together(const float *rows, float *sums) {
    for (int i = 0; i < SG_ROWS_TOGETHER; i += 8, rows += 8 * SG_LANES) {
        __m256 a = sg_row_halves(rows, 0), b = sg_row_halves(rows, 1), c = sg_row_halves(rows, 2);
        __m256 d = sg_row_halves(rows, 3);
        __m256 ab = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
        __m256 cd = _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x44), _mm256_shuffle_ps(c, d, 0xee));
        _mm256_storeu_ps(sums + i,
                         _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd)));
    }
}
#else
static inline void sg_row_sums_together(const float *rows, float *sums) {
    for (int i = 0; i < SG_ROWS_TOGETHER; i++) sums[i] = sg_row_sum(rows + i * SG_LANES);
}
#endif

/* sums[i] = sg_row_sum(rows + i * SG_LANES) for i < count. rows may be read up to the next multiple of
 * SG_ROWS_TOGETHER. */
static inline void sg_row_sums(const float *rows, size_t count, float *sums) {
    size_t i = 0;
    for (; i + SG_ROWS_TOGETHER <= count; i += SG_ROWS_TOGETHER)
        sg_row_sums_together(rows + i * SG_LANES, sums + i);
    if (i == count) return;
    float rest[SG_ROWS_TOGETHER];
    sg_row_sums_together(rows + i * SG_LANES, rest);
    memcpy(sums + i, rest, (count - i) * sizeof *rest);
}

#endif
