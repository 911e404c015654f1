/* Lane rows to columns: 4x4 transposes of floats, for any instruction set. */
#ifndef SG_TRANSPOSE_H
#define SG_TRANSPOSE_H

#include <stddef.h>

typedef float sg_quad __attribute__((vector_size(16), aligned(4), may_alias));

#if defined(__clang__)
#define SG_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector((a), (b), i, j, k, l)
#else
typedef int sg_quad_index __attribute__((vector_size(16)));
#define SG_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle((a), (b), (sg_quad_index){i, j, k, l})
#endif

/* to[n * to_stride + i] = row[i][n], i, n < 4. */
static inline void sg_transpose_4x4(const float *row0, const float *row1, const float *row2,
                                    const float *row3, float *to, size_t to_stride) {
    sg_quad a = *(const sg_quad *)row0, b = *(const sg_quad *)row1;
    sg_quad c = *(const sg_quad *)row2, d = *(const sg_quad *)row3;
    sg_quad ab_low = SG_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SG_SHUFFLE(a, b, 2, 6, 3, 7);
    sg_quad cd_low = SG_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SG_SHUFFLE(c, d, 2, 6, 3, 7);
    *(sg_quad *)to = SG_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
    *(sg_quad *)(to + to_stride) = SG_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
    *(sg_quad *)(to + 2 * to_stride) = SG_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
    *(sg_quad *)(to + 3 * to_stride) = SG_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
}

#endif
