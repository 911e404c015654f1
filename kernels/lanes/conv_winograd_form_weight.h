/* The two-dimensional transforms that a form's weight gradient takes beside conv_winograd_form.h, which is
 * included first, out of gradient_line and taps_line. */
#ifndef SG_CONV_WINOGRAD_FORM_WEIGHT_H
#define SG_CONV_WINOGRAD_FORM_WEIGHT_H

static void gradient(const float *const *pixel, const float *const *next, int first, int last, float *out,
                     size_t position) {
    for (int i = first * SG_LANES; i < last * SG_LANES; i += SG_WIDTH, out += SG_WIDTH) {
        sg_vec half[SIDE][TILE];
        winograd_prefetch(next, TILE * TILE, i);
#pragma GCC unroll 9
        for (int j = 0; j < TILE; j++) {
            sg_vec d[TILE], line[SIDE];
#pragma GCC unroll 9
            for (int r = 0; r < TILE; r++) d[r] = sg_load(pixel[r * TILE + j] + i);
            gradient_line(d, line);
#pragma GCC unroll 9
            for (int r = 0; r < SIDE; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 9
        for (int r = 0; r < SIDE; r++) {
            sg_vec line[SIDE];
            gradient_line(half[r], line);
#pragma GCC unroll 9
            for (int j = 0; j < SIDE; j++) sg_store(out + (size_t)position_of(r, j) * position, line[j]);
        }
    }
}

static void back(const float *sum, size_t position, float *taps) {
    for (int i = 0; i < SG_LANES; i += SG_WIDTH) {
        sg_vec half[3][WEIGHT_SIDE];
#pragma GCC unroll 9
        for (int j = 0; j < WEIGHT_SIDE; j++) {
            sg_vec u[WEIGHT_SIDE], line[3];
#pragma GCC unroll 9
            for (int r = 0; r < WEIGHT_SIDE; r++)
                u[r] = sg_load(sum + (size_t)(r * WEIGHT_SIDE + j) * position + i);
            taps_line(u, line);
#pragma GCC unroll 9
            for (int r = 0; r < 3; r++) half[r][j] = line[r];
        }
#pragma GCC unroll 9
        for (int r = 0; r < 3; r++) {
            sg_vec line[3];
            taps_line(half[r], line);
#pragma GCC unroll 9
            for (int j = 0; j < 3; j++) sg_store(taps + (r * 3 + j) * SG_LANES + i, line[j]);
        }
    }
}

#endif
