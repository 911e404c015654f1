/* The double twins' backward functions against central differences of their forward functions: the two are
 * proven together in double before any float kernel is measured against them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "tests/reference/reference_layers.h"

/* A layer under test: inputs [2] and parameters [2], whose gradients are checked, and what else it needs. */
enum { VARIABLES = 4, MOST = 4096 };
typedef struct layer {
    void (*forward)(struct layer *l, double *y);
    void (*backward)(struct layer *l, const double *dy, double *d[VARIABLES]);
    ref_shape s;
    size_t count[VARIABLES], outputs;
    double *v[VARIABLES];
    int kind, kernel, stride, padding;
} layer;

static double *random_values(size_t count, uint32_t stream) {
    double *made;
    assert_int_equal(SG_NEW(&made, count), SG_OK);
    for (size_t i = 0; i < count; i++)
        made[i] = 3 * sg_uniform(sg_rng(9, SG_RNG_TEST, (uint32_t)i, stream, 0).word[0]) - 1.3;
    return made;
}

static double weighted_output(layer *l, const double *dy, double *y) {
    double sum = 0;
    l->forward(l, y);
    for (size_t i = 0; i < l->outputs; i++) sum += dy[i] * y[i];
    return sum;
}

/* Step 1e-5: truncation 1e-10 times third derivatives, rounding 1e-11: 1e-7 of gradients below about 10.
 * Backward adds: it starts from 0.5. */
static void check_layer(const char *what, layer l) {
    double *dy = random_values(l.outputs, 99), *y = random_values(l.outputs, 98), *d[VARIABLES] = {0};
    for (int i = 0; i < VARIABLES; i++) {
        if (l.count[i] == 0) continue;
        if (l.v[i] == NULL) l.v[i] = random_values(l.count[i], (uint32_t)i);
        d[i] = random_values(l.count[i], 97);
        for (size_t k = 0; k < l.count[i]; k++) d[i][k] = 0.5;
    }
    l.backward(&l, dy, d);
    for (int i = 0; i < VARIABLES; i++)
        for (size_t k = 0; k < l.count[i]; k++) {
            const double step = 1e-5, kept = l.v[i][k];
            l.v[i][k] = kept + step;
            double above = weighted_output(&l, dy, y);
            l.v[i][k] = kept - step;
            double difference = (above - weighted_output(&l, dy, y)) / (2 * step);
            l.v[i][k] = kept;
            if (!(fabs(d[i][k] - 0.5 - difference) <= 1e-7 * fmax(1, fabs(difference))))
                fail_msg("%s: gradient %zu of variable %d is %.12g, central difference %.12g", what, k, i,
                         d[i][k] - 0.5, difference);
        }
    for (int i = 0; i < VARIABLES; i++) free(l.v[i]), free(d[i]);
    free(dy), free(y);
}

static void norm_batch_forward(layer *l, double *y) {
    double mean[8], variance[8];
    ref_norm_batch_forward(l->s, l->v[0], l->v[2], l->v[3], l->v[1], (enum sg_activation)l->kind, 1e-5, mean,
                           variance, y);
}
static void norm_batch_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_norm_batch_backward(l->s, l->v[0], l->v[2], l->v[3], l->v[1], (enum sg_activation)l->kind, 1e-5, dy,
                            d[0], d[1], d[2], d[3]);
}
static void norm_batch(void **state) {
    (void)state;
    for (int kind = SG_IDENTITY; kind <= SG_SIGMOID; kind++)
        for (int residual = 0; residual < 2; residual++) {
            layer l = {.forward = norm_batch_forward,
                       .backward = norm_batch_backward,
                       .s = {3, 4, 2, 3},
                       .kind = kind};
            l.outputs = l.count[0] = ref_count(l.s);
            l.count[1] = residual ? l.count[0] : 0;
            l.count[2] = l.count[3] = 4;
            check_layer("batch norm", l);
        }
}

static void norm_layer_forward(layer *l, double *y) {
    ref_norm_layer_forward(l->s, l->v[0], l->v[2], l->v[3], 1e-5, y);
}
static void norm_layer_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_norm_layer_backward(l->s, l->v[0], l->v[2], 1e-5, dy, d[0], d[2], d[3]);
}
static void norm_layer(void **state) {
    (void)state;
    layer l = {.forward = norm_layer_forward,
               .backward = norm_layer_backward,
               .s = {2, 5, 2, 3},
               .count = {60, 0, 5, 5}};
    l.outputs = 60;
    check_layer("layer norm", l);
}

static void activation_forward(layer *l, double *y) {
    ref_activation_forward(l->outputs, (enum sg_activation)l->kind, l->v[0], y);
}
static void activation_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_activation_backward(l->outputs, (enum sg_activation)l->kind, l->v[0], dy, d[0]);
}
static void activation(void **state) {
    (void)state;
    for (int kind = SG_IDENTITY; kind <= SG_SIGMOID; kind++) {
        layer l = {
            .forward = activation_forward, .backward = activation_backward, .count = {100}, .kind = kind};
        l.outputs = 100;
        l.v[0] = random_values(100, 5);
        for (int i = 0; i < 100; i++) l.v[0][i] *= 5;
        check_layer("activation", l);
    }
}

static void max_pool_forward(layer *l, double *y) {
    ref_max_pool_forward(l->s, l->kernel, l->stride, l->padding, l->v[0], y);
}
static void max_pool_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_max_pool_backward(l->s, l->kernel, l->stride, l->padding, l->v[0], dy, d[0]);
}
static void average_pool_forward(layer *l, double *y) {
    ref_average_pool_forward(l->s, l->kernel, l->stride, l->padding, l->v[0], y);
}
static void average_pool_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_average_pool_backward(l->s, l->kernel, l->stride, l->padding, dy, d[0]);
}
static void global_pool_forward(layer *l, double *y) { ref_global_pool_forward(l->s, l->v[0], y); }
static void global_pool_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_global_pool_backward(l->s, dy, d[0]);
}
static void pools(void **state) {
    (void)state;
    layer l = {.s = {2, 3, 7, 6}, .count = {252}, .kernel = 3, .stride = 2, .padding = 1};
    l.outputs = ref_count(ref_pool_shape(l.s, 3, 2, 1));
    assert_int_equal(l.outputs, 2 * 3 * 4 * 3);
    l.forward = max_pool_forward, l.backward = max_pool_backward;
    check_layer("max pool", l);
    l.forward = average_pool_forward, l.backward = average_pool_backward;
    check_layer("average pool", l);
    l.forward = global_pool_forward, l.backward = global_pool_backward, l.outputs = 6;
    check_layer("global pool", l);
}

static void scale_forward(layer *l, double *y) { ref_scale_forward(l->s, l->v[0], l->v[1], y); }
static void scale_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_scale_backward(l->s, l->v[0], l->v[1], dy, d[0], d[1]);
}
static void concat_forward(layer *l, double *y) { ref_concat_forward(l->s, 2, l->v[0], l->v[1], y); }
static void concat_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_concat_backward(l->s, 2, dy, d[0], d[1]);
}
static void shuffle_forward(layer *l, double *y) { ref_shuffle_forward(l->s, 3, l->v[0], y); }
static void shuffle_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_shuffle_backward(l->s, 3, dy, d[0]);
}
static void transpose_forward(layer *l, double *y) { ref_transpose_forward(l->s, l->v[0], y); }
static void transpose_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_transpose_backward(l->s, dy, d[0]);
}
static void channels(void **state) {
    (void)state;
    layer l = {.s = {2, 6, 2, 3}, .count = {72, 12}, .outputs = 72};
    l.forward = scale_forward, l.backward = scale_backward;
    check_layer("scale", l);
    l.forward = concat_forward, l.backward = concat_backward, l.count[1] = 24, l.outputs = 96;
    check_layer("concat", l);
    l.count[1] = 0, l.outputs = 72;
    l.forward = shuffle_forward, l.backward = shuffle_backward;
    check_layer("shuffle", l);
    l.forward = transpose_forward, l.backward = transpose_backward;
    check_layer("transpose", l);
}

static void tokens_forward(layer *l, double *y) { ref_tokens_forward(l->s, l->v[0], l->v[2], l->v[3], y); }
static void tokens_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_tokens_backward(l->s, dy, d[0], d[2], d[3]);
}
static void first_token_forward(layer *l, double *y) { ref_first_token_forward(l->s, l->v[0], y); }
static void first_token_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_first_token_backward(l->s, dy, d[0]);
}
static void tokens(void **state) {
    (void)state;
    layer l = {
        .forward = tokens_forward, .backward = tokens_backward, .s = {2, 4, 2, 3}, .count = {48, 0, 4, 28}};
    l.outputs = 56;
    check_layer("tokens", l);
    l.count[2] = 0, l.count[3] = 24, l.outputs = 48;
    check_layer("tokens without class token", l);
    l.forward = first_token_forward, l.backward = first_token_backward, l.count[3] = 0, l.outputs = 8;
    check_layer("first token", l);
}

static void attention_forward(layer *l, double *y) {
    double p[MOST];
    ref_attention_forward(l->s, 2, l->v[0], p, y);
}
static void attention_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    double p[MOST], y[MOST];
    ref_attention_forward(l->s, 2, l->v[0], p, y);
    ref_attention_backward(l->s, 2, l->v[0], p, dy, d[0]);
}
static void attention(void **state) {
    (void)state;
    layer l = {
        .forward = attention_forward, .backward = attention_backward, .s = {2, 6, 5, 1}, .count = {180}};
    l.outputs = 60;
    check_layer("attention", l);
}

static const int32_t labels[] = {2, 0, 4};
static void loss_forward(layer *l, double *y) {
    int64_t correct;
    y[0] = ref_loss(3, 5, l->v[0], labels, NULL, &correct) / 3;
}
static void loss_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    double gradient[15] = {0};
    int64_t correct;
    ref_loss(3, 5, l->v[0], labels, gradient, &correct);
    for (int i = 0; i < 15; i++) d[0][i] += dy[0] * gradient[i];
}
static void loss(void **state) {
    (void)state;
    layer l = {.forward = loss_forward, .backward = loss_backward, .count = {15}, .outputs = 1};
    check_layer("loss", l);
}

static const uint8_t keep[] = {1, 0, 1, 1, 0, 1, 1};
static void dropout_forward(layer *l, double *y) { ref_dropout_forward(7, 0.3, keep, l->v[0], y); }
static void dropout_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    (void)l;
    ref_dropout_backward(7, 0.3, keep, dy, d[0]);
}
static void dropout(void **state) {
    (void)state;
    layer l = {.forward = dropout_forward, .backward = dropout_backward, .count = {7}, .outputs = 7};
    check_layer("dropout", l);
}

static void bias_forward(layer *l, double *y) {
    for (size_t i = 0; i < l->outputs; i++) y[i] = l->v[2][i / ref_pixels(l->s) % (size_t)l->s.channels];
}
static void bias_backward(layer *l, const double *dy, double *d[VARIABLES]) {
    ref_bias_gradient(l->s, dy, d[2]);
}
static void bias(void **state) {
    (void)state;
    layer l = {.forward = bias_forward,
               .backward = bias_backward,
               .s = {2, 3, 2, 2},
               .count = {0, 0, 3},
               .outputs = 24};
    check_layer("bias", l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_batch), cmocka_unit_test(norm_layer), cmocka_unit_test(activation),
        cmocka_unit_test(pools),      cmocka_unit_test(channels),   cmocka_unit_test(tokens),
        cmocka_unit_test(attention),  cmocka_unit_test(loss),       cmocka_unit_test(dropout),
        cmocka_unit_test(bias),
    };
    return cmocka_run_group_tests_name("reference_layers", tests, NULL, NULL);
}
