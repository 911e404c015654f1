/* The two-dimensional transforms of one Winograd form, out of its one-dimensional ones. Included once by each
 * form's file, after it has defined TILE, PATCH, STEP, SIDE, WEIGHT_SIDE and the lines input_line,
 * output_line and weights_line. */
#ifndef SG_CONV_WINOGRAD_FORM_H
#define SG_CONV_WINOGRAD_FORM_H

/* Where the value of row r and column j stands: values that meet the same weight lie side by side, see
 * winograd_meet. */
static inline int position_of(int r, int j) {
    enum { LAST = WEIGHT_SIDE - 1, REPEATS = SIDE - LAST };
    if (r < LAST) return r * SIDE + j;
    if (j < LAST) return LAST * SIDE + j * REPEATS + r - LAST;
    return LAST * SIDE + LAST * REPEATS + (r - LAST) * REPEATS + j - LAST;
}

static void input(const float *const *pixel, const float *const *next, int first, int last, float *out,
                  size_t position) {
    for (int i = first * SG_LANES; i < last * SG_LANES; i += SG_WIDTH, out += SG_WIDTH) {
        sg_vec half[SIDE][PATCH];
        winograd_prefetch(next, STEP * STEP, i);
#pragma GCC unroll 9
        for (int j = 0; j < PATCH; j++) {
            sg_vec d[PATCH], line[SIDE];
#pragma GCC unroll 9
            for (int r = 0; r < PATCH; r++) d[r] = sg_load(pixel[r * PATCH + j] + i);
            input_line(d, line);
#pragma GCC unroll 9
            for (int r = 0; r < SIDE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 9
        for (int r = 0; r < SIDE; r++) {
            sg_vec line[SIDE];
            input_line(half[r], line);
#pragma GCC unroll 9
            for (int j = 0; j < SIDE; j++) sg_store(out + (size_t)position_of(r, j) * position, line[j]);
        }
    }
}

static void output(const float *in, size_t position, const float *bias, bool accumulate, float *const *pixel,
                   const float *const *next, int first, int last) {
    for (int i = first * SG_LANES; i < last * SG_LANES; i += SG_WIDTH, in += SG_WIDTH) {
        sg_vec half[TILE][SIDE], constant = sg_splat(bias != NULL ? bias[i / SG_LANES] : 0.0f);
        winograd_prefetch(next, TILE * TILE, i);
#pragma GCC unroll 9
        for (int j = 0; j < SIDE; j++) {
            sg_vec m[SIDE], line[TILE];
#pragma GCC unroll 9
            for (int r = 0; r < SIDE; r++) m[r] = sg_load(in + (size_t)position_of(r, j) * position);
            output_line(m, line);
#pragma GCC unroll 9
            for (int r = 0; r < TILE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 9
        for (int r = 0; r < TILE; r++) {
            sg_vec line[TILE];
            output_line(half[r], line);
#pragma GCC unroll 9
            for (int j = 0; j < TILE; j++) {
                float *to = pixel[r * TILE + j];
                if (to == NULL) continue;
                sg_store(to + i, (accumulate ? sg_load(to + i) : constant) + line[j]);
            }
        }
    }
}

/* One vector of weights. Rows of positions are reached from one pointer: one for each position would be more
 * than there are registers. */
static inline __attribute__((always_inline)) void weights_vector(const float *taps, size_t stride, float *out,
                                                                 size_t position) {
    sg_vec half[WEIGHT_SIDE][3];
#pragma GCC unroll 9
    for (int j = 0; j < 3; j++) {
        sg_vec g[3], line[WEIGHT_SIDE];
#pragma GCC unroll 9
        for (int r = 0; r < 3; r++) g[r] = sg_load(taps + (size_t)(r * 3 + j) * stride);
        weights_line(g, line);
#pragma GCC unroll 9
        for (int r = 0; r < WEIGHT_SIDE; r++) half[r][j] = line[r];
    }
#pragma GCC unroll 9
    for (int r = 0; r < WEIGHT_SIDE; r++, out += WEIGHT_SIDE * position) {
        sg_vec line[WEIGHT_SIDE];
        weights_line(half[r], line);
        __asm__("" : "+r"(out)); /* keeps the compiler from a pointer for each position */
#pragma GCC unroll 9
        for (int j = 0; j < WEIGHT_SIDE; j++) winograd_store_unaligned(out + (size_t)j * position, line[j]);
    }
}

static void weights(const float *taps, size_t stride, int count, float *out, size_t position) {
    int whole = count / SG_WIDTH * SG_WIDTH;
    for (int i = 0; i < whole; i += SG_WIDTH) weights_vector(taps + i, stride, out + i, position);
    if (whole == count) return;
    float rest[WEIGHT_SIDE * WEIGHT_SIDE * SG_WIDTH];
    weights_vector(taps + whole, stride, rest, SG_WIDTH);
    for (int p = 0; p < WEIGHT_SIDE * WEIGHT_SIDE; p++)
        memcpy(out + (size_t)p * position + whole, rest + p * SG_WIDTH,
               (size_t)(count - whole) * sizeof(float));
}

#endif
