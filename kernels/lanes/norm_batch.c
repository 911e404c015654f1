/* Batch norm (Ioffe and Szegedy, 2015) over the whole minibatch, with residual and activation behind it.
 *
 * All three functions stream their tensors once per pass. What can be computed again from x is not read:
 * without a residual the activation's argument follows from x with the forward pass's own operations, bit for
 * bit. */
#include <omp.h>

#include "kernels/fold.h"
#include "kernels/lanes/functions.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/lanes/share.h"
#include "kernels/memory.h"
#include "kernels/tree.h"

#define NORM_EPSILON 1e-5

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

static int used_lanes(const sg_extent *extent, int block) {
    return sg_tree_block_samples(extent->samples, SG_LANES, block, extent->reduce->rank,
                                 extent->reduce->size);
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

/* A pass's pieces of work: a thread's share is contiguous. */
typedef struct piece {
    int block, band, chunk;
} piece;

static piece piece_of(size_t i, sg_bands bands, int chunks) {
    size_t band = i / (size_t)chunks;
    return (piece){.block = (int)(band / (size_t)bands.count),
                   .band = (int)(band % (size_t)bands.count),
                   .chunk = (int)(i % (size_t)chunks)};
}

static sg_span own_pieces(int blocks, sg_bands bands, int chunks) {
    return sg_share((size_t)blocks * (size_t)bands.count * (size_t)chunks, omp_get_thread_num(),
                    omp_get_num_threads());
}

/* Pixels that are taken together: channels run inside, so each pixel is one sequential stream, and a
 * channel's constants and sums are touched once per group. */
enum { GROUP = 4 };

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
        for (; x + GROUP <= p->width; x += GROUP, at += GROUP * p->pixel)
            sum_pixels(GROUP, at, p->pixel, p->channels, sum);
        for (; x < p->width; x++, at += p->pixel) sum_pixels(1, at, p->pixel, p->channels, sum);
    }
    for (int c = 0; c < p->channels; c++) shift[c] = (float)(sg_used_sum(sum + c * SG_LANES, used) / count);
    memset(sum, 0, sizeof sum);
    for (int y = 0; y < p->rows; y++) {
        const float *at = p->from + (size_t)y * p->row;
        int x = 0;
        for (; x + GROUP <= p->width; x += GROUP, at += GROUP * p->pixel)
            sum_deviations(GROUP, at, p->pixel, p->channels, shift, sum, square);
        for (; x < p->width; x++, at += p->pixel)
            sum_deviations(1, at, p->pixel, p->channels, shift, sum, square);
    }
    for (int c = 0; c < p->channels; c++) {
        double s = sg_used_sum(sum + c * SG_LANES, used), q = sg_used_sum(square + c * SG_LANES, used);
        double m2 = q - s * s / count;
        out[c] = (moments){count, shift[c] + s / count, m2 < 0 ? 0 : m2};
    }
}

int SG_VARIANT(sg_norm_batch_statistics)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                                         sg_norm_batch *n) {
    size_t channels = (size_t)x->channels;
    sg_bands bands = sg_bands_of(x);
    int blocks = extent->blocks, chunks = sg_chunks(x->channels);
    size_t block_size = (size_t)bands.count * channels;
    moments *part;
    SG_TRY(SG_NEW(&part, block_size * (size_t)(blocks > 0 ? blocks : 1)));
#pragma omp parallel num_threads(m->threads)
    {
        sg_span items = own_pieces(blocks, bands, chunks);
        for (size_t i = items.to; i-- > items.from;) {
            piece at = piece_of(i, bands, chunks);
            patch p = patch_of(x, at.block, bands, at.band, at.chunk);
            patch_moments(&p, used_lanes(extent, at.block),
                          part + (size_t)at.block * block_size + (size_t)at.band * channels +
                              at.chunk * SG_CHUNK);
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int b = 0; b < blocks; b++)
            for (int band = 1; band < bands.count; band++)
                combine_moments(part + (size_t)b * block_size,
                                part + (size_t)b * block_size + (size_t)band * channels, channels);
    }
    sg_fold(part, blocks, block_size * sizeof *part, channels, combine_moments);
    const sg_reduce *reduce = extent->reduce;
    int status = SG_AT(reduce->combine(reduce->context, part, channels, sizeof *part, combine_moments,
                                       extent->global_blocks));
    for (size_t c = 0; c < channels && status == SG_OK; c++) {
        n->mean64[c] = part[c].mean;
        n->variance[c] = part[c].m2 / part[c].count;
        n->mean[c] = (float)n->mean64[c];
        n->inverse[c] = (float)(1.0 / sqrt(n->variance[c] + NORM_EPSILON));
    }
    SG_FREE(part);
    return status;
}

/* ---- forward */

/* Per channel, what a pass needs beside the tensors. The activation's argument is
 * z = (x - mean) scale + beta (+ residual); dx = scale (dz - dz_mean - (x - mean) slope). */
typedef struct coefficients {
    float mean, scale, beta, dz_mean, slope;
} coefficients;

static int coefficients_create(coefficients **made, const sg_norm_batch *n, int channels) {
    coefficients *k;
    SG_TRY(SG_NEW(made, (size_t)channels));
    k = *made;
    for (int c = 0; c < channels; c++)
        k[c] = (coefficients){.mean = n->mean[c], .scale = n->gamma[c] * n->inverse[c], .beta = n->beta[c]};
    return SG_OK;
}

static inline sg_vec normalised(const coefficients *k, sg_vec x) {
    return sg_fma(x - k->mean, sg_splat(k->scale), sg_splat(k->beta));
}

static inline __attribute__((always_inline)) void forward_pixel(const enum sg_activation kind,
                                                                const bool stream, const coefficients *k,
                                                                int channels, const float *x,
                                                                const float *residual, float *y) {
    for (int c = 0; c < channels; c++)
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            sg_vec z = normalised(k + c, sg_load(x + i));
            if (residual != NULL) z += sg_load(residual + i);
            (stream ? sg_stream : sg_store)(y + i, sg_activate(kind, z));
        }
}

/* One function per activation and kind of store, so that the choice is outside the loops. */
#define FORWARD_ROW(name, kind, stream)                                                                      \
    static void name(const coefficients *k, int channels, int width, const float *x, size_t x_pixel,         \
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
    static void (*const rows[][2])(const coefficients *, int, int, const float *, size_t, const float *,
                                   size_t, float *,
                                   size_t) = {[SG_IDENTITY] = {store_identity, stream_identity},
                                              [SG_RELU] = {store_relu, stream_relu},
                                              [SG_RELU6] = {store_relu6, stream_relu6},
                                              [SG_SWISH] = {store_swish, stream_swish}};
    SG_CHECK(n->activation <= SG_SWISH, SG_INTERNAL, "batch norm: activation %d is not built in",
             (int)n->activation);
    coefficients *k;
    SG_TRY(coefficients_create(&k, n, x->channels));
    bool stream = (size_t)extent->blocks * y->block * sizeof(float) >= STREAM_BYTES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < extent->blocks; b++)
        for (int row = 0; row < x->height; row++)
            rows[n->activation][stream](k, x->channels, x->width, sg_tensor_at(x, b, row, 0), x->pixel,
                                        residual != NULL ? sg_tensor_at(residual, b, row, 0) : NULL,
                                        residual != NULL ? residual->pixel : 0, sg_tensor_at(y, b, row, 0),
                                        y->pixel);
    SG_FREE(k);
    return SG_OK;
}

/* ---- backward */

/* A row of pixels of everything that backward reads and writes, from some channel on. gate is what tells the
 * slope beside x: y for relu and relu6 with a residual, the residual itself for swish, NULL without one. */
typedef struct backward_row {
    const float *x, *gate, *dy;
    float *dx, *dresidual;
    size_t x_pixel, gate_pixel, dy_pixel, dx_pixel, dresidual_pixel;
    int width, channels;
    bool accumulate_residual;
} backward_row;

/* The gradient behind the activation, before the residual is split off. */
static inline __attribute__((always_inline)) sg_vec gradient_inside(const enum sg_activation kind,
                                                                    const bool gated, const coefficients *k,
                                                                    sg_vec x, const float *gate, sg_vec dy) {
    if (kind == SG_IDENTITY) return dy;
    if (!gated) return sg_activate_back(kind, normalised(k, x), dy);
    if (kind == SG_SWISH) return sg_activate_back(kind, normalised(k, x) + sg_load(gate), dy);
    return sg_activate_back(kind, sg_load(gate), dy);
}

/* Where n neighbouring pixels of a row begin. */
typedef struct cursor {
    const float *x, *gate, *dy;
    float *dx, *dresidual;
} cursor;

static inline cursor cursor_at(const backward_row *r, int col) {
    size_t at = (size_t)col;
    return (cursor){r->x + at * r->x_pixel, r->gate != NULL ? r->gate + at * r->gate_pixel : NULL,
                    r->dy + at * r->dy_pixel, r->dx + at * r->dx_pixel,
                    r->dresidual != NULL ? r->dresidual + at * r->dresidual_pixel : NULL};
}

/* Adds the lane sums of dz and dz (x - mean) of n pixels. */
static inline __attribute__((always_inline)) void sum_group(const int n, const enum sg_activation kind,
                                                            const bool gated, const backward_row *r, int col,
                                                            const coefficients *k, float *dz_sum,
                                                            float *product_sum) {
    const cursor p = cursor_at(r, col);
    for (int c = 0; c < r->channels; c++) {
        const coefficients own = k[c];
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            sg_vec sum = sg_splat(0.0f), product = sg_splat(0.0f);
            for (size_t q = 0; q < (size_t)n; q++) {
                sg_vec x = sg_load(p.x + q * r->x_pixel + i);
                sg_vec dz =
                    gradient_inside(kind, gated, &own, x, gated ? p.gate + q * r->gate_pixel + i : NULL,
                                    sg_load(p.dy + q * r->dy_pixel + i));
                sum += dz;
                product = sg_fma(dz, x - own.mean, product);
            }
            sg_store(dz_sum + i, sg_load(dz_sum + i) + sum);
            sg_store(product_sum + i, sg_load(product_sum + i) + product);
        }
    }
}

/* Writes dx and dresidual of n pixels. mask is zero in unused lanes: there x - mean is not zero though dy is.
 */
static inline __attribute__((always_inline)) void write_group(const int n, const enum sg_activation kind,
                                                              const bool gated, const backward_row *r,
                                                              int col, const coefficients *k,
                                                              const sg_ivec *mask) {
    const cursor p = cursor_at(r, col);
    const bool split = p.dresidual != NULL, accumulate = r->accumulate_residual;
    for (int c = 0; c < r->channels; c++) {
        const coefficients own = k[c];
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            for (size_t q = 0; q < (size_t)n; q++) {
                sg_vec x = sg_load(p.x + q * r->x_pixel + i);
                sg_vec dz =
                    gradient_inside(kind, gated, &own, x, gated ? p.gate + q * r->gate_pixel + i : NULL,
                                    sg_load(p.dy + q * r->dy_pixel + i));
                if (split) sg_put(p.dresidual + q * r->dresidual_pixel + i, dz, accumulate);
                sg_vec dx = sg_fma(x - own.mean, sg_splat(-own.slope), dz - own.dz_mean) * own.scale;
                sg_store(p.dx + q * r->dx_pixel + i, (sg_vec)((sg_ivec)dx & mask[v]));
            }
        }
    }
}

static inline __attribute__((always_inline)) void sum_row(const enum sg_activation kind, const bool gated,
                                                          const backward_row *r, const coefficients *k,
                                                          float *dz_sum, float *product_sum) {
    int col = 0;
    for (; col + GROUP <= r->width; col += GROUP)
        sum_group(GROUP, kind, gated, r, col, k, dz_sum, product_sum);
    for (; col < r->width; col++) sum_group(1, kind, gated, r, col, k, dz_sum, product_sum);
}

static inline __attribute__((always_inline)) void write_row(const enum sg_activation kind, const bool gated,
                                                            const backward_row *r, const coefficients *k,
                                                            const int32_t *lanes) {
    sg_ivec mask[SG_ROW];
    memcpy(mask, lanes, sizeof mask);
    int col = 0;
    for (; col + GROUP <= r->width; col += GROUP) write_group(GROUP, kind, gated, r, col, k, mask);
    for (; col < r->width; col++) write_group(1, kind, gated, r, col, k, mask);
}

#define BACKWARD_ROWS(suffix, kind, gated)                                                                   \
    static void sum_##suffix(const backward_row *r, const coefficients *k, float *dz_sum, float *products) { \
        sum_row(kind, gated, r, k, dz_sum, products);                                                        \
    }                                                                                                        \
    static void write_##suffix(const backward_row *r, const coefficients *k, const int32_t *lanes) {         \
        write_row(kind, gated, r, k, lanes);                                                                 \
    }
BACKWARD_ROWS(identity, SG_IDENTITY, false)
BACKWARD_ROWS(relu, SG_RELU, false)
BACKWARD_ROWS(relu_gated, SG_RELU, true)
BACKWARD_ROWS(relu6, SG_RELU6, false)
BACKWARD_ROWS(relu6_gated, SG_RELU6, true)
BACKWARD_ROWS(swish, SG_SWISH, false)
BACKWARD_ROWS(swish_gated, SG_SWISH, true)

static const struct {
    void (*sum)(const backward_row *, const coefficients *, float *, float *);
    void (*write)(const backward_row *, const coefficients *, const int32_t *);
} backward_rows[][2] = {[SG_IDENTITY] = {{sum_identity, write_identity}, {sum_identity, write_identity}},
                        [SG_RELU] = {{sum_relu, write_relu}, {sum_relu_gated, write_relu_gated}},
                        [SG_RELU6] = {{sum_relu6, write_relu6}, {sum_relu6_gated, write_relu6_gated}},
                        [SG_SWISH] = {{sum_swish, write_swish}, {sum_swish_gated, write_swish_gated}}};

typedef struct backward_tensors {
    const sg_tensor *x, *gate, *dy;
    sg_tensor *dx, *dresidual;
    bool accumulate_residual;
} backward_tensors;

static const float *row_of(const sg_tensor *t, int block, int row, size_t first) {
    return t != NULL ? sg_tensor_at(t, block, row, 0) + first : NULL;
}

static backward_row make_row(const backward_tensors *t, int block, int row, int first_channel, int channels) {
    size_t first = (size_t)first_channel * SG_LANES;
    return (backward_row){.x = row_of(t->x, block, row, first),
                          .gate = row_of(t->gate, block, row, first),
                          .dy = row_of(t->dy, block, row, first),
                          .dx = (float *)row_of(t->dx, block, row, first),
                          .dresidual = (float *)row_of(t->dresidual, block, row, first),
                          .x_pixel = t->x->pixel,
                          .gate_pixel = t->gate != NULL ? t->gate->pixel : 0,
                          .dy_pixel = t->dy->pixel,
                          .dx_pixel = t->dx->pixel,
                          .dresidual_pixel = t->dresidual != NULL ? t->dresidual->pixel : 0,
                          .width = t->x->width,
                          .channels = channels,
                          .accumulate_residual = t->accumulate_residual};
}

/* part[block][band][2][channels]: sums of dz and of dz (x - mean), then folded into part[0][0]. */
static void gradient_sums(const sg_machine *m, const sg_extent *extent, const backward_tensors *t,
                          enum sg_activation kind, const coefficients *k, double *part) {
    size_t channels = (size_t)t->x->channels;
    sg_bands bands = sg_bands_of(t->x);
    int chunks = sg_chunks(t->x->channels);
    size_t block_size = (size_t)bands.count * 2 * channels;
#pragma omp parallel num_threads(m->threads)
    {
        sg_span items = own_pieces(extent->blocks, bands, chunks);
        for (size_t i = items.to; i-- > items.from;) {
            piece at = piece_of(i, bands, chunks);
            sg_lane_sums dz_sum = {0}, product_sum = {0};
            int first = at.chunk * SG_CHUNK, n = sg_chunk_size(t->x->channels, at.chunk);
            for (int row = at.band * bands.rows; row < sg_band_end(bands, at.band, t->x); row++) {
                backward_row r = make_row(t, at.block, row, first, n);
                backward_rows[kind][t->gate != NULL].sum(&r, k + first, dz_sum, product_sum);
            }
            double *out = part + (size_t)at.block * block_size + (size_t)at.band * 2 * channels + first;
            for (int c = 0; c < n; c++) {
                out[c] = sg_row_sum(dz_sum + c * SG_LANES);
                out[channels + (size_t)c] = sg_row_sum(product_sum + c * SG_LANES);
            }
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int b = 0; b < extent->blocks; b++)
            for (int band = 1; band < bands.count; band++)
                sg_combine_double(part + (size_t)b * block_size,
                                  part + (size_t)b * block_size + (size_t)band * 2 * channels, 2 * channels);
    }
    sg_fold(part, extent->blocks, block_size * sizeof *part, 2 * channels, sg_combine_double);
}

int SG_VARIANT(sg_norm_batch_backward)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                                       const sg_tensor *y, const sg_tensor *residual, const sg_tensor *dy,
                                       sg_tensor *dx, sg_tensor *dresidual, bool accumulate_residual,
                                       sg_norm_batch *n) {
    enum sg_activation kind = n->activation;
    SG_CHECK(kind <= SG_SWISH, SG_INTERNAL, "batch norm: activation %d is not built in", (int)kind);
    size_t channels = (size_t)x->channels;
    const sg_reduce *reduce = extent->reduce;
    backward_tensors t = {
        .x = x, .dy = dy, .dx = dx, .dresidual = dresidual, .accumulate_residual = accumulate_residual};
    if (residual != NULL && kind != SG_IDENTITY) t.gate = kind == SG_SWISH ? residual : y;
    coefficients *k = NULL;
    double *part = NULL;
    int status;
    if ((status = SG_AT(coefficients_create(&k, n, x->channels)))) goto done;
    size_t values =
        (size_t)(extent->blocks > 0 ? extent->blocks : 1) * (size_t)sg_bands_of(x).count * 2 * channels;
    if ((status = SG_AT(SG_NEW(&part, values)))) goto done;
    gradient_sums(m, extent, &t, kind, k, part);
    status = SG_AT(reduce->combine(reduce->context, part, 2 * channels, sizeof *part, sg_combine_double,
                                   extent->global_blocks));
    if (status) goto done;
    double count = (double)extent->samples * x->height * x->width;
    for (size_t c = 0; c < channels; c++) {
        double inverse = n->inverse[c];
        n->dbeta[c] = (float)part[c];
        n->dgamma[c] = (float)(part[channels + c] * inverse);
        k[c].dz_mean = (float)(part[c] / count);
        k[c].slope = (float)(part[channels + c] * inverse * inverse / count);
    }
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < extent->blocks; b++)
        for (int row = 0; row < x->height; row++) {
            int32_t mask[SG_LANES] __attribute__((aligned(64)));
            for (int lane = 0; lane < SG_LANES; lane++) mask[lane] = lane < used_lanes(extent, b) ? -1 : 0;
            backward_row r = make_row(&t, b, row, 0, x->channels);
            backward_rows[kind][t.gate != NULL].write(&r, k, mask);
        }
done:
    SG_FREE(part);
    SG_FREE(k);
    return status;
}
