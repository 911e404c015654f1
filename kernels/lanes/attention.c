/* Multi-head self-attention (Vaswani et al., 2017), one sample per lane: no GEMM, but every product is
 * vertical.
 *
 * A head's queries, keys and values are token rows: `each` lane rows from some channel on, `stride` floats
 * from a token to the next. All sums run over channels or tokens in ascending order. */
#include <omp.h>

#include "kernels/lanes/functions.h"
#include "kernels/lanes/layers_internal.h"
#include "kernels/memory.h"

enum { UNROLL = 4 }; /* independent sums in registers */

/* out[u] = factor * sum over d of one[d] * rows[u][d], for n tokens u. */
static inline __attribute__((always_inline)) void dot_some(const int n, const float *one, const float *rows,
                                                           size_t stride, int each, float factor,
                                                           float *out) {
    sg_vec sum[UNROLL * SG_ROW];
    for (int i = 0; i < n * SG_ROW; i++) sum[i] = sg_splat(0.0f);
    for (int d = 0; d < each; d++)
        for (int v = 0; v < SG_ROW; v++) {
            int at = d * SG_LANES + v * SG_WIDTH;
            sg_vec a = sg_load(one + at);
            for (int i = 0; i < n; i++)
                sum[i * SG_ROW + v] = sg_fma(a, sg_load(rows + (size_t)i * stride + at), sum[i * SG_ROW + v]);
        }
    for (int i = 0; i < n * SG_ROW; i++) sg_store(out + i * SG_WIDTH, sum[i] * factor);
}

static void dots(int tokens, const float *one, const float *rows, size_t stride, int each, float factor,
                 float *out) {
    int u = 0;
    for (; u + UNROLL <= tokens; u += UNROLL)
        dot_some(UNROLL, one, rows + (size_t)u * stride, stride, each, factor, out + (size_t)u * SG_LANES);
    for (; u < tokens; u++)
        dot_some(1, one, rows + (size_t)u * stride, stride, each, factor, out + (size_t)u * SG_LANES);
}

/* out[d] (+)= sum over tokens u of weight[u] * rows[u][d], for n channels d. */
static inline __attribute__((always_inline)) void mix_some(const int n, int tokens, const float *weight,
                                                           const float *rows, size_t stride, float *out,
                                                           bool accumulate) {
    sg_vec sum[UNROLL * SG_ROW];
    for (int i = 0; i < n * SG_ROW; i++) sum[i] = sg_splat(0.0f);
    for (int u = 0; u < tokens; u++)
        for (int v = 0; v < SG_ROW; v++) {
            sg_vec w = sg_load(weight + (size_t)u * SG_LANES + v * SG_WIDTH);
            for (int i = 0; i < n; i++)
                sum[i * SG_ROW + v] = sg_fma(
                    w, sg_load(rows + (size_t)u * stride + i * SG_LANES + v * SG_WIDTH), sum[i * SG_ROW + v]);
        }
    for (int i = 0; i < n * SG_ROW; i++) sg_put(out + i * SG_WIDTH, sum[i], accumulate);
}

static void mix(int tokens, const float *weight, const float *rows, size_t stride, int each, float *out,
                bool accumulate) {
    int d = 0;
    for (; d + UNROLL <= each; d += UNROLL)
        mix_some(UNROLL, tokens, weight, rows + d * SG_LANES, stride, out + d * SG_LANES, accumulate);
    for (; d < each; d++)
        mix_some(1, tokens, weight, rows + d * SG_LANES, stride, out + d * SG_LANES, accumulate);
}

/* rows[u][d] += weight[u] * one[d]. */
static void spread(int tokens, const float *weight, const float *one, float *rows, size_t stride, int each) {
    for (int u = 0; u < tokens; u++)
        for (int d = 0; d < each; d++)
            for (int v = 0; v < SG_ROW; v++) {
                float *at = rows + (size_t)u * stride + d * SG_LANES + v * SG_WIDTH;
                sg_vec w = sg_load(weight + (size_t)u * SG_LANES + v * SG_WIDTH);
                sg_store(at, sg_fma(w, sg_load(one + d * SG_LANES + v * SG_WIDTH), sg_load(at)));
            }
}

static void softmax(int tokens, float *p) {
    for (int v = 0; v < SG_ROW; v++) {
        float *at = p + v * SG_WIDTH;
        sg_vec largest = sg_load(at), sum = sg_splat(0.0f);
        for (int u = 1; u < tokens; u++) largest = sg_vmax(sg_load(at + (size_t)u * SG_LANES), largest);
        for (int u = 0; u < tokens; u++) {
            sg_vec e = sg_exp(sg_load(at + (size_t)u * SG_LANES) - largest);
            sg_store(at + (size_t)u * SG_LANES, e);
            sum += e;
        }
        sg_vec share = 1.0f / sum;
        for (int u = 0; u < tokens; u++)
            sg_store(at + (size_t)u * SG_LANES, sg_load(at + (size_t)u * SG_LANES) * share);
    }
}

int SG_VARIANT(sg_attention_forward)(const sg_machine *m, int blocks, int heads, const sg_tensor *qkv,
                                     sg_tensor *probabilities, sg_tensor *y) {
    int tokens = y->height, each = y->channels / heads;
    size_t third = (size_t)y->channels * SG_LANES;
    float scale = (float)(1.0 / sqrt((double)each));
#pragma omp parallel for collapse(3) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int h = 0; h < heads; h++)
            for (int t = 0; t < tokens; t++) {
                size_t head = (size_t)h * (size_t)each * SG_LANES;
                const float *key = sg_tensor_at(qkv, b, 0, 0) + head + third;
                float *p = sg_tensor_at(probabilities, b, h * tokens + t, 0);
                dots(tokens, sg_tensor_at(qkv, b, t, 0) + head, key, qkv->row, each, scale, p);
                softmax(tokens, p);
                mix(tokens, p, key + third, qkv->row, each, sg_tensor_at(y, b, t, 0) + head, false);
            }
    return SG_OK;
}

/* One head of one block. ds [tokens][lanes] is scratch. */
static void backward_head(int tokens, int each, size_t third, float scale, const float *q, size_t qkv_stride,
                          const sg_tensor *probabilities, int block, int head, const float *dy,
                          size_t dy_stride, float *dq, size_t dqkv_stride, float *ds) {
    const float *k = q + third, *v = k + third;
    float *dk = dq + third, *dv = dk + third;
    for (int t = 0; t < tokens; t++) {
        const float *p = sg_tensor_at(probabilities, block, head * tokens + t, 0);
        const float *g = dy + (size_t)t * dy_stride;
        dots(tokens, g, v, qkv_stride, each, 1.0f, ds);
        for (int r = 0; r < SG_ROW; r++) {
            sg_vec mean = sg_splat(0.0f);
            for (int u = 0; u < tokens; u++) {
                size_t at = (size_t)u * SG_LANES + (size_t)(r * SG_WIDTH);
                mean = sg_fma(sg_load(p + at), sg_load(ds + at), mean);
            }
            for (int u = 0; u < tokens; u++) {
                size_t at = (size_t)u * SG_LANES + (size_t)(r * SG_WIDTH);
                sg_store(ds + at, sg_load(p + at) * (sg_load(ds + at) - mean) * scale);
            }
        }
        spread(tokens, p, g, dv, dqkv_stride, each);
        mix(tokens, ds, k, qkv_stride, each, dq + (size_t)t * dqkv_stride, true);
        spread(tokens, ds, q + (size_t)t * qkv_stride, dk, dqkv_stride, each);
    }
}

int SG_VARIANT(sg_attention_backward)(const sg_machine *m, int blocks, int heads, const sg_tensor *qkv,
                                      const sg_tensor *probabilities, const sg_tensor *dy, sg_tensor *dqkv,
                                      bool accumulate) {
    int tokens = dy->height, each = dy->channels / heads;
    size_t third = (size_t)dy->channels * SG_LANES, width = (size_t)each * SG_LANES;
    float scale = (float)(1.0 / sqrt((double)each)), *scratch;
    SG_TRY(SG_NEW(&scratch, (size_t)m->threads * (size_t)tokens * SG_LANES));
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (int b = 0; b < blocks; b++)
        for (int h = 0; h < heads; h++) {
            float *dq = sg_tensor_at(dqkv, b, 0, 0) + (size_t)h * width;
            for (int t = 0; t < tokens && !accumulate; t++)
                for (size_t part = 0; part < 3; part++)
                    memset(dq + (size_t)t * dqkv->row + part * third, 0, width * sizeof(float));
            backward_head(tokens, each, third, scale, sg_tensor_at(qkv, b, 0, 0) + (size_t)h * width,
                          qkv->row, probabilities, b, h, sg_tensor_at(dy, b, 0, 0) + (size_t)h * width,
                          dy->row, dq, dqkv->row,
                          scratch + (size_t)omp_get_thread_num() * (size_t)tokens * SG_LANES);
        }
    SG_FREE(scratch);
    return SG_OK;
}
