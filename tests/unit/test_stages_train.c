/* Trainings and paths as stages, on a data set of noise that needs no files: interruption at every step,
 * frozen signs, the rewinding point, step limits; barriers by hand-made curves, the ends and the direction of
 * a path. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/select.h"
#include "stages/connect.h"
#include "stages/train.h"

enum { SAMPLES = 40, BATCH = 32, MINIBATCHES = 2, PIXELS = 8, IMAGE = 3 * PIXELS * PIXELS, CLASSES = 4 };

static void must(int status) {
    if (status != SG_OK) fail_msg("%s\n%s", sg_error_message(), sg_error_trace());
}

static float uniform(uint32_t a, uint32_t b) { return sg_uniform(sg_rng(3, SG_RNG_TEST, a, b, 0).word[0]); }

typedef struct fixture {
    sg_machine *machine;
    sg_net *net;
    sg_exec *exec;
    sg_batch batch;
    sg_source source;
    sg_env env;
    int steps_left; /* until `step` interrupts; negative: never */
    int path_points;
} fixture;

/* Noise whose first pixel tells the class. A shuffled order begins elsewhere in each epoch. */
static int get(void *context, const sg_order *order, uint32_t epoch, uint32_t index, const sg_batch **batch) {
    fixture *f = context;
    float pixels[BATCH * IMAGE];
    uint32_t first = index * BATCH, count = index == 0 ? BATCH : SAMPLES - BATCH;
    uint32_t shift = order->shuffle ? sg_rng(order->seed, SG_RNG_TEST, epoch, 1, 1).word[0] % SAMPLES : 0;
    f->batch.samples = (int)count;
    f->batch.blocks = sg_divide_up((int)count, f->machine->lanes);
    f->batch.input.blocks = f->batch.blocks;
    for (int i = 0; i < f->batch.blocks * f->machine->lanes; i++)
        f->batch.label[i] = -1, f->batch.sample[i] = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t sample = (first + i + shift) % SAMPLES;
        f->batch.label[i] = (int32_t)(sample % CLASSES);
        f->batch.sample[i] = sample;
        for (uint32_t k = 0; k < IMAGE; k++) pixels[i * IMAGE + k] = uniform(sample, k) - 0.5f;
        pixels[i * IMAGE] += (float)(sample % CLASSES);
    }
    sg_tensor_from_nchw(&f->batch.input, pixels, (int)count);
    *batch = &f->batch;
    return SG_OK;
}

static int step(void *context, const sg_progress *progress) {
    fixture *f = context;
    f->path_points += strcmp(progress->phase, "path") == 0;
    if (f->steps_left < 0 || f->steps_left-- > 0) return SG_OK;
    return SG_FAIL(SG_INTERRUPTED, "stopped by the test");
}

static void fixture_create(fixture *f, const char *arch) {
    memset(f, 0, sizeof *f);
    sg_net_options options = {.arch = arch,
                              .classes = CLASSES,
                              .width = strcmp(arch, "mlp") == 0 ? 12 : 4,
                              .channels = 3,
                              .image_height = PIXELS,
                              .image_width = PIXELS,
                              .dropout = -1.0};
    must(sg_machine_create(&f->machine, "auto", "auto", 1));
    must(sg_net_create(&f->net, &options));
    must(sg_exec_create(&f->exec, f->machine, f->net, &sg_reduce_alone, BATCH, true));
    int room = sg_divide_up(BATCH, f->machine->lanes);
    must(sg_tensor_init(&f->batch.input, f->machine->lanes, room, 3, PIXELS, PIXELS,
                        sg_exec_input_halo(f->net)));
    must(SG_NEW(&f->batch.label, (size_t)(room * f->machine->lanes)));
    must(SG_NEW(&f->batch.sample, (size_t)(room * f->machine->lanes)));
    f->source = (sg_source){
        .context = f, .samples = SAMPLES, .minibatches = MINIBATCHES, .classes = CLASSES, .get = get};
    f->env = (sg_env){.machine = f->machine,
                      .net = f->net,
                      .exec = f->exec,
                      .train = &f->source,
                      .test = &f->source,
                      .context = f,
                      .step = step};
    f->steps_left = -1;
}

static void fixture_destroy(fixture *f) {
    sg_tensor_release(&f->batch.input);
    free(f->batch.label);
    free(f->batch.sample);
    sg_exec_destroy(&f->exec);
    sg_net_destroy(&f->net);
    sg_machine_destroy(&f->machine);
}

static const sg_train_options usual = {.epochs = 3,
                                       .schedule = SG_SCHEDULE_STEP,
                                       .lr = 0.1,
                                       .optimizer = {.kind = SG_SGD, .momentum = 0.9, .weight_decay = 5e-4},
                                       .alpha_low = 0.0,
                                       .alpha_high = 1.0,
                                       .seed = 5,
                                       .shuffle = true,
                                       .keep_epoch = -1};

static sg_weights *make_weights(const fixture *f, uint64_t seed, double pruned) {
    sg_weights *weights;
    must(sg_weights_create(&weights, f->net));
    sg_weights_init(weights, seed);
    if (pruned > 0.0) must(sg_prune_global(weights, pruned, NULL));
    return weights;
}

static sg_training *begin_pruned(const fixture *f, const sg_train_options *options, double pruned) {
    sg_training *training;
    must(sg_training_create(&training, make_weights(f, 1, pruned), options));
    return training;
}

static sg_training *begin(const fixture *f, const sg_train_options *options) {
    return begin_pruned(f, options, 0.5);
}

static void expect_same_weights(const sg_weights *came, const sg_weights *expected) {
    for (size_t i = 0; i < expected->net->values; i++)
        if (memcmp(&came->values[i], &expected->values[i], sizeof(float)) != 0)
            fail_msg("value %zu is %a, expected %a", i, (double)came->values[i], (double)expected->values[i]);
    size_t tracked = expected->net->channels_tracked * sizeof(float);
    assert_memory_equal(came->mean, expected->mean, tracked);
    assert_memory_equal(came->variance, expected->variance, tracked);
    assert_int_equal(came->batches, expected->batches);
}

/* ---- Trainings. */

/* Interrupted after n steps for every n that there is, and continued: the same bits and the same rows. */
static void test_interrupted_anywhere_ends_the_same(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_training *whole = begin(&f, &usual);
    must(sg_stage_train(&f.env, &usual, whole));
    int interruptions = 0;
    for (int n = 0; n < 3 * (MINIBATCHES + MINIBATCHES); n++) { /* steps of training and of tests */
        sg_training *training = begin(&f, &usual);
        f.steps_left = n;
        int status = sg_stage_train(&f.env, &usual, training);
        interruptions += status == SG_INTERRUPTED;
        f.steps_left = -1;
        if (status != SG_INTERRUPTED) must(status);
        must(sg_stage_train(&f.env, &usual, training));
        expect_same_weights(training->weights, whole->weights);
        assert_int_equal(training->epoch, 3);
        assert_int_equal(training->steps, 3 * MINIBATCHES);
        for (int e = 0; e < 3; e++) {
            assert_true(training->rows[e].train_loss == whole->rows[e].train_loss);
            assert_true(training->rows[e].train_accuracy == whole->rows[e].train_accuracy);
            assert_true(training->rows[e].test_loss == whole->rows[e].test_loss);
        }
        sg_training_destroy(&training);
    }
    assert_int_equal(interruptions, 3 * (MINIBATCHES + MINIBATCHES));
    sg_training_destroy(&whole);
    fixture_destroy(&f);
}

static void test_rows_hold_the_schedule(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "mlp");
    sg_training *training = begin(&f, &usual);
    must(sg_stage_train(&f.env, &usual, training));
    static const double rate[] = {0.1, 0.1, 0.01}; /* of three epochs, the third begins at ceil(3/2) */
    for (int e = 0; e < 3; e++) assert_true(fabs(training->rows[e].lr - rate[e]) < 1e-15);
    assert_true(training->rows[2].train_loss < training->rows[0].train_loss);
    sg_training_destroy(&training);
    fixture_destroy(&f);
}

static void test_pruned_weights_stay_zero(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_training *training = begin(&f, &usual);
    must(sg_stage_train(&f.env, &usual, training));
    size_t pruned = 0;
    for (size_t i = 0; i < f.net->values; i++) {
        if (training->weights->mask[i]) continue;
        pruned++;
        assert_true(training->weights->values[i] == 0.0f);
    }
    assert_int_equal(pruned, sg_weights_prunable(f.net) - sg_weights_surviving(training->start));
    sg_training_destroy(&training);
    fixture_destroy(&f);
}

/* The order is random here, so the same seed with alpha switched off must give other weights. */
static void test_alpha_reaches_the_norms(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_train_options plain = usual;
    plain.alpha_low = plain.alpha_high = 1.0;
    sg_training *aws = begin(&f, &usual), *lrr = begin(&f, &plain);
    must(sg_stage_train(&f.env, &usual, aws));
    must(sg_stage_train(&f.env, &plain, lrr));
    assert_memory_not_equal(aws->weights->values, lrr->weights->values, f.net->values * sizeof(float));
    sg_training_destroy(&aws);
    sg_training_destroy(&lrr);
    fixture_destroy(&f);
}

/* alpha = 0 multiplies the gradient of gamma and beta by zero: without decay they never move. */
static void test_alpha_zero_never_trains_norms(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_train_options options = usual;
    options.alpha_low = options.alpha_high = 0.0;
    options.optimizer.weight_decay = 0.0;
    sg_training *training = begin(&f, &options);
    must(sg_stage_train(&f.env, &options, training));
    for (int p = 0; p < f.net->params; p++) {
        const sg_param *param = &f.net->param[p];
        for (size_t i = 0; i < param->count; i++) {
            if (param->role == SG_ROLE_GAMMA)
                assert_true(training->weights->values[param->offset + i] == 1.0f);
            if (param->role == SG_ROLE_BETA)
                assert_true(training->weights->values[param->offset + i] == 0.0f);
        }
    }
    assert_true(sg_count_sign_flips(training->start, training->weights) > 0);
    sg_training_destroy(&training);
    fixture_destroy(&f);
}

/* A rate at which weights do change their signs when they may. A frozen weight may be zero, never across. */
static void test_frozen_signs_never_cross(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "mlp");
    sg_train_options options = usual;
    options.lr = 0.3;
    sg_training *free_signs = begin_pruned(&f, &options, 0.01);
    must(sg_stage_train(&f.env, &options, free_signs));
    assert_true(sg_count_sign_flips(free_signs->start, free_signs->weights) > 10);
    options.frozen = true;
    sg_training *frozen = begin_pruned(&f, &options, 0.01);
    must(sg_stage_train(&f.env, &options, frozen));
    size_t zeros = 0;
    for (int p = 0; p < f.net->params; p++) {
        const sg_param *param = &f.net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            float start = frozen->start->values[i], end = frozen->weights->values[i];
            if (param->role == SG_ROLE_WEIGHT && frozen->weights->mask[i]) {
                if (start < 0.0f ? end > 0.0f : end < 0.0f)
                    fail_msg("%s crossed: %a to %a", param->name, (double)start, (double)end);
                zeros += end == 0.0f;
            }
            bool given = param->role == SG_ROLE_WEIGHT && frozen->weights->mask[i];
            assert_int_equal(frozen->frozen_sign[i] != 0, given); /* biases and the classifier are free */
        }
    }
    assert_true(zeros > 10);
    sg_training_destroy(&free_signs);
    sg_training_destroy(&frozen);
    fixture_destroy(&f);
}

/* kept: the state before epoch keep_epoch, which is the end of a training of that many epochs. */
static void test_rewinding_point_is_the_state_after_that_many_epochs(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    for (int keep = 0; keep < 3; keep++) {
        sg_train_options options = usual, shorter = usual;
        options.schedule = shorter.schedule = SG_SCHEDULE_CONSTANT;
        options.keep_epoch = keep;
        sg_training *training = begin(&f, &options), *expected;
        must(sg_stage_train(&f.env, &options, training));
        shorter.epochs = keep;
        expected = begin(&f, &shorter);
        must(sg_stage_train(&f.env, &shorter, expected));
        assert_non_null(training->kept);
        expect_same_weights(training->kept, expected->weights);
        sg_training_destroy(&training);
        sg_training_destroy(&expected);
    }
    fixture_destroy(&f);
}

static void test_step_limit_ends_a_training(void **state) {
    (void)state;
    static const struct { int limit, epochs; } expected[] = {{1, 1}, {2, 1}, {3, 2}, {4, 2}, {100, 3}};
    fixture f;
    fixture_create(&f, "mlp");
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        sg_train_options options = usual;
        options.max_steps = expected[i].limit;
        sg_training *training = begin(&f, &options);
        must(sg_stage_train(&f.env, &options, training));
        assert_int_equal(training->steps, expected[i].limit < 6 ? expected[i].limit : 6);
        assert_int_equal(training->epoch, expected[i].epochs);
        sg_training_destroy(&training);
    }
    fixture_destroy(&f);
}

static void test_divergence_is_a_failed_stage(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "mlp");
    sg_train_options options = usual;
    options.lr = 1e30;
    sg_training *training = begin(&f, &options);
    assert_int_equal(sg_stage_train(&f.env, &options, training), SG_FAILED);
    assert_non_null(strstr(sg_error_message(), "diverge"));
    sg_training_destroy(&training);
    fixture_destroy(&f);
}

/* ---- Barriers. Errors of a few hundredths: 1e-15 is their rounding. */

static void expect_barrier(const double *error, int points, double expected) {
    sg_path *path;
    must(sg_path_create(&path, points));
    path->done = points;
    for (int i = 0; i < points; i++)
        path->point[i] = (sg_point){(double)i / (points - 1), error[i], 10.0 * error[i]};
    double came = sg_barrier_error(path), loss = sg_barrier_loss(path);
    if (fabs(came - expected) > 1e-15) fail_msg("barrier %.17g, expected %.17g", came, expected);
    if (fabs(loss - 10.0 * expected) > 1e-14)
        fail_msg("loss barrier %.17g, expected %.17g", loss, 10.0 * expected);
    sg_path_destroy(&path);
}

static void test_barrier_is_the_height_above_the_line(void **state) {
    (void)state;
    expect_barrier((double[]){0.1, 0.5, 0.3}, 3, 0.3);             /* line 0.1, 0.2, 0.3 */
    expect_barrier((double[]){0.3, 0.5, 0.1}, 3, 0.3);             /* line 0.3, 0.2, 0.1 */
    expect_barrier((double[]){0.0, 0.3, 0.3, 0.4, 0.4}, 5, 0.2);   /* largest at a quarter of 0 to 0.4 */
    expect_barrier((double[]){0.4, 0.1, 0.5, 0.35, 0.0}, 5, 0.3);  /* at a half of 0.4 to 0 */
    expect_barrier((double[]){0.4, 0.1, 0.1, 0.35, 0.0}, 5, 0.25); /* at three quarters */
}

/* Were the ends exchanged, the line at a quarter would be 0.75 and this path would have no barrier. */
static void test_barrier_knows_which_end_is_which(void **state) {
    (void)state;
    expect_barrier((double[]){0.0, 0.5, 0.5, 0.75, 1.0}, 5, 0.25);
}

static void test_barrier_is_never_negative(void **state) {
    (void)state;
    expect_barrier((double[]){0.5, 0.1, 0.5}, 3, 0.0);
    expect_barrier((double[]){0.25, 0.25, 0.25}, 3, 0.0);
    expect_barrier((double[]){0.1, 0.9}, 2, 0.0);
}

static void test_a_path_has_two_ends(void **state) {
    (void)state;
    sg_path *path = (sg_path *)&path;
    assert_int_equal(sg_path_create(&path, 1), SG_CONFIG);
    assert_string_equal(sg_error_message(), "connect.points = 1: a path has at least its two ends");
    assert_null(path);
}

/* ---- Interpolation. */

static void test_ends_of_an_interpolation_copy_bits(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_weights *one = make_weights(&f, 1, 0.5), *two = make_weights(&f, 2, 0.0),
               *out = make_weights(&f, 3, 0.0);
    memcpy(two->mask, one->mask, f.net->values);
    sg_weights_apply_mask(two);
    one->values[0] = -0.0f, two->values[0] = 1e-44f; /* neither survives arithmetic */
    sg_weights_interpolate(out, one, two, 1.0);
    assert_memory_equal(out->values, one->values, f.net->values * sizeof(float));
    sg_weights_interpolate(out, one, two, 0.0);
    assert_memory_equal(out->values, two->values, f.net->values * sizeof(float));
    assert_memory_equal(out->mask, one->mask, f.net->values);
    assert_int_equal(out->batches, 0);
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    sg_weights_destroy(&out);
    fixture_destroy(&f);
}

/* Every trainable parameter: lambda * one + (1 - lambda) * two, to one rounding of float. */
static void test_interpolation_is_linear_in_every_parameter(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_weights *one = make_weights(&f, 1, 0.5), *two = make_weights(&f, 2, 0.0),
               *out = make_weights(&f, 3, 0.0);
    memcpy(two->mask, one->mask, f.net->values);
    sg_weights_apply_mask(two);
    for (int p = 0; p < f.net->params; p++)
        if (f.net->param[p].role == SG_ROLE_GAMMA || f.net->param[p].role == SG_ROLE_BETA)
            for (size_t i = 0; i < f.net->param[p].count; i++)
                one->values[f.net->param[p].offset + i] = 3.0f + (float)i;
    sg_weights_interpolate(out, one, two, 0.3);
    for (size_t i = 0; i < f.net->values; i++) {
        double expected = 0.3 * (double)one->values[i] + 0.7 * (double)two->values[i];
        double size = fmax(fabs((double)one->values[i]), fabs((double)two->values[i]));
        if (fabs((double)out->values[i] - expected) > 1.2e-7 * size)
            fail_msg("value %zu is %.9g, expected %.9g", i, (double)out->values[i], expected);
    }
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    sg_weights_destroy(&out);
    fixture_destroy(&f);
}

static void test_reinit_norms_touches_norms_alone(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_weights *weights = make_weights(&f, 1, 0.5), *before = make_weights(&f, 1, 0.5);
    for (size_t i = 0; i < f.net->values; i++)
        if (weights->mask[i]) weights->values[i] = before->values[i] = 0.25f + (float)(i % 7);
    sg_reinit_norms(weights);
    for (int p = 0; p < f.net->params; p++) {
        const sg_param *param = &f.net->param[p];
        for (size_t i = param->offset; i < param->offset + param->count; i++) {
            float expected = param->role == SG_ROLE_GAMMA  ? 1.0f
                             : param->role == SG_ROLE_BETA ? 0.0f
                                                           : before->values[i];
            assert_true(weights->values[i] == expected);
        }
    }
    sg_weights_destroy(&weights);
    sg_weights_destroy(&before);
    fixture_destroy(&f);
}

/* ---- Paths through networks. */

static sg_score score_of(fixture *f, const sg_weights *weights, bool recalibrate) {
    sg_weights *copy = make_weights(f, 9, 0.0);
    sg_survivors *survivors;
    sg_score score;
    sg_weights_copy(copy, weights);
    must(sg_survivors_create(&survivors, copy));
    must(sg_exec_set_survivors(f->exec, survivors));
    if (recalibrate) must(sg_stage_recalibrate(&f->env, copy));
    must(sg_stage_evaluate(&f->env, copy, f->env.test, NULL, &score));
    sg_weights_destroy(&copy);
    sg_survivors_destroy(&survivors);
    return score;
}

/* theta(lambda) = lambda one + (1 - lambda) two: the first point is network two. */
static void expect_ends(bool recalibrate) {
    fixture f;
    sg_path *path;
    fixture_create(&f, "resnet20");
    sg_train_options options = usual;
    sg_training *training = begin(&f, &options);
    must(sg_stage_train(&f.env, &options, training));
    sg_weights *two = make_weights(&f, 1, 0.5);
    sg_score last = score_of(&f, training->weights, recalibrate), first = score_of(&f, two, recalibrate);
    assert_true(first.loss != last.loss);
    must(sg_path_create(&path, 5));
    must(sg_stage_connect(&f.env, training->weights, two, recalibrate, path));
    assert_int_equal(path->done, 5);
    assert_int_equal(f.path_points, 5);
    for (int i = 0; i < 5; i++) assert_true(path->point[i].lambda == 0.25 * i);
    assert_true(path->point[0].loss == first.loss && path->point[0].error == 1.0 - first.accuracy);
    assert_true(path->point[4].loss == last.loss && path->point[4].error == 1.0 - last.accuracy);
    sg_path_destroy(&path);
    sg_weights_destroy(&two);
    sg_training_destroy(&training);
    fixture_destroy(&f);
}

static void test_path_begins_at_network_two(void **state) {
    (void)state;
    expect_ends(true);
}

static void test_path_without_recalibration_keeps_the_ends_statistics(void **state) {
    (void)state;
    expect_ends(false);
}

static void test_interrupted_path_goes_on(void **state) {
    (void)state;
    fixture f;
    sg_path *whole, *parts;
    fixture_create(&f, "resnet20");
    sg_weights *one = make_weights(&f, 1, 0.0), *two = make_weights(&f, 2, 0.0);
    must(sg_path_create(&whole, 4));
    must(sg_path_create(&parts, 4));
    must(sg_stage_connect(&f.env, one, two, true, whole));
    f.steps_left = 7; /* a point takes five */
    assert_int_equal(sg_stage_connect(&f.env, one, two, true, parts), SG_INTERRUPTED);
    assert_int_equal(parts->done, 1);
    f.steps_left = -1;
    must(sg_stage_connect(&f.env, one, two, true, parts));
    assert_memory_equal(parts->point, whole->point, 4 * sizeof(sg_point));
    sg_path_destroy(&whole);
    sg_path_destroy(&parts);
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    fixture_destroy(&f);
}

static void test_path_between_masks_is_refused(void **state) {
    (void)state;
    fixture f;
    sg_path *path;
    fixture_create(&f, "mlp");
    sg_weights *one = make_weights(&f, 1, 0.5), *two = make_weights(&f, 2, 0.5);
    must(sg_path_create(&path, 2));
    assert_int_equal(sg_stage_connect(&f.env, one, two, true, path), SG_CONFIG);
    assert_string_equal(
        sg_error_message(),
        "the two networks of a path have different masks; connect networks of one signed mask");
    sg_path_destroy(&path);
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    fixture_destroy(&f);
}

/* Twice the same statistics, whatever was there before: the order of the pass is fixed. */
static void test_recalibration_forgets_what_was_there(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "resnet20");
    sg_weights *a = make_weights(&f, 1, 0.0), *b = make_weights(&f, 1, 0.0);
    for (size_t i = 0; i < f.net->channels_tracked; i++) b->mean[i] = 100.0f, b->variance[i] = 1e-3f;
    b->batches = 1000;
    sg_survivors *survivors;
    must(sg_survivors_create(&survivors, a));
    must(sg_exec_set_survivors(f.exec, survivors));
    must(sg_stage_recalibrate(&f.env, a));
    must(sg_stage_recalibrate(&f.env, b));
    expect_same_weights(b, a);
    assert_int_equal(a->batches, MINIBATCHES);
    sg_survivors_destroy(&survivors);
    sg_weights_destroy(&a);
    sg_weights_destroy(&b);
    fixture_destroy(&f);
}

/* Where there are no statistics no minibatch is looked at: the first would end it. */
static void test_recalibration_without_statistics_is_nothing(void **state) {
    (void)state;
    fixture f;
    fixture_create(&f, "mlp");
    f.steps_left = 0;
    sg_weights *weights = make_weights(&f, 1, 0.0), *before = make_weights(&f, 1, 0.0);
    sg_survivors *survivors;
    must(sg_survivors_create(&survivors, weights));
    must(sg_exec_set_survivors(f.exec, survivors));
    must(sg_stage_recalibrate(&f.env, weights));
    expect_same_weights(weights, before);
    sg_survivors_destroy(&survivors);
    sg_weights_destroy(&weights);
    sg_weights_destroy(&before);
    fixture_destroy(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupted_anywhere_ends_the_same),
        cmocka_unit_test(test_rows_hold_the_schedule),
        cmocka_unit_test(test_pruned_weights_stay_zero),
        cmocka_unit_test(test_alpha_reaches_the_norms),
        cmocka_unit_test(test_alpha_zero_never_trains_norms),
        cmocka_unit_test(test_frozen_signs_never_cross),
        cmocka_unit_test(test_rewinding_point_is_the_state_after_that_many_epochs),
        cmocka_unit_test(test_step_limit_ends_a_training),
        cmocka_unit_test(test_divergence_is_a_failed_stage),
        cmocka_unit_test(test_barrier_is_the_height_above_the_line),
        cmocka_unit_test(test_barrier_knows_which_end_is_which),
        cmocka_unit_test(test_barrier_is_never_negative),
        cmocka_unit_test(test_a_path_has_two_ends),
        cmocka_unit_test(test_ends_of_an_interpolation_copy_bits),
        cmocka_unit_test(test_interpolation_is_linear_in_every_parameter),
        cmocka_unit_test(test_reinit_norms_touches_norms_alone),
        cmocka_unit_test(test_path_begins_at_network_two),
        cmocka_unit_test(test_path_without_recalibration_keeps_the_ends_statistics),
        cmocka_unit_test(test_interrupted_path_goes_on),
        cmocka_unit_test(test_path_between_masks_is_refused),
        cmocka_unit_test(test_recalibration_forgets_what_was_there),
        cmocka_unit_test(test_recalibration_without_statistics_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
