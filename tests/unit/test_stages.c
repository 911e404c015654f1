/* The small rules of the method: learning rates, alpha, signs, where a prune round starts, sign flips. */
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
#include "stages/learning_rate.h"
#include "stages/search.h"
#include "stages/signs.h"
#include "stages/train.h"
#include "tests/reference/stage_fixture.h"

static void must(int status) {
    if (status != SG_OK) fail_msg("%s\n%s", sg_error_message(), sg_error_trace());
}

static const sg_param *param_of_role(const sg_net *net, enum sg_role role) {
    for (int p = 0; p < net->params; p++)
        if (net->param[p].role == role) return &net->param[p];
    fail_msg("network %s has no parameter of role %d", net->arch, role);
    return NULL;
}

static void expect_bits(const float *a, const float *b, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: value %zu is %a, expected %a", what, i, (double)a[i], (double)b[i]);
}

/* ---- Learning rates. Products of one rounding: 1e-12 relative is exact for a reader. */

static void expect_rate(enum sg_schedule schedule, int epoch, int epochs, double expected) {
    double rate = sg_learning_rate(schedule, 0.1, epoch, epochs);
    if (fabs(rate - expected) > 1e-12 * expected)
        fail_msg("epoch %d of %d: learning rate %.17g, expected %.17g", epoch, epochs, rate, expected);
}

/* x0.1 from ceil(E/2), x0.01 from ceil(3E/4), epochs from 0. */
static void test_step_drops_at_the_protocols_epochs(void **state) {
    (void)state;
    static const struct {
        int epochs, tenth, hundredth;
    } drop[] = {{1, 1, 1}, {2, 1, 2},  {3, 2, 3},     {4, 2, 3},    {5, 3, 4},
                {7, 4, 6}, {10, 5, 8}, {100, 50, 75}, {101, 51, 76}};
    for (size_t i = 0; i < sizeof drop / sizeof *drop; i++)
        for (int e = 0; e < drop[i].epochs; e++)
            expect_rate(SG_SCHEDULE_STEP, e, drop[i].epochs,
                        e >= drop[i].hundredth ? 0.001
                        : e >= drop[i].tenth   ? 0.01
                                               : 0.1);
}

static void test_cosine_falls_from_lr_to_a_thousandth(void **state) {
    (void)state;
    expect_rate(SG_SCHEDULE_COSINE, 0, 100, 0.1);
    expect_rate(SG_SCHEDULE_COSINE, 50, 100, 0.1 * (0.001 + 0.999 * 0.5));
    expect_rate(SG_SCHEDULE_COSINE, 25, 100, 0.1 * (0.001 + 0.999 * 0.5 * (1.0 + sqrt(0.5))));
    expect_rate(SG_SCHEDULE_COSINE, 100, 100, 0.0001);
    for (int e = 1; e < 100; e++)
        assert_true(sg_learning_rate(SG_SCHEDULE_COSINE, 0.1, e, 100) <
                    sg_learning_rate(SG_SCHEDULE_COSINE, 0.1, e - 1, 100));
}

static void test_constant_stays(void **state) {
    (void)state;
    for (int e = 0; e < 100; e++) expect_rate(SG_SCHEDULE_CONSTANT, e, 100, 0.1);
}

/* ---- Alpha. */

static void test_alpha_stays_in_its_range(void **state) {
    (void)state;
    static const double range[][2] = {{0.0, 1.0}, {0.5, 1.0}, {0.0, 0.5}, {0.9, 1.0}};
    for (size_t r = 0; r < 4; r++) {
        sg_train_options options = {.alpha_low = range[r][0], .alpha_high = range[r][1], .seed = 1};
        double sum = 0.0, low = 2.0, high = -1.0;
        for (uint32_t i = 0; i < 10000; i++) {
            double alpha = sg_train_alpha(&options, i / 100, i % 100);
            assert_true(alpha >= range[r][0] && alpha < range[r][1]);
            sum += alpha, low = alpha < low ? alpha : low, high = alpha > high ? alpha : high;
        }
        /* Of 10000 uniform draws the mean is off by 0.0029 (one sigma) of the width: five sigma are allowed;
         * the chance that the outer hundredth of the range stays empty is e^-100. */
        double width = range[r][1] - range[r][0];
        assert_true(fabs(sum / 10000.0 - range[r][0] - width / 2.0) < 0.015 * width);
        assert_true(low < range[r][0] + 0.01 * width && high > range[r][1] - 0.01 * width);
    }
}

static void test_alpha_of_an_empty_range_is_fixed(void **state) {
    (void)state;
    sg_train_options options = {.alpha_low = 0.37, .alpha_high = 0.37, .seed = 1};
    for (uint32_t i = 0; i < 100; i++) assert_true(sg_train_alpha(&options, 0, i) == 0.37);
}

static void test_alpha_differs_between_minibatches_and_epochs(void **state) {
    (void)state;
    sg_train_options options = {.alpha_low = 0.0, .alpha_high = 1.0, .seed = 1};
    for (uint32_t i = 1; i < 100; i++) {
        assert_true(sg_train_alpha(&options, 0, i) != sg_train_alpha(&options, 0, i - 1));
        assert_true(sg_train_alpha(&options, i, 0) != sg_train_alpha(&options, i - 1, 0));
        assert_true(sg_train_alpha(&options, i, 0) != sg_train_alpha(&options, 0, i));
    }
}

/* Only seed, epoch and minibatch count: not the optimiser, the schedule, the order or where a training
 * stands. */
static void test_alpha_depends_on_seed_epoch_and_minibatch_alone(void **state) {
    (void)state;
    sg_train_options plain = {.alpha_low = 0.0, .alpha_high = 1.0, .seed = 7};
    sg_train_options other = plain;
    other.epochs = 9, other.lr = 3.0, other.schedule = SG_SCHEDULE_COSINE, other.shuffle = true;
    other.max_steps = 4, other.frozen = true, other.keep_epoch = 2, other.optimizer.momentum = 0.5;
    other.first_epoch = 10; /* the caller adds it to the epoch */
    for (uint32_t i = 0; i < 50; i++) {
        double alpha = sg_train_alpha(&plain, 3, i);
        assert_true(alpha == sg_train_alpha(&other, 3, i));
        assert_true(alpha == sg_train_alpha(&plain, 3, i));
    }
    other.seed = 8;
    assert_true(sg_train_alpha(&plain, 3, 0) != sg_train_alpha(&other, 3, 0));
}

/* ---- Signs. */

static void test_signs_of_surviving_weights(void **state) {
    (void)state;
    sg_net *net = make_net("lenet", 0);
    sg_weights *weights = make_weights(net, 3);
    int8_t *signs;
    must(SG_NEW(&signs, net->values));
    const sg_param *param = param_of_role(net, SG_ROLE_WEIGHT);
    float *v = weights->values + param->offset;
    v[0] = 0.0f, v[1] = -0.0f, v[2] = -1e-40f, v[3] = 1e-40f, v[4] = -2.0f, v[5] = 2.0f;
    weights->mask[param->offset + 6] = 0, v[6] = 0.0f;
    weights->mask[param->offset + 7] = 0, v[7] = -0.0f;
    sg_extract_signs(weights, signs);
    static const int expected[] = {1, 1, -1, 1, -1, 1, 0, 0};
    for (int i = 0; i < 8; i++) assert_int_equal(signs[param->offset + (size_t)i], expected[i]);
    free(signs);
    sg_weights_destroy(&weights);
    sg_net_destroy(&net);
}

static void test_signs_of_classifier_and_biases_are_never_zero(void **state) {
    (void)state;
    static const enum sg_role role[] = {SG_ROLE_BIAS, SG_ROLE_CLASSIFIER_WEIGHT, SG_ROLE_CLASSIFIER_BIAS};
    sg_net *net = make_net("lenet", 0);
    sg_weights *weights = make_weights(net, 3);
    int8_t *signs;
    must(SG_NEW(&signs, net->values));
    for (int r = 0; r < 3; r++) weights->values[param_of_role(net, role[r])->offset] = -0.0f;
    sg_extract_signs(weights, signs);
    for (int r = 0; r < 3; r++) {
        const sg_param *param = param_of_role(net, role[r]);
        assert_int_equal(signs[param->offset], 1);
        for (size_t i = param->offset; i < param->offset + param->count; i++)
            assert_int_equal(signs[i], weights->values[i] < 0.0f ? -1 : 1);
    }
    free(signs);
    sg_weights_destroy(&weights);
    sg_net_destroy(&net);
}

static void test_signs_of_norms_are_zero(void **state) {
    (void)state;
    static const char *const arch[] = {"resnet20", "vit"}; /* batch norm; layer norm */
    for (int a = 0; a < 2; a++) {
        sg_net *net = make_net(arch[a], a == 0 ? 4 : 0);
        sg_weights *weights = make_weights(net, 3);
        int8_t *signs;
        must(SG_NEW(&signs, net->values));
        sg_extract_signs(weights, signs);
        for (int p = 0; p < net->params; p++) {
            bool norm = net->param[p].role == SG_ROLE_GAMMA || net->param[p].role == SG_ROLE_BETA;
            for (size_t i = 0; i < net->param[p].count; i++)
                assert_int_equal(signs[net->param[p].offset + i] == 0, norm);
        }
        free(signs);
        sg_weights_destroy(&weights);
        sg_net_destroy(&net);
    }
}

static void test_mask_of_signs_is_the_mask(void **state) {
    (void)state;
    sg_net *net = make_net("resnet20", 4);
    sg_weights *weights = make_weights(net, 3);
    int8_t *signs;
    uint8_t *mask;
    must(SG_NEW(&signs, net->values));
    must(SG_NEW(&mask, net->values));
    must(sg_prune_global(weights, 0.7, NULL));
    sg_extract_signs(weights, signs);
    memset(mask, 7, net->values);
    sg_signs_mask(net, signs, mask);
    assert_memory_equal(mask, weights->mask, net->values);
    free(mask);
    free(signs);
    sg_weights_destroy(&weights);
    sg_net_destroy(&net);
}

/* ---- Where rounds start. */

typedef struct round {
    sg_net *net;
    sg_weights *trained, *before, *rewind;
} round_fixture;

/* A state that differs from its own start in every value, and one to rewind to. */
static void round_create(round_fixture *r) {
    r->net = make_net("resnet20", 4);
    r->trained = make_weights(r->net, 3);
    r->rewind = make_weights(r->net, 4);
    for (size_t i = 0; i < r->net->channels_tracked; i++) {
        r->trained->mean[i] = 0.5f + (float)i, r->trained->variance[i] = 2.0f + (float)i;
        r->rewind->mean[i] = -0.5f - (float)i, r->rewind->variance[i] = 0.25f;
    }
    r->trained->batches = 11, r->rewind->batches = 5;
    for (int p = 0; p < r->net->params; p++)
        if (r->net->param[p].role == SG_ROLE_GAMMA)
            for (size_t i = 0; i < r->net->param[p].count; i++) {
                r->trained->values[r->net->param[p].offset + i] = 1.5f;
                r->rewind->values[r->net->param[p].offset + i] = 0.75f;
            }
    must(sg_weights_create(&r->before, r->net));
    sg_weights_copy(r->before, r->trained);
}

static void round_destroy(round_fixture *r) {
    sg_weights_destroy(&r->trained);
    sg_weights_destroy(&r->before);
    sg_weights_destroy(&r->rewind);
    sg_net_destroy(&r->net);
}

static void expect_under_mask(const round_fixture *r, const sg_weights *from) {
    for (size_t i = 0; i < r->net->values; i++) {
        float expected = r->trained->mask[i] ? from->values[i] : 0.0f;
        if (memcmp(&r->trained->values[i], &expected, sizeof expected) != 0)
            fail_msg("value %zu is %a, expected %a", i, (double)r->trained->values[i], (double)expected);
    }
    expect_bits(r->trained->mean, from->mean, r->net->channels_tracked, "running mean");
    expect_bits(r->trained->variance, from->variance, r->net->channels_tracked, "running variance");
    assert_int_equal(r->trained->batches, from->batches);
}

static void expect_carry_over(enum sg_method method) {
    round_fixture r;
    size_t kept;
    round_create(&r);
    must(sg_round_begin(r.trained, method, 0.2, NULL, &kept));
    assert_int_equal(kept, sg_weights_prunable(r.net) * 8 / 10);
    assert_int_equal(sg_weights_surviving(r.trained), kept);
    expect_under_mask(&r, r.before);
    round_destroy(&r);
}

static void test_lrr_round_carries_over(void **state) {
    (void)state;
    expect_carry_over(SG_METHOD_LRR);
}

static void test_aws_round_carries_over(void **state) {
    (void)state;
    expect_carry_over(SG_METHOD_AWS);
}

/* The mask comes from the trained magnitudes, the values from the rewinding point. */
static void test_imp_round_rewinds_under_the_new_mask(void **state) {
    (void)state;
    round_fixture r;
    size_t kept;
    round_create(&r);
    must(sg_prune_global(r.before, 0.2, NULL));
    must(sg_round_begin(r.trained, SG_METHOD_IMP, 0.2, r.rewind, &kept));
    assert_memory_equal(r.trained->mask, r.before->mask, r.net->values);
    expect_under_mask(&r, r.rewind);
    round_destroy(&r);
}

static void test_imp_round_without_a_rewinding_point_fails(void **state) {
    (void)state;
    round_fixture r;
    round_create(&r);
    assert_int_equal(sg_round_begin(r.trained, SG_METHOD_IMP, 0.2, NULL, NULL), SG_INTERNAL);
    assert_string_equal(sg_error_message(), "a round of imp began without the state to rewind to");
    round_destroy(&r);
}

static void test_rounds_are_a_chain_of_floors(void **state) {
    (void)state;
    round_fixture r;
    round_create(&r);
    size_t left = sg_weights_prunable(r.net), kept;
    for (int t = 1; t <= 15; t++) {
        must(sg_round_begin(r.trained, SG_METHOD_LRR, 0.2, NULL, &kept));
        left = left * 4 / 5;
        assert_int_equal(kept, left);
    }
    round_destroy(&r);
}

static void test_warmup_begins_dense_from_the_search_seed(void **state) {
    (void)state;
    sg_net *net = make_net("resnet20", 4);
    sg_weights *weights = make_weights(net, 9), *fresh = make_weights(net, 5);
    must(sg_prune_global(weights, 0.5, NULL));
    sg_warmup_begin(weights, 5);
    expect_bits(weights->values, fresh->values, net->values, "weights");
    assert_int_equal(sg_weights_surviving(weights), sg_weights_prunable(net));
    sg_weights_destroy(&weights);
    sg_weights_destroy(&fresh);
    sg_net_destroy(&net);
}

/* ---- What is counted. */

static void test_flips_count_surviving_prunable_weights(void **state) {
    (void)state;
    sg_net *net = make_net("lenet", 0);
    sg_weights *start = make_weights(net, 3), *end = make_weights(net, 3);
    assert_int_equal(sg_count_sign_flips(start, end), 0);
    size_t w = param_of_role(net, SG_ROLE_WEIGHT)->offset, bias = param_of_role(net, SG_ROLE_BIAS)->offset;
    size_t head = param_of_role(net, SG_ROLE_CLASSIFIER_WEIGHT)->offset;
    start->values[w] = 1.0f, end->values[w] = -1.0f;          /* counts */
    start->values[w + 1] = -1.0f, end->values[w + 1] = 1.0f;  /* counts */
    start->values[w + 2] = -1.0f, end->values[w + 2] = 0.0f;  /* not across */
    start->values[w + 3] = 0.0f, end->values[w + 3] = 1.0f;   /* + to + */
    start->values[w + 4] = -0.0f, end->values[w + 4] = -1.0f; /* counts */
    start->values[w + 5] = -1.0f, end->values[w + 5] = 0.0f;  /* pruned */
    end->mask[w + 5] = start->mask[w + 5] = 0;
    end->values[bias] = -start->values[bias];
    end->values[head] = -start->values[head];
    assert_int_equal(sg_count_sign_flips(start, end), 3);
    sg_weights_destroy(&start);
    sg_weights_destroy(&end);
    sg_net_destroy(&net);
}

static void test_negative_gammas_are_counted(void **state) {
    (void)state;
    sg_net *net = make_net("resnet20", 4);
    sg_weights *weights = make_weights(net, 3);
    assert_int_equal(sg_count_negative_gammas(weights), 0);
    size_t gamma = param_of_role(net, SG_ROLE_GAMMA)->offset;
    weights->values[gamma] = -0.1f, weights->values[gamma + 1] = -0.0f, weights->values[gamma + 2] = -3.0f;
    weights->values[param_of_role(net, SG_ROLE_BETA)->offset] = -1.0f;
    assert_int_equal(sg_count_negative_gammas(weights), 2);
    sg_weights_destroy(&weights);
    sg_net_destroy(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_drops_at_the_protocols_epochs),
        cmocka_unit_test(test_cosine_falls_from_lr_to_a_thousandth),
        cmocka_unit_test(test_constant_stays),
        cmocka_unit_test(test_alpha_stays_in_its_range),
        cmocka_unit_test(test_alpha_of_an_empty_range_is_fixed),
        cmocka_unit_test(test_alpha_differs_between_minibatches_and_epochs),
        cmocka_unit_test(test_alpha_depends_on_seed_epoch_and_minibatch_alone),
        cmocka_unit_test(test_signs_of_surviving_weights),
        cmocka_unit_test(test_signs_of_classifier_and_biases_are_never_zero),
        cmocka_unit_test(test_signs_of_norms_are_zero),
        cmocka_unit_test(test_mask_of_signs_is_the_mask),
        cmocka_unit_test(test_lrr_round_carries_over),
        cmocka_unit_test(test_aws_round_carries_over),
        cmocka_unit_test(test_imp_round_rewinds_under_the_new_mask),
        cmocka_unit_test(test_imp_round_without_a_rewinding_point_fails),
        cmocka_unit_test(test_rounds_are_a_chain_of_floors),
        cmocka_unit_test(test_warmup_begins_dense_from_the_search_seed),
        cmocka_unit_test(test_flips_count_surviving_prunable_weights),
        cmocka_unit_test(test_negative_gammas_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
