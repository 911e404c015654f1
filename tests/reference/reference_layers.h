/* The layers of kernels/layers.h written down naively: double precision, plain
 * [sample][channel][height][width] arrays, one loop per index of the formula. They say what the kernels
 * should compute; nothing is fast.
 *
 * Forward functions overwrite y. Backward functions *add* to every gradient they return, so that a value with
 * several consumers collects them all; the caller zeroes gradients first. All arrays are borrowed. Local; the
 * functions cannot fail, except that scratch is taken with malloc and the process ends when there is none. */
#ifndef REFERENCE_LAYERS_H
#define REFERENCE_LAYERS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/layers.h"

typedef struct ref_shape {
    int samples, channels, height, width;
} ref_shape;

static inline size_t ref_pixels(ref_shape s) { return (size_t)s.height * (size_t)s.width; }
static inline size_t ref_count(ref_shape s) { return (size_t)s.samples * (size_t)s.channels * ref_pixels(s); }

/* y = activation(gamma (x - mean) / sqrt(variance + epsilon) + beta + residual), statistics over samples and
 * pixels. mean, variance (biased) [channels] are outputs; gamma, beta are the effective values. residual may
 * be NULL. */
void ref_norm_batch_forward(ref_shape s, const double *x, const double *gamma, const double *beta,
                            const double *residual, enum sg_activation activation, double epsilon,
                            double *mean, double *variance, double *y);
/* The same with given statistics. */
void ref_norm_batch_evaluate(ref_shape s, const double *x, const double *gamma, const double *beta,
                             const double *residual, enum sg_activation activation, double epsilon,
                             const double *mean, const double *variance, double *y);
/* Through the training statistics. dresidual may be NULL. */
void ref_norm_batch_backward(ref_shape s, const double *x, const double *gamma, const double *beta,
                             const double *residual, enum sg_activation activation, double epsilon,
                             const double *dy, double *dx, double *dresidual, double *dgamma, double *dbeta);

/* Over the channels of each pixel of each sample. */
void ref_norm_layer_forward(ref_shape s, const double *x, const double *gamma, const double *beta,
                            double epsilon, double *y);
void ref_norm_layer_backward(ref_shape s, const double *x, const double *gamma, double epsilon,
                             const double *dy, double *dx, double *dgamma, double *dbeta);

double ref_activate(enum sg_activation kind, double x);
double ref_activate_slope(enum sg_activation kind, double x);
void ref_activation_forward(size_t count, enum sg_activation kind, const double *x, double *y);
void ref_activation_backward(size_t count, enum sg_activation kind, const double *x, const double *dy,
                             double *dx);

/* s is the input's shape; out_height = (height + 2 padding - kernel) / stride + 1, out_width likewise. */
ref_shape ref_pool_shape(ref_shape s, int kernel, int stride, int padding);
void ref_max_pool_forward(ref_shape s, int kernel, int stride, int padding, const double *x, double *y);
void ref_max_pool_backward(ref_shape s, int kernel, int stride, int padding, const double *x,
                           const double *dy, double *dx);
void ref_average_pool_forward(ref_shape s, int kernel, int stride, int padding, const double *x, double *y);
void ref_average_pool_backward(ref_shape s, int kernel, int stride, int padding, const double *dy,
                               double *dx);
void ref_global_pool_forward(ref_shape s, const double *x, double *y);
void ref_global_pool_backward(ref_shape s, const double *dy, double *dx);

/* gate [samples][channels]. */
void ref_scale_forward(ref_shape s, const double *x, const double *gate, double *y);
void ref_scale_backward(ref_shape s, const double *x, const double *gate, const double *dy, double *dx,
                        double *dgate);

/* a has s.channels channels, b has b_channels, y both. */
void ref_concat_forward(ref_shape s, int b_channels, const double *a, const double *b, double *y);
void ref_concat_backward(ref_shape s, int b_channels, const double *dy, double *da, double *db);
/* y[c * groups + g] = x[g * (channels / groups) + c]. */
void ref_shuffle_forward(ref_shape s, int groups, const double *x, double *y);
void ref_shuffle_backward(ref_shape s, int groups, const double *dy, double *dx);

/* s is x's shape; y has pixels + (class_token != NULL) rows, one column. class_token [channels], position
 * [rows][channels]; either may be NULL, their gradients likewise. */
void ref_tokens_forward(ref_shape s, const double *x, const double *class_token, const double *position,
                        double *y);
void ref_tokens_backward(ref_shape s, const double *dy, double *dx, double *dclass_token, double *dposition);
void ref_first_token_forward(ref_shape s, const double *x, double *y);
void ref_first_token_backward(ref_shape s, const double *dy, double *dx);
/* y[n][p][c] = x[n][c][p]: y has ref_pixels(s) channels and s.channels pixels, row by row. */
void ref_transpose_forward(ref_shape s, const double *x, double *y);
void ref_transpose_backward(ref_shape s, const double *dy, double *dx);

/* s: samples, channels = D (of y), height = tokens, width 1. qkv has 3 D channels. probabilities
 * [samples][heads][tokens][tokens] is an output of forward, an input of backward. */
void ref_attention_forward(ref_shape s, int heads, const double *qkv, double *probabilities, double *y);
void ref_attention_backward(ref_shape s, int heads, const double *qkv, const double *probabilities,
                            const double *dy, double *dqkv);

/* y = x keep / (1 - probability); keep [count] is 0 or 1. Backward is the same on dy, added. */
void ref_dropout_forward(size_t count, double probability, const uint8_t *keep, const double *x, double *y);
void ref_dropout_backward(size_t count, double probability, const uint8_t *keep, const double *dy,
                          double *dx);

/* Softmax cross-entropy of logits [samples][classes]: the sum over samples; dlogits (NULL: none) receives the
 * gradient of the *mean*. correct: first maximum equals label. */
double ref_loss(int samples, int classes, const double *logits, const int32_t *label, double *dlogits,
                int64_t *correct);

/* db[channels] += the sum of dy over samples and pixels. */
void ref_bias_gradient(ref_shape s, const double *dy, double *db);

#endif
