/* Trainings as stages: interruption at every step, frozen signs, the rewinding point, step limits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/select.h"
#include "tests/reference/status.h"
#include "tests/reference/training_fixture.h"

/* Interrupted after n steps for every n that there is, and continued: the same bits and the same rows. */
static void test_interrupted_anywhere_ends_the_same(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_training *whole = training_fixture_begin(&f, &training_fixture_usual);
    assert_ok(sg_stage_train(&f.env, &training_fixture_usual, whole));
    int interruptions = 0;
    for (int n = 0; n < 3 * (MINIBATCHES + MINIBATCHES); n++) { /* steps of training and of tests */
        sg_training *training = training_fixture_begin(&f, &training_fixture_usual);
        f.steps_left = n;
        int status = sg_stage_train(&f.env, &training_fixture_usual, training);
        interruptions += status == SG_INTERRUPTED;
        f.steps_left = -1;
        if (status != SG_INTERRUPTED) assert_ok(status);
        assert_ok(sg_stage_train(&f.env, &training_fixture_usual, training));
        training_fixture_same(training->weights, whole->weights);
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
    training_fixture_destroy(&f);
}

static void test_rows_hold_the_schedule(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "mlp");
    sg_training *training = training_fixture_begin(&f, &training_fixture_usual);
    assert_ok(sg_stage_train(&f.env, &training_fixture_usual, training));
    static const double rate[] = {0.1, 0.1, 0.01}; /* of three epochs, the third begins at ceil(3/2) */
    for (int e = 0; e < 3; e++) assert_true(fabs(training->rows[e].lr - rate[e]) < 1e-15);
    assert_true(training->rows[2].train_loss < training->rows[0].train_loss);
    sg_training_destroy(&training);
    training_fixture_destroy(&f);
}

static void test_pruned_weights_stay_zero(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_training *training = training_fixture_begin(&f, &training_fixture_usual);
    assert_ok(sg_stage_train(&f.env, &training_fixture_usual, training));
    size_t pruned = 0;
    for (size_t i = 0; i < f.net->values; i++) {
        if (training->weights->mask[i]) continue;
        pruned++;
        assert_true(training->weights->values[i] == 0.0f);
    }
    assert_int_equal(pruned, sg_weights_prunable(f.net) - sg_weights_surviving(training->start));
    sg_training_destroy(&training);
    training_fixture_destroy(&f);
}

/* The order is random here, so the same seed with alpha switched off must give other weights. */
static void test_alpha_reaches_the_norms(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_train_options plain = training_fixture_usual;
    plain.alpha_low = plain.alpha_high = 1.0;
    sg_training *aws = training_fixture_begin(&f, &training_fixture_usual),
                *lrr = training_fixture_begin(&f, &plain);
    assert_ok(sg_stage_train(&f.env, &training_fixture_usual, aws));
    assert_ok(sg_stage_train(&f.env, &plain, lrr));
    assert_memory_not_equal(aws->weights->values, lrr->weights->values, f.net->values * sizeof(float));
    sg_training_destroy(&aws);
    sg_training_destroy(&lrr);
    training_fixture_destroy(&f);
}

/* alpha = 0 multiplies the gradient of gamma and beta by zero: without decay they never move. */
static void test_alpha_zero_never_trains_norms(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_train_options options = training_fixture_usual;
    options.alpha_low = options.alpha_high = 0.0;
    options.optimizer.weight_decay = 0.0;
    sg_training *training = training_fixture_begin(&f, &options);
    assert_ok(sg_stage_train(&f.env, &options, training));
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
    training_fixture_destroy(&f);
}

/* A rate at which weights do change their signs when they may. A frozen weight may be zero, never across. */
static void test_frozen_signs_never_cross(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "mlp");
    sg_train_options options = training_fixture_usual;
    options.lr = 0.3;
    sg_training *free_signs = training_fixture_begin_pruned(&f, &options, 0.01);
    assert_ok(sg_stage_train(&f.env, &options, free_signs));
    assert_true(sg_count_sign_flips(free_signs->start, free_signs->weights) > 10);
    options.frozen = true;
    sg_training *frozen = training_fixture_begin_pruned(&f, &options, 0.01);
    assert_ok(sg_stage_train(&f.env, &options, frozen));
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
    training_fixture_destroy(&f);
}

/* kept: the state before epoch keep_epoch, which is the end of a training of that many epochs. */
static void test_rewinding_point_is_the_state_after_that_many_epochs(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    for (int keep = 0; keep < 3; keep++) {
        sg_train_options options = training_fixture_usual, shorter = training_fixture_usual;
        options.schedule = shorter.schedule = SG_SCHEDULE_CONSTANT;
        options.keep_epoch = keep;
        sg_training *training = training_fixture_begin(&f, &options), *expected;
        assert_ok(sg_stage_train(&f.env, &options, training));
        shorter.epochs = keep;
        expected = training_fixture_begin(&f, &shorter);
        assert_ok(sg_stage_train(&f.env, &shorter, expected));
        assert_non_null(training->kept);
        training_fixture_same(training->kept, expected->weights);
        sg_training_destroy(&training);
        sg_training_destroy(&expected);
    }
    training_fixture_destroy(&f);
}

static void test_step_limit_ends_a_training(void **state) {
    (void)state;
    static const struct { int limit, epochs; } expected[] = {{1, 1}, {2, 1}, {3, 2}, {4, 2}, {100, 3}};
    training_fixture f;
    training_fixture_create(&f, "mlp");
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        sg_train_options options = training_fixture_usual;
        options.max_steps = expected[i].limit;
        sg_training *training = training_fixture_begin(&f, &options);
        assert_ok(sg_stage_train(&f.env, &options, training));
        assert_int_equal(training->steps, expected[i].limit < 6 ? expected[i].limit : 6);
        assert_int_equal(training->epoch, expected[i].epochs);
        sg_training_destroy(&training);
    }
    training_fixture_destroy(&f);
}

static void test_divergence_is_a_failed_stage(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "mlp");
    sg_train_options options = training_fixture_usual;
    options.lr = 1e30;
    sg_training *training = training_fixture_begin(&f, &options);
    assert_int_equal(sg_stage_train(&f.env, &options, training), SG_FAILED);
    assert_non_null(strstr(sg_error_message(), "diverge"));
    sg_training_destroy(&training);
    training_fixture_destroy(&f);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
