/* Batch norm (Ioffe and Szegedy, 2015) over the whole minibatch, with residual and activation behind it. */
#include "kernels/lanes/norm_batch.h"

/* ---- statistics */

typedef struct moments {
    double count, mean, m2; /* m2: sum of squared deviations from mean */
} moments;

/* Chan, Golub and LeVeque (1979). */
static void combine_moments(void *low, const void *high, size_t count) {
    moments *a = low;
    const moments *b = high;
    for (size_t i = 0; i < count; i++) {
        double total = a[i].count + b[i].count, delta = b[i].mean - a[i].mean, share = b[i].count / total;
        a[i].mean += delta * share;
        a[i].m2 += b[i].m2 + delta * delta * (a[i].count * share);
        a[i].count = total;
    }
}

/* A band of rows of a chunk of channels. */
typedef struct patch {
    const float *from; /* lane row of the first channel of the first pixel */
    size_t pixel, row;
    int rows, width, channels;
} patch;

static patch patch_of(const sg_tensor *t, int block, sg_bands bands, int band, int chunk) {
    int first = band * bands.rows;
    return (patch){.from = sg_tensor_at(t, block, first, 0) + (size_t)chunk * SG_CHUNK * SG_LANES,
                   .pixel = t->pixel,
                   .row = t->row,
                   .rows = sg_band_end(bands, band, t) - first,
                   .width = t->width,
                   .channels = sg_chunk_size(t->channels, chunk)};
}

/* Adds the lane sums of n neighbouring pixels. */
static inline __attribute__((always_inline)) void sum_pixels(const int n, const float *x, size_t pixel,
                                                             int channels, float *sum) {
    for (int i = 0; i < channels * SG_LANES; i += SG_WIDTH) {
        sg_vec s = sg_load(x + i);
        for (int q = 1; q < n; q++) s += sg_load(x + (size_t)q * pixel + i);
        sg_store(sum + i, sg_load(sum + i) + s);
    }
}

/* The same of x - shift and of its square. */
static inline __attribute__((always_inline)) void sum_deviations(const int n, const float *x, size_t pixel,
                                                                 int channels, const float *shift, float *sum,
                                                                 float *square) {
    for (int c = 0; c < channels; c++)
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            sg_vec s = sg_splat(0.0f), s2 = sg_splat(0.0f);
            for (int q = 0; q < n; q++) {
                sg_vec d = sg_load(x + (size_t)q * pixel + i) - shift[c];
                s += d;
                s2 = sg_fma(d, d, s2);
            }
            sg_store(sum + i, sg_load(sum + i) + s);
            sg_store(square + i, sg_load(square + i) + s2);
        }
}

/* Two passes over the patch, the second from cache: the mean, then the deviations from it. The rounding of
 * the float mean is corrected by the deviations' own sum. */
static void patch_moments(const patch *p, int used, moments *out) {
    sg_lane_sums sum = {0}, square = {0};
    float shift[SG_CHUNK];
    double count = (double)p->rows * p->width * used;
    for (int y = 0; y < p->rows; y++) {
        const float *at = p->from + (size_t)y * p->row;
        int x = 0;
        for (; x + NORM_GROUP <= p->width; x += NORM_GROUP, at += NORM_GROUP * p->pixel)
            sum_pixels(NORM_GROUP, at, p->pixel, p->channels, sum);
        for (; x < p->width; x++, at += p->pixel) sum_pixels(1, at, p->pixel, p->channels, sum);
    }
    for (int c = 0; c < p->channels; c++) shift[c] = (float)(sg_used_sum(sum + c * SG_LANES, used) / count);
    memset(sum, 0, sizeof sum);
    for (int y = 0; y < p->rows; y++) {
        const float *at = p->from + (size_t)y * p->row;
        int x = 0;
        for (; x + NORM_GROUP <= p->width; x += NORM_GROUP, at += NORM_GROUP * p->pixel)
            sum_deviations(NORM_GROUP, at, p->pixel, p->channels, shift, sum, square);
        for (; x < p->width; x++, at += p->pixel)
            sum_deviations(1, at, p->pixel, p->channels, shift, sum, square);
    }
    for (int c = 0; c < p->channels; c++) {
        double s = sg_used_sum(sum + c * SG_LANES, used), q = sg_used_sum(square + c * SG_LANES, used);
        double m2 = q - s * s / count;
        out[c] = (moments){count, shift[c] + s / count, m2 < 0 ? 0 : m2};
    }
}

typedef struct statistics {
    sg_pixel_sums sums;
    const sg_tensor *x;
} statistics;

static void sum_moments(const sg_pixel_sums *sums, int block, int band, int chunk, void *part) {
    const statistics *s = (const statistics *)(const void *)sums;
    patch p = patch_of(s->x, block, sums->follower.bands, band, chunk);
    patch_moments(&p, norm_used_lanes(&sums->extent, block), (moments *)part + chunk * SG_CHUNK);
}

int SG_VARIANT(sg_norm_batch_follow)(sg_pixel_sums **sums, const sg_extent *extent, const sg_tensor *x) {
    statistics *made;
    *sums = NULL;
    SG_TRY(SG_NEW(&made, 1));
    *made = (statistics){.sums = {.extent = *extent,
                                  .count = (size_t)x->channels,
                                  .element = sizeof(moments),
                                  .combine = combine_moments,
                                  .sum = sum_moments},
                         .x = x};
    *sums = &made->sums;
    int status = SG_AT(sg_pixel_sums_begin(*sums, x));
    if (status != SG_OK) sg_pixel_sums_destroy(sums);
    return status;
}

int SG_VARIANT(sg_norm_batch_statistics)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                                         sg_norm_batch *n, sg_pixel_sums *sums) {
    if (sums == NULL) SG_TRY(SG_VARIANT(sg_norm_batch_follow)(&sums, extent, x));
    int status = SG_AT(sg_pixel_sums_finish(sums, m->threads));
    const moments *all = (const moments *)(const void *)sums->part;
    for (int c = 0; c < x->channels && status == SG_OK; c++) {
        n->mean64[c] = all[c].mean;
        n->variance[c] = all[c].m2 / all[c].count;
        n->mean[c] = (float)n->mean64[c];
        n->inverse[c] = (float)(1.0 / sqrt(n->variance[c] + n->epsilon));
    }
    sg_pixel_sums_destroy(&sums);
    return status;
}

/* ---- forward */

static inline __attribute__((always_inline)) void forward_pixel(const enum sg_activation kind,
                                                                const bool stream, const norm_coefficients *k,
                                                                int channels, const float *x,
                                                                const float *residual, float *y) {
    for (int c = 0; c < channels; c++)
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            sg_vec z = norm_argument(k + c, sg_load(x + i));
            if (residual != NULL) z += sg_load(residual + i);
            (stream ? sg_stream : sg_store)(y + i, sg_activate(kind, z));
        }
}

/* One function per activation and kind of store, so that the choice is outside the loops. */
#define FORWARD_ROW(name, kind, stream)                                                                      \
    static void name(const norm_coefficients *k, int channels, int width, const float *x, size_t x_pixel,    \
                     const float *residual, size_t residual_pixel, float *y, size_t y_pixel) {               \
        for (int col = 0; col < width; col++, x += x_pixel, y += y_pixel) {                                  \
            if (residual == NULL) {                                                                          \
                forward_pixel(kind, stream, k, channels, x, NULL, y);                                        \
            } else {                                                                                         \
                forward_pixel(kind, stream, k, channels, x, residual, y);                                    \
                residual += residual_pixel;                                                                  \
            }                                                                                                \
        }                                                                                                    \
    }
FORWARD_ROW(store_identity, SG_IDENTITY, false)
FORWARD_ROW(stream_identity, SG_IDENTITY, true)
FORWARD_ROW(store_relu, SG_RELU, false)
FORWARD_ROW(stream_relu, SG_RELU, true)
FORWARD_ROW(store_relu6, SG_RELU6, false)
FORWARD_ROW(stream_relu6, SG_RELU6, true)
FORWARD_ROW(store_swish, SG_SWISH, false)
FORWARD_ROW(stream_swish, SG_SWISH, true)

/* Outputs of so many bytes are stored past the caches: a line is then written without being read before. */
enum { STREAM_BYTES = 16 << 20 };

int SG_VARIANT(sg_norm_batch_forward)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                                      const sg_tensor *residual, sg_tensor *y, const sg_norm_batch *n) {
    static void (*const write[][2])(const norm_coefficients *, int, int, const float *, size_t, const float *,
                                    size_t, float *,
                                    size_t) = {[SG_IDENTITY] = {store_identity, stream_identity},
                                               [SG_RELU] = {store_relu, stream_relu},
                                               [SG_RELU6] = {store_relu6, stream_relu6},
                                               [SG_SWISH] = {store_swish, stream_swish}};
    SG_CHECK(n->activation <= SG_SWISH, SG_INTERNAL, "batch norm: activation %d is not built in",
             (int)n->activation);
    norm_coefficients *k;
    norm_rows all; /* backwards: x was written, and followed, up to the end */
    SG_TRY(norm_rows_create(&all, m, extent, x, true));
    int status = SG_AT(norm_coefficients_create(&k, n, x->channels));
    if (status != SG_OK) goto done;
    bool stream = (size_t)extent->blocks * y->block * sizeof(float) >= STREAM_BYTES;
#pragma omp parallel num_threads(m->threads)
    for (size_t at; norm_rows_next(&all, &at);) {
        int b = (int)(at / (size_t)x->height), row = (int)(at % (size_t)x->height);
        write[n->activation][stream](k, x->channels, x->width, sg_tensor_at(x, b, row, 0), x->pixel,
                                     residual != NULL ? sg_tensor_at(residual, b, row, 0) : NULL,
                                     residual != NULL ? residual->pixel : 0, sg_tensor_at(y, b, row, 0),
                                     y->pixel);
    }
    free(k);
done:
    free(all.queue);
    return status;
}
