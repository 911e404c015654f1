#include "tests/reference/reference_layers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double *scratch(size_t count) {
    double *made = calloc(count > 0 ? count : 1, sizeof *made);
    if (made == NULL) {
        fprintf(stderr, "reference layers: out of memory for %zu values\n", count);
        exit(71);
    }
    return made;
}

/* Position of (sample n, channel c, pixel 0). */
static size_t plane(ref_shape s, int n, int c) {
    return ((size_t)n * (size_t)s.channels + (size_t)c) * ref_pixels(s);
}

/* ---- activations */

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double normal_cdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }

double ref_activate(enum sg_activation kind, double x) {
    switch (kind) {
    case SG_RELU:
        return x > 0 ? x : 0;
    case SG_RELU6:
        return x > 0 ? (x < 6 ? x : 6) : 0;
    case SG_SWISH:
        return x * sigmoid(x);
    case SG_GELU:
        return x * normal_cdf(x);
    case SG_SIGMOID:
        return sigmoid(x);
    default:
        return x;
    }
}

double ref_activate_slope(enum sg_activation kind, double x) {
    double s = sigmoid(x);
    switch (kind) {
    case SG_RELU:
        return x > 0;
    case SG_RELU6:
        return x > 0 && x < 6;
    case SG_SWISH:
        return s * (1 + x * (1 - s));
    case SG_GELU:
        return normal_cdf(x) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    case SG_SIGMOID:
        return s * (1 - s);
    default:
        return 1;
    }
}

void ref_activation_forward(size_t count, enum sg_activation kind, const double *x, double *y) {
    for (size_t i = 0; i < count; i++) y[i] = ref_activate(kind, x[i]);
}

void ref_activation_backward(size_t count, enum sg_activation kind, const double *x, const double *dy,
                             double *dx) {
    for (size_t i = 0; i < count; i++) dx[i] += dy[i] * ref_activate_slope(kind, x[i]);
}

/* ---- norms */

void ref_norm_batch_evaluate(ref_shape s, const double *x, const double *gamma, const double *beta,
                             const double *residual, enum sg_activation activation, double epsilon,
                             const double *mean, const double *variance, double *y) {
    for (int n = 0; n < s.samples; n++)
        for (int c = 0; c < s.channels; c++)
            for (size_t p = 0; p < ref_pixels(s); p++) {
                size_t i = plane(s, n, c) + p;
                double z = gamma[c] * (x[i] - mean[c]) / sqrt(variance[c] + epsilon) + beta[c];
                if (residual != NULL) z += residual[i];
                y[i] = ref_activate(activation, z);
            }
}

static void batch_statistics(ref_shape s, const double *x, double *mean, double *variance) {
    double count = (double)s.samples * (double)ref_pixels(s);
    for (int c = 0; c < s.channels; c++) {
        double sum = 0, squares = 0;
        for (int n = 0; n < s.samples; n++)
            for (size_t p = 0; p < ref_pixels(s); p++) sum += x[plane(s, n, c) + p];
        mean[c] = sum / count;
        for (int n = 0; n < s.samples; n++)
            for (size_t p = 0; p < ref_pixels(s); p++) {
                double d = x[plane(s, n, c) + p] - mean[c];
                squares += d * d;
            }
        variance[c] = squares / count;
    }
}

void ref_norm_batch_forward(ref_shape s, const double *x, const double *gamma, const double *beta,
                            const double *residual, enum sg_activation activation, double epsilon,
                            double *mean, double *variance, double *y) {
    batch_statistics(s, x, mean, variance);
    ref_norm_batch_evaluate(s, x, gamma, beta, residual, activation, epsilon, mean, variance, y);
}

void ref_norm_batch_backward(ref_shape s, const double *x, const double *gamma, const double *beta,
                             const double *residual, enum sg_activation activation, double epsilon,
                             const double *dy, double *dx, double *dresidual, double *dgamma, double *dbeta) {
    double count = (double)s.samples * (double)ref_pixels(s);
    double *mean = scratch((size_t)s.channels), *variance = scratch((size_t)s.channels);
    double *dz = scratch(ref_count(s));
    batch_statistics(s, x, mean, variance);
    for (int c = 0; c < s.channels; c++) {
        double inverse = 1 / sqrt(variance[c] + epsilon), sum = 0, sum_xhat = 0;
        for (int n = 0; n < s.samples; n++)
            for (size_t p = 0; p < ref_pixels(s); p++) {
                size_t i = plane(s, n, c) + p;
                double xhat = (x[i] - mean[c]) * inverse;
                double z = gamma[c] * xhat + beta[c] + (residual != NULL ? residual[i] : 0);
                dz[i] = dy[i] * ref_activate_slope(activation, z);
                if (dresidual != NULL) dresidual[i] += dz[i];
                sum += dz[i];
                sum_xhat += dz[i] * xhat;
            }
        dbeta[c] += sum;
        dgamma[c] += sum_xhat;
        for (int n = 0; n < s.samples; n++)
            for (size_t p = 0; p < ref_pixels(s); p++) {
                size_t i = plane(s, n, c) + p;
                double xhat = (x[i] - mean[c]) * inverse;
                dx[i] += gamma[c] * inverse * (dz[i] - sum / count - xhat * sum_xhat / count);
            }
    }
    free(mean), free(variance), free(dz);
}

/* Mean and 1/sqrt(variance + epsilon) over the channels of pixel p of sample n. */
static void pixel_statistics(ref_shape s, const double *x, int n, size_t p, double epsilon, double *mean,
                             double *inverse) {
    double sum = 0, squares = 0;
    for (int c = 0; c < s.channels; c++) sum += x[plane(s, n, c) + p];
    *mean = sum / s.channels;
    for (int c = 0; c < s.channels; c++) squares += pow(x[plane(s, n, c) + p] - *mean, 2);
    *inverse = 1 / sqrt(squares / s.channels + epsilon);
}

void ref_norm_layer_forward(ref_shape s, const double *x, const double *gamma, const double *beta,
                            double epsilon, double *y) {
    for (int n = 0; n < s.samples; n++)
        for (size_t p = 0; p < ref_pixels(s); p++) {
            double mean, inverse;
            pixel_statistics(s, x, n, p, epsilon, &mean, &inverse);
            for (int c = 0; c < s.channels; c++) {
                size_t i = plane(s, n, c) + p;
                y[i] = gamma[c] * (x[i] - mean) * inverse + beta[c];
            }
        }
}

void ref_norm_layer_backward(ref_shape s, const double *x, const double *gamma, double epsilon,
                             const double *dy, double *dx, double *dgamma, double *dbeta) {
    for (int n = 0; n < s.samples; n++)
        for (size_t p = 0; p < ref_pixels(s); p++) {
            double mean, inverse, sum = 0, sum_xhat = 0;
            pixel_statistics(s, x, n, p, epsilon, &mean, &inverse);
            for (int c = 0; c < s.channels; c++) {
                size_t i = plane(s, n, c) + p;
                double xhat = (x[i] - mean) * inverse;
                dgamma[c] += dy[i] * xhat;
                dbeta[c] += dy[i];
                sum += gamma[c] * dy[i];
                sum_xhat += gamma[c] * dy[i] * xhat;
            }
            for (int c = 0; c < s.channels; c++) {
                size_t i = plane(s, n, c) + p;
                double xhat = (x[i] - mean) * inverse;
                dx[i] += inverse * (gamma[c] * dy[i] - sum / s.channels - xhat * sum_xhat / s.channels);
            }
        }
}

/* ---- pooling */

ref_shape ref_pool_shape(ref_shape s, int kernel, int stride, int padding) {
    s.height = (s.height + 2 * padding - kernel) / stride + 1;
    s.width = (s.width + 2 * padding - kernel) / stride + 1;
    return s;
}

/* Where tap k of the window of output value `out` reads its input; -1 in the padding. */
static ptrdiff_t tap(ref_shape s, size_t out, int k, int kernel, int stride, int padding) {
    ref_shape o = ref_pool_shape(s, kernel, stride, padding);
    size_t at = out % ref_pixels(o);
    int y = (int)(at / (size_t)o.width) * stride + k / kernel - padding;
    int x = (int)(at % (size_t)o.width) * stride + k % kernel - padding;
    if (y < 0 || y >= s.height || x < 0 || x >= s.width) return -1;
    return (ptrdiff_t)(out / ref_pixels(o) * ref_pixels(s)) + (ptrdiff_t)y * s.width + x;
}

/* The first largest input of a window. */
static ptrdiff_t window_maximum(ref_shape s, size_t out, int kernel, int stride, int padding,
                                const double *x) {
    ptrdiff_t best = -1;
    for (int k = 0; k < kernel * kernel; k++) {
        ptrdiff_t in = tap(s, out, k, kernel, stride, padding);
        if (in >= 0 && (best < 0 || x[in] > x[best])) best = in;
    }
    return best;
}

void ref_max_pool_forward(ref_shape s, int kernel, int stride, int padding, const double *x, double *y) {
    size_t outputs = ref_count(ref_pool_shape(s, kernel, stride, padding));
    for (size_t i = 0; i < outputs; i++) y[i] = x[window_maximum(s, i, kernel, stride, padding, x)];
}

void ref_max_pool_backward(ref_shape s, int kernel, int stride, int padding, const double *x,
                           const double *dy, double *dx) {
    size_t outputs = ref_count(ref_pool_shape(s, kernel, stride, padding));
    for (size_t i = 0; i < outputs; i++) dx[window_maximum(s, i, kernel, stride, padding, x)] += dy[i];
}

void ref_average_pool_forward(ref_shape s, int kernel, int stride, int padding, const double *x, double *y) {
    size_t outputs = ref_count(ref_pool_shape(s, kernel, stride, padding));
    for (size_t i = 0; i < outputs; i++) {
        y[i] = 0;
        for (int k = 0; k < kernel * kernel; k++) {
            ptrdiff_t in = tap(s, i, k, kernel, stride, padding);
            if (in >= 0) y[i] += x[in] / (kernel * kernel);
        }
    }
}

void ref_average_pool_backward(ref_shape s, int kernel, int stride, int padding, const double *dy,
                               double *dx) {
    size_t outputs = ref_count(ref_pool_shape(s, kernel, stride, padding));
    for (size_t i = 0; i < outputs; i++)
        for (int k = 0; k < kernel * kernel; k++) {
            ptrdiff_t in = tap(s, i, k, kernel, stride, padding);
            if (in >= 0) dx[in] += dy[i] / (kernel * kernel);
        }
}

void ref_global_pool_forward(ref_shape s, const double *x, double *y) {
    for (size_t i = 0; i < (size_t)s.samples * (size_t)s.channels; i++) {
        double sum = 0;
        for (size_t p = 0; p < ref_pixels(s); p++) sum += x[i * ref_pixels(s) + p];
        y[i] = sum / (double)ref_pixels(s);
    }
}

void ref_global_pool_backward(ref_shape s, const double *dy, double *dx) {
    for (size_t i = 0; i < ref_count(s); i++) dx[i] += dy[i / ref_pixels(s)] / (double)ref_pixels(s);
}

/* ---- channels */

void ref_scale_forward(ref_shape s, const double *x, const double *gate, double *y) {
    for (size_t i = 0; i < ref_count(s); i++) y[i] = x[i] * gate[i / ref_pixels(s)];
}

void ref_scale_backward(ref_shape s, const double *x, const double *gate, const double *dy, double *dx,
                        double *dgate) {
    for (size_t i = 0; i < ref_count(s); i++) {
        dx[i] += dy[i] * gate[i / ref_pixels(s)];
        dgate[i / ref_pixels(s)] += dy[i] * x[i];
    }
}

void ref_concat_forward(ref_shape s, int b_channels, const double *a, const double *b, double *y) {
    ref_shape sb = s, sy = s;
    sb.channels = b_channels;
    sy.channels = s.channels + b_channels;
    for (int n = 0; n < s.samples; n++)
        for (int c = 0; c < sy.channels; c++)
            for (size_t p = 0; p < ref_pixels(s); p++)
                y[plane(sy, n, c) + p] =
                    c < s.channels ? a[plane(s, n, c) + p] : b[plane(sb, n, c - s.channels) + p];
}

void ref_concat_backward(ref_shape s, int b_channels, const double *dy, double *da, double *db) {
    ref_shape sb = s, sy = s;
    sb.channels = b_channels;
    sy.channels = s.channels + b_channels;
    for (int n = 0; n < s.samples; n++)
        for (int c = 0; c < sy.channels; c++)
            for (size_t p = 0; p < ref_pixels(s); p++)
                *(c < s.channels ? &da[plane(s, n, c) + p] : &db[plane(sb, n, c - s.channels) + p]) +=
                    dy[plane(sy, n, c) + p];
}

void ref_shuffle_forward(ref_shape s, int groups, const double *x, double *y) {
    int size = s.channels / groups;
    for (int n = 0; n < s.samples; n++)
        for (int g = 0; g < groups; g++)
            for (int c = 0; c < size; c++)
                for (size_t p = 0; p < ref_pixels(s); p++)
                    y[plane(s, n, c * groups + g) + p] = x[plane(s, n, g * size + c) + p];
}

void ref_shuffle_backward(ref_shape s, int groups, const double *dy, double *dx) {
    int size = s.channels / groups;
    for (int n = 0; n < s.samples; n++)
        for (int g = 0; g < groups; g++)
            for (int c = 0; c < size; c++)
                for (size_t p = 0; p < ref_pixels(s); p++)
                    dx[plane(s, n, g * size + c) + p] += dy[plane(s, n, c * groups + g) + p];
}

/* ---- tokens and attention */

void ref_tokens_forward(ref_shape s, const double *x, const double *class_token, const double *position,
                        double *y) {
    size_t extra = class_token != NULL, tokens = ref_pixels(s) + extra, channels = (size_t)s.channels;
    for (size_t n = 0; n < (size_t)s.samples; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t t = 0; t < tokens; t++) {
                double value = t < extra ? class_token[c] : x[(n * channels + c) * ref_pixels(s) + t - extra];
                y[(n * channels + c) * tokens + t] =
                    value + (position != NULL ? position[t * channels + c] : 0);
            }
}

void ref_tokens_backward(ref_shape s, const double *dy, double *dx, double *dclass_token, double *dposition) {
    size_t extra = dclass_token != NULL, tokens = ref_pixels(s) + extra, channels = (size_t)s.channels;
    for (size_t n = 0; n < (size_t)s.samples; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t t = 0; t < tokens; t++) {
                double value = dy[(n * channels + c) * tokens + t];
                *(t < extra ? &dclass_token[c] : &dx[(n * channels + c) * ref_pixels(s) + t - extra]) +=
                    value;
                if (dposition != NULL) dposition[t * channels + c] += value;
            }
}

void ref_first_token_forward(ref_shape s, const double *x, double *y) {
    for (size_t i = 0; i < (size_t)s.samples * (size_t)s.channels; i++) y[i] = x[i * ref_pixels(s)];
}

void ref_first_token_backward(ref_shape s, const double *dy, double *dx) {
    for (size_t i = 0; i < (size_t)s.samples * (size_t)s.channels; i++) dx[i * ref_pixels(s)] += dy[i];
}

void ref_transpose_forward(ref_shape s, const double *x, double *y) {
    size_t channels = (size_t)s.channels, pixels = ref_pixels(s);
    for (size_t n = 0; n < (size_t)s.samples; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < pixels; p++)
                y[(n * pixels + p) * channels + c] = x[(n * channels + c) * pixels + p];
}

void ref_transpose_backward(ref_shape s, const double *dy, double *dx) {
    size_t channels = (size_t)s.channels, pixels = ref_pixels(s);
    for (size_t n = 0; n < (size_t)s.samples; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < pixels; p++)
                dx[(n * channels + c) * pixels + p] += dy[(n * pixels + p) * channels + c];
}

void ref_attention_forward(ref_shape s, int heads, const double *qkv, double *probabilities, double *y) {
    size_t tokens = (size_t)s.height, width = (size_t)s.channels, each = width / (size_t)heads;
    double scale = 1 / sqrt((double)each);
    for (size_t n = 0; n < (size_t)s.samples; n++)
        for (size_t h = 0; h < (size_t)heads; h++) {
            const double *q = qkv + (n * 3 * width + h * each) * tokens;
            const double *k = q + width * tokens, *v = k + width * tokens;
            for (size_t t = 0; t < tokens; t++) {
                double *p = probabilities + ((n * (size_t)heads + h) * tokens + t) * tokens;
                double largest = -INFINITY, sum = 0;
                for (size_t u = 0; u < tokens; u++) {
                    p[u] = 0;
                    for (size_t d = 0; d < each; d++) p[u] += scale * q[d * tokens + t] * k[d * tokens + u];
                    if (p[u] > largest) largest = p[u];
                }
                for (size_t u = 0; u < tokens; u++) sum += p[u] = exp(p[u] - largest);
                for (size_t u = 0; u < tokens; u++) p[u] /= sum;
                for (size_t d = 0; d < each; d++) {
                    double mixed = 0;
                    for (size_t u = 0; u < tokens; u++) mixed += p[u] * v[d * tokens + u];
                    y[(n * width + h * each + d) * tokens + t] = mixed;
                }
            }
        }
}

void ref_attention_backward(ref_shape s, int heads, const double *qkv, const double *probabilities,
                            const double *dy, double *dqkv) {
    size_t tokens = (size_t)s.height, width = (size_t)s.channels, each = width / (size_t)heads;
    double scale = 1 / sqrt((double)each), *dp = scratch(tokens);
    for (size_t n = 0; n < (size_t)s.samples; n++)
        for (size_t h = 0; h < (size_t)heads; h++) {
            size_t at = (n * 3 * width + h * each) * tokens, third = width * tokens;
            const double *q = qkv + at, *k = q + third, *v = k + third;
            double *dq = dqkv + at, *dk = dq + third, *dv = dk + third;
            const double *g = dy + (n * width + h * each) * tokens;
            for (size_t t = 0; t < tokens; t++) {
                const double *p = probabilities + ((n * (size_t)heads + h) * tokens + t) * tokens;
                double mean = 0;
                for (size_t u = 0; u < tokens; u++) {
                    dp[u] = 0;
                    for (size_t d = 0; d < each; d++) {
                        dp[u] += g[d * tokens + t] * v[d * tokens + u];
                        dv[d * tokens + u] += p[u] * g[d * tokens + t];
                    }
                    mean += p[u] * dp[u];
                }
                for (size_t u = 0; u < tokens; u++)
                    for (size_t d = 0; d < each; d++) {
                        double ds = p[u] * (dp[u] - mean) * scale;
                        dq[d * tokens + t] += ds * k[d * tokens + u];
                        dk[d * tokens + u] += ds * q[d * tokens + t];
                    }
            }
        }
    free(dp);
}

/* ---- the ends */

void ref_dropout_forward(size_t count, double probability, const uint8_t *keep, const double *x, double *y) {
    for (size_t i = 0; i < count; i++) y[i] = keep[i] ? x[i] / (1 - probability) : 0;
}

void ref_dropout_backward(size_t count, double probability, const uint8_t *keep, const double *dy,
                          double *dx) {
    for (size_t i = 0; i < count; i++) dx[i] += keep[i] ? dy[i] / (1 - probability) : 0;
}

double ref_loss(int samples, int classes, const double *logits, const int32_t *label, double *dlogits,
                int64_t *correct) {
    double total = 0;
    *correct = 0;
    for (int n = 0; n < samples; n++) {
        const double *z = logits + (size_t)n * (size_t)classes;
        double sum = 0;
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (z[c] > z[best]) best = c;
        for (int c = 0; c < classes; c++) sum += exp(z[c] - z[best]);
        total += log(sum) + z[best] - z[label[n]];
        *correct += best == label[n];
        if (dlogits != NULL)
            for (int c = 0; c < classes; c++)
                dlogits[(size_t)n * (size_t)classes + (size_t)c] +=
                    (exp(z[c] - z[best]) / sum - (c == label[n])) / samples;
    }
    return total;
}

void ref_bias_gradient(ref_shape s, const double *dy, double *db) {
    for (int n = 0; n < s.samples; n++)
        for (int c = 0; c < s.channels; c++)
            for (size_t p = 0; p < ref_pixels(s); p++) db[c] += dy[plane(s, n, c) + p];
}
