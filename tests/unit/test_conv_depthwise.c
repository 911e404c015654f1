/* Depthwise convolution against the naive twins, for every instruction set and lane count of this CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "tests/reference/check_conv.h"
#include "tests/reference/conv_fixture.h"

/* Chains of 9 to a few thousand fused multiply-adds in float: the error grows with the square root of their
 * number, as the checker's scale does, which leaves some units of 2^-24 = 6e-8. */
static const double TOLERANCE = 2e-6;

static int setup(void **state) {
    sg_conv_fixture *f;
    int status = sg_conv_fixture_create(&f, offsetof(sg_variant, depthwise), TOLERANCE);
    *state = f;
    return status;
}

static int teardown(void **state) {
    SG_FREE(*state);
    return 0;
}

static sg_conv_shape depthwise(int channels, int kernel_height, int kernel_width, int stride, int padding,
                               int height, int width) {
    return sg_check_conv_shape(channels, channels, channels, kernel_height, kernel_width, stride, padding,
                               height, width);
}

static void random_shapes_agree_with_the_naive_twins(void **state) {
    static const int kernels[] = {3, 5, 1, 7, 2};
    static const double densities[] = {1.0, 1.0, 0.4, 0.05, 0.0};
    for (uint64_t seed = 1, last = sg_check_conv_seeds(60); seed <= last; seed++) {
        int kernel_height = kernels[sg_conv_fixture_draw(seed, 0, 5)],
            other = kernels[sg_conv_fixture_draw(seed, 2, 5)];
        int kernel_width = sg_conv_fixture_draw(seed, 1, 3) == 0 ? other : kernel_height;
        int stride = 1 + sg_conv_fixture_draw(seed, 3, 3),
            padding = sg_conv_fixture_draw(seed, 5, kernel_height / 2 + 1);
        int height = kernel_height + sg_conv_fixture_draw(seed, 6, 6),
            width = kernel_width + sg_conv_fixture_draw(seed, 7, 9);
        sg_conv_shape shape = depthwise(1 + sg_conv_fixture_draw(seed, 8, 40), kernel_height, kernel_width,
                                        stride, padding, height, width);
        if (sg_conv_is_linear(&shape)) continue;
        sg_conv_fixture_check(*state, &shape, 1 + sg_conv_fixture_draw(seed, 10, 33),
                              densities[sg_conv_fixture_draw(seed, 11, 5)], seed);
    }
}

static void every_width_is_cut_into_strips(void **state) {
    for (int width = 1; width <= 17; width++)
        for (int kernel = 3; kernel <= 5; kernel += 2) {
            sg_conv_shape shape = depthwise(6, kernel, kernel, 1, kernel / 2, 1 + width * 7 % 13, width);
            sg_conv_fixture_check(*state, &shape, 3, 1.0, (uint64_t)width);
        }
}

/* AVX-512 takes rows of a 3 x 3 filter in pairs; an odd one is left over. */
static void every_height_is_cut_into_pairs(void **state) {
    for (int height = 1; height <= 7; height++)
        for (int padding = height < 3; padding <= 1; padding++) {
            sg_conv_shape shape = depthwise(7, 3, 3, 1, padding, height, 4 + height * 5 % 9);
            sg_conv_fixture_check(*state, &shape, 37, 1.0, (uint64_t)height);
        }
}

static void stride_2_writes_every_input_pixel(void **state) {
    for (int size = 1; size <= 9; size++)
        for (int kernel = 3; kernel <= 5; kernel += 2) {
            sg_conv_shape shape = depthwise(8, kernel, kernel, 2, kernel / 2, size, 10 - size);
            sg_conv_fixture_check(*state, &shape, 17, 1.0, (uint64_t)size);
        }
}

/* Tensors beyond L2, for which lines are fetched ahead. */
static void large_tensors_are_fetched_ahead(void **state) {
    sg_conv_shape shapes[] = {depthwise(18, 3, 3, 1, 1, 33, 21), depthwise(18, 3, 3, 2, 1, 35, 26),
                              depthwise(11, 5, 5, 1, 2, 30, 33)};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        sg_conv_fixture_check(*state, &shapes[i], 61, 1.0, i + 1);
}

static void many_blocks_are_summed_in_the_tree(void **state) {
    sg_conv_shape shape = depthwise(40, 3, 3, 1, 1, 4, 4);
    for (int blocks = 1; blocks <= 11; blocks += 2)
        sg_conv_fixture_check(*state, &shape, 16 * blocks - 5, 0.6, 1);
}

static void avx2_and_avx512_give_the_same_bits(void **state) {
    sg_conv_shape shapes[] = {depthwise(19, 3, 3, 1, 1, 11, 9), depthwise(24, 3, 3, 1, 1, 8, 16),
                              depthwise(40, 5, 5, 1, 2, 8, 8), depthwise(33, 3, 3, 2, 1, 9, 8),
                              depthwise(16, 5, 5, 2, 2, 7, 7)};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        sg_conv_fixture_same_bits(*state, &shapes[i], 70, 0.7, i + 1);
}

static void other_groupings_are_not_supported(void **state) {
    const sg_conv_fixture *f = *state;
    const sg_machine *m = &f->machine[0];
    const sg_conv_algorithm *table = sg_conv_fixture_table(f, m);
    sg_conv_shape own = depthwise(8, 3, 3, 1, 1, 4, 4),
                  dense = sg_check_conv_shape(8, 8, 1, 3, 3, 1, 1, 4, 4);
    sg_conv_shape grouped = sg_check_conv_shape(8, 8, 4, 3, 3, 1, 1, 4, 4);
    sg_conv_shape wider = sg_check_conv_shape(8, 16, 8, 3, 3, 1, 1, 4, 4);
    for (int kind = 0; kind < SG_CONV_PASSES; kind++) {
        assert_true(table[kind].supports(m, &own));
        assert_false(table[kind].supports(m, &dense));
        assert_false(table[kind].supports(m, &grouped));
        assert_false(table[kind].supports(m, &wider));
    }
}

static void blocks_are_combined_in_the_order_of_the_tree(void **state) {
    sg_conv_shape shape = depthwise(9, 3, 3, 1, 1, 5, 4);
    for (int blocks = 1; blocks <= 13; blocks++) sg_conv_fixture_tree_order(*state, &shape, blocks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes_agree_with_the_naive_twins),
        cmocka_unit_test(every_width_is_cut_into_strips),
        cmocka_unit_test(every_height_is_cut_into_pairs),
        cmocka_unit_test(stride_2_writes_every_input_pixel),
        cmocka_unit_test(large_tensors_are_fetched_ahead),
        cmocka_unit_test(many_blocks_are_summed_in_the_tree),
        cmocka_unit_test(avx2_and_avx512_give_the_same_bits),
        cmocka_unit_test(other_groupings_are_not_supported),
        cmocka_unit_test(blocks_are_combined_in_the_order_of_the_tree),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
