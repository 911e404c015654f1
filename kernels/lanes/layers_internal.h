/* The functions of sg_layer_kernels (layers.h says what each does) and what their files share. */
#ifndef SG_LAYERS_INTERNAL_H
#define SG_LAYERS_INTERNAL_H

#include "kernels/lanes/simd.h"
#include "kernels/layers.h"
#include "kernels/pixel_sums.h"

/* The sum of the first `used` lanes of a row, in sg_row_sum's order. */
static inline float sg_used_sum(const float *row, int used) {
    float part[SG_LANES];
    if (used == SG_LANES) return sg_row_sum(row);
    for (int lane = 0; lane < SG_LANES; lane++) part[lane] = lane < used ? row[lane] : 0.0f;
    return sg_row_sum(part);
}

/* *to (+)= v, for a vector and for count floats. */
static inline void sg_put(float *to, sg_vec v, bool accumulate) {
    if (accumulate) v = sg_load(to) + v;
    sg_store(to, v);
}
static inline void sg_give(size_t count, const float *from, float *to, bool accumulate) {
    for (size_t i = 0; i < count; i += SG_WIDTH) sg_put(to + i, sg_load(from + i), accumulate);
}

typedef float sg_lane_sums[SG_CHUNK * SG_LANES] __attribute__((aligned(64)));

#define SG_L(name) int SG_VARIANT(sg_##name)

SG_L(norm_batch_follow)(sg_pixel_sums **sums, const sg_extent *extent, const sg_tensor *x);
SG_L(norm_batch_follow_gradient)
(sg_pixel_sums **sums, const sg_extent *extent, const sg_tensor *x, const sg_tensor *y,
 const sg_tensor *residual, const sg_tensor *dy, const sg_norm_batch *n);
SG_L(norm_batch_statistics)
(const sg_machine *m, const sg_extent *extent, const sg_tensor *x, sg_norm_batch *n, sg_pixel_sums *sums);
SG_L(norm_batch_forward)
(const sg_machine *m, const sg_extent *extent, const sg_tensor *x, const sg_tensor *residual, sg_tensor *y,
 const sg_norm_batch *n);
SG_L(norm_batch_backward)
(const sg_machine *m, const sg_extent *extent, const sg_tensor *x, const sg_tensor *y,
 const sg_tensor *residual, const sg_tensor *dy, sg_tensor *dx, bool accumulate, sg_tensor *dresidual,
 bool accumulate_residual, sg_norm_batch *n, sg_pixel_sums *sums);
SG_L(activation_forward)
(const sg_machine *m, int blocks, enum sg_activation kind, const sg_tensor *x, sg_tensor *y);
SG_L(activation_backward)
(const sg_machine *m, int blocks, enum sg_activation kind, const sg_tensor *x, const sg_tensor *dy,
 sg_tensor *dx, bool accumulate);
SG_L(add)(const sg_machine *m, int blocks, const sg_tensor *a, const sg_tensor *b, sg_tensor *y);
SG_L(copy)(const sg_machine *m, int blocks, const sg_tensor *from, sg_tensor *to, bool accumulate);
SG_L(max_pool_forward)
(const sg_machine *m, int blocks, int kernel, int stride, int padding, const sg_tensor *x, sg_tensor *y);
SG_L(max_pool_backward)
(const sg_machine *m, int blocks, int kernel, int stride, int padding, const sg_tensor *x, const sg_tensor *y,
 const sg_tensor *dy, sg_tensor *dx, bool accumulate);
SG_L(average_pool_forward)
(const sg_machine *m, int blocks, int kernel, int stride, int padding, const sg_tensor *x, sg_tensor *y);
SG_L(average_pool_backward)
(const sg_machine *m, int blocks, int kernel, int stride, int padding, const sg_tensor *dy, sg_tensor *dx,
 bool accumulate);
SG_L(global_pool_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y);
SG_L(global_pool_backward)
(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx, bool accumulate);
SG_L(loss)
(const sg_machine *m, const sg_extent *extent, const sg_tensor *logits, const int32_t *label,
 sg_tensor *dlogits, double *loss_sum, int64_t *correct);
SG_L(bias_gradient)(const sg_machine *m, int blocks, const sg_tensor *dy, float *db);
SG_L(scale_forward)(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *gate, sg_tensor *y);
SG_L(scale_backward)
(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *gate, const sg_tensor *dy,
 sg_tensor *dx, bool accumulate_x, sg_tensor *dgate, bool accumulate_gate);
SG_L(concat_forward)(const sg_machine *m, int blocks, const sg_tensor *a, const sg_tensor *b, sg_tensor *y);
SG_L(concat_backward)
(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *da, bool accumulate_a, sg_tensor *db,
 bool accumulate_b);
SG_L(shuffle_forward)(const sg_machine *m, int blocks, int groups, const sg_tensor *x, sg_tensor *y);
SG_L(shuffle_backward)
(const sg_machine *m, int blocks, int groups, const sg_tensor *dy, sg_tensor *dx, bool accumulate);
SG_L(tokens_forward)
(const sg_machine *m, int blocks, const sg_tensor *x, const float *class_token, const float *position,
 sg_tensor *y);
SG_L(tokens_backward)
(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx, float *dclass_token, float *dposition,
 bool accumulate);
SG_L(first_token_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y);
SG_L(first_token_backward)
(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx, bool accumulate);
SG_L(transpose_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y);
SG_L(transpose_backward)
(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx, bool accumulate);
SG_L(attention_forward)
(const sg_machine *m, int blocks, int heads, const sg_tensor *qkv, sg_tensor *probabilities, sg_tensor *y);
SG_L(attention_backward)
(const sg_machine *m, int blocks, int heads, const sg_tensor *qkv, const sg_tensor *probabilities,
 const sg_tensor *dy, sg_tensor *dqkv, bool accumulate);
SG_L(dropout_forward)
(const sg_machine *m, int blocks, float probability, uint64_t seed, uint32_t step, uint32_t layer,
 const uint32_t *sample, const sg_tensor *x, sg_tensor *y);
SG_L(dropout_backward)
(const sg_machine *m, int blocks, float probability, uint64_t seed, uint32_t step, uint32_t layer,
 const uint32_t *sample, const sg_tensor *dy, sg_tensor *dx, bool accumulate);
SG_L(norm_layer_forward)
(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y, const float *gamma, const float *beta,
 float epsilon);
SG_L(norm_layer_backward)
(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *dy, sg_tensor *dx, const float *gamma,
 float epsilon, float *dgamma, float *dbeta, bool accumulate);

#undef SG_L

/* The table's initialiser (variant.c). */
#define SG_LAYER_TABLE                                                                                       \
    {                                                                                                        \
        .norm_batch_follow = SG_VARIANT(sg_norm_batch_follow),                                               \
        .norm_batch_follow_gradient = SG_VARIANT(sg_norm_batch_follow_gradient),                             \
        .norm_batch_statistics = SG_VARIANT(sg_norm_batch_statistics),                                       \
        .norm_batch_forward = SG_VARIANT(sg_norm_batch_forward),                                             \
        .norm_batch_backward = SG_VARIANT(sg_norm_batch_backward),                                           \
        .activation_forward = SG_VARIANT(sg_activation_forward),                                             \
        .activation_backward = SG_VARIANT(sg_activation_backward), .add = SG_VARIANT(sg_add),                \
        .copy = SG_VARIANT(sg_copy), .max_pool_forward = SG_VARIANT(sg_max_pool_forward),                    \
        .max_pool_backward = SG_VARIANT(sg_max_pool_backward),                                               \
        .average_pool_forward = SG_VARIANT(sg_average_pool_forward),                                         \
        .average_pool_backward = SG_VARIANT(sg_average_pool_backward),                                       \
        .global_pool_forward = SG_VARIANT(sg_global_pool_forward),                                           \
        .global_pool_backward = SG_VARIANT(sg_global_pool_backward),                                         \
        .scale_forward = SG_VARIANT(sg_scale_forward), .scale_backward = SG_VARIANT(sg_scale_backward),      \
        .concat_forward = SG_VARIANT(sg_concat_forward), .concat_backward = SG_VARIANT(sg_concat_backward),  \
        .shuffle_forward = SG_VARIANT(sg_shuffle_forward),                                                   \
        .shuffle_backward = SG_VARIANT(sg_shuffle_backward),                                                 \
        .tokens_forward = SG_VARIANT(sg_tokens_forward), .tokens_backward = SG_VARIANT(sg_tokens_backward),  \
        .first_token_forward = SG_VARIANT(sg_first_token_forward),                                           \
        .first_token_backward = SG_VARIANT(sg_first_token_backward),                                         \
        .transpose_forward = SG_VARIANT(sg_transpose_forward),                                               \
        .transpose_backward = SG_VARIANT(sg_transpose_backward),                                             \
        .attention_forward = SG_VARIANT(sg_attention_forward),                                               \
        .attention_backward = SG_VARIANT(sg_attention_backward),                                             \
        .dropout_forward = SG_VARIANT(sg_dropout_forward),                                                   \
        .dropout_backward = SG_VARIANT(sg_dropout_backward),                                                 \
        .norm_layer_forward = SG_VARIANT(sg_norm_layer_forward),                                             \
        .norm_layer_backward = SG_VARIANT(sg_norm_layer_backward), .loss = SG_VARIANT(sg_loss),              \
        .bias_gradient = SG_VARIANT(sg_bias_gradient),                                                       \
    }

#endif
