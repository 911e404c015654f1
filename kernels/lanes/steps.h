/* Addresses of a line of up to 8 pixels: four multiples of the stride and two bases stay in registers, so
 * that every pixel is one memory operand. Left to itself the compiler makes a chain of additions of it, or
 * spills. */
#ifndef SG_STEPS_H
#define SG_STEPS_H

#include <stddef.h>

/* What x is computed from is hidden, so that it stays in its register. */
#define SG_OPAQUE(x) __asm__("" : "+r"(x))

typedef struct sg_steps {
    ptrdiff_t by[5]; /* multiples of the stride, in floats */
} sg_steps;

static inline __attribute__((always_inline)) sg_steps sg_steps_of(ptrdiff_t stride, const int columns) {
    sg_steps s;
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        s.by[i] = i * stride;
        if (i > 0 && i < columns) SG_OPAQUE(s.by[i]);
    }
    return s;
}

/* Column c of the line that begins at p; four is p + by[4]. */
static inline __attribute__((always_inline)) const float *sg_steps_at(const sg_steps *s, const float *p,
                                                                      const float *four, const int c) {
    return c < 4 ? p + (c == 0 ? 0 : s->by[c]) : four + (c == 4 ? 0 : s->by[c - 4]);
}

#endif
