/* Layer norm (Ba, Kiros and Hinton, 2016) over the channels of each pixel of each sample. Mean and inverse
 * are computed again in backward: a pixel's channels fit L1, so it costs less than to store and load them. */
#include <omp.h>

#include "kernels/fold.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/memory.h"

typedef struct pixel_statistics {
    sg_vec mean[SG_ROW], inverse[SG_ROW];
} pixel_statistics;

/* The sum over channels of x or, given a mean, of (x - mean)^2. Sums of a chunk first, then of chunks: the
 * float error grows with C / SG_CHUNK + SG_CHUNK. */
static void sum_channels(const float *x, int channels, const sg_vec *mean, sg_vec *total) {
    sg_vec part[SG_ROW];
    for (int v = 0; v < SG_ROW; v++) total[v] = sg_splat(0.0f);
    for (int first = 0; first < channels; first += SG_CHUNK) {
        int end = sg_min(first + SG_CHUNK, channels);
        for (int v = 0; v < SG_ROW; v++) part[v] = sg_splat(0.0f);
        for (int c = first; c < end; c++)
            for (int v = 0; v < SG_ROW; v++) {
                sg_vec value = sg_load(x + c * SG_LANES + v * SG_WIDTH);
                if (mean == NULL) {
                    part[v] += value;
                } else {
                    value -= mean[v];
                    part[v] = sg_fma(value, value, part[v]);
                }
            }
        for (int v = 0; v < SG_ROW; v++) total[v] += part[v];
    }
}

static void mean_and_inverse(const float *x, int channels, float epsilon, pixel_statistics *s) {
    float count = (float)channels;
    sum_channels(x, channels, NULL, s->mean);
    for (int v = 0; v < SG_ROW; v++) s->mean[v] /= count;
    sum_channels(x, channels, s->mean, s->inverse);
    for (int v = 0; v < SG_ROW; v++) s->inverse[v] = 1.0f / sg_sqrt(s->inverse[v] / count + epsilon);
}

int SG_VARIANT(sg_norm_layer_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y,
                                      const float *gamma, const float *beta, float epsilon) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int row = 0; row < x->height; row++)
            for (int col = 0; col < x->width; col++) {
                const float *px = sg_tensor_at(x, b, row, col);
                float *py = sg_tensor_at(y, b, row, col);
                pixel_statistics s;
                mean_and_inverse(px, x->channels, epsilon, &s);
                for (int c = 0; c < x->channels; c++)
                    for (int v = 0; v < SG_ROW; v++) {
                        int i = c * SG_LANES + v * SG_WIDTH;
                        sg_vec normal = (sg_load(px + i) - s.mean[v]) * s.inverse[v];
                        sg_store(py + i, sg_fma(normal, sg_splat(gamma[c]), sg_splat(beta[c])));
                    }
            }
    return SG_OK;
}

/* dx (+)= inverse (g - mean(g) - xhat mean(g xhat)), g = gamma dy; adds dy xhat and dy to the lane sums.
 * Lanes whose dy is zero get zero. */
static void backward_pixel(const float *x, const float *dy, float *dx, const float *gamma, int channels,
                           float epsilon, float *dgamma, float *dbeta, bool accumulate) {
    pixel_statistics s;
    sg_vec g_mean[SG_ROW], product_mean[SG_ROW], g_part[SG_ROW], product_part[SG_ROW];
    float count = (float)channels;
    mean_and_inverse(x, channels, epsilon, &s);
    for (int v = 0; v < SG_ROW; v++) g_mean[v] = product_mean[v] = sg_splat(0.0f);
    for (int first = 0; first < channels; first += SG_CHUNK) {
        int end = sg_min(first + SG_CHUNK, channels);
        for (int v = 0; v < SG_ROW; v++) g_part[v] = product_part[v] = sg_splat(0.0f);
        for (int c = first; c < end; c++)
            for (int v = 0; v < SG_ROW; v++) {
                int i = c * SG_LANES + v * SG_WIDTH;
                sg_vec d = sg_load(dy + i), normal = (sg_load(x + i) - s.mean[v]) * s.inverse[v];
                sg_vec g = d * gamma[c];
                sg_store(dgamma + i, sg_fma(d, normal, sg_load(dgamma + i)));
                sg_store(dbeta + i, sg_load(dbeta + i) + d);
                g_part[v] += g;
                product_part[v] = sg_fma(g, normal, product_part[v]);
            }
        for (int v = 0; v < SG_ROW; v++) g_mean[v] += g_part[v], product_mean[v] += product_part[v];
    }
    for (int v = 0; v < SG_ROW; v++) g_mean[v] /= count, product_mean[v] /= count;
    for (int c = 0; c < channels; c++)
        for (int v = 0; v < SG_ROW; v++) {
            int i = c * SG_LANES + v * SG_WIDTH;
            sg_vec normal = (sg_load(x + i) - s.mean[v]) * s.inverse[v];
            sg_vec inside = sg_load(dy + i) * gamma[c] - g_mean[v] - normal * product_mean[v];
            sg_put(dx + i, inside * s.inverse[v], accumulate);
        }
}

/* Per block in double, over blocks in float (see bias_gradient.c). */
int SG_VARIANT(sg_norm_layer_backward)(const sg_machine *m, int blocks, const sg_tensor *x,
                                       const sg_tensor *dy, sg_tensor *dx, const float *gamma, float epsilon,
                                       float *dgamma, float *dbeta, bool accumulate) {
    size_t channels = (size_t)x->channels, lane_sums = 2 * channels * SG_LANES,
           some = blocks > 0 ? (size_t)blocks : 1;
    sg_bands bands = sg_bands_of(x);
    float *scratch = NULL, *folded = NULL;
    double *part = NULL;
    int status;
    if ((status = SG_AT(SG_NEW(&scratch, (size_t)m->threads * lane_sums)))) goto done;
    if ((status = SG_AT(SG_NEW(&part, some * (size_t)bands.count * 2 * channels)))) goto done;
    if ((status = SG_AT(SG_NEW(&folded, some * 2 * channels)))) goto done;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int band = 0; band < bands.count; band++) {
            float *sums = scratch + (size_t)omp_get_thread_num() * lane_sums;
            double *out = part + ((size_t)b * (size_t)bands.count + (size_t)band) * 2 * channels;
            memset(sums, 0, lane_sums * sizeof *sums);
            for (int row = band * bands.rows; row < sg_band_end(bands, band, x); row++)
                for (int col = 0; col < x->width; col++)
                    backward_pixel(sg_tensor_at(x, b, row, col), sg_tensor_at(dy, b, row, col),
                                   sg_tensor_at(dx, b, row, col), gamma, x->channels, epsilon, sums,
                                   sums + channels * SG_LANES, accumulate);
            for (size_t i = 0; i < 2 * channels; i++) out[i] = sg_row_sum(sums + i * SG_LANES);
        }
    for (int b = 0; b < blocks; b++) {
        double *block = part + (size_t)b * (size_t)bands.count * 2 * channels;
        for (int band = 1; band < bands.count; band++)
            sg_combine_double(block, block + (size_t)band * 2 * channels, 2 * channels);
        for (size_t i = 0; i < 2 * channels; i++) folded[(size_t)b * 2 * channels + i] = (float)block[i];
    }
    sg_fold(folded, blocks, 2 * channels * sizeof *folded, 2 * channels, sg_combine_float);
    memcpy(dgamma, folded, channels * sizeof *dgamma);
    memcpy(dbeta, folded + channels, channels * sizeof *dbeta);
done:
    SG_FREE(scratch);
    SG_FREE(part);
    SG_FREE(folded);
    return status;
}
