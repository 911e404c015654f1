/* Global magnitude pruning against a twin that sorts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/select.h"

/* Two prunable tensors around a bias, and a classifier: only the former two may change. */
enum { PARAMS = 4, FIRST = 1000, BIAS = 10, SECOND = 3000, CLASSIFIER = 50 };
enum { VALUES = FIRST + BIAS + SECOND + CLASSIFIER };

typedef struct fixture {
    sg_param param[PARAMS];
    sg_net net;
    float values[VALUES];
    uint8_t mask[VALUES];
    sg_weights weights;
} fixture;

static void setup(fixture *f, size_t first, size_t second) {
    const size_t count[PARAMS] = {first, BIAS, second, CLASSIFIER};
    const enum sg_role role[PARAMS] = {SG_ROLE_WEIGHT, SG_ROLE_BIAS, SG_ROLE_WEIGHT,
                                       SG_ROLE_CLASSIFIER_WEIGHT};
    const char *name[PARAMS] = {"conv1.weight", "conv1.bias", "conv2.weight", "fc.weight"};
    memset(f, 0, sizeof *f);
    size_t offset = 0;
    for (int p = 0; p < PARAMS; p++) {
        snprintf(f->param[p].name, sizeof f->param[p].name, "%s", name[p]);
        f->param[p].role = role[p];
        f->param[p].count = count[p];
        f->param[p].offset = offset;
        offset += count[p];
    }
    f->net = (sg_net){.param = f->param, .params = PARAMS, .values = offset};
    memset(f->mask, 1, sizeof f->mask);
    f->weights = (sg_weights){.net = &f->net, .values = f->values, .mask = f->mask};
}

/* Random values of which many share a magnitude when levels is small. */
static void fill(fixture *f, uint64_t seed, uint32_t levels) {
    for (size_t i = 0; i < f->net.values; i++) {
        sg_random r = sg_rng(seed, SG_RNG_TEST, (uint32_t)i, 0, 0);
        float value = levels > 0 ? (float)sg_below(r.word[0], levels) : sg_uniform(r.word[0]) - 0.5f;
        f->values[i] = r.word[1] & 1 ? -value : value;
    }
}

typedef struct entry {
    double magnitude;
    size_t index;
} entry;

static int larger_first(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->magnitude != y->magnitude) return x->magnitude > y->magnitude ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* The twin: sort by magnitude, then position; the first k stay. */
static void prune_by_sorting(fixture *f, size_t k) {
    static entry list[VALUES];
    size_t n = 0;
    for (int p = 0; p < PARAMS; p++)
        for (size_t i = f->param[p].offset; i < f->param[p].offset + f->param[p].count; i++)
            if (f->param[p].role == SG_ROLE_WEIGHT && f->mask[i])
                list[n++] = (entry){fabs((double)f->values[i]), i};
    qsort(list, n, sizeof *list, larger_first);
    for (size_t i = k; i < n; i++) {
        f->mask[list[i].index] = 0;
        f->values[list[i].index] = 0.0f;
    }
}

static size_t surviving(const fixture *f) {
    size_t n = 0;
    for (int p = 0; p < PARAMS; p++)
        for (size_t i = 0; i < f->param[p].count; i++)
            n += f->param[p].role == SG_ROLE_WEIGHT && f->mask[f->param[p].offset + i];
    return n;
}

static fixture one, two;

static void counts_are_exact_for_decimal_fractions(void **state) {
    (void)state;
    assert_int_equal(sg_prune_count(10, 0.2), 8);
    assert_int_equal(sg_prune_count(10, 0.9), 1);
    assert_int_equal(sg_prune_count(10, 0.7), 3);
    assert_int_equal(sg_prune_count(1000, 0.999), 1);
    assert_int_equal(sg_prune_count(7, 0.2), 5);
    assert_int_equal(sg_prune_count(5, 0.0), 5);
    assert_int_equal(sg_prune_count(1, 0.2), 0);
    assert_int_equal(sg_prune_count(4294967300u, 0.2), 3435973840u);
}

static void counts_agree_with_integers_for_all_percentages(void **state) {
    (void)state;
    for (size_t percent = 0; percent < 100; percent++) {
        char text[16];
        snprintf(text, sizeof text, "0.%02zu", percent);
        for (size_t n = 1; n < 2000; n++)
            assert_int_equal(sg_prune_count(n, strtod(text, NULL)), n * (100 - percent) / 100);
    }
}

/* The integer chain n -> floor(0.8 n): the same counts and the same mask as the twin in every round. */
static void fifteen_rounds_follow_the_integer_chain(void **state) {
    (void)state;
    for (uint32_t levels = 0; levels <= 40; levels += 20) {
        setup(&one, FIRST, SECOND);
        setup(&two, FIRST, SECOND);
        fill(&one, 7, levels);
        fill(&two, 7, levels);
        size_t n = FIRST + SECOND, kept = 0;
        for (int round = 0; round < 15; round++) {
            n = n * 8 / 10;
            assert_int_equal(sg_prune_global(&one.weights, 0.2, &kept), SG_OK);
            prune_by_sorting(&two, n);
            assert_int_equal(kept, n);
            assert_int_equal(surviving(&one), n);
            assert_memory_equal(one.mask, two.mask, sizeof one.mask);
            assert_memory_equal(one.values, two.values, sizeof one.values);
        }
    }
}

static void ties_keep_the_earlier_tensor_then_the_earlier_index(void **state) {
    (void)state;
    setup(&one, 4, 6);
    for (size_t i = 0; i < one.net.values; i++) one.values[i] = i % 2 ? 1.0f : -1.0f;
    size_t kept = 0;
    assert_int_equal(sg_prune_global(&one.weights, 0.4, &kept), SG_OK);
    assert_int_equal(kept, 6);
    for (size_t i = 0; i < 4; i++) assert_int_equal(one.mask[i], 1);
    for (size_t i = 0; i < 6; i++) assert_int_equal(one.mask[one.param[2].offset + i], i < 2);
}

static void other_parameters_keep_mask_and_values(void **state) {
    (void)state;
    setup(&one, FIRST, SECOND);
    fill(&one, 11, 0);
    for (int p = 1; p < PARAMS; p += 2)
        for (size_t i = 0; i < one.param[p].count; i++) one.values[one.param[p].offset + i] = 1e-20f;
    assert_int_equal(sg_prune_global(&one.weights, 0.9, NULL), SG_OK);
    for (int p = 1; p < PARAMS; p += 2)
        for (size_t i = 0; i < one.param[p].count; i++) {
            assert_int_equal(one.mask[one.param[p].offset + i], 1);
            assert_true(one.values[one.param[p].offset + i] == 1e-20f);
        }
}

static void zeros_and_denormals_are_ordered(void **state) {
    (void)state;
    const float values[6] = {-0.0f, 1e-45f, 0.0f, -3e-45f, 1e-38f, -0.0f};
    const uint8_t after_half[6] = {0, 1, 0, 1, 1, 0}, after_tie[6] = {1, 1, 0, 1, 1, 0};
    setup(&one, 6, 0);
    memcpy(one.values, values, sizeof values);
    assert_int_equal(sg_prune_global(&one.weights, 0.5, NULL), SG_OK);
    assert_memory_equal(one.mask, after_half, sizeof after_half);
    setup(&one, 6, 0);
    memcpy(one.values, values, sizeof values);
    assert_int_equal(sg_prune_global(&one.weights, 0.25, NULL),
                     SG_OK); /* floor(4.5): one of three zeros stays */
    assert_memory_equal(one.mask, after_tie, sizeof after_tie);
}

static void a_surviving_zero_competes_and_a_pruned_weight_does_not(void **state) {
    (void)state;
    const uint8_t expected[4] = {0, 1, 0, 1};
    setup(&one, 4, 0);
    one.values[1] = 2.0f;
    one.values[2] = 9.0f; /* pruned before: its value counts for nothing */
    one.mask[2] = 0;
    one.values[3] = 1.0f;
    size_t kept = 0;
    assert_int_equal(sg_prune_global(&one.weights, 0.2, &kept), SG_OK);
    assert_int_equal(kept, 2);
    assert_memory_equal(one.mask, expected, sizeof expected);
}

static void nothing_pruned_keeps_everything(void **state) {
    (void)state;
    setup(&one, 40, 2);
    fill(&one, 3, 0);
    two = one;
    size_t kept = 0;
    assert_int_equal(sg_prune_global(&one.weights, 0.0, &kept), SG_OK);
    assert_int_equal(kept, 42);
    assert_memory_equal(one.mask, two.mask, sizeof one.mask);
    assert_memory_equal(one.values, two.values, sizeof one.values);
}

static void the_same_weights_give_the_same_mask(void **state) {
    (void)state;
    setup(&one, FIRST, SECOND);
    setup(&two, FIRST, SECOND);
    fill(&one, 5, 6);
    fill(&two, 5, 6);
    assert_int_equal(sg_prune_global(&one.weights, 0.37, NULL), SG_OK);
    assert_int_equal(sg_prune_global(&two.weights, 0.37, NULL), SG_OK);
    assert_memory_equal(one.mask, two.mask, sizeof one.mask);
}

static void refuses(double fraction, int code, const char *part) {
    two = one;
    assert_int_equal(sg_prune_global(&one.weights, fraction, NULL), code);
    if (strstr(sg_error_message(), part) == NULL)
        fail_msg("expected a message with \"%s\", got \"%s\"", part, sg_error_message());
    assert_memory_equal(one.mask, two.mask, sizeof one.mask);
    assert_memory_equal(one.values, two.values, sizeof one.values);
}

static void not_a_number_names_the_tensor(void **state) {
    (void)state;
    setup(&one, FIRST, SECOND);
    fill(&one, 5, 0);
    one.values[one.param[2].offset + 17] = -NAN;
    refuses(0.2, SG_FAILED, "conv2.weight: weight 17 is not a number");
}

static void an_infinite_weight_names_the_tensor(void **state) {
    (void)state;
    setup(&one, FIRST, SECOND);
    fill(&one, 5, 0);
    one.values[3] = INFINITY;
    refuses(0.2, SG_FAILED, "conv1.weight: weight 3 is infinite");
}

static void not_a_number_behind_the_mask_or_in_a_bias_is_not_looked_at(void **state) {
    (void)state;
    setup(&one, FIRST, SECOND);
    fill(&one, 5, 0);
    one.values[3] = NAN;
    one.mask[3] = 0;
    one.values[one.param[1].offset] = NAN;
    assert_int_equal(sg_prune_global(&one.weights, 0.2, NULL), SG_OK);
}

static void pruning_to_nothing_is_a_configuration_error(void **state) {
    (void)state;
    setup(&one, 1, 0);
    one.values[0] = 1.0f;
    refuses(0.2, SG_CONFIG, "prune to nothing");
    setup(&one, 0, 0);
    refuses(0.2, SG_CONFIG, "prune to nothing");
}

static void impossible_fractions_are_configuration_errors(void **state) {
    (void)state;
    setup(&one, 40, 2);
    fill(&one, 3, 0);
    refuses(1.0, SG_CONFIG, "at least 0 and below 1");
    refuses(-0.1, SG_CONFIG, "at least 0 and below 1");
    refuses(NAN, SG_CONFIG, "at least 0 and below 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_exact_for_decimal_fractions),
        cmocka_unit_test(counts_agree_with_integers_for_all_percentages),
        cmocka_unit_test(fifteen_rounds_follow_the_integer_chain),
        cmocka_unit_test(ties_keep_the_earlier_tensor_then_the_earlier_index),
        cmocka_unit_test(other_parameters_keep_mask_and_values),
        cmocka_unit_test(zeros_and_denormals_are_ordered),
        cmocka_unit_test(a_surviving_zero_competes_and_a_pruned_weight_does_not),
        cmocka_unit_test(nothing_pruned_keeps_everything),
        cmocka_unit_test(the_same_weights_give_the_same_mask),
        cmocka_unit_test(not_a_number_names_the_tensor),
        cmocka_unit_test(an_infinite_weight_names_the_tensor),
        cmocka_unit_test(not_a_number_behind_the_mask_or_in_a_bias_is_not_looked_at),
        cmocka_unit_test(pruning_to_nothing_is_a_configuration_error),
        cmocka_unit_test(impossible_fractions_are_configuration_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
