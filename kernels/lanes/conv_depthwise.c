/* Depthwise convolution (one filter per channel), forward and data gradient: one kernel. Pruned weights
 * are zeros.
 *
 * The sums of up to 8 pixels of a row of one channel stay in registers while the filter's positions stream
 * past, row by row; channels follow each other inside, as they do in memory. The data gradient is the forward
 * pass with the filter turned round; where the convolution is strided, each phase (row and column of the
 * input pixel modulo the stride) has a filter of its own, made of the positions that reach it. */
#include "kernels/lanes/simd.h"

#include <omp.h>

#include "kernels/lanes/ahead.h"
#include "kernels/lanes/conv_depthwise.h"
#include "kernels/lanes/share.h"
#include "kernels/lanes/steps.h"
#include "kernels/memory.h"

enum { MOST_COLUMNS = 8, MOST_SUMS = SG_VECTOR_BYTES == 64 ? 16 : 8 };
/* Channels of one piece of work: as many as keep the filter's rows of pixels within this many floats of L2,
 * and no more than leave so many pieces to each thread. */
enum { L2_FLOATS = 65536, PIECES = 16 };

/* A filter on its own grid of pixels: position (r, s) reads the pixel at displacement (top + r, left + s). */
typedef struct filter {
    int height, width, top, left;
    ptrdiff_t weights; /* offset of its [channels][height][width] in the packed weights */
} filter;

typedef struct state {
    sg_conv_shape shape;
    int threads, phases;
    bool data;
    filter *filters; /* [phases] */
    sg_queue *queue; /* [threads], of the present phase */
} state;

/* A strip of pixels: where it reads and writes, for channels first..last. */
typedef struct strip {
    const float *in;
    float *out;
    ptrdiff_t in_row, in_pixel, in_column; /* of the filter; of the strip */
    ptrdiff_t out_row, out_column;
    int height, width; /* of the filter */
    const float *weights, *bias;
    int first, last;
    bool add;
    sg_ahead *ahead_in, *ahead_out;
} strip;

/* height, width and columns are constants where this is inlined, but for filters of unusual size. */
static inline __attribute__((always_inline)) void sum_strip(const strip *t, const int height, const int width,
                                                            const int columns) {
    const int together = columns * SG_ROW <= MOST_SUMS ? SG_ROW : 1; /* vectors of a lane row */
    /* Copies: a store to the output might change *t, for all the compiler knows. */
    const float *weights = t->weights + (ptrdiff_t)t->first * height * width;
    const ptrdiff_t in_row = t->in_row, in_pixel = t->in_pixel;
    const sg_steps step = sg_steps_of(t->in_column, columns);
    for (int channel = t->first; channel < t->last; channel++) {
        sg_ahead_fetch(t->ahead_in);
        sg_ahead_fetch(t->ahead_out);
        sg_vec initial = sg_splat(t->bias != NULL ? t->bias[channel] : 0.0f);
        for (int slice = 0; slice < SG_ROW; slice += together) {
            const float *in = t->in + channel * SG_LANES + slice * SG_WIDTH;
            float *out = t->out + channel * SG_LANES + slice * SG_WIDTH;
            sg_vec sum[MOST_SUMS];
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++)
#pragma GCC unroll 8
                for (int v = 0; v < together; v++)
                    sum[c * together + v] =
                        t->add ? sg_load(out + c * t->out_column + v * SG_WIDTH) : initial;
            for (int r = 0; r < height; r++)
                for (int s = 0; s < width; s++) {
                    const float *p = in + r * in_row + s * in_pixel;
                    SG_OPAQUE(p);
                    const float *four = p + step.by[4];
                    sg_vec w = sg_splat(weights[r * width + s]);
#pragma GCC unroll 8
                    for (int c = 0; c < columns; c++)
#pragma GCC unroll 8
                        for (int v = 0; v < together; v++)
                            sum[c * together + v] =
                                sg_fma(w, sg_load(sg_steps_at(&step, p, four, c) + v * SG_WIDTH),
                                       sum[c * together + v]);
                }
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++)
#pragma GCC unroll 8
                for (int v = 0; v < together; v++)
                    sg_store(out + c * t->out_column + v * SG_WIDTH, sum[c * together + v]);
        }
        weights += height * width;
    }
}

#if SG_VECTOR_BYTES == 64
/* Two rows of a strip for a filter of 3 x 3 at stride 1. There are registers enough to load each pixel once
 * for all the sums that it is part of; each takes its products in the same order as above. */
static inline __attribute__((always_inline)) void sum_pair(const strip *t, const int columns) {
    const float *weights = t->weights + (ptrdiff_t)t->first * 9;
    const ptrdiff_t in_row = t->in_row, out_row = t->out_row, out_column = t->out_column;
    const sg_steps step = sg_steps_of(t->in_pixel, 5);
    for (int channel = t->first; channel < t->last; channel++, weights += 9) {
        sg_ahead_fetch(t->ahead_in);
        sg_ahead_fetch(t->ahead_out);
        for (int slice = 0; slice < SG_ROW; slice++) {
            const float *in = t->in + channel * SG_LANES + slice * SG_WIDTH;
            float *out = t->out + channel * SG_LANES + slice * SG_WIDTH;
            sg_vec initial = sg_splat(t->bias != NULL ? t->bias[channel] : 0.0f);
            sg_vec w[9], sum[2][MOST_COLUMNS];
#pragma GCC unroll 9
            for (int i = 0; i < 9; i++) w[i] = sg_splat(weights[i]);
#pragma GCC unroll 2
            for (int o = 0; o < 2; o++)
#pragma GCC unroll 8
                for (int c = 0; c < columns; c++)
                    sum[o][c] = t->add ? sg_load(out + o * out_row + c * out_column) : initial;
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
                                sum[o][c] = sg_fma(w[r * 3 + s], x, sum[o][c]);
                        }
                }
            }
#pragma GCC unroll 2
            for (int o = 0; o < 2; o++)
#pragma GCC unroll 8
                for (int c = 0; c < columns; c++) sg_store(out + o * out_row + c * out_column, sum[o][c]);
        }
    }
}

#endif

#include "kernels/lanes/conv_depthwise_strips.h"

/* One phase of one tensor: pixels (0, 0) of block 0, and strides. */
typedef struct side {
    float *data;
    ptrdiff_t block, row, column;
} side;

static int first_channel(int channels, int part, int parts) {
    return (int)((int64_t)channels * part / parts);
}

/* Piece i of the work: its first pixel's first channel. */
static float *piece_of(side s, int channels, int i, int parts) {
    return s.data + i / parts * s.block + first_channel(channels, i % parts, parts) * SG_LANES;
}

static int count_strips(int columns) { return sg_divide_up(columns, MOST_COLUMNS); }

/* in and out: block 0 is the piece's own. */
static void sum_rows(const filter *f, const strip *whole, side in, side out, int rows, int columns,
                     int most) {
    int count = count_strips(columns), least = columns / count, wider = columns % count;
    strip t = *whole;
    for (int row = 0; row < rows; row += most) {
        int taken_rows = sg_min(most, rows - row);
        t.in = in.data + row * in.row;
        t.out = out.data + row * out.row;
        for (int i = 0; i < count; i++) {
            int taken = least + (i < wider);
            function_of(f->height, f->width, taken_rows, taken)(&t);
            t.in += taken * in.column;
            t.out += taken * out.column;
        }
    }
}

/* in and out: the pixels that the phase's pixel (0, 0) reads from, before displacement, and writes to; the
 * latter's rows are first_row, first_row + row_step, ... of their tensor. */
static void sum_phase(const state *s, const filter *f, const sg_conv_pass *pass, const sg_tensor *read,
                      side in, side out, int rows, int columns, int first_row, int row_step) {
    int blocks = pass->blocks;
    bool add = s->data && pass->accumulate;
    if (rows <= 0 || columns <= 0 || (add && f->height * f->width == 0)) return;
    int channels = s->shape.in_channels;
    strip t = {.in_row = (ptrdiff_t)read->row,
               .in_pixel = (ptrdiff_t)read->pixel,
               .in_column = in.column,
               .out_row = out.row,
               .out_column = out.column,
               .height = f->height,
               .width = f->width,
               .weights = pass->packed + f->weights,
               .bias = s->data ? NULL : pass->bias,
               .add = add};
    in.data += f->top * t.in_row + f->left * t.in_pixel;
    int fitting =
        sg_max(1, L2_FLOATS / (SG_LANES * (f->height + 1) * (columns * s->shape.stride + f->width)));
    int parts = sg_max(sg_divide_up(channels, fitting), sg_divide_up(PIECES * s->threads, blocks));
    parts = sg_min(parts, channels);
    int stride = s->data ? 1 : s->shape.stride, most = most_rows(f->height, f->width, stride);
    int pieces = blocks * parts, tiles = sg_divide_up(rows, most) * count_strips(columns);
    bool pays = sg_ahead_pays(read, s->data ? pass->dx : pass->y, blocks);
    sg_area area_in = {t.in_row, t.in_pixel, (rows - 1) * stride + f->height,
                       (columns - 1) * stride + f->width, (most - 1) * stride + f->height};
    sg_area area_out = {out.row, out.column, rows, columns, most};
    sg_fill_queues(s->queue, (size_t)pieces, s->threads);
#pragma omp parallel num_threads(s->threads)
    for (size_t item; sg_take(s->queue, omp_get_thread_num(), s->threads, &item);) {
        int i = (int)item, block = i / parts, part = i % parts;
        strip own = t;
        own.first = first_channel(channels, part, parts);
        own.last = first_channel(channels, part + 1, parts);
        int count = own.last - own.first;
        const float *next_in = NULL, *next_out = NULL;
        if (i + 1 < pieces) {
            next_in = piece_of(in, channels, i + 1, parts);
            next_out = piece_of(out, channels, i + 1, parts);
        }
        sg_ahead ahead_in =
            sg_ahead_of(&area_in, piece_of(in, channels, i, parts), next_in, count, count * tiles, pays);
        sg_ahead ahead_out =
            sg_ahead_of(&area_out, piece_of(out, channels, i, parts), next_out, count, count * tiles, pays);
        own.ahead_in = &ahead_in;
        own.ahead_out = &ahead_out;
        side from = in, to = out;
        from.data += block * in.block;
        to.data += block * out.block;
        sum_rows(f, &own, from, to, rows, columns, most);
        for (int row = 0; row < rows; row++)
            sg_follow(pass->follower, block, first_row + row * row_step,
                      (size_t)columns * (size_t)(own.last - own.first));
    }
}

int SG_VARIANT(sg_conv_depthwise_run_forward)(void *opaque, const sg_conv_pass *pass) {
    const state *s = opaque;
    const sg_tensor *x = pass->x, *y = pass->y;
    ptrdiff_t stride = s->shape.stride;
    side in = {x->data, (ptrdiff_t)x->block, stride * (ptrdiff_t)x->row, stride * (ptrdiff_t)x->pixel};
    side out = {y->data, (ptrdiff_t)y->block, (ptrdiff_t)y->row, (ptrdiff_t)y->pixel};
    sum_phase(s, s->filters, pass, x, in, out, s->shape.out_height, s->shape.out_width, 0, 1);
    return SG_OK;
}

int SG_VARIANT(sg_conv_depthwise_run_data)(void *opaque, const sg_conv_pass *pass) {
    const state *s = opaque;
    const sg_tensor *dy = pass->dy, *dx = pass->dx;
    int stride = s->shape.stride;
    for (int phase = 0; phase < s->phases; phase++) {
        int top = phase / stride, left = phase % stride;
        side in = {dy->data, (ptrdiff_t)dy->block, (ptrdiff_t)dy->row, (ptrdiff_t)dy->pixel};
        side out = {sg_tensor_at(dx, 0, top, left), (ptrdiff_t)dx->block, stride * (ptrdiff_t)dx->row,
                    stride * (ptrdiff_t)dx->pixel};
        sum_phase(s, &s->filters[phase], pass, dy, in, out, sg_divide_up(s->shape.in_height - top, stride),
                  sg_divide_up(s->shape.in_width - left, stride), top, stride);
    }
    return SG_OK;
}

/* The positions r = first, first - stride, ... >= 0 of the kernel, last one first, reach the input pixels of
 * a phase from the displacements from, from + 1, ... */
static void cut_axis(const sg_conv_shape *shape, int kernel, int phase, int *first, int *count, int *from) {
    int r = kernel - 1;
    while (r >= 0 && (phase + shape->padding - r) % shape->stride != 0) r--;
    *first = r;
    *count = r < 0 ? 0 : r / shape->stride + 1;
    *from = r < 0 ? 0 : (phase + shape->padding - r) / shape->stride;
}

static int create(void **opaque, const sg_machine *machine, const sg_conv_shape *shape, bool data) {
    *opaque = NULL;
    state *s;
    SG_TRY(SG_NEW(&s, 1));
    *opaque = s;
    s->shape = *shape;
    s->threads = machine->threads;
    s->data = data;
    s->phases = data ? shape->stride * shape->stride : 1;
    int status = SG_AT(SG_NEW(&s->filters, (size_t)s->phases));
    if (status == SG_OK) status = SG_AT(SG_NEW(&s->queue, (size_t)s->threads));
    if (status != SG_OK) {
        SG_VARIANT(sg_conv_depthwise_destroy)(opaque);
        return status;
    }
    ptrdiff_t weights = 0;
    for (int phase = 0; phase < s->phases; phase++) {
        filter *f = &s->filters[phase];
        int first;
        if (data) {
            cut_axis(shape, shape->kernel_height, phase / shape->stride, &first, &f->height, &f->top);
            cut_axis(shape, shape->kernel_width, phase % shape->stride, &first, &f->width, &f->left);
        } else {
            *f = (filter){shape->kernel_height, shape->kernel_width, -shape->padding, -shape->padding, 0};
        }
        f->weights = weights;
        weights += (ptrdiff_t)shape->in_channels * f->height * f->width;
    }
    return SG_OK;
}

int SG_VARIANT(sg_conv_depthwise_create_forward)(void **opaque, const sg_machine *machine,
                                                 const sg_conv_shape *shape, const sg_support *support) {
    (void)support;
    return create(opaque, machine, shape, false);
}

int SG_VARIANT(sg_conv_depthwise_create_data)(void **opaque, const sg_machine *machine,
                                              const sg_conv_shape *shape, const sg_support *support) {
    (void)support;
    return create(opaque, machine, shape, true);
}

int SG_VARIANT(sg_conv_depthwise_prepare)(void *opaque, const float *weights, float *packed) {
    const state *s = opaque;
    const sg_conv_shape *shape = &s->shape;
    if (!s->data) {
        memcpy(packed, weights, sg_conv_weights(shape) * sizeof *weights);
        return SG_OK;
    }
    int taps = shape->kernel_height * shape->kernel_width;
    for (int phase = 0; phase < s->phases; phase++) {
        const filter *f = &s->filters[phase];
        int bottom, right, unused;
        cut_axis(shape, shape->kernel_height, phase / shape->stride, &bottom, &unused, &unused);
        cut_axis(shape, shape->kernel_width, phase % shape->stride, &right, &unused, &unused);
        float *to = packed + f->weights;
        for (int channel = 0; channel < shape->in_channels; channel++) {
            const float *from = weights + (ptrdiff_t)channel * taps;
            for (int r = 0; r < f->height; r++)
                for (int c = 0; c < f->width; c++)
                    *to++ =
                        from[(bottom - r * shape->stride) * shape->kernel_width + right - c * shape->stride];
        }
    }
    return SG_OK;
}

void SG_VARIANT(sg_conv_depthwise_destroy)(void **opaque) {
    if (opaque == NULL || *opaque == NULL) return;
    state *s = *opaque;
    free(s->filters);
    free(s->queue);
    free(s);
    *opaque = NULL;
}

bool SG_VARIANT(sg_conv_depthwise_supports)(const sg_machine *machine, const sg_conv_shape *shape) {
    (void)machine;
    return shape->groups == shape->in_channels && shape->groups == shape->out_channels &&
           !sg_conv_is_linear(shape);
}

sg_conv_bytes SG_VARIANT(sg_conv_depthwise_bytes)(const sg_machine *machine, const sg_conv_shape *shape,
                                                  const sg_support *support, int blocks) {
    (void)machine, (void)support, (void)blocks;
    return (sg_conv_bytes){.packed = sg_conv_weights(shape) * sizeof(float)};
}
