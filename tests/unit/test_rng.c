/* Stateless random numbers: known answers, independence of the arguments, permutations, distributions. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <Random123/philox.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/rng.h"

/* kat_vectors of the Random123 distribution, philox4x32 with 10 rounds: sg_rng stands on this generator. */
static void philox_gives_the_published_answers(void **state) {
    (void)state;
    static const uint32_t known[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e,
         0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
         0x5001e420, 0x24126ea1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint32_t *k = known[i];
        philox4x32_ctr_t counter = {{k[0], k[1], k[2], k[3]}};
        philox4x32_key_t key = {{k[4], k[5]}};
        philox4x32_ctr_t drawn = philox4x32(counter, key);
        for (int w = 0; w < 4; w++) assert_int_equal(drawn.v[w], k[6 + w]);
    }
}

/* The third published answer once more, through sg_rng's own order of arguments: only the purpose is not
 * free. */
static void arguments_are_key_and_counter_in_order(void **state) {
    (void)state;
    philox4x32_ctr_t counter = {{SG_RNG_AUGMENT, 0x85a308d3, 0x13198a2e, 0x03707344}};
    philox4x32_key_t key = {{0xa4093822, 0x299f31d0}};
    philox4x32_ctr_t want = philox4x32(counter, key);
    sg_random got = sg_rng(0x299f31d0a4093822u, SG_RNG_AUGMENT, 0x85a308d3, 0x13198a2e, 0x03707344);
    for (int w = 0; w < 4; w++) assert_int_equal(got.word[w], want.v[w]);
}

static void purposes_keep_their_numbers(void **state) {
    (void)state;
    assert_int_equal(SG_RNG_INIT, 1);
    assert_int_equal(SG_RNG_ORDER, 2);
    assert_int_equal(SG_RNG_AUGMENT, 3);
    assert_int_equal(SG_RNG_ALPHA, 4);
    assert_int_equal(SG_RNG_DROPOUT, 5);
    assert_int_equal(SG_RNG_SIGN, 6);
    assert_int_equal(SG_RNG_SHAPES, 7);
    assert_int_equal(SG_RNG_TEST, 8);
}

static void every_argument_changes_the_number(void **state) {
    (void)state;
    sg_random base = sg_rng(1, SG_RNG_TEST, 2, 3, 4);
    sg_random others[] = {sg_rng(2, SG_RNG_TEST, 2, 3, 4), sg_rng(1, SG_RNG_SHAPES, 2, 3, 4),
                          sg_rng(1, SG_RNG_TEST, 3, 3, 4), sg_rng(1, SG_RNG_TEST, 2, 4, 4),
                          sg_rng(1, SG_RNG_TEST, 2, 3, 5), sg_rng(1 + (1ull << 32), SG_RNG_TEST, 2, 3, 4)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_memory_not_equal(&others[i], &base, sizeof base);
    sg_random again = sg_rng(1, SG_RNG_TEST, 2, 3, 4);
    assert_memory_equal(&again, &base, sizeof base);
}

static void assert_permutation(const uint32_t *order, uint32_t n) {
    bool *seen;
    assert_int_equal(SG_NEW(&seen, n), SG_OK);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(order[i] < n);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
    SG_FREE(seen);
}

static void a_permutation_holds_every_number_once(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2, 3, 10, 1000, 50000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t *order;
        assert_int_equal(SG_NEW(&order, sizes[i] + 1), SG_OK);
        order[sizes[i]] = 0xabad1dea;
        sg_permutation(5, SG_RNG_ORDER, 3, sizes[i], order);
        assert_permutation(order, sizes[i]);
        assert_int_equal(order[sizes[i]], 0xabad1dea);
        SG_FREE(order);
    }
}

static void permutations_depend_on_seed_and_epoch_alone(void **state) {
    (void)state;
    uint32_t first[100], again[100], epoch[100], seed[100];
    sg_permutation(1, SG_RNG_ORDER, 0, 100, first);
    sg_permutation(1, SG_RNG_ORDER, 1, 100, epoch);
    sg_permutation(2, SG_RNG_ORDER, 0, 100, seed);
    sg_permutation(1, SG_RNG_ORDER, 0, 100, again);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, epoch, sizeof first);
    assert_memory_not_equal(first, seed, sizeof first);
}

/* Each of the 24 orders of four things comes up 1/24 of the time: 24000 draws, 1000 expected, standard
 * deviation 31; six of those make a failure by chance a matter of 1 in 10^7. */
static void permutations_are_uniform(void **state) {
    (void)state;
    int count[256] = {0}, orders = 0;
    for (uint32_t epoch = 0; epoch < 24000; epoch++) {
        uint32_t order[4];
        sg_permutation(9, SG_RNG_ORDER, epoch, 4, order);
        count[order[0] | order[1] << 2 | order[2] << 4 | order[3] << 6]++;
    }
    for (int i = 0; i < 256; i++)
        if (count[i] > 0) {
            orders++;
            assert_in_range(count[i], 814, 1186);
        }
    assert_int_equal(orders, 24);
}

static void uniform_numbers_stay_in_their_interval(void **state) {
    (void)state;
    assert_true(sg_uniform(0) == 0.0f);
    assert_true(sg_uniform(0xffffffff) < 1.0f);
    assert_true(sg_open_uniform(0) > 0.0);
    assert_true(sg_open_uniform(0xffffffff) < 1.0);
    assert_int_equal(sg_below(0, 10), 0);
    assert_int_equal(sg_below(0xffffffff, 10), 9);
    assert_int_equal(sg_below(0xffffffff, 1), 0);
}

/* 20000 normal numbers: the mean's standard deviation is 0.0071, the variance's 0.01; both within six of
 * them. */
static void normal_numbers_have_mean_0_and_variance_1(void **state) {
    (void)state;
    double sum = 0.0, squares = 0.0;
    const int pairs = 10000;
    for (int i = 0; i < pairs; i++) {
        sg_random r = sg_rng(3, SG_RNG_TEST, (uint32_t)i, 0, 0);
        float pair[2];
        sg_normal_pair(r.word[0], r.word[1], pair);
        for (int j = 0; j < 2; j++) {
            assert_true(isfinite(pair[j]));
            sum += (double)pair[j];
            squares += (double)pair[j] * (double)pair[j];
        }
    }
    double mean = sum / (2 * pairs), variance = squares / (2 * pairs) - mean * mean;
    if (fabs(mean) > 0.043) fail_msg("expected mean 0 within 0.043, got %g", mean);
    if (fabs(variance - 1.0) > 0.06) fail_msg("expected variance 1 within 0.06, got %g", variance);
}

static void normal_numbers_are_finite_at_the_ends(void **state) {
    (void)state;
    static const uint32_t ends[] = {0, 0xffffffff};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            float pair[2];
            sg_normal_pair(ends[i], ends[j], pair);
            assert_true(isfinite(pair[0]) && isfinite(pair[1]));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(arguments_are_key_and_counter_in_order),
        cmocka_unit_test(purposes_keep_their_numbers),
        cmocka_unit_test(every_argument_changes_the_number),
        cmocka_unit_test(a_permutation_holds_every_number_once),
        cmocka_unit_test(permutations_depend_on_seed_and_epoch_alone),
        cmocka_unit_test(permutations_are_uniform),
        cmocka_unit_test(uniform_numbers_stay_in_their_interval),
        cmocka_unit_test(normal_numbers_have_mean_0_and_variance_1),
        cmocka_unit_test(normal_numbers_are_finite_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
