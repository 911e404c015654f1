/* Weight gradient of the depthwise convolution.
 *
 * Up to 8 output gradients of a row of one channel stay in registers; each position of the filter adds the
 * products with what it reads to its own lane row of sums. Strips of columns are done from left to right,
 * each from top to bottom, pixels of a row in their order; at the end of a block of samples lane rows are
 * reduced to numbers, which are combined over blocks in the order of tree.h. A piece of work is some channels
 * of a block. */
#include "kernels/lanes/simd.h"

#include <omp.h>

#include "kernels/fold.h"
#include "kernels/lanes/ahead.h"
#include "kernels/lanes/conv_depthwise.h"
#include "kernels/lanes/row_sums.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/steps.h"
#include "kernels/memory.h"

enum { MOST_COLUMNS = 8, MOST_CHANNELS = 16, PIECES = 4 /* for each thread, at least */ };

typedef struct state {
    sg_conv_shape shape;
    sg_support support; /* index borrowed */
    int threads;
    size_t most;     /* weights of the largest piece, rounded up */
    sg_queue *queue; /* [threads] */
} state;

typedef struct strip {
    const float *in, *dy;                  /* channel 0 of the strip's first pixel */
    ptrdiff_t in_row, in_pixel, in_column; /* of the filter; of the strip */
    ptrdiff_t dy_row, dy_column;
    int height, width; /* of the filter */
    int first, last;
    float *sums;
    sg_ahead *ahead_in, *ahead_dy;
} strip;

/* height, width and columns are constants where this is inlined, but for filters of unusual size. */
static inline __attribute__((always_inline)) void sum_strip(const strip *t, const int height, const int width,
                                                            const int columns) {
    /* Copies: a store to the sums might change *t, for all the compiler knows. */
    float *sums = t->sums;
    const float *first_in = t->in, *first_dy = t->dy;
    const ptrdiff_t in_row = t->in_row, in_pixel = t->in_pixel, dy_column = t->dy_column;
    const sg_steps step = sg_steps_of(t->in_column, columns);
    for (int channel = t->first, last = t->last; channel < last;
         channel++, sums += height * width * SG_LANES) {
        sg_ahead_fetch(t->ahead_in);
        sg_ahead_fetch(t->ahead_dy);
        for (int slice = 0; slice < SG_LANES; slice += SG_WIDTH) {
            const float *in = first_in + channel * SG_LANES + slice,
                        *dy = first_dy + channel * SG_LANES + slice;
            float *to = sums + slice;
            sg_vec gradient[MOST_COLUMNS];
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++) gradient[c] = sg_load(dy + c * dy_column);
            for (int r = 0; r < height; r++)
                for (int s = 0; s < width; s++, to += SG_LANES) {
                    const float *p = in + r * in_row + s * in_pixel;
                    SG_OPAQUE(p);
                    const float *four = p + step.by[4];
                    sg_vec sum = sg_load(to);
#pragma GCC unroll 8
                    for (int c = 0; c < columns; c++)
                        sum = sg_fma(gradient[c], sg_load(sg_steps_at(&step, p, four, c)), sum);
                    sg_store(to, sum);
                }
        }
    }
}

#if SG_VECTOR_BYTES == 64
/* Two rows of a strip for a filter of 3 x 3 at stride 1. There are registers enough to load each pixel once
 * for all the sums that it is part of; each takes its products in the same order as above. */
static inline __attribute__((always_inline)) void sum_pair(const strip *t, const int columns) {
    float *sums = t->sums;
    const float *first_in = t->in, *first_dy = t->dy;
    const ptrdiff_t in_row = t->in_row, dy_row = t->dy_row, dy_column = t->dy_column;
    const sg_steps step = sg_steps_of(t->in_pixel, 5);
    for (int channel = t->first, last = t->last; channel < last; channel++, sums += 9 * SG_LANES) {
        sg_ahead_fetch(t->ahead_in);
        sg_ahead_fetch(t->ahead_dy);
        for (int slice = 0; slice < SG_LANES; slice += SG_WIDTH) {
            const float *in = first_in + channel * SG_LANES + slice,
                        *dy = first_dy + channel * SG_LANES + slice;
            sg_vec sum[9], gradient[2][MOST_COLUMNS];
#pragma GCC unroll 9
            for (int i = 0; i < 9; i++) sum[i] = sg_load(sums + slice + i * SG_LANES);
#pragma GCC unroll 2
            for (int o = 0; o < 2; o++)
#pragma GCC unroll 8
                for (int c = 0; c < columns; c++) gradient[o][c] = sg_load(dy + o * dy_row + c * dy_column);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const float *p = in + i * in_row;
                SG_OPAQUE(p);
                const float *four = p + step.by[4], *eight = four + step.by[4];
#pragma GCC unroll 10
                for (int j = 0; j < columns + 2; j++) {
                    sg_vec x = sg_load(j < 8 ? sg_steps_at(&step, p, four, j) : eight + (j - 8) * step.by[1]);
#pragma GCC unroll 2
                    for (int o = 0; o < 2; o++)
#pragma GCC unroll 3
                        for (int s = 0; s < 3; s++) {
                            int r = i - o, c = j - s;
                            if (r >= 0 && r < 3 && c >= 0 && c < columns)
                                sum[r * 3 + s] = sg_fma(gradient[o][c], x, sum[r * 3 + s]);
                        }
                }
            }
#pragma GCC unroll 9
            for (int i = 0; i < 9; i++) sg_store(sums + slice + i * SG_LANES, sum[i]);
        }
    }
}

#endif

#include "kernels/lanes/conv_depthwise_strips.h"

/* The first pixels that a strip reads and multiplies with, channel 0. */
static const float *strip_in(const state *s, const sg_tensor *x, int block, int row, int column) {
    int stride = s->shape.stride, padding = s->shape.padding;
    return sg_tensor_at(x, block, row * stride - padding, column * stride - padding);
}

/* Some channels of a block. */
typedef struct piece {
    int block, first, last;
} piece;

/* Into how many parts the channels of a block are cut. */
static int count_parts(const state *s, int blocks) {
    int channels = s->shape.in_channels, parts = sg_divide_up(channels, MOST_CHANNELS);
    int wanted = s->threads > 1 ? sg_divide_up(PIECES * s->threads, blocks) : 1;
    return sg_min(sg_max(parts, wanted), channels);
}

static piece piece_of(const state *s, int number, int parts) {
    int64_t channels = s->shape.in_channels, part = number % parts;
    return (piece){number / parts, (int)(channels * part / parts), (int)(channels * (part + 1) / parts)};
}

/* The sums of a piece; next: the one whose pixels are fetched behind its own, or NULL. */
static void sum_piece(const state *s, const sg_conv_pass *pass, const piece *now, const piece *next,
                      float *sums) {
    const sg_conv_shape *shape = &s->shape;
    const sg_tensor *x = pass->x, *dy = pass->dy;
    int height = shape->kernel_height, width = shape->kernel_width, stride = shape->stride;
    int rows = shape->out_height, most = most_rows(height, width, stride), tiles = sg_divide_up(rows, most);
    int channels = now->last - now->first, skip = now->first * SG_LANES;
    strip t = {.in_row = (ptrdiff_t)x->row,
               .in_pixel = (ptrdiff_t)x->pixel,
               .in_column = stride * (ptrdiff_t)x->pixel,
               .dy_row = (ptrdiff_t)dy->row,
               .dy_column = (ptrdiff_t)dy->pixel,
               .height = height,
               .width = width,
               .first = now->first,
               .last = now->last,
               .sums = sums};
    memset(sums, 0, (size_t)channels * (size_t)(height * width) * SG_LANES * sizeof *sums);
    int count = sg_divide_up(shape->out_width, MOST_COLUMNS);
    int least = shape->out_width / count, wider = shape->out_width % count;
    bool pays = sg_ahead_pays(x, dy, pass->blocks);
    for (int i = 0, column = 0, taken; i < count; i++, column += taken) {
        taken = least + (i < wider);
        sg_area in = {t.in_row, t.in_pixel, (rows - 1) * stride + height, (taken - 1) * stride + width,
                      (most - 1) * stride + height};
        sg_area gradients = {t.dy_row, t.dy_column, rows, taken, most};
        const piece *then = i + 1 < count ? now : next;
        int there = i + 1 < count ? column + taken : 0;
        const float *next_in = NULL, *next_dy = NULL;
        if (then != NULL) {
            next_in = strip_in(s, x, then->block, 0, there) + then->first * SG_LANES;
            next_dy = sg_tensor_at(dy, then->block, 0, there) + then->first * SG_LANES;
        }
        sg_ahead ahead_in = sg_ahead_of(&in, strip_in(s, x, now->block, 0, column) + skip, next_in, channels,
                                        channels * tiles, pays);
        sg_ahead ahead_dy = sg_ahead_of(&gradients, sg_tensor_at(dy, now->block, 0, column) + skip, next_dy,
                                        channels, channels * tiles, pays);
        t.ahead_in = &ahead_in;
        t.ahead_dy = &ahead_dy;
        for (int row = 0; row < rows; row += most) {
            t.in = strip_in(s, x, now->block, row, column);
            t.dy = sg_tensor_at(dy, now->block, row, column);
            function_of(height, width, row + most <= rows ? most : 1, taken)(&t);
        }
    }
}

int SG_VARIANT(sg_conv_depthwise_run_weight)(void *opaque, const sg_conv_pass *pass) {
    const state *s = opaque;
    size_t all = sg_conv_weights(&s->shape), weights = s->support.index != NULL ? s->support.count : all;
    float *numbers = pass->scratch.shared; /* [block][all] */
    size_t taps = (size_t)(s->shape.kernel_height * s->shape.kernel_width);
    int parts = count_parts(s, pass->blocks), pieces = pass->blocks * parts;
    sg_fill_queues(s->queue, (size_t)pieces, s->threads);
#pragma omp parallel num_threads(s->threads)
    for (size_t item; sg_take(s->queue, omp_get_thread_num(), s->threads, &item);) {
        float *sums = sg_conv_own(&pass->scratch, omp_get_thread_num()); /* [most][lanes] */
        piece now = piece_of(s, (int)item, parts), next = piece_of(s, (int)item + 1, parts);
        sum_piece(s, pass, &now, (int)item + 1 < pieces ? &next : NULL, sums);
        sg_row_sums(sums, (size_t)(now.last - now.first) * taps,
                    numbers + (size_t)now.block * all + (size_t)now.first * taps);
    }
    sg_fold(numbers, pass->blocks, all * sizeof *numbers, all, sg_combine_float);
    for (size_t i = 0; i < weights; i++)
        pass->dw[i] = numbers[s->support.index != NULL ? s->support.index[i] : i];
    return SG_OK;
}

/* All but the queue. */
static state describe(const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support) {
    state s = {.shape = *shape, .support = *support, .threads = machine->threads};
    int most = sg_divide_up(shape->in_channels, sg_divide_up(shape->in_channels, MOST_CHANNELS));
    s.most = sg_round_up((size_t)(most * shape->kernel_height * shape->kernel_width), SG_ROWS_TOGETHER);
    return s;
}

int SG_VARIANT(sg_conv_depthwise_create_weight)(void **opaque, const sg_machine *machine,
                                                const sg_conv_shape *shape, const sg_support *support) {
    *opaque = NULL;
    state *s;
    SG_TRY(SG_NEW(&s, 1));
    *s = describe(machine, shape, support);
    *opaque = s;
    int status = SG_AT(SG_NEW(&s->queue, (size_t)s->threads));
    if (status != SG_OK) SG_VARIANT(sg_conv_depthwise_destroy_weight)(opaque);
    return status;
}

void SG_VARIANT(sg_conv_depthwise_destroy_weight)(void **opaque) {
    if (opaque == NULL || *opaque == NULL) return;
    state *s = *opaque;
    free(s->queue);
    free(s);
    *opaque = NULL;
}

sg_conv_bytes SG_VARIANT(sg_conv_depthwise_bytes_weight)(const sg_machine *machine,
                                                         const sg_conv_shape *shape,
                                                         const sg_support *support, int blocks) {
    state s = describe(machine, shape, support);
    return (sg_conv_bytes){.shared = (size_t)blocks * sg_conv_weights(shape) * sizeof(float),
                           .own = s.most * SG_LANES * sizeof(float)};
}
