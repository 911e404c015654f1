/* Weight gradient of the depthwise convolution.
 *
 * Up to 8 output gradients of a row of one channel stay in registers; each position of the filter adds the
 * products with what it reads to its own lane row of sums. Strips of columns are done from left to right,
 * each from top to bottom, pixels of a row in their order; at the end of a block of samples lane rows are
 * reduced to numbers, which are combined over blocks in the order of sg_tree_order. */
#include "kernels/lanes/simd.h"

#include <omp.h>

#include "kernels/lanes/ahead.h"
#include "kernels/lanes/conv_depthwise.h"
#include "kernels/lanes/row_sums.h"
#include "kernels/lanes/steps.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

enum { MOST_COLUMNS = 8, MOST_CHANNELS = 16, PIECES = 4 };

typedef struct state {
    sg_conv_shape shape;
    sg_support support; /* index borrowed */
    int threads, parts; /* pieces of work: runs of channels */
    int blocks;         /* leaf and merges have room for */
    int *leaf, *merges;
    size_t most; /* weights of the largest piece, rounded up */
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

/* The sums of channels first..last over one block, the one before next_block, which may be -1. */
static void sum_block(const state *s, const sg_conv_pass *pass, int block, int next_block, int first,
                      int last, float *sums) {
    const sg_conv_shape *shape = &s->shape;
    const sg_tensor *x = pass->x, *dy = pass->dy;
    int height = shape->kernel_height, width = shape->kernel_width, stride = shape->stride;
    int rows = shape->out_height, most = most_rows(height, width, stride), tiles = (rows + most - 1) / most;
    strip t = {.in_row = (ptrdiff_t)x->row,
               .in_pixel = (ptrdiff_t)x->pixel,
               .in_column = stride * (ptrdiff_t)x->pixel,
               .dy_row = (ptrdiff_t)dy->row,
               .dy_column = (ptrdiff_t)dy->pixel,
               .height = height,
               .width = width,
               .first = first,
               .last = last,
               .sums = sums};
    memset(sums, 0, (size_t)(last - first) * (size_t)(height * width) * SG_LANES * sizeof *sums);
    int count = (shape->out_width + MOST_COLUMNS - 1) / MOST_COLUMNS;
    int least = shape->out_width / count, wider = shape->out_width % count;
    bool pays = sg_ahead_pays(x, dy, pass->blocks);
    for (int i = 0, column = 0, taken; i < count; i++, column += taken) {
        taken = least + (i < wider);
        sg_area in = {t.in_row, t.in_pixel, (rows - 1) * stride + height, (taken - 1) * stride + width,
                      (most - 1) * stride + height};
        sg_area gradients = {t.dy_row, t.dy_column, rows, taken, most};
        int then = i + 1 < count ? block : next_block, there = i + 1 < count ? column + taken : 0;
        const float *next_in = NULL, *next_dy = NULL;
        if (then >= 0) {
            next_in = strip_in(s, x, then, 0, there) + first * SG_LANES;
            next_dy = sg_tensor_at(dy, then, 0, there) + first * SG_LANES;
        }
        sg_ahead ahead_in = sg_ahead_of(&in, strip_in(s, x, block, 0, column) + first * SG_LANES, next_in,
                                        last - first, (last - first) * tiles, pays);
        sg_ahead ahead_dy = sg_ahead_of(&gradients, sg_tensor_at(dy, block, 0, column) + first * SG_LANES,
                                        next_dy, last - first, (last - first) * tiles, pays);
        t.ahead_in = &ahead_in;
        t.ahead_dy = &ahead_dy;
        for (int row = 0; row < rows; row += most) {
            t.in = strip_in(s, x, block, row, column);
            t.dy = sg_tensor_at(dy, block, row, column);
            function_of(height, width, row + most <= rows ? most : 1, taken)(&t);
        }
    }
}

/* Channels first..last over all blocks, into dw[weights of first]. */
static void sum_piece(const state *s, const sg_conv_pass *pass, int first, int last, float *sums,
                      float *numbers, float *dw) {
    size_t count = (size_t)(last - first) * (size_t)(s->shape.kernel_height * s->shape.kernel_width);
    float *top = numbers;
    for (int i = 0; i < pass->blocks; i++) {
        sum_block(s, pass, s->leaf[i], i + 1 < pass->blocks ? s->leaf[i + 1] : -1, first, last, sums);
        sg_row_sums(sums, count, top);
        for (int m = 0; m < s->merges[i]; m++) {
            top -= s->most;
            for (size_t j = 0; j < count; j++) top[j] += top[j + s->most];
        }
        top += s->most;
    }
    memcpy(dw, numbers, count * sizeof *dw);
}

static int make_order(state *s, int blocks) {
    if (blocks > s->blocks) {
        SG_FREE(s->leaf);
        SG_FREE(s->merges);
        s->blocks = 0;
        SG_TRY(SG_NEW(&s->leaf, (size_t)blocks));
        SG_TRY(SG_NEW(&s->merges, (size_t)blocks));
        s->blocks = blocks;
    }
    sg_tree_order(blocks, s->leaf, s->merges);
    return SG_OK;
}

int SG_VARIANT(sg_conv_depthwise_run_weight)(void *opaque, const sg_conv_pass *pass) {
    state *s = opaque;
    size_t weights = s->support.index != NULL ? s->support.count : sg_conv_weights(&s->shape);
    if (pass->blocks == 0) {
        for (size_t i = 0; i < weights; i++) pass->dw[i] = 0.0f;
        return SG_OK;
    }
    SG_TRY(make_order(s, pass->blocks));
    /* All weights; a support compacts them. */
    float *dw = s->support.index != NULL ? pass->scratch.shared : pass->dw;
    int64_t channels = s->shape.in_channels;
    ptrdiff_t taps = s->shape.kernel_height * s->shape.kernel_width;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (int part = 0; part < s->parts; part++) {
        float *sums = sg_conv_own(&pass->scratch, omp_get_thread_num()); /* [most][lanes], and */
        float *numbers = sums + s->most * SG_LANES;                      /* [SG_TREE_DEPTH + 1][most] */
        int first = (int)(channels * part / s->parts), last = (int)(channels * (part + 1) / s->parts);
        sum_piece(s, pass, first, last, sums, numbers, dw + first * taps);
    }
    if (s->support.index != NULL)
        for (size_t i = 0; i < weights; i++) pass->dw[i] = dw[s->support.index[i]];
    return SG_OK;
}

static state describe(const sg_machine *machine, const sg_conv_shape *shape, const sg_support *support) {
    state s = {.shape = *shape, .support = *support, .threads = machine->threads};
    int channels = shape->in_channels, most = channels / (PIECES * s.threads);
    most = most < 1 ? 1 : most > MOST_CHANNELS ? MOST_CHANNELS : most;
    s.parts = (channels + most - 1) / most;
    s.most = (size_t)most * (size_t)(shape->kernel_height * shape->kernel_width);
    s.most = (s.most + SG_ROWS_TOGETHER - 1) / SG_ROWS_TOGETHER * SG_ROWS_TOGETHER;
    return s;
}

int SG_VARIANT(sg_conv_depthwise_create_weight)(void **opaque, const sg_machine *machine,
                                                const sg_conv_shape *shape, const sg_support *support) {
    *opaque = NULL;
    state *s;
    SG_TRY(SG_NEW(&s, 1));
    *s = describe(machine, shape, support);
    *opaque = s;
    return SG_OK;
}

void SG_VARIANT(sg_conv_depthwise_destroy_weight)(void **opaque) {
    if (opaque == NULL || *opaque == NULL) return;
    state *s = *opaque;
    free(s->leaf);
    free(s->merges);
    free(s);
    *opaque = NULL;
}

sg_conv_bytes SG_VARIANT(sg_conv_depthwise_bytes_weight)(const sg_machine *machine,
                                                         const sg_conv_shape *shape,
                                                         const sg_support *support, int blocks) {
    (void)blocks;
    state s = describe(machine, shape, support);
    size_t dense = support->index != NULL ? sg_conv_weights(shape) : 0;
    return (sg_conv_bytes){.shared = dense * sizeof(float),
                           .own = s.most * (SG_LANES + SG_TREE_DEPTH + 1) * sizeof(float)};
}
