/* Which function does a strip of the depthwise kernels. Each of them includes this once, behind its `strip`
 * and two functions that are inlined here, with constants for their integers: sum_strip(strip, height, width,
 * columns), a row of up to MOST_COLUMNS pixels for any filter, and, with AVX-512, sum_pair(strip, columns),
 * two rows for a filter of 3 x 3 at stride 1. */
#include "kernels/lanes/conv_depthwise.h"

typedef void (*strip_function)(const strip *t);

#define STRIP(columns)                                                                                       \
    static void strip_3_##columns(const strip *t) { sum_strip(t, 3, 3, columns); }                           \
    static void strip_5_##columns(const strip *t) { sum_strip(t, 5, 5, columns); }                           \
    static void strip_any_##columns(const strip *t) { sum_strip(t, t->height, t->width, columns); }
/* clang-format off */
STRIP(1) STRIP(2) STRIP(3) STRIP(4) STRIP(5) STRIP(6) STRIP(7) STRIP(8)
#if SG_VECTOR_BYTES == 64
#define PAIR(columns) static void pair_##columns(const strip *t) { sum_pair(t, columns); }
PAIR(1) PAIR(2) PAIR(3) PAIR(4) PAIR(5) PAIR(6) PAIR(7) PAIR(8)
#endif
    /* clang-format on */

    /* Rows that are done together. */
    static int most_rows(int height, int width, int stride) {
    return SG_VECTOR_BYTES == 64 && height == 3 && width == 3 && stride == 1 ? 2 : 1;
}

/* height and width: of the filter; rows: most_rows or 1. */
static strip_function function_of(int height, int width, int rows, int columns) {
    enum { FILTER_3, FILTER_5, FILTER_ANY, FILTER_KINDS };
    static const strip_function strips[FILTER_KINDS][MOST_COLUMNS] = {
        {strip_3_1, strip_3_2, strip_3_3, strip_3_4, strip_3_5, strip_3_6, strip_3_7, strip_3_8},
        {strip_5_1, strip_5_2, strip_5_3, strip_5_4, strip_5_5, strip_5_6, strip_5_7, strip_5_8},
        {strip_any_1, strip_any_2, strip_any_3, strip_any_4, strip_any_5, strip_any_6, strip_any_7,
         strip_any_8},
    };
#if SG_VECTOR_BYTES == 64
    static const strip_function pairs[MOST_COLUMNS] = {pair_1, pair_2, pair_3, pair_4,
                                                       pair_5, pair_6, pair_7, pair_8};
    if (rows == 2) return pairs[columns - 1];
#endif
    (void)rows;
    int kind = height == 3 && width == 3 ? FILTER_3 : height == 5 && width == 5 ? FILTER_5 : FILTER_ANY;
    return strips[kind][columns - 1];
}
