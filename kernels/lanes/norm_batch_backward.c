/* Batch norm's gradient. What can be computed again from x is not read: without a residual the activation's
 * argument follows from x with the forward pass's own operations, bit for bit. */
#include "kernels/lanes/norm_batch.h"

/* A row of pixels of everything that backward reads and writes, from some channel on. gate is what tells the
 * slope beside x: y for relu and relu6 with a residual, the residual itself for swish, NULL without one. */
typedef struct backward_row {
    const float *x, *gate, *dy;
    float *dx, *dresidual;
    size_t x_pixel, gate_pixel, dy_pixel, dx_pixel, dresidual_pixel;
    int width, channels;
    bool accumulate, accumulate_residual;
} backward_row;

/* The gradient behind the activation, before the residual is split off. */
static inline __attribute__((always_inline)) sg_vec gradient_inside(const enum sg_activation kind,
                                                                    const bool gated,
                                                                    const norm_coefficients *k, sg_vec x,
                                                                    const float *gate, sg_vec dy) {
    if (kind == SG_IDENTITY) return dy;
    if (!gated) return sg_activate_back(kind, norm_argument(k, x), dy);
    if (kind == SG_SWISH) return sg_activate_back(kind, norm_argument(k, x) + sg_load(gate), dy);
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
                                                            const norm_coefficients *k, float *dz_sum,
                                                            float *product_sum) {
    const cursor p = cursor_at(r, col);
    for (int c = 0; c < r->channels; c++) {
        const norm_coefficients own = k[c];
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

/* Writes dx, then dresidual, of a pixel, so that each tensor is one sequential stream. mask is zero in unused
 * lanes: there x - mean is not zero though dy is. */
static inline __attribute__((always_inline)) void write_pixel(const enum sg_activation kind, const bool gated,
                                                              const bool accumulate, const backward_row *r,
                                                              int col, const norm_coefficients *k,
                                                              const sg_ivec *mask) {
    const cursor p = cursor_at(r, col);
    const bool split = p.dresidual != NULL, accumulate_residual = r->accumulate_residual;
    for (int c = 0; c < r->channels; c++) {
        const norm_coefficients own = k[c];
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            sg_vec x = sg_load(p.x + i);
            sg_vec dz = gradient_inside(kind, gated, &own, x, gated ? p.gate + i : NULL, sg_load(p.dy + i));
            sg_vec dx = sg_fma(x - own.mean, sg_splat(-own.slope), dz - own.dz_mean) * own.scale;
            sg_put(p.dx + i, (sg_vec)((sg_ivec)dx & mask[v]), accumulate);
            if (split) sg_put(p.dresidual + i, dz, accumulate_residual);
        }
    }
}

static inline __attribute__((always_inline)) void sum_row(const enum sg_activation kind, const bool gated,
                                                          const backward_row *r, const norm_coefficients *k,
                                                          float *dz_sum, float *product_sum) {
    int col = 0;
    for (; col + NORM_GROUP <= r->width; col += NORM_GROUP)
        sum_group(NORM_GROUP, kind, gated, r, col, k, dz_sum, product_sum);
    for (; col < r->width; col++) sum_group(1, kind, gated, r, col, k, dz_sum, product_sum);
}

static inline __attribute__((always_inline)) void write_row(const enum sg_activation kind, const bool gated,
                                                            const backward_row *r, const norm_coefficients *k,
                                                            const int32_t *lanes) {
    sg_ivec mask[SG_ROW];
    memcpy(mask, lanes, sizeof mask);
    if (r->accumulate)
        for (int col = 0; col < r->width; col++) write_pixel(kind, gated, true, r, col, k, mask);
    else
        for (int col = 0; col < r->width; col++) write_pixel(kind, gated, false, r, col, k, mask);
}

#define BACKWARD_ROWS(suffix, kind, gated)                                                                   \
    static void sum_##suffix(const backward_row *r, const norm_coefficients *k, float *dz_sum,               \
                             float *products) {                                                              \
        sum_row(kind, gated, r, k, dz_sum, products);                                                        \
    }                                                                                                        \
    static void write_##suffix(const backward_row *r, const norm_coefficients *k, const int32_t *lanes) {    \
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
    void (*sum)(const backward_row *, const norm_coefficients *, float *, float *);
    void (*write)(const backward_row *, const norm_coefficients *, const int32_t *);
} backward_rows[][2] = {[SG_IDENTITY] = {{sum_identity, write_identity}, {sum_identity, write_identity}},
                        [SG_RELU] = {{sum_relu, write_relu}, {sum_relu_gated, write_relu_gated}},
                        [SG_RELU6] = {{sum_relu6, write_relu6}, {sum_relu6_gated, write_relu6_gated}},
                        [SG_SWISH] = {{sum_swish, write_swish}, {sum_swish_gated, write_swish_gated}}};

typedef struct backward_tensors {
    const sg_tensor *x, *gate, *dy;
    sg_tensor *dx, *dresidual;
    bool accumulate, accumulate_residual;
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
                          .dx_pixel = t->dx != NULL ? t->dx->pixel : 0,
                          .dresidual_pixel = t->dresidual != NULL ? t->dresidual->pixel : 0,
                          .width = t->x->width,
                          .channels = channels,
                          .accumulate = t->accumulate,
                          .accumulate_residual = t->accumulate_residual};
}

/* Sums of dz and of dz (x - mean): [2][channels] a band. */
typedef struct gradient {
    sg_pixel_sums sums; /* terms: norm_coefficients */
    backward_tensors t; /* x, gate and dy */
    enum sg_activation kind;
} gradient;

static void sum_gradient(const sg_pixel_sums *sums, int block, int band, int chunk, void *part) {
    const gradient *g = (const gradient *)(const void *)sums;
    const backward_tensors *t = &g->t;
    const norm_coefficients *k = sums->terms;
    sg_lane_sums dz_sum = {0}, product_sum = {0};
    sg_bands bands = sums->follower.bands;
    int first = chunk * SG_CHUNK, n = sg_chunk_size(sums->channels, chunk);
    for (int row = band * bands.rows; row < sg_band_end(bands, band, t->x); row++) {
        backward_row r = make_row(t, block, row, first, n);
        backward_rows[g->kind][t->gate != NULL].sum(&r, k + first, dz_sum, product_sum);
    }
    double *out = (double *)part + first;
    for (int c = 0; c < n; c++) {
        out[c] = sg_row_sum(dz_sum + c * SG_LANES);
        out[sums->channels + c] = sg_row_sum(product_sum + c * SG_LANES);
    }
}

int SG_VARIANT(sg_norm_batch_follow_gradient)(sg_pixel_sums **sums, const sg_extent *extent,
                                              const sg_tensor *x, const sg_tensor *y,
                                              const sg_tensor *residual, const sg_tensor *dy,
                                              const sg_norm_batch *n) {
    gradient *made;
    norm_coefficients *k;
    *sums = NULL;
    SG_CHECK(n->activation <= SG_SWISH, SG_INTERNAL, "batch norm: activation %d is not built in",
             (int)n->activation);
    SG_TRY(SG_NEW(&made, 1));
    *made = (gradient){.sums = {.extent = *extent,
                                .count = 2 * (size_t)x->channels,
                                .element = sizeof(double),
                                .combine = sg_combine_double,
                                .sum = sum_gradient},
                       .t = {.x = x, .dy = dy},
                       .kind = n->activation};
    if (residual != NULL && made->kind != SG_IDENTITY) made->t.gate = made->kind == SG_SWISH ? residual : y;
    *sums = &made->sums;
    int status = SG_AT(norm_coefficients_create(&k, n, x->channels));
    made->sums.terms = k;
    if (status == SG_OK) status = SG_AT(sg_pixel_sums_begin(*sums, dy));
    if (status != SG_OK) sg_pixel_sums_destroy(sums);
    return status;
}

int SG_VARIANT(sg_norm_batch_backward)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                                       const sg_tensor *y, const sg_tensor *residual, const sg_tensor *dy,
                                       sg_tensor *dx, bool accumulate, sg_tensor *dresidual,
                                       bool accumulate_residual, sg_norm_batch *n, sg_pixel_sums *sums) {
    bool followed = sums != NULL;
    if (!followed) SG_TRY(SG_VARIANT(sg_norm_batch_follow_gradient)(&sums, extent, x, y, residual, dy, n));
    const gradient *g = (const gradient *)(const void *)sums;
    backward_tensors t = g->t;
    norm_coefficients *k = sums->terms;
    const double *part = (const double *)(const void *)sums->part;
    double count = (double)extent->samples * x->height * x->width;
    norm_rows all; /* begins with what the sums read last */
    int status = SG_AT(norm_rows_create(&all, m, extent, x, followed));
    if (status == SG_OK) status = SG_AT(sg_pixel_sums_finish(sums, m->threads));
    if (status != SG_OK) goto done;
    for (int c = 0; c < x->channels; c++) {
        double inverse = n->inverse[c], product = part[x->channels + c];
        n->dbeta[c] = (float)part[c];
        n->dgamma[c] = (float)(product * inverse);
        k[c].dz_mean = (float)(part[c] / count);
        k[c].slope = (float)(product * inverse * inverse / count);
    }
    t.dx = dx;
    t.accumulate = accumulate;
    t.dresidual = dresidual;
    t.accumulate_residual = accumulate_residual;
#pragma omp parallel num_threads(m->threads)
    for (size_t at; norm_rows_next(&all, &at);) {
        int b = (int)(at / (size_t)x->height), row = (int)(at % (size_t)x->height);
        int32_t mask[SG_LANES] __attribute__((aligned(64)));
        for (int lane = 0; lane < SG_LANES; lane++) mask[lane] = lane < norm_used_lanes(extent, b) ? -1 : 0;
        backward_row r = make_row(&t, b, row, 0, x->channels);
        backward_rows[g->kind][t.gate != NULL].write(&r, k, mask);
    }
done:
    free(all.queue);
    sg_pixel_sums_destroy(&sums);
    return status;
}
