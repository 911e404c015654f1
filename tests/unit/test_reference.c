/* The reference executor's gradients against central differences of its own loss, one small network per kind
 * of layer. Everything else that is exact in double is compared with it, so it has to stand on its own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/rng.h"
#include "tests/reference/reference_net.h"

enum { SAMPLES = 3, CLASSES = 3, SIDE = 5 };

static const int32_t labels[SAMPLES] = {2, 0, 1};

static void fill_normal(double *values, size_t count, uint32_t stream, double scale) {
    for (size_t i = 0; i < count; i++) {
        sg_random random = sg_rng(7, SG_RNG_TEST, stream, (uint32_t)i, 0);
        float pair[2];
        sg_normal_pair(random.word[0], random.word[1], pair);
        values[i] = scale * (double)pair[0];
    }
}

typedef int (*body)(sg_net *net, int input);

/* 1x1 convolution without bias to 4 channels, the layers of the body, a classifier. */
static sg_net *make_net(body build) {
    sg_net *net = NULL;
    assert_int_equal(sg_net_begin(&net, "test", CLASSES, 3, SIDE, SIDE), SG_OK);
    int x = build(net, sg_net_conv(net, 0, "first", 4, 1, 1, 0, 1, false));
    sg_net_classifier(net, x, "classifier", true);
    if (net->status != SG_OK) fail_msg("%s", sg_error_message());
    return net;
}

static sg_ref_net *make_ref(const sg_net *net) {
    double images[SAMPLES * 3 * SIDE * SIDE];
    sg_ref_net *ref = NULL;
    assert_int_equal(sg_ref_net_create(&ref, net, SAMPLES), SG_OK);
    fill_normal(images, sizeof images / sizeof images[0], 0, 1);
    fill_normal(ref->values, net->values, 1, 0.6);
    sg_ref_net_set_images(ref, images);
    ref->alpha = 0.37;
    ref->dropout_seed = 3;
    return ref;
}

static double loss_at(sg_ref_net *ref, size_t i, double value) {
    double old = ref->values[i];
    int64_t correct;
    ref->values[i] = value;
    sg_ref_net_forward(ref, true);
    ref->values[i] = old;
    return sg_ref_net_loss(ref, labels, &correct);
}

/* Central differences err by h^2 times a third derivative and by rounding over h: 1e-10 and 1e-11 at h =
 * 1e-5. The bound is relative to the parameter's gradient as a whole. */
static void check_param(sg_ref_net *ref, const sg_param *param) {
    const double h = 1e-5, bound = 1e-7;
    double error = 0, norm = 0;
    for (size_t i = param->offset; i < param->offset + param->count; i++) {
        double difference =
            (loss_at(ref, i, ref->values[i] + h) - loss_at(ref, i, ref->values[i] - h)) / (2 * h);
        error += pow(difference - ref->gradient[i], 2);
        norm += pow(difference, 2);
    }
    if (norm == 0) fail_msg("%s: its gradient is zero, the network tests nothing", param->name);
    if (!(sqrt(error) <= bound * sqrt(norm)))
        fail_msg("%s: relative error %.3g against differences, expected at most %g", param->name,
                 sqrt(error / norm), bound);
}

static void check_gradients(void **state) {
    body build = *(const body *)*state;
    sg_net *net = make_net(build);
    sg_ref_net *ref = make_ref(net);
    sg_ref_net_forward(ref, true);
    assert_int_equal(sg_ref_net_backward(ref, labels), SG_OK);
    for (int p = 0; p < net->params; p++) check_param(ref, &net->param[p]);
    sg_ref_net_destroy(&ref);
    sg_net_destroy(&net);
}

/* ---- Bodies. */

static int body_nothing(sg_net *net, int x) { return (void)net, x; }
static int body_conv(sg_net *net, int x) { return sg_net_conv(net, x, "conv", 6, 3, 2, 1, 1, true); }
static int body_conv_grouped(sg_net *net, int x) { return sg_net_conv(net, x, "conv", 6, 3, 1, 0, 2, true); }
static int body_conv_depthwise(sg_net *net, int x) {
    return sg_net_conv(net, x, "conv", 4, 3, 1, 1, 4, false);
}
static int body_linear(sg_net *net, int x) { return sg_net_linear(net, x, "linear", 5, true, false); }
static int body_linear_per_pixel(sg_net *net, int x) {
    return sg_net_linear(net, x, "linear", 5, true, true);
}
static int body_norm_batch(sg_net *net, int x) { return sg_net_batch_norm(net, x, "norm", -1, SG_IDENTITY); }
static int body_norm_batch_swish(sg_net *net, int x) {
    return sg_net_batch_norm(net, x, "norm", -1, SG_SWISH);
}
static int body_norm_batch_residual(sg_net *net, int x) {
    int shortcut = sg_net_conv(net, x, "shortcut", 4, 1, 1, 0, 1, false);
    return sg_net_batch_norm(net, x, "norm", shortcut, SG_RELU);
}
static int body_norm_batch_own_residual(sg_net *net, int x) {
    return sg_net_batch_norm(net, x, "norm", x, SG_RELU6);
}
static int body_norm_layer(sg_net *net, int x) { return sg_net_layer_norm(net, x, "norm", 1e-5F); }
static int body_relu(sg_net *net, int x) { return sg_net_activation(net, x, SG_RELU); }
static int body_relu6(sg_net *net, int x) {
    int wide = sg_net_conv(net, x, "wide", 8, 3, 1, 1, 1, true);
    return sg_net_activation(net, wide, SG_RELU6);
}
static int body_swish(sg_net *net, int x) { return sg_net_activation(net, x, SG_SWISH); }
static int body_gelu(sg_net *net, int x) { return sg_net_activation(net, x, SG_GELU); }
static int body_sigmoid(sg_net *net, int x) { return sg_net_activation(net, x, SG_SIGMOID); }
static int body_add(sg_net *net, int x) {
    return sg_net_add(net, x, sg_net_conv(net, x, "b", 4, 3, 1, 1, 1, true));
}
static int body_max_pool(sg_net *net, int x) { return sg_net_max_pool(net, x, 3, 2, 1); }
static int body_average_pool(sg_net *net, int x) { return sg_net_average_pool(net, x, 3, 2, 1); }
static int body_global_pool(sg_net *net, int x) {
    return sg_net_global_pool(net, sg_net_activation(net, x, SG_GELU));
}
static int body_scale(sg_net *net, int x) {
    int gate = sg_net_conv(net, sg_net_global_pool(net, x), "gate", 4, 1, 1, 0, 1, true);
    return sg_net_scale(net, x, sg_net_activation(net, gate, SG_SIGMOID));
}
static int body_concat(sg_net *net, int x) {
    return sg_net_concat(net, x, sg_net_conv(net, x, "b", 3, 3, 1, 1, 1, true));
}
static int body_shuffle(sg_net *net, int x) {
    int wide = sg_net_conv(net, x, "wide", 6, 1, 1, 0, 1, false);
    return sg_net_conv(net, sg_net_shuffle(net, wide, 3), "conv", 6, 1, 1, 0, 3, true);
}
static int body_tokens(sg_net *net, int x) {
    return sg_net_layer_norm(net, sg_net_tokens(net, x, "class", "position"), "norm", 1e-5F);
}
static int body_tokens_plain(sg_net *net, int x) {
    return sg_net_layer_norm(net, sg_net_tokens(net, x, NULL, NULL), "norm", 1e-5F);
}
static int body_transpose(sg_net *net, int x) {
    int mixed = sg_net_linear(net, sg_net_transpose(net, x, 2, 2), "mix", 7, true, true);
    return sg_net_transpose(net, mixed, 7, 1);
}
static int body_attention(sg_net *net, int x) {
    int tokens = sg_net_tokens(net, x, "class", "position");
    int qkv = sg_net_linear(net, tokens, "qkv", 12, true, true);
    return sg_net_first_token(net, sg_net_attention(net, qkv, 2));
}
static int body_dropout(sg_net *net, int x) {
    int wide = sg_net_conv(net, x, "wide", 12, 3, 1, 1, 1, true);
    return sg_net_dropout(net, sg_net_global_pool(net, sg_net_activation(net, wide, SG_SWISH)), 0.4F);
}

static const struct {
    const char *name;
    body build;
} bodies[] = {
    {"classifier", body_nothing},
    {"conv", body_conv},
    {"conv, grouped", body_conv_grouped},
    {"conv, depthwise", body_conv_depthwise},
    {"linear", body_linear},
    {"linear per pixel", body_linear_per_pixel},
    {"batch norm", body_norm_batch},
    {"batch norm, swish", body_norm_batch_swish},
    {"batch norm, residual, relu", body_norm_batch_residual},
    {"batch norm, its input as residual, relu6", body_norm_batch_own_residual},
    {"layer norm", body_norm_layer},
    {"relu", body_relu},
    {"relu6", body_relu6},
    {"swish", body_swish},
    {"gelu", body_gelu},
    {"sigmoid", body_sigmoid},
    {"add", body_add},
    {"max pool", body_max_pool},
    {"average pool", body_average_pool},
    {"global pool", body_global_pool},
    {"scale", body_scale},
    {"concat", body_concat},
    {"shuffle", body_shuffle},
    {"tokens", body_tokens},
    {"tokens without class and position", body_tokens_plain},
    {"transpose", body_transpose},
    {"attention, first token", body_attention},
    {"dropout", body_dropout},
};

/* ---- What differences do not show. */

static void alpha_zero_ignores_the_norm(void **state) {
    (void)state;
    sg_net *net = make_net(body_norm_batch);
    sg_ref_net *ref = make_ref(net);
    const sg_param *gamma = &net->param[sg_net_find_param(net, "norm.weight")];
    ref->alpha = 0;
    double before = sg_ref_net_forward(ref, true)[0];
    ref->values[gamma->offset] += 5;
    double after = sg_ref_net_forward(ref, true)[0];
    assert_true(before == after);
    assert_int_equal(sg_ref_net_backward(ref, labels), SG_OK);
    for (size_t i = 0; i < gamma->count; i++) assert_true(ref->gradient[gamma->offset + i] == 0);
    sg_ref_net_destroy(&ref);
    sg_net_destroy(&net);
}

static void pruned_weights_have_no_gradient(void **state) {
    (void)state;
    sg_net *net = make_net(body_conv);
    sg_ref_net *ref = make_ref(net);
    size_t pruned = net->param[sg_net_find_param(net, "conv.weight")].offset + 3;
    ref->mask[pruned] = 0;
    ref->values[pruned] = 0;
    sg_ref_net_forward(ref, true);
    assert_int_equal(sg_ref_net_backward(ref, labels), SG_OK);
    assert_true(ref->gradient[pruned] == 0);
    assert_true(ref->gradient[pruned + 1] != 0);
    sg_ref_net_destroy(&ref);
    sg_net_destroy(&net);
}

static void running_statistics_move_by_a_tenth(void **state) {
    (void)state;
    sg_net *net = make_net(body_norm_batch);
    sg_ref_net *ref = make_ref(net);
    const double count = SAMPLES * SIDE * SIDE;
    sg_ref_net_forward(ref, true);
    const double *x = ref->layer[1].output;
    double sum = 0, squares = 0;
    for (int n = 0; n < SAMPLES; n++) /* channel 0 of 4 */
        for (int p = 0; p < SIDE * SIDE; p++) sum += x[n * 4 * SIDE * SIDE + p];
    for (int n = 0; n < SAMPLES; n++)
        for (int p = 0; p < SIDE * SIDE; p++) squares += pow(x[n * 4 * SIDE * SIDE + p] - sum / count, 2);
    double mean = 0.1 * sum / count, variance = 0.9 + 0.1 * squares / (count - 1);
    if (fabs(ref->mean[0] - mean) > 1e-14) fail_msg("mean %.17g, expected %.17g", ref->mean[0], mean);
    if (fabs(ref->variance[0] - variance) > 1e-14)
        fail_msg("variance %.17g, expected %.17g", ref->variance[0], variance);
    sg_ref_net_destroy(&ref);
    sg_net_destroy(&net);
}

static void evaluation_uses_and_keeps_running_statistics(void **state) {
    (void)state;
    sg_net *net = make_net(body_norm_batch);
    sg_ref_net *ref = make_ref(net);
    ref->alpha = 1;
    ref->mean[1] = 0.3;
    ref->variance[1] = 4;
    sg_ref_net_forward(ref, false);
    size_t at = SIDE * SIDE; /* sample 0, channel 1, pixel 0 */
    double gamma = ref->values[net->param[sg_net_find_param(net, "norm.weight")].offset + 1];
    double beta = ref->values[net->param[sg_net_find_param(net, "norm.bias")].offset + 1];
    double expected = gamma * (ref->layer[1].output[at] - 0.3) / sqrt(4 + 1e-5) + beta;
    if (fabs(ref->layer[2].output[at] - expected) > 1e-14)
        fail_msg("%.17g, expected %.17g", ref->layer[2].output[at], expected);
    assert_true(ref->mean[1] == 0.3 && ref->variance[1] == 4);
    sg_ref_net_destroy(&ref);
    sg_net_destroy(&net);
}

static void evaluation_drops_nothing(void **state) {
    (void)state;
    sg_net *net = make_net(body_dropout);
    sg_ref_net *ref = make_ref(net);
    int dropout = net->layers - 2;
    sg_ref_net_forward(ref, false);
    assert_memory_equal(ref->layer[dropout].output, ref->layer[dropout - 1].output,
                        SAMPLES * 12 * sizeof(double));
    sg_ref_net_forward(ref, true);
    int dropped = 0;
    for (int i = 0; i < SAMPLES * 12; i++) dropped += ref->layer[dropout].output[i] == 0;
    assert_in_range(dropped, 5, 24); /* 36 draws at 0.4: 14.4 expected, more than 3 deviations either way */
    sg_ref_net_destroy(&ref);
    sg_net_destroy(&net);
}

int main(void) {
    enum { BODIES = sizeof bodies / sizeof bodies[0] };
    struct CMUnitTest gradients[BODIES];
    body builds[BODIES];
    for (int b = 0; b < BODIES; b++) {
        builds[b] = bodies[b].build;
        gradients[b] = (struct CMUnitTest){bodies[b].name, check_gradients, NULL, NULL, &builds[b]};
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpha_zero_ignores_the_norm),
        cmocka_unit_test(pruned_weights_have_no_gradient),
        cmocka_unit_test(running_statistics_move_by_a_tenth),
        cmocka_unit_test(evaluation_uses_and_keeps_running_statistics),
        cmocka_unit_test(evaluation_drops_nothing),
    };
    int failed = cmocka_run_group_tests_name("gradients", gradients, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
