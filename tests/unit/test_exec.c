/* The float executor against the double reference of the same network table: logits, loss, running
 * statistics, every parameter's gradient; with masks, an interpolation of the norms, and minibatches that do
 * not fill their blocks. A ReLU whose input is a rounding error away from zero moves the whole gradient, so
 * gradients are held to 2e-2 of the whole gradient's norm on networks with ReLU (typical: 1e-4), and to 1e-4
 * on the one without kinks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/exec_internal.h"
#include "kernels/memory.h"
#include "kernels/rng.h"
#include "tests/reference/reference_net.h"

enum { CLASSES = 5, SEED = 11 };

typedef struct fixture {
    sg_machine *machine;
    sg_net *net;
    sg_weights *weights;
    sg_survivors *survivors;
    sg_exec *exec;
    sg_ref_net *ref;
    sg_batch batch;
    float *gradient;
    double *expected; /* the reference's gradient, compact */
    sg_result result;
} fixture;

static void must(int status) {
    if (status != SG_OK) fail_msg("%s\n%s", sg_error_message(), sg_error_trace());
}

static double uniform(uint32_t a, uint32_t b) {
    return 2.0 * (double)sg_uniform(sg_rng(SEED, SG_RNG_TEST, a, b, 0).word[0]) - 1.0;
}

static void make_weights(fixture *f, double density) {
    must(sg_weights_create(&f->weights, f->net));
    sg_weights_init(f->weights, SEED);
    for (int p = 0; p < f->net->params; p++) {
        const sg_param *param = &f->net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            /* Norms that are not at their initial values, so that the interpolation has something to do. */
            if (param->role == SG_ROLE_GAMMA)
                f->weights->values[i] = 1.0f + 0.3f * (float)uniform(1, (uint32_t)i);
            if (param->role == SG_ROLE_BETA) f->weights->values[i] = 0.2f * (float)uniform(2, (uint32_t)i);
            if (param->role == SG_ROLE_WEIGHT)
                f->weights->mask[i] = uniform(3, (uint32_t)i) < 2.0 * density - 1.0;
        }
    }
    sg_weights_apply_mask(f->weights);
    must(sg_survivors_create(&f->survivors, f->weights));
}

static void make_batch(fixture *f, int samples) {
    int lanes = f->machine->lanes, blocks = sg_divide_up(samples, lanes);
    const sg_layer *input = &f->net->layer[0];
    size_t image = (size_t)(input->channels * input->height * input->width), values = image * (size_t)samples;
    float *pixels;
    double *exact;
    f->batch = (sg_batch){.samples = samples, .blocks = blocks};
    must(sg_tensor_init(&f->batch.input, lanes, blocks, input->channels, input->height, input->width,
                        sg_exec_input_halo(f->net)));
    must(SG_NEW(&f->batch.label, (size_t)(blocks * lanes)));
    must(SG_NEW(&f->batch.sample, (size_t)(blocks * lanes)));
    must(SG_NEW(&pixels, values));
    must(SG_NEW(&exact, values));
    for (size_t i = 0; i < values; i++) exact[i] = pixels[i] = (float)uniform(4, (uint32_t)i);
    sg_tensor_from_nchw(&f->batch.input, pixels, samples);
    for (int i = 0; i < blocks * lanes; i++) {
        f->batch.label[i] = i < samples ? i * 7 % CLASSES : -1;
        f->batch.sample[i] = (uint32_t)i;
    }
    must(sg_ref_net_create(&f->ref, f->net, samples));
    sg_ref_net_set_images(f->ref, exact);
    free(pixels);
    free(exact);
}

/* Takes the network. */
static void setup_net(fixture *f, sg_net *net, int samples, double density) {
    *f = (fixture){.net = net};
    must(sg_machine_create(&f->machine, "auto", "auto", 2));
    make_weights(f, density);
    make_batch(f, samples);
    must(sg_exec_create(&f->exec, f->machine, f->net, &sg_reduce_alone, samples, true));
    must(sg_exec_set_survivors(f->exec, f->survivors));
    must(SG_NEW(&f->gradient, f->survivors->total));
    must(SG_NEW(&f->expected, f->survivors->total));
    for (size_t i = 0; i < f->net->values; i++) f->ref->values[i] = f->weights->values[i];
    memcpy(f->ref->mask, f->weights->mask, f->net->values);
}

static void setup(fixture *f, const char *arch, int width, int size, int samples, double density) {
    sg_net_options options = {.arch = arch,
                              .classes = CLASSES,
                              .width = width,
                              .channels = 3,
                              .image_height = size,
                              .image_width = size,
                              .dropout = -1.0};
    sg_net *net;
    must(sg_net_create(&net, &options));
    setup_net(f, net, samples, density);
}

static void teardown(fixture *f) {
    sg_exec_destroy(&f->exec);
    sg_ref_net_destroy(&f->ref);
    sg_survivors_destroy(&f->survivors);
    sg_weights_destroy(&f->weights);
    sg_tensor_release(&f->batch.input);
    free(f->batch.label);
    free(f->batch.sample);
    free(f->gradient);
    free(f->expected);
    sg_net_destroy(&f->net);
    sg_machine_destroy(&f->machine);
}

/* The whole gradient's relative error. */
static double gradient_error(fixture *f) {
    double difference = 0.0, norm = 0.0;
    for (int p = 0; p < f->net->params; p++) {
        const sg_support *support = &f->survivors->support[p];
        for (size_t i = 0; i < support->count; i++) {
            size_t at = f->net->param[p].offset + (support->index == NULL ? i : support->index[i]);
            double expected = f->ref->gradient[at], got = f->gradient[f->survivors->offset[p] + i];
            difference += (got - expected) * (got - expected);
            norm += expected * expected;
        }
    }
    return sqrt(difference / norm);
}

static double statistics_error(const fixture *f) {
    double worst = 0.0;
    for (size_t i = 0; i < f->net->channels_tracked; i++) {
        worst = fmax(worst, fabs(f->weights->mean[i] - f->ref->mean[i]));
        worst =
            fmax(worst, fabs(f->weights->variance[i] - f->ref->variance[i]) / (1.0 + f->ref->variance[i]));
    }
    return worst;
}

/* One training pass of a fixture, which is torn down. */
static void compare_training(fixture *f, double alpha, double tolerance) {
    const char *arch = f->net->arch;
    f->ref->alpha = alpha;
    f->ref->dropout_seed = 3;
    f->ref->step = 9;
    must(sg_exec_train(f->exec, f->weights, &f->batch, alpha, 3, 9, f->gradient, &f->result));
    int64_t correct;
    sg_ref_net_forward(f->ref, true);
    double loss = sg_ref_net_loss(f->ref, f->batch.label, &correct);
    must(sg_ref_net_backward(f->ref, f->batch.label));
    double got = f->result.loss_sum / f->batch.samples;
    double error = gradient_error(f), statistics = statistics_error(f);
    if (fabs(got - loss) > 1e-4 * (1.0 + loss)) fail_msg("%s: loss %.9g, expected %.9g", arch, got, loss);
    if (!(error < tolerance))
        fail_msg("%s: gradient is off by %.3g of its norm, allowed %.3g", arch, error, tolerance);
    if (!(statistics < 1e-4)) fail_msg("%s: running statistics are off by %.3g", arch, statistics);
    print_message("%-16s density %.2f alpha %.2f: gradient error %.1e\n", arch,
                  sg_weights_density(f->weights), alpha, error);
    teardown(f);
}

static void check_training(const char *arch, int width, int size, int samples, double density, double alpha,
                           double tolerance) {
    fixture f;
    setup(&f, arch, width, size, samples, density);
    compare_training(&f, alpha, tolerance);
}

/* The logits of a fixture whose running variances are about so large; it is torn down. */
static void compare_evaluation(fixture *f, float variance) {
    const char *arch = f->net->arch;
    int samples = f->batch.samples;
    for (size_t i = 0; i < f->net->channels_tracked; i++) {
        f->ref->mean[i] = f->weights->mean[i] = 0.1f * (float)uniform(5, (uint32_t)i);
        f->ref->variance[i] = f->weights->variance[i] =
            variance * (1.0f + 0.5f * (float)uniform(6, (uint32_t)i));
    }
    float *logits;
    must(SG_NEW(&logits, (size_t)(samples * CLASSES)));
    must(sg_exec_load(f->exec, f->weights));
    must(sg_exec_evaluate(f->exec, f->weights, &f->batch, &f->result, logits));
    const double *expected = sg_ref_net_forward(f->ref, false);
    double scale = 1e-6, worst = 0.0;
    for (int i = 0; i < samples * CLASSES; i++) {
        scale = fmax(scale, fabs(expected[i]));
        worst = fmax(worst, fabs(logits[i] - expected[i]));
    }
    if (!(worst < 2e-5 * scale)) fail_msg("%s: logits are off by %.3g of %.3g", arch, worst, scale);
    free(logits);
    teardown(f);
}

static void check_evaluation(const char *arch, int width, int size, int samples) {
    fixture f;
    setup(&f, arch, width, size, samples, 1.0);
    compare_evaluation(&f, 1.0f);
}

static void trains_like_the_reference(void **state) {
    (void)state;
    check_training("mlp", 16, 8, 20, 1.0, 1.0, 2e-2);
    check_training("lenet", 0, 32, 5, 1.0, 1.0, 2e-2);
    check_training("resnet20", 4, 16, 20, 1.0, 1.0, 2e-2);
    check_training("vgg11_bn", 8, 32, 18, 1.0, 1.0, 2e-2);
    check_training("resnet18", 8, 16, 17, 1.0, 1.0, 2e-2);
}

static void trains_like_the_reference_with_mask_and_alpha(void **state) {
    (void)state;
    check_training("resnet20", 4, 16, 33, 0.2, 0.37, 2e-2);
    check_training("resnet20", 4, 16, 16, 0.7, 0.0, 2e-2);
    check_training("lenet", 0, 32, 5, 0.1, 1.0, 2e-2);
    check_training("vgg11_bn", 8, 32, 18, 0.05, 0.37, 2e-2);
}

static void trains_all_layer_kinds(void **state) {
    (void)state;
    check_training("mobilenetv2", 0, 16, 3, 0.5, 0.37, 5e-2);
    if (getenv("SIGNET_TEST_BRIEF") != NULL) return; /* as under valgrind, where each takes minutes */
    check_training("vit", 0, 16, 3, 0.5, 0.37, 1e-4);
    check_training("efficientnet_b0", 0, 16, 12, 0.5, 0.37, 1e-3);
    check_training("shufflenet", 0, 16, 3, 0.5, 1.0, 5e-2);
    check_training("mlp_mixer", 0, 16, 2, 0.5, 0.37, 1e-4);
}

/* Two blocks of a residual network whose norms come first (He et al., 2016): what a norm reads is also the
 * shortcut's, whose gradient is there when the norm's is made. At the end a norm reads one tensor twice. */
static sg_net *pre_activation_net(void) {
    sg_net *net;
    must(sg_net_begin(&net, "pre-activation", CLASSES, 3, 8, 8));
    int x = sg_net_conv(net, 0, "first", 8, 3, 1, 1, 1, false);
    for (int block = 0; block < 2; block++) {
        int inside = sg_net_batch_norm(net, x, block == 0 ? "0.norm1" : "1.norm1", -1, SG_SWISH);
        inside = sg_net_conv(net, inside, block == 0 ? "0.conv1" : "1.conv1", 8, 3, 1, 1, 1, false);
        inside = sg_net_batch_norm(net, inside, block == 0 ? "0.norm2" : "1.norm2", -1, SG_SWISH);
        inside = sg_net_conv(net, inside, block == 0 ? "0.conv2" : "1.conv2", 8, 3, 1, 1, 1, false);
        x = sg_net_add(net, inside, x);
    }
    x = sg_net_batch_norm(net, x, "norm", x, SG_SWISH);
    sg_net_classifier(net, sg_net_global_pool(net, x), "classifier", true);
    must(net->status);
    return net;
}

/* A norm's epsilon is the table's, in training and in evaluation. */
static void norms_have_the_epsilon_of_the_table(void **state) {
    (void)state;
    static const double epsilon[] = {1e-3, 0.5};
    for (size_t i = 0; i < sizeof epsilon / sizeof *epsilon; i++)
        for (int training = 0; training < 2; training++) {
            fixture f;
            sg_net *net = pre_activation_net();
            for (int l = 1; l < net->layers; l++)
                if (net->layer[l].kind == SG_LAYER_BATCH_NORM) net->layer[l].epsilon = epsilon[i];
            setup_net(&f, net, 20, 1.0);
            if (training)
                compare_training(&f, 1.0, 1e-4);
            else
                compare_evaluation(&f, 0.1f);
        }
}

/* The image has no gradient, and who reads it beside a convolution goes without. */
static void sums_and_residuals_read_the_image(void **state) {
    (void)state;
    sg_net *net;
    fixture f;
    must(sg_net_begin(&net, "image", CLASSES, 3, 8, 8));
    int x = sg_net_add(net, 0, sg_net_conv(net, 0, "first", 3, 3, 1, 1, 1, false));
    x = sg_net_conv(net, sg_net_add(net, x, 0), "second", 3, 3, 1, 1, 1, false);
    x = sg_net_batch_norm(net, x, "norm", 0, SG_SWISH);
    sg_net_classifier(net, sg_net_global_pool(net, x), "classifier", true);
    must(net->status);
    setup_net(&f, net, 20, 1.0);
    compare_training(&f, 1.0, 1e-4);
}

static void norms_add_to_the_gradient_of_a_shared_input(void **state) {
    (void)state;
    fixture f;
    setup_net(&f, pre_activation_net(), 20, 1.0);
    compare_training(&f, 0.37, 1e-4);
    setup_net(&f, pre_activation_net(), 9, 0.5);
    compare_training(&f, 1.0, 1e-4);
}

static void evaluates_like_the_reference(void **state) {
    (void)state;
    check_evaluation("resnet20", 4, 16, 21);
    check_evaluation("lenet", 0, 32, 3);
    check_evaluation("vit", 0, 16, 3);
}

/* Training and evaluation lie differently in the same memory, and in large networks gradients lie where
 * activations were: none may see what another, or an earlier step, has left there. */
static void what_memory_held_before_does_not_matter(void **state) {
    (void)state;
    static const char *const arch[] = {"resnet20", "mobilenetv2", "vit", "shufflenet", "lenet"};
    for (size_t i = 0; i < sizeof arch / sizeof *arch; i++) {
        fixture f;
        float *first, logits[2][8 * CLASSES];
        setup(&f, arch[i], strcmp(arch[i], "resnet20") == 0 ? 4 : 0, i < 4 ? 16 : 32, 8, 0.6);
        must(SG_NEW(&first, f.survivors->total));
        for (int round = 0; round < 3; round++) {
            if (round == 2) f.exec->plenty = 0;
            must(sg_exec_set_survivors(f.exec, f.survivors));
            for (int repeat = 0; repeat < 2; repeat++) {
                must(sg_exec_train(f.exec, f.weights, &f.batch, 1.0, 3, 9, f.gradient, &f.result));
                if (round + repeat == 0) memcpy(first, f.gradient, f.survivors->total * sizeof *first);
                assert_memory_equal(f.gradient, first, f.survivors->total * sizeof *first);
            }
            for (size_t c = 0; c < f.net->channels_tracked; c++)
                f.weights->mean[c] = 0.0f, f.weights->variance[c] = 1.0f;
            must(sg_exec_load(f.exec, f.weights));
            for (int repeat = 0; repeat < 2; repeat++) {
                must(sg_exec_evaluate(f.exec, f.weights, &f.batch, &f.result, logits[repeat]));
                if (round + repeat > 0) assert_memory_equal(logits[repeat], logits[0], sizeof logits[0]);
            }
        }
        free(first);
        teardown(&f);
    }
}

/* The last minibatch of an epoch is often smaller: its few blocks are divided among threads in other ways
 * than those that the executor was made for. */
static void a_smaller_minibatch_gives_the_same_bits(void **state) {
    (void)state;
    enum { SAMPLES = 8, MOST = 128 };
    fixture f;
    float logits[2][SAMPLES * CLASSES];
    setup(&f, "resnet18", 64, 32, SAMPLES, 1.0);
    for (int large = 0; large < 2; large++) {
        sg_exec *exec;
        must(sg_exec_create(&exec, f.machine, f.net, &sg_reduce_alone, large ? MOST : SAMPLES, false));
        must(sg_exec_load(exec, f.weights));
        must(sg_exec_evaluate(exec, f.weights, &f.batch, &f.result, logits[large]));
        sg_exec_destroy(&exec);
    }
    assert_memory_equal(logits[1], logits[0], sizeof logits[0]);
    teardown(&f);
}

static void evaluates_only_loaded_weights(void **state) {
    (void)state;
    fixture f;
    setup(&f, "mlp", 4, 8, 4, 1.0);
    must(sg_exec_load(f.exec, f.weights));
    must(sg_exec_evaluate(f.exec, f.weights, &f.batch, &f.result, NULL));
    must(sg_exec_train(f.exec, f.weights, &f.batch, 1.0, 0, 0, f.gradient, &f.result));
    assert_int_equal(sg_exec_evaluate(f.exec, f.weights, &f.batch, &f.result, NULL), SG_INTERNAL);
    assert_string_equal(sg_error_message(), "evaluation before sg_exec_load");
    teardown(&f);
}

/* Weights that could not be loaded do not leave those before them in their place. */
static void a_failed_load_leaves_nothing_loaded(void **state) {
    (void)state;
    fixture f;
    setup(&f, "mlp", 4, 8, 4, 1.0);
    must(sg_exec_load(f.exec, f.weights));
    float *arena = f.exec->arena;
    f.exec->arena = NULL; /* as after a lack of memory */
    assert_int_equal(sg_exec_load(f.exec, f.weights), SG_INTERNAL);
    f.exec->arena = arena;
    assert_int_equal(sg_exec_evaluate(f.exec, f.weights, &f.batch, &f.result, NULL), SG_INTERNAL);
    assert_string_equal(sg_error_message(), "evaluation before sg_exec_load");
    must(sg_exec_load(f.exec, f.weights));
    must(sg_exec_evaluate(f.exec, f.weights, &f.batch, &f.result, NULL));
    teardown(&f);
}

/* Training needs little more than the layers' outputs, evaluation a small part of them. */
static void memory_is_little_more_than_the_outputs(void **state) {
    (void)state;
    enum { BATCH = 128 };
    sg_machine *machine;
    sg_net *net;
    sg_exec_bytes bytes;
    double outputs = 0.0;
    must(sg_machine_create(&machine, "auto", "auto", 2));
    must(sg_net_create(&net, &(sg_net_options){.arch = "resnet50",
                                               .classes = 100,
                                               .channels = 3,
                                               .image_height = 32,
                                               .image_width = 32,
                                               .dropout = -1.0}));
    for (int l = 1; l < net->layers; l++)
        outputs += (double)BATCH * sizeof(float) * net->layer[l].channels * net->layer[l].height *
                   net->layer[l].width;
    must(sg_exec_memory(machine, net, 1.0, 1, BATCH, true, &bytes));
    assert_true((double)bytes.arena > 0.9 * outputs); /* backward needs all but the shortcuts' norms */
    assert_true((double)bytes.arena + (double)bytes.structures < 1.1 * outputs);
    /* Weights, their gradient, momentum, where they started, mask: what training holds besides. */
    double values = (4.0 * 5.0 + 1.0) * (double)net->values;
    assert_true((double)bytes.arena + (double)bytes.structures + values < 1.3 * outputs);
    must(sg_exec_memory(machine, net, 1.0, 1, BATCH, false, &bytes));
    assert_true((double)bytes.arena < 0.25 * outputs);
    sg_net_destroy(&net);
    sg_machine_destroy(&machine);
}

static void refuses_a_minibatch_that_is_too_large(void **state) {
    (void)state;
    fixture f;
    setup(&f, "mlp", 4, 8, 4, 1.0);
    f.batch.samples = 5;
    assert_int_equal(sg_exec_train(f.exec, f.weights, &f.batch, 1.0, 0, 0, f.gradient, &f.result),
                     SG_INTERNAL);
    assert_string_equal(sg_error_message(), "a minibatch of 5 samples for an executor of 4");
    teardown(&f);
}

static void reports_divergence(void **state) {
    (void)state;
    fixture f;
    setup(&f, "mlp", 4, 8, 4, 1.0);
    f.weights->values[0] = INFINITY;
    assert_int_equal(sg_exec_train(f.exec, f.weights, &f.batch, 1.0, 0, 0, f.gradient, &f.result), SG_FAILED);
    assert_non_null(strstr(sg_error_message(), "diverged"));
    teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_like_the_reference),
        cmocka_unit_test(trains_like_the_reference_with_mask_and_alpha),
        cmocka_unit_test(trains_all_layer_kinds),
        cmocka_unit_test(norms_add_to_the_gradient_of_a_shared_input),
        cmocka_unit_test(norms_have_the_epsilon_of_the_table),
        cmocka_unit_test(sums_and_residuals_read_the_image),
        cmocka_unit_test(evaluates_like_the_reference),
        cmocka_unit_test(what_memory_held_before_does_not_matter),
        cmocka_unit_test(a_smaller_minibatch_gives_the_same_bits),
        cmocka_unit_test(evaluates_only_loaded_weights),
        cmocka_unit_test(a_failed_load_leaves_nothing_loaded),
        cmocka_unit_test(memory_is_little_more_than_the_outputs),
        cmocka_unit_test(refuses_a_minibatch_that_is_too_large),
        cmocka_unit_test(reports_divergence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
