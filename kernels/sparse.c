#include "kernels/sparse.h"

#include <omp.h>

#include "kernels/lanes/share.h"
#include "kernels/memory.h"

/* Channels and weights of a row that make a chunk worth its loads and stores. */
enum { LEAST_CHUNK = 16, ROW_WEIGHTS = 12 };

/* One weight: where it is in the kernel, what it reads, which row it belongs to. */
typedef struct place {
    int out, in, r, s; /* in: channel of the whole input */
} place;

static place place_of(const sg_conv_shape *s, uint32_t position) {
    uint32_t width = (uint32_t)s->kernel_width, height = (uint32_t)s->kernel_height;
    uint32_t channels = (uint32_t)(s->in_channels / s->groups);
    uint32_t column = position % width, rest = position / width;
    uint32_t row = rest % height;
    rest /= height;
    uint32_t in = rest % channels, out = rest / channels;
    uint32_t group = out / (uint32_t)(s->out_channels / s->groups);
    return (place){.out = (int)out, .in = (int)(group * channels + in), .r = (int)row, .s = (int)column};
}

/* The phase (modulo stride) of the input pixels that position r of the kernel reaches, and the displacement
 * of the output pixel that it reaches them from. */
static int phase_of(const sg_conv_shape *s, int r) {
    int rest = (r - s->padding) % s->stride;
    return rest < 0 ? rest + s->stride : rest;
}
static int displacement(const sg_conv_shape *s, int r) {
    return (phase_of(s, r) + s->padding - r) / s->stride;
}

static size_t bucket_of(const sg_sparse *a, place p) {
    const sg_conv_shape *s = &a->shape;
    if (!a->transposed) {
        int in = p.in % (s->in_channels / s->groups);
        return (size_t)(in / a->chunk) * (size_t)a->rows + (size_t)p.out;
    }
    int chunk = p.out % (s->out_channels / s->groups) / a->chunk;
    if (a->linear)
        return (size_t)chunk * (size_t)a->rows +
               (((size_t)p.in * (size_t)s->kernel_height + (size_t)p.r) * (size_t)s->kernel_width +
                (size_t)p.s);
    int phase = phase_of(s, p.r) * s->stride + phase_of(s, p.s);
    return ((size_t)phase * (size_t)a->chunks + (size_t)chunk) * (size_t)a->rows + (size_t)p.in;
}

/* How far beyond its edges a tensor is read along one axis: pixels before the first and behind the last. */
static int reach(const sg_sparse *a, int in_size, int out_size, int kernel) {
    const sg_conv_shape *s = &a->shape;
    int before = 0, behind = 0;
    if (a->linear) return 0;
    if (!a->transposed) {
        before = s->padding;
        behind = (out_size - 1) * s->stride - s->padding + kernel - in_size;
    } else {
        for (int r = 0; r < kernel; r++) {
            int pixels = sg_sparse_phase_size(a, in_size, phase_of(s, r));
            if (pixels <= 0) continue;
            int low = -displacement(s, r), high = pixels + displacement(s, r) - out_size;
            if (low > before) before = low;
            if (high > behind) behind = high;
        }
    }
    return before > behind ? before : behind > 0 ? behind : 0;
}

bool sg_sparse_fits(const sg_conv_shape *s, int lanes) {
    int channels = s->in_channels > s->out_channels ? s->in_channels : s->out_channels;
    int width =
        (s->in_width > s->out_width ? s->in_width : s->out_width) + 2 * (s->kernel_width + s->padding);
    double row = (double)width * (channels + 1) * lanes;
    return (double)sg_conv_weights(s) < UINT32_MAX && row * (s->kernel_height + s->padding) < INT32_MAX / 2 &&
           (!sg_conv_is_linear(s) || (double)s->in_channels * s->kernel_height * s->kernel_width < INT32_MAX);
}

static size_t count_of(const sg_conv_shape *shape, const sg_support *support) {
    return support->index != NULL ? support->count : sg_conv_weights(shape);
}

int sg_sparse_chunk(const sg_conv_shape *s, const sg_support *support, bool transposed, sg_sparse_tile tile) {
    int height = transposed ? s->in_height : s->out_height, width = transposed ? s->in_width : s->out_width;
    int step = transposed ? 1 : s->stride;
    int kernel_height = transposed ? (s->kernel_height - 1) / s->stride + 1 : s->kernel_height;
    int kernel_width = transposed ? (s->kernel_width - 1) / s->stride + 1 : s->kernel_width;
    int columns = sg_min(width, tile.columns), lines = sg_min(height, tile.pixels / columns);
    int pixels = ((columns - 1) * step + kernel_width) * ((lines - 1) * step + kernel_height);
    double density = (double)count_of(s, support) / (double)sg_conv_weights(s);
    double each = density * s->kernel_height * s->kernel_width; /* weights of a row in one channel */
    double chunk = (double)SG_SPARSE_LINES / (pixels * tile.lines);
    if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
    int channels = (transposed ? s->out_channels : s->in_channels) / s->groups;
    if (chunk * each < ROW_WEIGHTS) chunk = each * channels > ROW_WEIGHTS ? ROW_WEIGHTS / each : channels;
    if (chunk >= channels) return channels;
    int chunks = (int)((double)channels / chunk + 0.5);
    return sg_divide_up(channels, chunks);
}

static size_t buckets_of(const sg_conv_shape *s, const sg_support *support, bool transposed,
                         sg_sparse_tile tile) {
    int chunk = sg_sparse_chunk(s, support, transposed, tile);
    size_t summed = (size_t)(transposed ? s->out_channels : s->in_channels) / (size_t)s->groups;
    size_t chunks = (summed + (size_t)chunk - 1) / (size_t)chunk;
    if (!transposed) return chunks * (size_t)s->out_channels;
    size_t each = sg_conv_is_linear(s) ? (size_t)s->kernel_height * (size_t)s->kernel_width
                                       : (size_t)s->stride * (size_t)s->stride;
    return chunks * each * (size_t)s->in_channels;
}

size_t sg_sparse_bytes(const sg_conv_shape *shape, const sg_support *support, sg_sparse_tile tile) {
    size_t forward = buckets_of(shape, support, false, tile),
           backward = buckets_of(shape, support, true, tile);
    return (2 * count_of(shape, support) + 2 * (forward > backward ? forward : backward)) * sizeof(uint32_t);
}

static place place_of_survivor(const sg_sparse *a, size_t i) {
    return place_of(&a->shape, a->index != NULL ? a->index[i] : (uint32_t)i);
}

static int fill(sg_sparse *a) {
    size_t buckets = (size_t)a->phases * (size_t)a->chunks * (size_t)a->rows;
    SG_TRY(SG_NEW(&a->start, buckets + 2));
    SG_TRY(SG_NEW(&a->slot, a->count));
    SG_TRY(SG_NEW(&a->offset, a->count));
    SG_TRY(SG_NEW(&a->row_offset, (size_t)a->rows));
    if (!a->transposed) SG_TRY(SG_NEW(&a->first, buckets));
    /* A counting sort. A bucket's count goes two places further up, so that its beginning is found one place
     * up and filling it moves that to its end, which is where the next bucket begins. */
    uint32_t *next = a->start + 1;
    for (size_t i = 0; i < a->count; i++) next[bucket_of(a, place_of_survivor(a, i)) + 1]++;
    for (size_t b = 1; b <= buckets; b++) next[b] += next[b - 1];
    size_t last = SIZE_MAX;
    for (size_t i = 0; i < a->count; i++) {
        size_t bucket = bucket_of(a, place_of_survivor(a, i));
        if (a->first != NULL && bucket != last) a->first[bucket] = (uint32_t)i;
        last = bucket;
        a->slot[i] = next[bucket]++;
    }
    return SG_OK;
}

int sg_sparse_create(sg_sparse **sparse, const sg_conv_shape *shape, const sg_support *support,
                     bool transposed, int chunk) {
    *sparse = NULL;
    sg_sparse *a;
    SG_TRY(SG_NEW(&a, 1));
    a->shape = *shape;
    a->transposed = transposed;
    a->linear = sg_conv_is_linear(shape);
    a->count = count_of(shape, support);
    a->index = support->index;
    int summed = (transposed ? shape->out_channels : shape->in_channels) / shape->groups;
    a->chunk = sg_min(chunk, summed);
    a->chunks = sg_divide_up(summed, a->chunk);
    a->rows = transposed ? shape->in_channels : shape->out_channels;
    if (transposed && a->linear) a->rows *= shape->kernel_height * shape->kernel_width;
    a->phases = transposed && !a->linear ? shape->stride * shape->stride : 1;
    int vertical = reach(a, shape->in_height, shape->out_height, shape->kernel_height);
    int horizontal = reach(a, shape->in_width, shape->out_width, shape->kernel_width);
    a->halo = vertical > horizontal ? vertical : horizontal;
    int status = SG_AT(fill(a));
    if (status != SG_OK) sg_sparse_destroy(&a);
    *sparse = a;
    return status;
}

void sg_sparse_destroy(sg_sparse **sparse) {
    if (sparse == NULL || *sparse == NULL) return;
    sg_sparse *a = *sparse;
    free(a->start);
    free(a->slot);
    free(a->first);
    free(a->offset);
    free(a->row_offset);
    SG_FREE(*sparse);
}

int sg_sparse_bind(sg_sparse *a, const sg_tensor *in, const sg_tensor *out) {
    const sg_conv_shape *s = &a->shape;
    SG_CHECK(in->halo >= a->halo, SG_INTERNAL,
             "sparse convolution: the tensor that is read has a halo of %d, needed %d", in->halo, a->halo);
    double farthest = (double)(s->kernel_height + s->padding) * (double)in->row +
                      (double)(s->kernel_width + s->padding) * (double)in->pixel;
    double deepest = a->linear && out != NULL ? (double)s->kernel_height * (double)out->row : 0.0;
    SG_CHECK(farthest < INT32_MAX && deepest < INT32_MAX, SG_INTERNAL,
             "sparse convolution: rows of %zu and %zu floats are too far apart for 32-bit offsets", in->row,
             out != NULL ? out->row : 0);
    size_t out_row = out != NULL ? out->row : 0, out_pixel = out != NULL ? out->pixel : 0;
    if (a->in_row == in->row && a->in_pixel == in->pixel && a->out_row == out_row &&
        a->out_pixel == out_pixel)
        return SG_OK;
    a->in_row = in->row;
    a->in_pixel = in->pixel;
    a->out_row = out_row;
    a->out_pixel = out_pixel;
    ptrdiff_t row = (ptrdiff_t)in->row, pixel = (ptrdiff_t)in->pixel;
    for (size_t i = 0; i < a->count; i++) {
        place p = place_of_survivor(a, i);
        ptrdiff_t offset;
        if (!a->transposed)
            offset = p.r * row + p.s * pixel + (ptrdiff_t)p.in * in->lanes;
        else if (a->linear)
            offset = (ptrdiff_t)p.out * in->lanes;
        else
            offset = displacement(s, p.r) * row + displacement(s, p.s) * pixel + (ptrdiff_t)p.out * in->lanes;
        a->offset[a->slot[i]] = (int32_t)offset;
    }
    int taps = a->transposed && a->linear ? s->kernel_height * s->kernel_width : 1;
    for (int i = 0; i < a->rows; i++) {
        int tap = i % taps;
        a->row_offset[i] = (int32_t)((ptrdiff_t)(tap / s->kernel_width) * (ptrdiff_t)out_row +
                                     (ptrdiff_t)(tap % s->kernel_width) * (ptrdiff_t)out_pixel +
                                     (ptrdiff_t)(i / taps) * in->lanes);
    }
    return SG_OK;
}

/* In canonical order, because weights come from memory and those of a chunk of values from a cache. Threads
 * that shared the chunks of the transposed structure, whose rows cross canonical ones, would write to each
 * other's lines. */
void sg_sparse_pack(const sg_sparse *a, const float *weights, float *values, int threads) {
    const uint32_t *index = a->index, *slot = a->slot;
    int apart = a->transposed ? sg_min(threads, a->chunks) : threads;
#pragma omp parallel num_threads(threads)
    if (omp_get_thread_num() < apart) {
        sg_span own = sg_share(a->count, omp_get_thread_num(), apart);
        if (index == NULL)
            for (size_t i = own.from; i < own.to; i++) values[slot[i]] = weights[i];
        else
            for (size_t i = own.from; i < own.to; i++) values[slot[i]] = weights[index[i]];
    }
}
