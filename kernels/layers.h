/* Everything that is not a convolution, as vertical loops over lanes. All functions are in a table per
 * instruction set (variant.h), split their work over machine->threads, and touch only the first `blocks`
 * blocks. "x -> y" is forward, "dy -> dx" backward; backward adds to dx when accumulate is set and overwrites
 * it otherwise. All tensors obey the invariants of tensor.h; unused lanes of dy are zero and stay zero in dx.
 */
#ifndef SG_LAYERS_H
#define SG_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/machine.h"
#include "kernels/reduce.h"
#include "kernels/tensor.h"

enum sg_activation { SG_IDENTITY, SG_RELU, SG_RELU6, SG_SWISH, SG_GELU /* exact: erf */, SG_SIGMOID };

/* Which lanes of the local blocks hold samples: block j holds
 * sg_tree_block_samples(samples, lanes, j, reduce->rank, reduce->size). */
typedef struct sg_extent {
    int blocks;        /* local blocks */
    int samples;       /* of the whole minibatch */
    int global_blocks; /* of the whole minibatch */
    const sg_reduce *reduce;
} sg_extent;

/* Batch norm with an optional residual and activation behind it:
 *     y = activation(gamma' * (x - mean) * inverse + beta' + residual)
 * gamma' = alpha gamma + (1 - alpha) gamma_init, beta' likewise with 1 and 0 (AWS, eq. 3): the caller passes
 * gamma', beta' (effective values). */
typedef struct sg_norm_batch {
    const float *gamma, *beta; /* [channels] effective */
    float *mean, *inverse; /* [channels] training: written by statistics (1/sqrt(variance + epsilon)), read
                              by forward and backward; evaluation: read by forward */
    double *variance;      /* [channels] biased variance of the minibatch, written by statistics */
    double *mean64;        /* [channels] */
    float *dgamma, *dbeta; /* [channels] gradients with respect to the effective values, all ranks' sum */
    double epsilon;        /* read by statistics */
    enum sg_activation activation; /* identity, relu, relu6, swish */
} sg_norm_batch;

typedef struct sg_pixel_sums sg_pixel_sums;

typedef struct sg_layer_kernels {
    /* What the writer of x, or of dy, may be given as its follower (pixel_sums.h), so that the sums of
     * norm_batch_statistics, or of norm_batch_backward, are made while the tensor is in the caches: the same
     * sums. The arguments are those of the latter. The tensors are borrowed until then, extent->reduce too;
     * extent and what is read of n are copied. SG_NOMEM. Local. */
    int (*norm_batch_follow)(sg_pixel_sums **sums, const sg_extent *extent, const sg_tensor *x);
    int (*norm_batch_follow_gradient)(sg_pixel_sums **sums, const sg_extent *extent, const sg_tensor *x,
                                      const sg_tensor *y, const sg_tensor *residual, const sg_tensor *dy,
                                      const sg_norm_batch *n);
    /* Statistics of x over all samples of all ranks (collective over extent->reduce): per block (mean, M2)
     * merged in the tree with Chan's formula. Fills mean64, variance, mean, inverse. sums: NULL, or of
     * norm_batch_follow, and freed. */
    int (*norm_batch_statistics)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                                 sg_norm_batch *n, sg_pixel_sums *sums);
    /* Normalise with n->mean, n->inverse. residual may be NULL. */
    int (*norm_batch_forward)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                              const sg_tensor *residual, sg_tensor *y, const sg_norm_batch *n);
    /* Collective. dx may be the same tensor as dy (in place) unless it is added to. dresidual (NULL when
     * there is none) receives the gradient behind the activation, or is added to when accumulate_residual; it
     * may be dx when it is added to. Reads x and y of the forward pass; fills dgamma, dbeta. y is read for
     * relu and relu6 with a residual only (NULL otherwise allowed): without one, and for swish, the
     * activation's argument is computed again from x (and residual). sums: NULL, or of
     * norm_batch_follow_gradient, and freed. */
    int (*norm_batch_backward)(const sg_machine *m, const sg_extent *extent, const sg_tensor *x,
                               const sg_tensor *y, const sg_tensor *residual, const sg_tensor *dy,
                               sg_tensor *dx, bool accumulate, sg_tensor *dresidual, bool accumulate_residual,
                               sg_norm_batch *n, sg_pixel_sums *sums);

    /* Layer norm over the channels of each pixel of each sample; gamma, beta effective.
     * backward: dgamma, dbeta [channels] are the local blocks' sums in tree order (the caller combines
     * ranks). */
    int (*norm_layer_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y,
                              const float *gamma, const float *beta, float epsilon);
    int (*norm_layer_backward)(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *dy,
                               sg_tensor *dx, const float *gamma, float epsilon, float *dgamma, float *dbeta,
                               bool accumulate);

    int (*activation_forward)(const sg_machine *m, int blocks, enum sg_activation kind, const sg_tensor *x,
                              sg_tensor *y);
    int (*activation_backward)(const sg_machine *m, int blocks, enum sg_activation kind, const sg_tensor *x,
                               const sg_tensor *dy, sg_tensor *dx, bool accumulate);

    /* y = a + b. */
    int (*add)(const sg_machine *m, int blocks, const sg_tensor *a, const sg_tensor *b, sg_tensor *y);
    /* dx (+)= dy. */
    int (*copy)(const sg_machine *m, int blocks, const sg_tensor *from, sg_tensor *to, bool accumulate);

    /* Window pooling, square kernel; padding never wins a maximum and counts in the average as zeros
     * (torch's defaults, count_include_pad). Ties: the first in row-major order gets the gradient. */
    int (*max_pool_forward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                            const sg_tensor *x, sg_tensor *y);
    int (*max_pool_backward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                             const sg_tensor *x, const sg_tensor *y, const sg_tensor *dy, sg_tensor *dx,
                             bool accumulate);
    int (*average_pool_forward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                                const sg_tensor *x, sg_tensor *y);
    int (*average_pool_backward)(const sg_machine *m, int blocks, int kernel, int stride, int padding,
                                 const sg_tensor *dy, sg_tensor *dx, bool accumulate);
    /* Mean over all pixels: y is 1x1. */
    int (*global_pool_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y);
    int (*global_pool_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                                bool accumulate);

    /* y = x * gate, gate 1x1 per channel (squeeze-excite). */
    int (*scale_forward)(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *gate,
                         sg_tensor *y);
    int (*scale_backward)(const sg_machine *m, int blocks, const sg_tensor *x, const sg_tensor *gate,
                          const sg_tensor *dy, sg_tensor *dx, bool accumulate_x, sg_tensor *dgate,
                          bool accumulate_gate);

    /* Channels: y = [a, b]; shuffle: y[c * groups + g] = x[g * (C/groups) + c] (ShuffleNet). */
    int (*concat_forward)(const sg_machine *m, int blocks, const sg_tensor *a, const sg_tensor *b,
                          sg_tensor *y);
    int (*concat_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *da,
                           bool accumulate_a, sg_tensor *db, bool accumulate_b);
    int (*shuffle_forward)(const sg_machine *m, int blocks, int groups, const sg_tensor *x, sg_tensor *y);
    int (*shuffle_backward)(const sg_machine *m, int blocks, int groups, const sg_tensor *dy, sg_tensor *dx,
                            bool accumulate);

    /* Pixels as tokens: x [H][W][C] -> y [H*W + extra][1][C]; token 0 is the class token when extra = 1, and
     * position [(H*W + extra)][C] is added (either may be NULL: none). Gradients of token and position are
     * the local blocks' sums in tree order. */
    int (*tokens_forward)(const sg_machine *m, int blocks, const sg_tensor *x, const float *class_token,
                          const float *position, sg_tensor *y);
    int (*tokens_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                           float *dclass_token, float *dposition, bool accumulate);
    /* y [1][1][C] = x's token 0. */
    int (*first_token_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y);
    int (*first_token_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                                bool accumulate);
    /* Exchanges the H*W pixels with the channels: y [C][1][H*W] (token mixing). */
    int (*transpose_forward)(const sg_machine *m, int blocks, const sg_tensor *x, sg_tensor *y);
    int (*transpose_backward)(const sg_machine *m, int blocks, const sg_tensor *dy, sg_tensor *dx,
                              bool accumulate);
    /* Multi-head self-attention on qkv [T][1][3D] (q, k, v; heads contiguous in D) -> y [T][1][D];
     * probabilities [heads * T][1][T] is written by forward, read by backward. */
    int (*attention_forward)(const sg_machine *m, int blocks, int heads, const sg_tensor *qkv,
                             sg_tensor *probabilities, sg_tensor *y);
    int (*attention_backward)(const sg_machine *m, int blocks, int heads, const sg_tensor *qkv,
                              const sg_tensor *probabilities, const sg_tensor *dy, sg_tensor *dqkv,
                              bool accumulate);

    /* Inverted dropout; the bits come from sg_rng(seed, SG_RNG_DROPOUT, step, sample, layer * 2^20 + channel
     * / 4). x and y are 1x1. */
    int (*dropout_forward)(const sg_machine *m, int blocks, float probability, uint64_t seed, uint32_t step,
                           uint32_t layer, const uint32_t *sample, const sg_tensor *x, sg_tensor *y);
    int (*dropout_backward)(const sg_machine *m, int blocks, float probability, uint64_t seed, uint32_t step,
                            uint32_t layer, const uint32_t *sample, const sg_tensor *dy, sg_tensor *dx,
                            bool accumulate);

    /* Softmax cross-entropy, mean over extent->samples. logits [blocks][1][1][classes][lanes]; label -1 marks
     * an unused lane. dlogits NULL in evaluation. loss: sum (not mean) and the number of right answers over
     * the local blocks, in tree order; first maximum wins. Not collective. */
    int (*loss)(const sg_machine *m, const sg_extent *extent, const sg_tensor *logits, const int32_t *label,
                sg_tensor *dlogits, double *loss_sum, int64_t *correct);

    /* db[c] = sum over local blocks (tree order), pixels and lanes of dy. */
    int (*bias_gradient)(const sg_machine *m, int blocks, const sg_tensor *dy, float *db);
} sg_layer_kernels;

#endif
