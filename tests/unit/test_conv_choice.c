/* The choice of an algorithm per pass: a pure function of shape, support and configuration. The kernels are
 * stand-ins, so that the choice is tested whatever this build has. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernels/conv.h"
#include "kernels/variant.h"
#include "tests/reference/check_conv.h"

static bool yes(const sg_machine *machine, const sg_conv_shape *shape) {
    (void)machine, (void)shape;
    return true;
}

static bool no(const sg_machine *machine, const sg_conv_shape *shape) {
    (void)machine, (void)shape;
    return false;
}

static sg_variant all_algorithms(void) {
    sg_variant v = {.isa = "test", .lanes = 16};
    for (int kind = 0; kind < SG_CONV_PASSES; kind++) {
        v.direct[kind] = (sg_conv_algorithm){.name = "direct", .supports = yes};
        v.winograd4[kind] = (sg_conv_algorithm){.name = "winograd4", .supports = yes};
        v.winograd2[kind] = (sg_conv_algorithm){.name = "winograd2", .supports = yes};
        v.winograd4s2[kind] = (sg_conv_algorithm){.name = "winograd4s2", .supports = yes};
        v.sparse[kind] = (sg_conv_algorithm){.name = "sparse", .supports = yes};
        v.depthwise[kind] = (sg_conv_algorithm){.name = "depthwise", .supports = yes};
    }
    return v;
}

static sg_machine machine_of(const sg_variant *v) {
    return (sg_machine){.variant = v, .lanes = 16, .threads = 1, .winograd = true, .sparse = true};
}

static void expect_pass(const sg_machine *m, const sg_conv_shape *shape, const sg_support *support,
                        enum sg_conv_pass_kind kind, const char *name) {
    assert_string_equal(sg_conv_choose(m, shape, support, kind)->name, name);
}

/* All three passes. */
static void expect(const sg_machine *m, const sg_conv_shape *shape, double density, const char *name) {
    static const uint32_t somewhere[1];
    sg_support support = {.count = (size_t)(density * (double)sg_conv_weights(shape)),
                          .index = density < 1.0 ? somewhere : NULL};
    for (int kind = 0; kind < SG_CONV_PASSES; kind++)
        expect_pass(m, shape, &support, (enum sg_conv_pass_kind)kind, name);
}

static sg_conv_shape three(int channels, int size) {
    return sg_check_conv_shape(channels, channels, 1, 3, 3, 1, 1, size, size);
}

static void large_images_take_the_large_winograd_tile(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    static const int sizes[] = {4, 8, 16, 32, 56, 27, 15};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sg_conv_shape shape = three(64, sizes[i]);
        expect(&m, &shape, 1.0, "winograd4");
    }
}

static void small_images_take_the_small_winograd_tile(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    static const int sizes[] = {2, 3, 5, 9};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sg_conv_shape shape = three(512, sizes[i]);
        expect(&m, &shape, 1.0, "winograd2");
    }
}

/* Outputs of 3 x 4 pixels and more pay for a tile; 5 x 5 need four. */
static void stride_2_has_its_own_winograd(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    static const int sizes[] = {32, 31, 16, 8, 7, 27};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sg_conv_shape shape = sg_check_conv_shape(64, 128, 1, 3, 3, 2, 1, sizes[i], sizes[i]);
        expect(&m, &shape, 1.0, "winograd4s2");
    }
    const sg_conv_shape wide = sg_check_conv_shape(64, 128, 1, 3, 3, 2, 1, 6, 8);
    expect(&m, &wide, 1.0, "winograd4s2");
    const sg_conv_shape small[] = {sg_check_conv_shape(64, 128, 1, 3, 3, 2, 1, 6, 6),
                                   sg_check_conv_shape(64, 128, 1, 3, 3, 2, 1, 10, 10)};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) expect(&m, &small[i], 1.0, "direct");
}

static void other_shapes_are_direct(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    const sg_conv_shape shapes[] = {
        sg_check_conv_shape(64, 64, 1, 1, 1, 1, 0, 16, 16),
        sg_check_conv_shape(64, 64, 1, 3, 3, 3, 1, 16, 16),
        sg_check_conv_shape(64, 64, 1, 3, 3, 2, 0, 16, 16),
        sg_check_conv_shape(64, 64, 1, 3, 3, 1, 0, 16, 16),
        sg_check_conv_shape(64, 64, 2, 3, 3, 1, 1, 16, 16),
        sg_check_conv_shape(64, 64, 1, 5, 5, 1, 2, 16, 16),
        sg_check_conv_shape(64, 64, 1, 3, 1, 1, 1, 16, 16),
        sg_check_conv_shape(512, 512, 1, 3, 3, 1, 1, 1, 1),
        sg_check_conv_shape(512, 512, 1, 3, 3, 1, 1, 1, 4),
        sg_check_conv_shape(512, 10, 1, 1, 1, 1, 0, 1, 1),
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) expect(&m, &shapes[i], 1.0, "direct");
}

static void one_channel_per_group_is_depthwise(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape shape = sg_check_conv_shape(96, 96, 96, 3, 3, 1, 1, 16, 16);
    expect(&m, &shape, 1.0, "depthwise");
    expect(&m, &shape, 0.41, "depthwise");
    expect(&m, &shape, 0.39, "sparse");
    sg_conv_shape multiplied = sg_check_conv_shape(96, 192, 96, 3, 3, 1, 1, 16, 16);
    expect_pass(&m, &multiplied, NULL, SG_CONV_FORWARD, "sparse");
}

static void sparse_overtakes_direct(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape wide = sg_check_conv_shape(256, 256, 1, 1, 1, 1, 0, 16, 16);
    expect(&m, &wide, 0.61, "direct");
    expect(&m, &wide, 0.49, "sparse");
    expect(&m, &wide, 0.0, "sparse");
    sg_conv_shape linear = sg_check_conv_shape(64, 10, 1, 1, 1, 1, 0, 1, 1);
    expect(&m, &linear, 0.52, "direct");
    expect(&m, &linear, 0.46, "sparse");
}

static void sparse_overtakes_direct_sooner_with_few_channels(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    const uint32_t index = 0;
    sg_conv_shape narrow = sg_check_conv_shape(32, 192, 1, 1, 1, 1, 0, 16, 16),
                  small = sg_check_conv_shape(32, 192, 1, 1, 1, 1, 0, 7, 7);
    sg_support most = {.count = sg_conv_weights(&narrow) * 4 / 5, .index = &index};
    expect_pass(&m, &narrow, &most, SG_CONV_FORWARD, "direct");
    expect_pass(&m, &narrow, &most, SG_CONV_DATA_GRADIENT, "direct");
    expect_pass(&m, &narrow, &most, SG_CONV_WEIGHT_GRADIENT, "sparse");
    expect_pass(&m, &small, &most, SG_CONV_WEIGHT_GRADIENT, "direct");
    expect(&m, &narrow, 1.0, "direct");
    expect(&m, &narrow, 0.65, "sparse");
}

static void sparse_overtakes_winograd_sooner_with_few_channels_and_tiles(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape narrow = three(16, 4), wide = three(256, 16);
    const uint32_t index = 0;
    sg_support part = {.count = sg_conv_weights(&narrow) * 2 / 5, .index = &index};
    expect(&m, &narrow, 0.55, "winograd4");
    expect(&m, &narrow, 0.3, "sparse");
    expect_pass(&m, &narrow, &part, SG_CONV_FORWARD, "winograd4");
    expect_pass(&m, &narrow, &part, SG_CONV_DATA_GRADIENT, "winograd4");
    expect_pass(&m, &narrow, &part, SG_CONV_WEIGHT_GRADIENT, "sparse");
    expect(&m, &wide, 0.5, "winograd4");
    expect(&m, &wide, 0.2, "sparse");
    expect(&m, &wide, 0.0, "sparse");
}

static void sparse_overtakes_winograd_of_stride_2_sooner(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape narrow = sg_check_conv_shape(16, 32, 1, 3, 3, 2, 1, 32, 32),
                  wide = sg_check_conv_shape(256, 512, 1, 3, 3, 2, 1, 16, 16);
    expect(&m, &narrow, 0.7, "winograd4s2");
    expect(&m, &narrow, 0.65, "sparse");
    expect(&m, &wide, 0.45, "winograd4s2");
    expect(&m, &wide, 0.35, "sparse");
}

static void few_channels_are_sparse_at_every_density(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape stem = sg_check_conv_shape(3, 64, 1, 3, 3, 1, 1, 32, 32);
    expect_pass(&m, &stem, NULL, SG_CONV_FORWARD, "sparse");
    expect_pass(&m, &stem, NULL, SG_CONV_WEIGHT_GRADIENT, "sparse");
    sg_conv_shape narrow = sg_check_conv_shape(24, 144, 1, 1, 1, 1, 0, 32, 32);
    expect_pass(&m, &narrow, NULL, SG_CONV_FORWARD, "direct");
    expect_pass(&m, &narrow, NULL, SG_CONV_WEIGHT_GRADIENT, "sparse");
    sg_conv_shape classifier = sg_check_conv_shape(64, 10, 1, 1, 1, 1, 0, 1, 1);
    expect_pass(&m, &classifier, NULL, SG_CONV_WEIGHT_GRADIENT, "direct");
}

static void a_support_that_names_every_weight_is_dense(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape shape = three(64, 16);
    uint32_t index = 0;
    sg_support full = {.count = sg_conv_weights(&shape), .index = &index},
               no_list = {.count = 0, .index = NULL};
    assert_string_equal(sg_conv_choose(&m, &shape, &full, SG_CONV_FORWARD)->name, "winograd4");
    assert_string_equal(sg_conv_choose(&m, &shape, &no_list, SG_CONV_FORWARD)->name, "winograd4");
    assert_string_equal(sg_conv_choose(&m, &shape, NULL, SG_CONV_FORWARD)->name, "winograd4");
}

static void configuration_turns_algorithms_off(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape shape = three(64, 16);
    m.winograd = false;
    expect(&m, &shape, 1.0, "direct");
    expect(&m, &shape, 0.4, "sparse");
    m.sparse = false;
    expect(&m, &shape, 0.1, "direct");
    m.winograd = true;
    expect(&m, &shape, 0.1, "winograd4");
}

static void absent_algorithms_are_never_chosen(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape shape = three(64, 16), depthwise = sg_check_conv_shape(96, 96, 96, 3, 3, 1, 1, 16, 16);
    for (int kind = 0; kind < SG_CONV_PASSES; kind++) v.winograd4[kind] = (sg_conv_algorithm){0};
    expect(&m, &shape, 1.0, "winograd2");
    for (int kind = 0; kind < SG_CONV_PASSES; kind++) v.winograd2[kind] = (sg_conv_algorithm){0};
    expect(&m, &shape, 1.0, "direct");
    for (int kind = 0; kind < SG_CONV_PASSES; kind++)
        v.sparse[kind] = v.depthwise[kind] = (sg_conv_algorithm){0};
    expect(&m, &shape, 0.1, "direct");
    expect(&m, &depthwise, 1.0, "direct");
}

static void a_refused_shape_goes_to_the_next(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape shape = three(64, 16), depthwise = sg_check_conv_shape(96, 96, 96, 3, 3, 1, 1, 16, 16);
    for (int kind = 0; kind < SG_CONV_PASSES; kind++)
        v.winograd4[kind].supports = v.sparse[kind].supports = v.depthwise[kind].supports = no;
    expect(&m, &shape, 1.0, "winograd2");
    expect(&m, &shape, 0.1, "winograd2");
    expect(&m, &depthwise, 1.0, "direct");
}

static void passes_are_chosen_one_by_one(void **state) {
    (void)state;
    sg_variant v = all_algorithms();
    sg_machine m = machine_of(&v);
    sg_conv_shape shape = three(64, 16);
    v.winograd4[SG_CONV_WEIGHT_GRADIENT] = (sg_conv_algorithm){0};
    assert_string_equal(sg_conv_choose(&m, &shape, NULL, SG_CONV_FORWARD)->name, "winograd4");
    assert_string_equal(sg_conv_choose(&m, &shape, NULL, SG_CONV_DATA_GRADIENT)->name, "winograd4");
    assert_string_equal(sg_conv_choose(&m, &shape, NULL, SG_CONV_WEIGHT_GRADIENT)->name, "winograd2");
}

static void threads_and_isa_do_not_matter(void **state) {
    (void)state;
    sg_conv_shape shape = sg_check_conv_shape(64, 64, 1, 1, 1, 1, 0, 16, 16);
    sg_variant v = all_algorithms(), other = all_algorithms();
    other.isa = "other";
    other.lanes = 32;
    sg_machine one = machine_of(&v), many = machine_of(&other);
    many.threads = 64;
    many.lanes = 32;
    for (double density = 0.0; density < 1.0; density += 0.05) {
        const uint32_t index = 0;
        sg_support support = {.count = (size_t)(density * 4096.0), .index = &index};
        assert_string_equal(sg_conv_choose(&one, &shape, &support, SG_CONV_FORWARD)->name,
                            sg_conv_choose(&many, &shape, &support, SG_CONV_FORWARD)->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_images_take_the_large_winograd_tile),
        cmocka_unit_test(small_images_take_the_small_winograd_tile),
        cmocka_unit_test(stride_2_has_its_own_winograd),
        cmocka_unit_test(other_shapes_are_direct),
        cmocka_unit_test(one_channel_per_group_is_depthwise),
        cmocka_unit_test(sparse_overtakes_direct),
        cmocka_unit_test(sparse_overtakes_direct_sooner_with_few_channels),
        cmocka_unit_test(sparse_overtakes_winograd_sooner_with_few_channels_and_tiles),
        cmocka_unit_test(sparse_overtakes_winograd_of_stride_2_sooner),
        cmocka_unit_test(few_channels_are_sparse_at_every_density),
        cmocka_unit_test(a_support_that_names_every_weight_is_dense),
        cmocka_unit_test(configuration_turns_algorithms_off),
        cmocka_unit_test(absent_algorithms_are_never_chosen),
        cmocka_unit_test(a_refused_shape_goes_to_the_next),
        cmocka_unit_test(passes_are_chosen_one_by_one),
        cmocka_unit_test(threads_and_isa_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
