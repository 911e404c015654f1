/* Winograd convolution, F(4x4,3x3) of stride 1 and 2 and F(2x2,3x3), in every variant that this CPU runs.
 * sg_check_conv_algorithm holds every pass against naive sums in double, and compares one and more threads
 * bit for bit.
 *
 * Tolerances are relative to the largest value (sg_check_conv_algorithm says how). The transforms of
 * F(4x4,3x3) have factors up to 8, whose squares lift rounding by a factor of ten over direct sums; those of
 * F(2x2,3x3) add and halve only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/rng.h"
#include "kernels/variant.h"
#include "tests/reference/check_conv.h"

static const double TOLERANCE4 = 1e-5, TOLERANCE2 = 2e-6, TOLERANCE_STRIDE2 = 4e-6;

static bool cpu_runs(const char *isa) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (strcmp(isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return strcmp(isa, "portable") == 0;
}

/* A machine of any variant; rows > 0 replaces the micro-kernel by a plain one with that register block. */
static sg_machine machine_of(const sg_variant *variant) {
    sg_machine machine = {.variant = variant, .lanes = variant->lanes, .threads = 1, .winograd = true};
    assert_int_equal(sg_ukernel_init(&machine.ukernel, variant), SG_OK);
    snprintf(machine.isa, sizeof machine.isa, "%s", variant->isa);
    return machine;
}

/* C (+)= A B in the order of p: stands for micro-kernels with other register blocks than this CPU's. */
static void plain_ukernel(const sg_ukernel *u, int m, int k, const float *a, const float *b, float *c,
                          size_t c_stride, bool accumulate) {
    for (int i = 0; i < m; i++)
        for (int l = 0; l < u->lanes; l++) {
            float sum = 0.0f;
            for (int p = 0; p < k; p++) sum += a[p * u->rows + i] * b[p * u->lanes + l];
            c[(size_t)i * c_stride + (size_t)l] =
                sum + (accumulate ? c[(size_t)i * c_stride + (size_t)l] : 0.0f);
        }
}

/* One of the algorithms, its stride and its tolerance. */
typedef struct form {
    const sg_conv_algorithm *table;
    int stride;
    double tolerance;
} form;

enum { FORMS = 3 };
static form form_of(const sg_variant *v, int i) {
    const form forms[FORMS] = {
        {v->winograd4, 1, TOLERANCE4}, {v->winograd2, 1, TOLERANCE2}, {v->winograd4s2, 2, TOLERANCE_STRIDE2}};
    return forms[i];
}

static void check(const sg_machine *machine, int in, int out, int height, int width, int samples,
                  double density, uint64_t seed) {
    for (int i = 0; i < FORMS; i++) {
        form f = form_of(machine->variant, i);
        sg_conv_shape shape = sg_check_conv_shape(in, out, 1, 3, 3, f.stride, 1, height, width);
        char message[1024] = "";
        if (sg_check_conv_algorithm(machine, f.table, &shape, samples, density, seed, f.tolerance, message,
                                    sizeof message))
            fail_msg("%s: %s", f.table->name, message);
    }
}

static void each_variant(void (*test)(const sg_machine *machine)) {
    int tested = 0;
    for (const sg_variant *const *v = sg_variants; *v != NULL; v++) {
        if (!cpu_runs((*v)->isa)) continue;
        sg_machine machine = machine_of(*v);
        test(&machine);
        tested++;
    }
    assert_true(tested > 0);
}

/* Draws from lo to hi, hi included. */
static int draw(uint64_t seed, uint32_t at, int lo, int hi) {
    return lo + (int)(sg_rng(seed, SG_RNG_TEST, at, 1, 0).word[0] % (uint32_t)(hi - lo + 1));
}

static void random_shapes(const sg_machine *machine) {
    enum { SHAPES = 8 };
    for (uint64_t seed = 1, last = sg_check_conv_seeds(SHAPES); seed <= last; seed++)
        check(machine, draw(seed, 1, 1, 13), draw(seed, 2, 1, 13), draw(seed, 3, 1, 17), draw(seed, 4, 1, 17),
              draw(seed, 5, 1, 33), 1.0, seed);
}
static void test_random_shapes(void **state) {
    (void)state;
    each_variant(random_shapes);
}

/* Every remainder of the sizes by the tiles, and images smaller than a tile. */
static void small_images(const sg_machine *machine) {
    int most = (int)sg_check_conv_seeds(36) / 6; /* 6, or 1 */
    for (int height = 1; height <= 6; height++)
        for (int width = 1; width <= most; width++)
            check(machine, 3, 5, height, width, 2, 1.0, (uint64_t)height);
}
static void test_images_around_the_tile_size(void **state) {
    (void)state;
    each_variant(small_images);
}

/* One, two, ... blocks: every shape of tree up to five leaves, by as many teams as that allows. */
static void blocks(const sg_machine *machine) {
    for (int count = 1; count <= 5; count++)
        for (uint64_t seed = 0; seed < sg_check_conv_seeds(5); seed++)
            check(machine, 4, 6, 5, 4, count * machine->lanes - (count % 3), 1.0, seed);
}
static void test_trees_over_blocks(void **state) {
    (void)state;
    each_variant(blocks);
}

static void masks(const sg_machine *machine) {
    const double densities[] = {0.0, 0.03, 0.5, 0.97};
    for (int i = 0; i < 4; i++) check(machine, 19, 13, 6, 7, 18, densities[i], (uint64_t)i + 1);
}
static void test_weight_gradient_follows_the_mask(void **state) {
    (void)state;
    each_variant(masks);
}

/* Sizes at which a block takes several groups of tiles, or its sums are worked on by rectangles: all blocks
 * in one phase, or in two. */
static void groups(const sg_machine *machine) {
    check(machine, 16, 7, 33, 30, 1, 1.0, 1);
    if (strcmp(machine->isa, "portable") == 0) return;
    check(machine, 150, 100, 4, 5, 1, 1.0, 2);
    check(machine, 100, 90, 4, 3, 17, 0.3, 3);
    if (machine->lanes == 16) check(machine, 1030, 22, 2, 1, 6 * 16 - 3, 0.3, 4);
}
static void test_groups_and_rectangles(void **state) {
    (void)state;
    each_variant(groups);
}

/* Weights so many that either form transforms them while the pass runs. */
static void large_weights(const sg_machine *machine) {
    if (strcmp(machine->isa, "portable") == 0) return;
    check(machine, 257, 260, 5, 3, 1, 1.0, 1);
    check(machine, 700, 100, 1, 2, machine->lanes + 2, 0.5, 2);
    check(machine, 1030, 29, 1, 9, machine->lanes + 1, 1.0, 5); /* groups enough for two threads */
}
static void test_large_weights(void **state) {
    (void)state;
    each_variant(large_weights);
}

static void register_blocks(const sg_machine *machine) {
    const int rows[] = {4, 6, 9, 12, 16, 24};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sg_machine other = *machine;
        other.ukernel =
            (sg_ukernel){.name = "plain", .rows = rows[i], .lanes = machine->lanes, .run = plain_ukernel};
        check(&other, 7, 27, 5, 5, 3, 1.0, (uint64_t)rows[i]);
        check(&other, 27, 7, 3, 5, 3, 1.0, (uint64_t)rows[i]);
    }
}
static void test_other_register_blocks(void **state) {
    (void)state;
    each_variant(register_blocks);
}

static uint64_t digest(const sg_machine *machine, int i, uint64_t seed) {
    form f = form_of(machine->variant, i);
    sg_conv_shape shape = sg_check_conv_shape(draw(seed, 1, 1, 21), draw(seed, 2, 1, 21), 1, 3, 3, f.stride,
                                              1, draw(seed, 3, 1, 17), draw(seed, 4, 1, 17));
    uint64_t bits;
    char message[1024] = "";
    if (sg_check_conv_digest(machine, f.table, &shape, draw(seed, 5, 1, 49), 1.0, seed, TOLERANCE4, &bits,
                             message, sizeof message))
        fail_msg("%s: %s", f.table->name, message);
    return bits;
}

static void test_avx2_and_avx512_give_the_same_bits(void **state) {
    (void)state;
    const sg_variant *narrow = NULL, *wide = NULL;
    for (const sg_variant *const *v = sg_variants; *v != NULL; v++) {
        if ((*v)->lanes != 16 || !cpu_runs((*v)->isa)) continue;
        if (strcmp((*v)->isa, "avx2") == 0) narrow = *v;
        if (strcmp((*v)->isa, "avx512") == 0) wide = *v;
    }
    if (narrow == NULL || wide == NULL) skip();
    sg_machine a = machine_of(narrow), b = machine_of(wide);
    for (uint64_t seed = 1; seed <= 4; seed++)
        for (int i = 0; i < FORMS; i++)
            if (digest(&a, i, seed) != digest(&b, i, seed))
                fail_msg("%s, seed %d: avx2 and avx512 give other bits", form_of(narrow, i).table->name,
                         (int)seed);
}

static void unsupported(const sg_machine *machine) {
    const char *const names[FORMS] = {"winograd4", "winograd2", "winograd4s2"};
    const sg_conv_shape others[] = {
        sg_check_conv_shape(8, 8, 1, 1, 1, 1, 0, 8, 8), sg_check_conv_shape(8, 8, 1, 5, 5, 1, 2, 8, 8),
        sg_check_conv_shape(8, 8, 1, 3, 3, 3, 1, 8, 8), sg_check_conv_shape(8, 8, 1, 3, 3, 1, 0, 8, 8),
        sg_check_conv_shape(8, 8, 8, 3, 3, 1, 1, 8, 8), sg_check_conv_shape(8, 8, 1, 3, 1, 1, 1, 8, 8),
        sg_check_conv_shape(8, 8, 1, 3, 3, 2, 0, 8, 8), sg_check_conv_shape(8, 8, 1, 1, 1, 2, 0, 8, 8)};
    for (int i = 0; i < FORMS; i++) {
        form f = form_of(machine->variant, i);
        const sg_conv_shape fits = sg_check_conv_shape(8, 8, 1, 3, 3, f.stride, 1, 8, 8);
        const sg_conv_shape turned = sg_check_conv_shape(8, 8, 1, 3, 3, 3 - f.stride, 1, 8, 8);
        for (int pass = 0; pass < SG_CONV_PASSES; pass++) {
            const sg_conv_algorithm *a = &f.table[pass];
            assert_string_equal(a->name, names[i]);
            assert_true(a->supports(machine, &fits));
            assert_false(a->supports(machine, &turned));
            for (size_t o = 0; o < sizeof others / sizeof *others; o++)
                assert_false(a->supports(machine, &others[o]));
        }
    }
}
static void test_takes_only_3x3_of_its_stride(void **state) {
    (void)state;
    each_variant(unsupported);
}

/* Packed weights are the weights' positions * in * out floats at least; the weight gradient has sums of as
 * many. */
static void estimates(const sg_machine *machine) {
    const size_t positions[FORMS] = {36, 16, 36};
    for (int i = 0; i < FORMS; i++) {
        form f = form_of(machine->variant, i);
        sg_conv_shape shape = sg_check_conv_shape(24, 40, 1, 3, 3, f.stride, 1, 9, 9);
        sg_support dense = {.count = sg_conv_weights(&shape)};
        for (int pass = 0; pass < SG_CONV_PASSES; pass++) {
            sg_conv_bytes bytes = f.table[pass].bytes(machine, &shape, &dense, 1);
            assert_true(bytes.packed + bytes.shared + bytes.own >= positions[i] * 24 * 40 * sizeof(float));
        }
    }
}
static void test_memory_is_estimated(void **state) {
    (void)state;
    each_variant(estimates);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_images_around_the_tile_size),
        cmocka_unit_test(test_trees_over_blocks),
        cmocka_unit_test(test_weight_gradient_follows_the_mask),
        cmocka_unit_test(test_groups_and_rectangles),
        cmocka_unit_test(test_large_weights),
        cmocka_unit_test(test_other_register_blocks),
        cmocka_unit_test(test_avx2_and_avx512_give_the_same_bits),
        cmocka_unit_test(test_takes_only_3x3_of_its_stride),
        cmocka_unit_test(test_memory_is_estimated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
