/* Sparse convolution against the naive twins, for every instruction set and lane count that this CPU runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/sparse.h"
#include "tests/reference/check_conv.h"
#include "tests/reference/conv_fixture.h"

/* Chains of at most a few thousand fused multiply-adds in float: the error grows with the square root of
 * their number, as the checker's scale does, which leaves some units of 2^-24 = 6e-8. */
static const double TOLERANCE = 2e-6;

static int setup(void **state) {
    sg_conv_fixture *f;
    int status = sg_conv_fixture_create(&f, offsetof(sg_variant, sparse), TOLERANCE);
    *state = f;
    return status;
}

static int teardown(void **state) {
    SG_FREE(*state);
    return 0;
}

static void random_shapes_agree_with_the_naive_twins(void **state) {
    static const int kernels[] = {1, 3, 5, 7, 2};
    static const double densities[] = {1.0, 0.4, 0.1, 0.02, 0.0};
    for (uint64_t seed = 1, last = sg_check_conv_seeds(60); seed <= last; seed++) {
        int kernel_height = kernels[sg_conv_fixture_draw(seed, 0, 5)];
        int other = kernels[sg_conv_fixture_draw(seed, 2, 5)];
        int kernel_width = sg_conv_fixture_draw(seed, 1, 3) == 0 ? other : kernel_height;
        int stride = 1 + sg_conv_fixture_draw(seed, 3, 3),
            groups = sg_conv_fixture_draw(seed, 4, 4) == 0 ? 3 : 1;
        int padding = sg_conv_fixture_draw(seed, 5, kernel_height / 2 + 1);
        int height = kernel_height + sg_conv_fixture_draw(seed, 6, 6),
            width = kernel_width + sg_conv_fixture_draw(seed, 7, 8);
        int in = groups * (1 + sg_conv_fixture_draw(seed, 8, 12)),
            out = groups * (1 + sg_conv_fixture_draw(seed, 9, 12));
        sg_conv_shape shape =
            sg_check_conv_shape(in, out, groups, kernel_height, kernel_width, stride, padding, height, width);
        sg_conv_fixture_check(*state, &shape, 1 + sg_conv_fixture_draw(seed, 10, 33),
                              densities[sg_conv_fixture_draw(seed, 11, 5)], seed);
    }
}

/* Every tile: widths 1 to 17 (one and two strips, three where they are unequal), heights that leave lines
 * over; channels so few that the largest tiles' window fits L1, and more. */
static void every_width_and_height_is_tiled(void **state) {
    for (int width = 1; width <= 17; width++) {
        sg_conv_shape few = sg_check_conv_shape(5, 6, 1, 3, 3, 1, 1, 1 + width * 7 % 19, width);
        sg_conv_fixture_check(*state, &few, 3, 0.3, (uint64_t)width);
        sg_conv_shape more = sg_check_conv_shape(20, 19, 1, 3, 3, 1, 1, 1 + width * 7 % 19, width);
        sg_conv_fixture_check(*state, &more, 3, 0.1, (uint64_t)width);
    }
}

/* Tensors beyond L2, for which lines are fetched ahead: strides, groups, tiles that are left over. */
static void large_tensors_are_fetched_ahead(void **state) {
    sg_conv_shape shapes[] = {sg_check_conv_shape(12, 10, 1, 3, 3, 1, 1, 33, 35),
                              sg_check_conv_shape(9, 14, 1, 3, 3, 2, 1, 40, 37),
                              sg_check_conv_shape(30, 24, 1, 1, 1, 1, 0, 23, 29),
                              sg_check_conv_shape(12, 12, 12, 3, 3, 1, 1, 33, 35)};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        sg_conv_fixture_check(*state, &shapes[i], 61, 0.1, i + 1);
}

static void single_pixels_take_their_lines_from_blocks(void **state) {
    for (int blocks = 1; blocks <= 11; blocks += 2) {
        sg_conv_shape shape = sg_check_conv_shape(23, 31, 1, 1, 1, 1, 0, 1, 1);
        sg_conv_fixture_check(*state, &shape, 16 * blocks - 5, 0.2, (uint64_t)blocks);
        shape = sg_check_conv_shape(9, 7, 1, 3, 3, 1, 1, 2, 2);
        sg_conv_fixture_check(*state, &shape, 16 * blocks - 5, 0.2, (uint64_t)blocks);
    }
}

static void many_channels_are_cut_into_chunks(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(150, 33, 1, 3, 3, 1, 1, 3, 4);
    sg_conv_fixture_check(*state, &shape, 2, 0.3, 1);
    shape = sg_check_conv_shape(30, 150, 1, 3, 3, 1, 1, 3, 4);
    sg_conv_fixture_check(*state, &shape, 2, 0.3, 3);
    shape = sg_check_conv_shape(260, 70, 1, 1, 1, 1, 0, 3, 8);
    sg_conv_fixture_check(*state, &shape, 2, 0.4, 2);
}

static void stride_2_writes_every_input_pixel(void **state) {
    for (int size = 1; size <= 9; size++) {
        sg_conv_shape shape = sg_check_conv_shape(8, 9, 1, 3, 3, 2, 1, size, 10 - size);
        sg_conv_fixture_check(*state, &shape, 17, 0.3, (uint64_t)size);
        shape = sg_check_conv_shape(8, 9, 1, 1, 1, 2, 0, size, 10 - size);
        sg_conv_fixture_check(*state, &shape, 17, 0.3, (uint64_t)size);
    }
}

static void a_linear_layer_covers_its_input(void **state) {
    sg_conv_shape plain = sg_check_conv_shape(512, 10, 1, 1, 1, 1, 0, 1, 1);
    sg_conv_fixture_check(*state, &plain, 33, 0.1, 1);
    sg_conv_shape image = sg_check_conv_shape(1, 30, 1, 12, 12, 1, 0, 12, 12);
    sg_conv_fixture_check(*state, &image, 20, 0.4, 2);
    sg_conv_shape padded_pixels = sg_check_conv_shape(16, 11, 1, 5, 4, 1, 0, 5, 4);
    sg_conv_fixture_check(*state, &padded_pixels, 20, 0.3, 3);
}

static void a_group_may_have_more_outputs_than_inputs(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(24, 240, 3, 1, 1, 1, 0, 3, 2);
    sg_conv_fixture_check(*state, &shape, 4, 0.3, 7);
}

static void depthwise_is_the_case_of_one_channel_per_group(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(21, 21, 21, 3, 3, 2, 1, 6, 5);
    sg_conv_fixture_check(*state, &shape, 18, 0.5, 6);
}

static void avx2_and_avx512_give_the_same_bits(void **state) {
    static const int shapes[][9] = {{19, 23, 1, 3, 3, 1, 1, 11, 9}, {40, 32, 1, 3, 3, 2, 1, 8, 8},
                                    {64, 48, 1, 1, 1, 1, 0, 4, 4},  {8, 10, 1, 4, 4, 1, 0, 4, 4},
                                    {30, 12, 1, 3, 3, 1, 1, 2, 2},  {12, 12, 3, 5, 5, 1, 2, 7, 7}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        sg_conv_shape shape = sg_check_conv_shape(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]);
        sg_conv_fixture_same_bits(*state, &shape, 70, 0.3, i + 1);
    }
}

/* An output channel without weights: bias, or zero, and nothing of what was there. */
static void an_empty_row_gives_the_bias(void **state) {
    const sg_conv_fixture *f = *state;
    sg_conv_shape shape = sg_check_conv_shape(40, 3, 1, 1, 1, 1, 0, 2, 3);
    float packed[1];
    static const float weights[120] = {[41] = 2.0f}, bias[3] = {0.5f, -1.0f, 0.25f};
    const uint32_t index[1] = {41};
    sg_support support = {.count = 1, .index = index};
    for (int i = 0; i < f->count; i++) {
        const sg_machine *m = &f->machine[i];
        const sg_conv_algorithm *a = &sg_conv_fixture_table(f, m)[SG_CONV_FORWARD];
        sg_tensor x, y;
        void *opaque;
        assert_int_equal(sg_tensor_init(&x, m->lanes, 1, 40, 2, 3, 0), SG_OK);
        assert_int_equal(sg_tensor_init(&y, m->lanes, 1, 3, 2, 3, 0), SG_OK);
        for (size_t j = 0; j < y.block; j++) y.data[j] = 9.0f;
        sg_tensor_at(&x, 0, 1, 2)[m->lanes] = 10.0f;
        assert_int_equal(a->create(&opaque, m, &shape, &support), SG_OK);
        assert_int_equal(a->prepare(opaque, weights, packed), SG_OK);
        assert_int_equal(
            a->run(opaque, &(sg_conv_pass){.blocks = 1, .x = &x, .y = &y, .bias = bias, .packed = packed}),
            SG_OK);
        a->destroy(&opaque);
        for (int p = 0; p < 6; p++)
            for (int c = 0; c < 3; c++) {
                float expected = bias[c] + (p == 5 && c == 1 ? 20.0f : 0.0f);
                assert_float_equal(sg_tensor_at(&y, 0, p / 3, p % 3)[c * m->lanes], expected, 0.0f);
            }
        sg_tensor_release(&x);
        sg_tensor_release(&y);
    }
}

static void blocks_are_combined_in_the_order_of_the_tree(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(7, 5, 1, 3, 3, 1, 1, 5, 4);
    for (int blocks = 1; blocks <= 13; blocks++) sg_conv_fixture_tree_order(*state, &shape, blocks);
}

/* The same state serves tensors of other strides, as a view or another halo has. */
static void other_strides_are_bound_again(void **state) {
    const sg_conv_fixture *f = *state;
    const sg_machine *m = &f->machine[0];
    sg_conv_shape shape = sg_check_conv_shape(3, 2, 1, 3, 3, 1, 1, 4, 4);
    static const float weights[54] = {[0] = 1.0f, [17] = -2.0f, [53] = 0.5f};
    const uint32_t index[3] = {0, 17, 53};
    sg_support support = {.count = 3, .index = index};
    const sg_conv_algorithm *a = &sg_conv_fixture_table(f, m)[SG_CONV_FORWARD];
    float in[48], out[3][32], packed[3];
    void *opaque;
    for (int i = 0; i < 48; i++) in[i] = (float)(i * i % 31);
    assert_int_equal(a->create(&opaque, m, &shape, &support), SG_OK);
    assert_int_equal(a->prepare(opaque, weights, packed), SG_OK);
    for (int run = 0; run < 3; run++) {
        sg_tensor x, y;
        assert_int_equal(sg_tensor_init(&x, m->lanes, 1, 3, 4, 4, 1 + run % 2), SG_OK);
        assert_int_equal(sg_tensor_init(&y, m->lanes, 1, 2, 4, 4, 2 - run % 2), SG_OK);
        sg_tensor_from_nchw(&x, in, 1);
        assert_int_equal(a->run(opaque, &(sg_conv_pass){.blocks = 1, .x = &x, .y = &y, .packed = packed}),
                         SG_OK);
        sg_tensor_to_nchw(&y, out[run], 1);
        sg_tensor_release(&x);
        sg_tensor_release(&y);
    }
    a->destroy(&opaque);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    assert_memory_equal(out[0], out[2], sizeof out[0]);
    assert_float_equal(out[0][5], in[0] - 2.0f * in[16 + 10], 0.0f);
}

static void a_halo_that_is_too_small_is_refused(void **state) {
    const sg_conv_fixture *f = *state;
    const sg_machine *m = &f->machine[0];
    sg_conv_shape shape = sg_check_conv_shape(1, 1, 1, 3, 3, 1, 1, 4, 4);
    sg_support dense = {.count = 9};
    const sg_conv_algorithm *a = &sg_conv_fixture_table(f, m)[SG_CONV_FORWARD];
    sg_tensor x, y;
    void *opaque;
    assert_int_equal(sg_tensor_init(&x, m->lanes, 1, 1, 4, 4, 0), SG_OK);
    assert_int_equal(sg_tensor_init(&y, m->lanes, 1, 1, 4, 4, 0), SG_OK);
    assert_int_equal(a->create(&opaque, m, &shape, &dense), SG_OK);
    assert_int_equal(a->run(opaque, &(sg_conv_pass){.blocks = 1, .x = &x, .y = &y}), SG_INTERNAL);
    assert_non_null(strstr(sg_error_message(), "halo of 0, needed 1"));
    a->destroy(&opaque);
    sg_tensor_release(&x);
    sg_tensor_release(&y);
}

/* The structure itself: every survivor once, in the row and chunk where it belongs. */
static void the_transposed_structure_holds_every_survivor_once(void **state) {
    (void)state;
    sg_conv_shape shape = sg_check_conv_shape(7, 11, 1, 3, 3, 2, 1, 6, 6);
    uint32_t index[693];
    size_t count = 0;
    for (uint32_t i = 0; i < 693; i++)
        if (sg_conv_fixture_draw(3, i, 3) == 0) index[count++] = i;
    sg_support support = {.count = count, .index = index};
    sg_sparse *a;
    assert_int_equal(sg_sparse_create(&a, &shape, &support, true, 4), SG_OK);
    assert_int_equal(a->phases, 4);
    assert_int_equal(a->chunks, 3);
    assert_int_equal(a->start[4 * 3 * 7], count);
    uint32_t position_at[693];
    uint8_t seen[693] = {0};
    for (size_t i = 0; i < count; i++) position_at[a->slot[i]] = index[i];
    for (int phase = 0; phase < 4; phase++)
        for (int chunk = 0; chunk < 3; chunk++)
            for (int row = 0; row < 7; row++) {
                const uint32_t *start = &a->start[(phase * 3 + chunk) * 7 + row];
                for (uint32_t j = start[0]; j < start[1]; j++) {
                    int position = (int)position_at[j], out = position / 63, in = position / 9 % 7;
                    int r = position / 3 % 3, s = position % 3;
                    assert_int_equal(in, row);
                    assert_int_equal(out / 4, chunk);
                    assert_int_equal((r + 1) % 2 * 2 + (s + 1) % 2, phase);
                    seen[position]++;
                }
            }
    for (size_t i = 0; i < count; i++) assert_int_equal(seen[index[i]], 1);
    sg_sparse_destroy(&a);
    assert_null(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes_agree_with_the_naive_twins),
        cmocka_unit_test(every_width_and_height_is_tiled),
        cmocka_unit_test(large_tensors_are_fetched_ahead),
        cmocka_unit_test(single_pixels_take_their_lines_from_blocks),
        cmocka_unit_test(many_channels_are_cut_into_chunks),
        cmocka_unit_test(stride_2_writes_every_input_pixel),
        cmocka_unit_test(a_linear_layer_covers_its_input),
        cmocka_unit_test(a_group_may_have_more_outputs_than_inputs),
        cmocka_unit_test(depthwise_is_the_case_of_one_channel_per_group),
        cmocka_unit_test(avx2_and_avx512_give_the_same_bits),
        cmocka_unit_test(an_empty_row_gives_the_bias),
        cmocka_unit_test(blocks_are_combined_in_the_order_of_the_tree),
        cmocka_unit_test(other_strides_are_bound_again),
        cmocka_unit_test(a_halo_that_is_too_small_is_refused),
        cmocka_unit_test(the_transposed_structure_holds_every_survivor_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
