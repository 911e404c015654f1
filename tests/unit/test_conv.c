/* The convolution layer: halos, refusals with their messages, and a change of mask in the middle of its life.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "kernels/conv.h"
#include "kernels/memory.h"
#include "tests/reference/check_conv.h"
#include "tests/reference/reference_conv.h"

static int make_machine(void **state) {
    return sg_machine_create((sg_machine **)state, "auto", "auto", 2) != SG_OK;
}

static int free_machine(void **state) {
    sg_machine_destroy((sg_machine **)state);
    return 0;
}

static void assert_message(const char *part) {
    if (strstr(sg_error_message(), part) == NULL)
        fail_msg("expected \"%s\" in \"%s\"", part, sg_error_message());
}

static void refuse(void **state, sg_conv_shape shape, const char *message) {
    sg_conv *conv = (sg_conv *)state; /* anything but NULL */
    assert_int_equal(sg_conv_create(&conv, *state, &shape), SG_INTERNAL);
    assert_null(conv);
    assert_message(message);
}

static void impossible_shapes_are_refused(void **state) {
    sg_conv_shape good = sg_check_conv_shape(6, 4, 2, 3, 3, 1, 1, 5, 5), s = good;
    s.groups = 4;
    refuse(state, s, "4 groups do not divide the channels");
    s = good;
    s.out_height = 4;
    refuse(state, s, "convolution of 5x5 pixels gives 5x5, not 4x5");
    s = good;
    s.stride = 0;
    refuse(state, s, "every size must be positive");
    s = good;
    s.kernel_width = 9;
    refuse(state, s, "kernel 3x9 is larger than its input of 5x5 pixels");
}

static void the_input_halo_is_the_padding(void **state) {
    (void)state;
    sg_conv_shape padded = sg_check_conv_shape(4, 4, 1, 5, 5, 1, 2, 9, 9),
                  bare = sg_check_conv_shape(4, 4, 1, 5, 5, 1, 0, 9, 9);
    assert_int_equal(sg_conv_input_halo(&padded), 2);
    assert_int_equal(sg_conv_input_halo(&bare), 0);
}

/* The halo is what the definition reaches: all (i, r) with i + padding - r divisible by the stride. */
static void the_gradient_halo_is_what_the_sums_reach(void **state) {
    (void)state;
    for (int kernel = 1; kernel <= 7; kernel++)
        for (int stride = 1; stride <= 4; stride++)
            for (int padding = 0; padding <= kernel / 2; padding++)
                for (int in = kernel; in <= 12; in++) {
                    sg_conv_shape s = sg_check_conv_shape(1, 1, 1, kernel, kernel, stride, padding, in, in);
                    int reach = 0;
                    for (int i = 0; i < in; i++)
                        for (int r = 0; r < kernel; r++) {
                            if ((i + padding - r) % stride != 0) continue;
                            int q = (i + padding - r) / stride;
                            if (-q > reach) reach = -q;
                            if (q - (s.out_height - 1) > reach) reach = q - (s.out_height - 1);
                        }
                    if (padding == 0 && kernel == in) reach = 0; /* linear */
                    if (sg_conv_gradient_halo(&s) != reach)
                        fail_msg("kernel %d stride %d padding %d in %d: expected halo %d, got %d", kernel,
                                 stride, padding, in, reach, sg_conv_gradient_halo(&s));
                }
}

typedef struct layer {
    sg_conv_shape shape;
    sg_conv *conv;
    sg_tensor x, y, dy, dx;
} layer;

static layer make_layer(void **state, sg_conv_shape shape) {
    const sg_machine *m = *state;
    layer l = {.shape = shape};
    assert_int_equal(sg_conv_create(&l.conv, m, &shape), SG_OK);
    assert_int_equal(sg_tensor_init(&l.x, m->lanes, 1, shape.in_channels, shape.in_height, shape.in_width,
                                    sg_conv_input_halo(&shape)),
                     SG_OK);
    assert_int_equal(
        sg_tensor_init(&l.dx, m->lanes, 1, shape.in_channels, shape.in_height, shape.in_width, 0), SG_OK);
    assert_int_equal(
        sg_tensor_init(&l.y, m->lanes, 1, shape.out_channels, shape.out_height, shape.out_width, 0), SG_OK);
    assert_int_equal(sg_tensor_init(&l.dy, m->lanes, 1, shape.out_channels, shape.out_height, shape.out_width,
                                    sg_conv_gradient_halo(&shape)),
                     SG_OK);
    return l;
}

static void free_layer(layer *l) {
    sg_conv_destroy(&l->conv);
    assert_null(l->conv);
    sg_conv_destroy(&l->conv);
    sg_tensor_release(&l->x);
    sg_tensor_release(&l->y);
    sg_tensor_release(&l->dy);
    sg_tensor_release(&l->dx);
}

/* Prepares and runs a pass in memory of its own. */
static int run_pass(const layer *l, const sg_machine *m, const sg_support *support,
                    enum sg_conv_pass_kind kind, const float *weights, sg_conv_pass pass) {
    sg_conv_bytes bytes = sg_conv_choose(m, &l->shape, support, kind)->bytes(m, &l->shape, support, 1);
    float *packed, *scratch;
    assert_int_equal(SG_NEW(&packed, bytes.packed / sizeof *packed), SG_OK);
    size_t all = sg_conv_scratch_bytes(bytes.shared, bytes.own, m->threads);
    assert_int_equal(SG_NEW(&scratch, all / sizeof *scratch), SG_OK);
    pass.scratch = sg_conv_lay_scratch(scratch, bytes.shared, bytes.own);
    pass.weights = weights;
    pass.packed = packed;
    int status = sg_conv_prepare(l->conv, kind, weights, packed);
    if (status == SG_OK) status = sg_conv_run(l->conv, kind, &pass);
    free(packed);
    free(scratch);
    return status;
}

static void a_pass_without_its_memory_is_refused(void **state) {
    layer l = make_layer(state, sg_check_conv_shape(2, 3, 1, 1, 1, 1, 0, 2, 2));
    float scratch[1];
    sg_conv_pass forward = {.blocks = 1, .x = &l.x, .y = &l.y, .scratch.own = scratch};
    assert_int_equal(sg_conv_run(l.conv, SG_CONV_FORWARD, &forward), SG_INTERNAL);
    assert_message("pass 0 runs without weights, or without what sg_conv_prepare makes of them");
    forward.scratch.own = NULL;
    assert_int_equal(sg_conv_run(l.conv, SG_CONV_FORWARD, &forward), SG_INTERNAL);
    assert_message("pass 0 runs without scratch");
    free_layer(&l);
}

static void tensors_of_another_shape_are_refused(void **state) {
    layer l = make_layer(state, sg_check_conv_shape(2, 3, 1, 3, 3, 1, 1, 4, 4));
    const sg_machine *m = *state;
    float weights[54] = {0};
    sg_support all = {.count = 54};
    sg_conv_pass swapped = {.blocks = 1, .x = &l.y, .y = &l.x};
    assert_int_equal(run_pass(&l, m, &all, SG_CONV_FORWARD, weights, swapped), SG_INTERNAL);
    assert_message(
        "convolution tensor x has 1 blocks of 4x4 pixels, 3 channels, halo 0; needed are 1 blocks of 4x4 "
        "pixels, 2 channels, halo 1");
    sg_conv_pass too_many = {.blocks = 2, .x = &l.x, .y = &l.y};
    assert_int_equal(run_pass(&l, m, &all, SG_CONV_FORWARD, weights, too_many), SG_INTERNAL);
    assert_message("needed are 2 blocks");
    sg_conv_pass missing = {.blocks = 1, .x = &l.x};
    assert_int_equal(run_pass(&l, m, &all, SG_CONV_FORWARD, weights, missing), SG_INTERNAL);
    assert_message("without its tensor y");
    sg_conv_pass nowhere = {.blocks = 1, .x = &l.x, .dy = &l.dy};
    assert_int_equal(run_pass(&l, m, &all, SG_CONV_WEIGHT_GRADIENT, weights, nowhere), SG_INTERNAL);
    assert_message("without dw");
    free_layer(&l);
}

/* A rank without a block of a small minibatch. */
static void no_blocks_give_a_gradient_of_zeros(void **state) {
    const sg_machine *m = *state;
    const sg_conv_shape shapes[] = {
        sg_check_conv_shape(16, 8, 1, 1, 1, 1, 0, 4, 4), sg_check_conv_shape(16, 16, 1, 3, 3, 1, 1, 8, 8),
        sg_check_conv_shape(16, 16, 1, 3, 3, 2, 1, 8, 8), sg_check_conv_shape(8, 8, 8, 3, 3, 1, 1, 4, 4)};
    static float weights[16 * 16 * 9], dw[16 * 16 * 9 + 1];
    static const uint32_t index[] = {0, 3, 17, 40};
    const size_t survivors = sizeof index / sizeof *index;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int pruned = 0; pruned < 2; pruned++) {
            layer l = make_layer(state, shapes[i]);
            sg_support support = {.count = pruned ? survivors : sg_conv_weights(&shapes[i]),
                                  .index = pruned ? index : NULL};
            assert_int_equal(sg_conv_set_support(l.conv, &support), SG_OK);
            for (size_t k = 0; k <= support.count; k++) dw[k] = 1.0f;
            sg_conv_pass pass = {.blocks = 0, .x = &l.x, .dy = &l.dy, .dw = dw};
            assert_int_equal(run_pass(&l, m, &support, SG_CONV_WEIGHT_GRADIENT, weights, pass), SG_OK);
            for (size_t k = 0; k < support.count; k++) assert_float_equal(dw[k], 0.0f, 0.0f);
            assert_float_equal(dw[support.count], 1.0f, 0.0f);
            free_layer(&l);
        }
}

static void too_little_scratch_is_refused(void **state) {
    layer l = make_layer(state, sg_check_conv_shape(16, 16, 1, 3, 3, 1, 1, 8, 8));
    static float weights[16 * 16 * 9], scratch[1];
    sg_conv_bytes bytes =
        sg_conv_choose(*state, &l.shape, &(sg_support){.count = 16 * 16 * 9}, SG_CONV_FORWARD)
            ->bytes(*state, &l.shape, &(sg_support){.count = 16 * 16 * 9}, 1);
    float *packed;
    assert_int_equal(SG_NEW(&packed, bytes.packed / sizeof *packed), SG_OK);
    assert_int_equal(sg_conv_prepare(l.conv, SG_CONV_FORWARD, weights, packed), SG_OK);
    sg_conv_pass pass = {
        .blocks = 1, .x = &l.x, .y = &l.y, .weights = weights, .packed = packed, .scratch.own = scratch};
    assert_int_equal(sg_conv_run(l.conv, SG_CONV_FORWARD, &pass), SG_INTERNAL);
    assert_message("convolution pass 0 over 1 blocks takes");
    free(packed);
    free_layer(&l);
}

/* Dense, then a mask, then dense again, as between pruning rounds and transfers: the weight gradient has as
 * many sums as weights survive, each the one that the dense gradient has in its place. */
static void a_new_mask_takes_effect(void **state) {
    const sg_machine *m = *state;
    layer l = make_layer(state, sg_check_conv_shape(16, 16, 1, 3, 3, 1, 1, 8, 8));
    enum { WEIGHTS = 16 * 16 * 9, SURVIVORS = WEIGHTS / 9 };
    static float weights[WEIGHTS], dense[WEIGHTS], again[WEIGHTS], sparse[SURVIVORS];
    static uint32_t index[SURVIVORS];
    for (uint32_t i = 0; i < SURVIVORS; i++) index[i] = 9 * i + i % 9;
    for (size_t i = 0; i < l.x.block; i++) l.x.base[i] = 0.0f;
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++)
            for (int i = 0; i < 16 * m->lanes; i++) {
                sg_tensor_at(&l.x, 0, y, x)[i] = (float)((i * 7 + y * 5 + x * 3) % 11) - 5.0f;
                sg_tensor_at(&l.dy, 0, y, x)[i] = (float)((i * 3 + y * 2 + x * 7) % 13) - 6.0f;
            }
    sg_support all = {.count = WEIGHTS}, some = {.count = SURVIVORS, .index = index};
    sg_conv_pass pass = {.blocks = 1, .x = &l.x, .dy = &l.dy, .dw = dense};
    assert_int_equal(run_pass(&l, m, &all, SG_CONV_WEIGHT_GRADIENT, weights, pass), SG_OK);

    assert_int_equal(sg_conv_set_support(l.conv, &some), SG_OK);
    pass.dw = sparse;
    assert_int_equal(run_pass(&l, m, &some, SG_CONV_WEIGHT_GRADIENT, weights, pass), SG_OK);
    /* Whole numbers: sums of at most 64 * 32 products of at most 30 are exact in direct and sparse sums;
     * Winograd's transforms round, relative to the largest sums. */
    double largest = 0.0;
    for (int i = 0; i < WEIGHTS; i++) largest = fmax(largest, fabs((double)dense[i]));
    assert_true(largest > 100.0);
    for (int i = 0; i < SURVIVORS; i++)
        if (fabs((double)sparse[i] - (double)dense[index[i]]) > 1e-4 * largest)
            fail_msg("survivor %d: expected %g, got %g", i, (double)dense[index[i]], (double)sparse[i]);

    assert_int_equal(sg_conv_set_support(l.conv, &all), SG_OK);
    pass.dw = again;
    assert_int_equal(run_pass(&l, m, &all, SG_CONV_WEIGHT_GRADIENT, weights, pass), SG_OK);
    assert_memory_equal(dense, again, sizeof dense);
    free_layer(&l);
}

/* Of one sample: the sum over pixels of dy (conv x) equals the sum over pixels of x (transposed conv dy),
 * which ties the three passes to each other whatever algorithms are chosen. */
static void the_three_passes_are_one_bilinear_form(void **state) {
    const sg_machine *m = *state;
    static const int shapes[][9] = {{16, 24, 1, 3, 3, 1, 1, 8, 8},
                                    {16, 24, 1, 3, 3, 2, 1, 7, 8},
                                    {12, 20, 1, 1, 1, 1, 0, 4, 4},
                                    {9, 9, 9, 3, 3, 1, 1, 6, 6}};
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        const int *a = shapes[n];
        layer l =
            make_layer(state, sg_check_conv_shape(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]));
        size_t count = sg_conv_weights(&l.shape);
        float *w, *dw;
        assert_int_equal(SG_NEW(&w, count), SG_OK);
        assert_int_equal(SG_NEW(&dw, count), SG_OK);
        for (size_t i = 0; i < count; i++) w[i] = sinf((float)i);
        for (int y = 0; y < l.shape.in_height; y++)
            for (int x = 0; x < l.shape.in_width; x++)
                for (int i = 0; i < l.shape.in_channels * m->lanes; i++)
                    sg_tensor_at(&l.x, 0, y, x)[i] = cosf((float)(i + 31 * x + 57 * y));
        for (int y = 0; y < l.shape.out_height; y++)
            for (int x = 0; x < l.shape.out_width; x++)
                for (int i = 0; i < l.shape.out_channels * m->lanes; i++)
                    sg_tensor_at(&l.dy, 0, y, x)[i] = sinf((float)(2 * i + 17 * x + 5 * y));
        sg_support all = {.count = count};
        sg_conv_pass pass = {.blocks = 1, .x = &l.x, .y = &l.y, .dy = &l.dy, .dx = &l.dx, .dw = dw};
        for (int kind = 0; kind < SG_CONV_PASSES; kind++)
            assert_int_equal(run_pass(&l, m, &all, (enum sg_conv_pass_kind)kind, w, pass), SG_OK);
        double forward = 0.0, data = 0.0, weight = 0.0, size = 0.0;
        for (int y = 0; y < l.shape.out_height; y++)
            for (int x = 0; x < l.shape.out_width; x++)
                for (int i = 0; i < l.shape.out_channels * m->lanes; i++) {
                    double product =
                        (double)sg_tensor_at(&l.y, 0, y, x)[i] * (double)sg_tensor_at(&l.dy, 0, y, x)[i];
                    forward += product;
                    size += fabs(product);
                }
        for (int y = 0; y < l.shape.in_height; y++)
            for (int x = 0; x < l.shape.in_width; x++)
                for (int i = 0; i < l.shape.in_channels * m->lanes; i++)
                    data += (double)sg_tensor_at(&l.x, 0, y, x)[i] * (double)sg_tensor_at(&l.dx, 0, y, x)[i];
        for (size_t i = 0; i < count; i++) weight += (double)w[i] * (double)dw[i];
        /* Rounding of each pass is below 1e-5 of its largest values. */
        if (fabs(forward - data) > 1e-5 * size || fabs(forward - weight) > 1e-5 * size)
            fail_msg("shape %zu: forward %.9g, data gradient %.9g, weight gradient %.9g", n, forward, data,
                     weight);
        SG_FREE(w);
        SG_FREE(dw);
        free_layer(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(the_input_halo_is_the_padding),
        cmocka_unit_test(the_gradient_halo_is_what_the_sums_reach),
        cmocka_unit_test(a_pass_without_its_memory_is_refused),
        cmocka_unit_test(tensors_of_another_shape_are_refused),
        cmocka_unit_test(no_blocks_give_a_gradient_of_zeros),
        cmocka_unit_test(too_little_scratch_is_refused),
        cmocka_unit_test(a_new_mask_takes_effect),
        cmocka_unit_test(the_three_passes_are_one_bilinear_form),
    };
    return cmocka_run_group_tests(tests, make_machine, free_machine);
}
