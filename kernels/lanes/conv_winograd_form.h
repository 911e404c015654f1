/* The two-dimensional transforms of one Winograd form, out of its one-dimensional ones. Included once by each
 * form's file, after it has defined TILE, SIZE and the lines input_line, gradient_line, output_line,
 * weights_line and taps_line. */
#ifndef SG_CONV_WINOGRAD_FORM_H
#define SG_CONV_WINOGRAD_FORM_H

static void input(const float *const *pixel, const float *const *next, int first, int last, float *out,
                  size_t position) {
    for (int i = first * SG_LANES; i < last * SG_LANES; i += SG_WIDTH, out += SG_WIDTH) {
        sg_vec half[SIZE][SIZE];
        winograd_prefetch(next, TILE * TILE, i);
#pragma GCC unroll 6
        for (int j = 0; j < SIZE; j++) {
            sg_vec d[SIZE], line[SIZE];
#pragma GCC unroll 6
            for (int r = 0; r < SIZE; r++) d[r] = sg_load(pixel[r * SIZE + j] + i);
            input_line(d, line);
#pragma GCC unroll 6
            for (int r = 0; r < SIZE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 6
        for (int r = 0; r < SIZE; r++) {
            sg_vec line[SIZE];
            input_line(half[r], line);
#pragma GCC unroll 6
            for (int j = 0; j < SIZE; j++) sg_store(out + (size_t)(r * SIZE + j) * position, line[j]);
        }
    }
}

static void gradient(const float *const *pixel, const float *const *next, int first, int last, float *out,
                     size_t position) {
    for (int i = first * SG_LANES; i < last * SG_LANES; i += SG_WIDTH, out += SG_WIDTH) {
        sg_vec half[SIZE][TILE];
        winograd_prefetch(next, TILE * TILE, i);
#pragma GCC unroll 6
        for (int j = 0; j < TILE; j++) {
            sg_vec d[TILE], line[SIZE];
#pragma GCC unroll 6
            for (int r = 0; r < TILE; r++) d[r] = sg_load(pixel[r * TILE + j] + i);
            gradient_line(d, line);
#pragma GCC unroll 6
            for (int r = 0; r < SIZE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 6
        for (int r = 0; r < SIZE; r++) {
            sg_vec line[SIZE];
            gradient_line(half[r], line);
#pragma GCC unroll 6
            for (int j = 0; j < SIZE; j++) sg_store(out + (size_t)(r * SIZE + j) * position, line[j]);
        }
    }
}

static void output(const float *in, size_t position, const float *bias, bool accumulate, float *const *pixel,
                   const float *const *next, int first, int last) {
    for (int i = first * SG_LANES; i < last * SG_LANES; i += SG_WIDTH, in += SG_WIDTH) {
        sg_vec half[TILE][SIZE], constant = sg_splat(bias != NULL ? bias[i / SG_LANES] : 0.0f);
        winograd_prefetch(next, TILE * TILE, i);
#pragma GCC unroll 6
        for (int j = 0; j < SIZE; j++) {
            sg_vec m[SIZE], line[TILE];
#pragma GCC unroll 6
            for (int r = 0; r < SIZE; r++) m[r] = sg_load(in + (size_t)(r * SIZE + j) * position);
            output_line(m, line);
#pragma GCC unroll 6
            for (int r = 0; r < TILE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 6
        for (int r = 0; r < TILE; r++) {
            sg_vec line[TILE];
            output_line(half[r], line);
#pragma GCC unroll 6
            for (int j = 0; j < TILE; j++) {
                float *to = pixel[r * TILE + j];
                if (to == NULL) continue;
                sg_store(to + i, (accumulate ? sg_load(to + i) : constant) + line[j]);
            }
        }
    }
}

static void weights(const float *taps, size_t stride, int count, float *out, size_t position) {
    for (int i = 0; i < count; i += SG_WIDTH) {
        sg_vec half[SIZE][3];
        size_t bytes = (size_t)(count - i < SG_WIDTH ? count - i : SG_WIDTH) * sizeof(float);
#pragma GCC unroll 6
        for (int j = 0; j < 3; j++) {
            sg_vec g[3], line[SIZE];
#pragma GCC unroll 6
            for (int r = 0; r < 3; r++) g[r] = sg_load(taps + (size_t)(r * 3 + j) * stride + i);
            weights_line(g, line);
#pragma GCC unroll 6
            for (int r = 0; r < SIZE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 6
        for (int r = 0; r < SIZE; r++) {
            sg_vec line[SIZE];
            weights_line(half[r], line);
#pragma GCC unroll 6
            for (int j = 0; j < SIZE; j++) {
                float *to = out + (size_t)(r * SIZE + j) * position + i;
                if (bytes == sizeof(sg_vec))
                    winograd_store_unaligned(to, line[j]);
                else
                    memcpy(to, &line[j], bytes);
            }
        }
    }
}

static void back(const float *sum, size_t position, float *taps) {
    for (int i = 0; i < SG_LANES; i += SG_WIDTH) {
        sg_vec half[3][SIZE];
#pragma GCC unroll 6
        for (int j = 0; j < SIZE; j++) {
            sg_vec u[SIZE], line[3];
#pragma GCC unroll 6
            for (int r = 0; r < SIZE; r++) u[r] = sg_load(sum + (size_t)(r * SIZE + j) * position + i);
            taps_line(u, line);
#pragma GCC unroll 6
            for (int r = 0; r < 3; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 6
        for (int r = 0; r < 3; r++) {
            sg_vec line[3];
            taps_line(half[r], line);
#pragma GCC unroll 6
            for (int j = 0; j < 3; j++) sg_store(taps + (r * 3 + j) * SG_LANES + i, line[j]);
        }
    }
}

#endif
