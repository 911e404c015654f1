/* Transpositions: from rows of one channel's lanes to rows of one lane's channels, which turns transformed
 * tiles into micro-panels for the weight gradient, where the sum runs over lanes; and from one weight's nine
 * taps to one tap's weights. */
#ifndef SG_LANES_CONV_WINOGRAD_TRANSPOSE_H
#define SG_LANES_CONV_WINOGRAD_TRANSPOSE_H

#include "kernels/lanes/simd.h"

enum { TRANSPOSE_STRIP = 8 };

/* transpose_lanes: to[l * stride + c] = from[c][l] for c < 8 and TRANSPOSE_LANES lanes l in ascending order;
 * of the last lane only `last` channels. */
#if SG_VECTOR_BYTES >= 32

/* row[i][j] becomes row[j][i]. */
static inline void transpose_square(__m256 row[8]) {
    __m256 pair[8], four[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        four[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
        four[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
        four[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        four[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_permute2f128_ps(four[i], four[4 + i], 0x20);
        row[4 + i] = _mm256_permute2f128_ps(four[i], four[4 + i], 0x31);
    }
}

static inline void store_part(float *to, __m256 v, int count) {
    __m128 part = _mm256_castps256_ps128(v);
    if (count == TRANSPOSE_STRIP) {
        _mm256_storeu_ps(to, v);
        return;
    }
    if (count & 4) {
        _mm_storeu_ps(to, part);
        to += 4;
        part = _mm256_extractf128_ps(v, 1);
    }
    if (count & 2) {
        _mm_storel_pi((__m64 *)to, part);
        to += 2;
        part = _mm_movehl_ps(part, part);
    }
    if (count & 1) _mm_store_ss(to, part);
}

#endif
#if SG_VECTOR_BYTES == 64

static inline void transpose_lanes(const float *from, float *to, size_t stride, int last) {
    __m512 pair[8], four[8];
    for (int i = 0; i < 8; i += 2) {
        __m512 a = _mm512_load_ps(from + i * SG_LANES), b = _mm512_load_ps(from + (i + 1) * SG_LANES);
        pair[i] = _mm512_unpacklo_ps(a, b);
        pair[i + 1] = _mm512_unpackhi_ps(a, b);
    }
    for (int i = 0; i < 8; i += 4) {
        four[i] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0x44);
        four[i + 1] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0xee);
        four[i + 2] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        four[i + 3] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    }
    /* four[i] holds channels 0-3 and four[4 + i] channels 4-7 of the lanes i, 4 + i, 8 + i, 12 + i. */
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512 first[4], second[4];
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(four[i]), b = _mm512_castps_pd(four[4 + i]);
        first[i] = _mm512_castpd_ps(_mm512_permutex2var_pd(a, low, b));
        second[i] = _mm512_castpd_ps(_mm512_permutex2var_pd(a, high, b));
    }
    for (int i = 0; i < 4; i++, to += stride) _mm256_storeu_ps(to, _mm512_castps512_ps256(first[i]));
    for (int i = 0; i < 4; i++, to += stride) _mm256_storeu_ps(to, _mm512_extractf32x8_ps(first[i], 1));
    for (int i = 0; i < 4; i++, to += stride) _mm256_storeu_ps(to, _mm512_castps512_ps256(second[i]));
    for (int i = 0; i < 3; i++, to += stride) _mm256_storeu_ps(to, _mm512_extractf32x8_ps(second[i], 1));
    store_part(to, _mm512_extractf32x8_ps(second[3], 1), last);
}
enum { TRANSPOSE_LANES = 16 };

#elif SG_VECTOR_BYTES == 32

static inline void transpose_lanes(const float *from, float *to, size_t stride, int last) {
    __m256 row[8];
    for (int i = 0; i < 8; i++) row[i] = _mm256_load_ps(from + i * SG_LANES);
    transpose_square(row);
    for (int i = 0; i < 7; i++, to += stride) _mm256_storeu_ps(to, row[i]);
    store_part(to, row[7], last);
}
enum { TRANSPOSE_LANES = 8 };

#else

static inline void transpose_lanes(const float *from, float *to, size_t stride, int last) {
    for (int l = 0; l < 4; l++, to += stride) {
        float row[TRANSPOSE_STRIP];
        for (int c = 0; c < TRANSPOSE_STRIP; c++) row[c] = from[c * SG_LANES + l];
        memcpy(to, row, (size_t)(l < 3 ? TRANSPOSE_STRIP : last) * sizeof(float));
    }
}
enum { TRANSPOSE_LANES = 4 };

#endif

/* A strip of up to 8 channels, from[8][SG_LANES], becomes the channels from `first` on of
 * to[SG_LANES][panel], panel >= 4. Whole strips are written: where the panel has fewer channels, what spills
 * into the next lane's first channels is overwritten by it, if a panel's strips come last strip first.
 * Nothing is written behind the last lane. */
static inline void transpose_strip(const float *from, float *to, int first, int panel) {
    const int valid = panel - first < TRANSPOSE_STRIP ? panel - first : TRANSPOSE_STRIP;
    for (int lane = 0; lane < SG_LANES; lane += TRANSPOSE_LANES)
        transpose_lanes(from + lane, to + lane * panel + first, (size_t)panel,
                        lane + TRANSPOSE_LANES < SG_LANES ? TRANSPOSE_STRIP : valid);
}

/* The nine taps of `rows` weights, `from_stride` apart: tap t of weight r to to[t * to_stride + r], or of
 * turned taps tap 8 - t. Up to 7 floats behind each tap's row are written too. */
static inline void transpose_taps(const float *from, size_t from_stride, int rows, bool turned, float *to,
                                  size_t to_stride) {
    enum { TAPS = 9 };
#if SG_VECTOR_BYTES >= 32
    for (int first = 0; first < rows; first += 8) {
        int count = rows - first < 8 ? rows - first : 8;
        const float *weight = from + (size_t)first * from_stride;
        __m256 row[8];
        for (int r = 0; r < 8; r++)
            row[r] = r < count ? _mm256_loadu_ps(weight + (size_t)r * from_stride) : _mm256_setzero_ps();
        transpose_square(row);
        for (int t = 0; t < TAPS - 1; t++)
            _mm256_storeu_ps(to + (size_t)(turned ? TAPS - 1 - t : t) * to_stride + first, row[t]);
        float *ninth = to + (turned ? 0 : TAPS - 1) * to_stride + first;
        for (int r = 0; r < count; r++) ninth[r] = weight[(size_t)r * from_stride + TAPS - 1];
    }
#else
    for (int r = 0; r < rows; r++)
        for (size_t t = 0; t < TAPS; t++)
            to[(turned ? TAPS - 1 - t : t) * to_stride + (size_t)r] = from[(size_t)r * from_stride + t];
#endif
}

#endif
