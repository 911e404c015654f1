/* Paths between networks as stages: barriers by hand-made curves, interpolation, the ends and the direction
 * of a path, recalibration. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "stages/connect.h"
#include "tests/reference/status.h"
#include "tests/reference/training_fixture.h"

/* ---- Barriers. Errors of a few hundredths: 1e-15 is their rounding. */

static void expect_barrier(const double *error, int points, double expected) {
    sg_path *path;
    assert_ok(sg_path_create(&path, points));
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
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_weights *one = training_fixture_weights(&f, 1, 0.5), *two = training_fixture_weights(&f, 2, 0.0),
               *out = training_fixture_weights(&f, 3, 0.0);
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
    training_fixture_destroy(&f);
}

/* Every trainable parameter: lambda * one + (1 - lambda) * two, to one rounding of float. */
static void test_interpolation_is_linear_in_every_parameter(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_weights *one = training_fixture_weights(&f, 1, 0.5), *two = training_fixture_weights(&f, 2, 0.0),
               *out = training_fixture_weights(&f, 3, 0.0);
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
    training_fixture_destroy(&f);
}

static void test_reinit_norms_touches_norms_alone(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_weights *weights = training_fixture_weights(&f, 1, 0.5),
               *before = training_fixture_weights(&f, 1, 0.5);
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
    training_fixture_destroy(&f);
}

/* ---- Paths through networks. */

static sg_score score_of(training_fixture *f, const sg_weights *weights, bool recalibrate) {
    sg_weights *copy = training_fixture_weights(f, 9, 0.0);
    sg_survivors *survivors;
    sg_score score;
    sg_weights_copy(copy, weights);
    assert_ok(sg_survivors_create(&survivors, copy));
    assert_ok(sg_exec_set_survivors(f->exec, survivors));
    if (recalibrate) assert_ok(sg_stage_recalibrate(&f->env, copy));
    assert_ok(sg_stage_evaluate(&f->env, copy, f->env.test, NULL, &score));
    sg_weights_destroy(&copy);
    sg_survivors_destroy(&survivors);
    return score;
}

/* theta(lambda) = lambda one + (1 - lambda) two: the first point is network two. */
static void expect_ends(bool recalibrate) {
    training_fixture f;
    sg_path *path;
    training_fixture_create(&f, "resnet20");
    sg_train_options options = training_fixture_usual;
    sg_training *training = training_fixture_begin(&f, &options);
    assert_ok(sg_stage_train(&f.env, &options, training));
    sg_weights *two = training_fixture_weights(&f, 1, 0.5);
    sg_score last = score_of(&f, training->weights, recalibrate), first = score_of(&f, two, recalibrate);
    assert_true(first.loss != last.loss);
    assert_ok(sg_path_create(&path, 5));
    assert_ok(sg_stage_connect(&f.env, training->weights, two, recalibrate, path));
    assert_int_equal(path->done, 5);
    assert_int_equal(f.path_points, 5);
    for (int i = 0; i < 5; i++) assert_true(path->point[i].lambda == 0.25 * i);
    assert_true(path->point[0].loss == first.loss && path->point[0].error == 1.0 - first.accuracy);
    assert_true(path->point[4].loss == last.loss && path->point[4].error == 1.0 - last.accuracy);
    sg_path_destroy(&path);
    sg_weights_destroy(&two);
    sg_training_destroy(&training);
    training_fixture_destroy(&f);
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
    training_fixture f;
    sg_path *whole, *parts;
    training_fixture_create(&f, "resnet20");
    sg_weights *one = training_fixture_weights(&f, 1, 0.0), *two = training_fixture_weights(&f, 2, 0.0);
    assert_ok(sg_path_create(&whole, 4));
    assert_ok(sg_path_create(&parts, 4));
    assert_ok(sg_stage_connect(&f.env, one, two, true, whole));
    f.steps_left = 7; /* a point takes five */
    assert_int_equal(sg_stage_connect(&f.env, one, two, true, parts), SG_INTERRUPTED);
    assert_int_equal(parts->done, 1);
    f.steps_left = -1;
    assert_ok(sg_stage_connect(&f.env, one, two, true, parts));
    assert_memory_equal(parts->point, whole->point, 4 * sizeof(sg_point));
    sg_path_destroy(&whole);
    sg_path_destroy(&parts);
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    training_fixture_destroy(&f);
}

static void test_path_between_masks_is_refused(void **state) {
    (void)state;
    training_fixture f;
    sg_path *path;
    training_fixture_create(&f, "mlp");
    sg_weights *one = training_fixture_weights(&f, 1, 0.5), *two = training_fixture_weights(&f, 2, 0.5);
    assert_ok(sg_path_create(&path, 2));
    assert_int_equal(sg_stage_connect(&f.env, one, two, true, path), SG_CONFIG);
    assert_string_equal(
        sg_error_message(),
        "the two networks of a path have different masks; connect networks of one signed mask");
    sg_path_destroy(&path);
    sg_weights_destroy(&one);
    sg_weights_destroy(&two);
    training_fixture_destroy(&f);
}

/* Twice the same statistics, whatever was there before: the order of the pass is fixed. */
static void test_recalibration_forgets_what_was_there(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "resnet20");
    sg_weights *a = training_fixture_weights(&f, 1, 0.0), *b = training_fixture_weights(&f, 1, 0.0);
    for (size_t i = 0; i < f.net->channels_tracked; i++) b->mean[i] = 100.0f, b->variance[i] = 1e-3f;
    b->batches = 1000;
    sg_survivors *survivors;
    assert_ok(sg_survivors_create(&survivors, a));
    assert_ok(sg_exec_set_survivors(f.exec, survivors));
    assert_ok(sg_stage_recalibrate(&f.env, a));
    assert_ok(sg_stage_recalibrate(&f.env, b));
    training_fixture_same(b, a);
    assert_int_equal(a->batches, MINIBATCHES);
    sg_survivors_destroy(&survivors);
    sg_weights_destroy(&a);
    sg_weights_destroy(&b);
    training_fixture_destroy(&f);
}

/* Where there are no statistics no minibatch is looked at: the first would end it. */
static void test_recalibration_without_statistics_is_nothing(void **state) {
    (void)state;
    training_fixture f;
    training_fixture_create(&f, "mlp");
    f.steps_left = 0;
    sg_weights *weights = training_fixture_weights(&f, 1, 0.0),
               *before = training_fixture_weights(&f, 1, 0.0);
    sg_survivors *survivors;
    assert_ok(sg_survivors_create(&survivors, weights));
    assert_ok(sg_exec_set_survivors(f.exec, survivors));
    assert_ok(sg_stage_recalibrate(&f.env, weights));
    training_fixture_same(weights, before);
    sg_survivors_destroy(&survivors);
    sg_weights_destroy(&weights);
    sg_weights_destroy(&before);
    training_fixture_destroy(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
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
