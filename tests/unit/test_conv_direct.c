/* Direct convolution against the naive twins, for every instruction set and lane count that this CPU runs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "kernels/conv.h"
#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/variant.h"
#include "tests/reference/check_conv.h"

/* Sums of at most a few thousand products in float: rounding errors grow with the square root of their
 * number, and the checker's scale does too, which leaves a few units of 2^-24 = 6e-8; the largest seen is
 * below 5e-7. */
static const double TOLERANCE = 2e-6;

enum { MACHINES = 8, MESSAGE = 1024 };

/* BLIS chooses its kernels once per process: the test of another shape of micro-kernel runs this program
 * again with this variable set. Where the caller set it, it chose. */
static const char BLIS_VARIABLE[] = "BLIS_ARCH_TYPE";
static bool caller_chose;
extern char **environ;

typedef struct machines {
    sg_machine machine[MACHINES];
    int count;
} machines;

/* A machine per variant. sg_machine_create refuses what the CPU cannot run and knows only the lanes that suit
 * BLIS; the other lane count is served by Signet's own micro-kernel. */
static int make_machines(void **state) {
    machines *all;
    if (SG_NEW(&all, 1) != SG_OK) return 1;
    for (const sg_variant *const *v = sg_variants; *v != NULL && all->count < MACHINES; v++) {
        sg_machine *made;
        if (sg_machine_create(&made, (*v)->isa, "auto", 2) != SG_OK) continue;
        sg_machine *m = &all->machine[all->count];
        *m = *made;
        sg_machine_destroy(&made);
        m->variant = *v;
        m->lanes = (*v)->lanes;
        if (sg_ukernel_init(&m->ukernel, *v) != SG_OK) return 1;
        all->count++;
    }
    *state = all;
    return all->count == 0;
}

static int free_machines(void **state) {
    free(*state);
    return 0;
}

static void check(void **state, const sg_conv_shape *shape, int samples, double density, uint64_t seed) {
    const machines *all = *state;
    for (int i = 0; i < all->count; i++) {
        char message[MESSAGE];
        const sg_machine *m = &all->machine[i];
        if (sg_check_conv_algorithm(m, m->variant->direct, shape, samples, density, seed, TOLERANCE, message,
                                    sizeof message))
            fail_msg("%s", message);
    }
}

static uint32_t below(uint64_t seed, uint32_t number, uint32_t n) {
    return sg_below(sg_rng(seed, SG_RNG_TEST, 77, number, 0).word[0], n);
}

static void random_shapes_agree_with_the_naive_twins(void **state) {
    static const int kernels[] = {1, 3, 5, 7, 2};
    static const double densities[] = {1.0, 0.5, 0.05, 0.0};
    for (uint64_t seed = 1, last = sg_check_conv_seeds(40); seed <= last; seed++) {
        int kernel_height = kernels[below(seed, 0, 5)];
        int kernel_width = below(seed, 1, 3) == 0 ? kernels[below(seed, 2, 5)] : kernel_height;
        int stride = 1 + (int)below(seed, 3, 3), groups = below(seed, 4, 3) == 0 ? 2 : 1;
        int padding = (int)below(seed, 5, (uint32_t)kernel_height / 2 + 1);
        int height = kernel_height + (int)below(seed, 6, 6), width = kernel_width + (int)below(seed, 7, 6);
        int in = groups * (1 + (int)below(seed, 8, 19)), out = groups * (1 + (int)below(seed, 9, 19));
        sg_conv_shape shape =
            sg_check_conv_shape(in, out, groups, kernel_height, kernel_width, stride, padding, height, width);
        check(state, &shape, 1 + (int)below(seed, 10, 33), densities[below(seed, 11, 4)], seed);
    }
}

static void a_1x1_convolution_reads_the_tensor_itself(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(40, 24, 1, 1, 1, 1, 0, 5, 3);
    check(state, &shape, 17, 1.0, 1);
}

static void a_1x1_convolution_of_stride_2_leaves_odd_pixels_without_gradient(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(16, 9, 1, 1, 1, 2, 0, 7, 6);
    check(state, &shape, 5, 1.0, 2);
}

static void sums_longer_than_one_panel_are_continued(void **state) {
    sg_conv_shape wide = sg_check_conv_shape(1100, 7, 1, 1, 1, 1, 0, 2, 1);
    check(state, &wide, 3, 1.0, 3);
    sg_conv_shape square = sg_check_conv_shape(120, 70, 1, 3, 3, 1, 1, 3, 3);
    check(state, &square, 2, 1.0, 4);
}

/* So many of a single tap that they are packed while the pass runs. Portable kernels, the same source, would
 * take most of the time. */
static void large_weights_are_packed_on_the_way(void **state) {
    machines fast = {0};
    const machines *all = *state;
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->machine[i].isa, "portable") != 0) fast.machine[fast.count++] = all->machine[i];
    if (fast.count == 0) skip();
    void *those = &fast;
    sg_conv_shape many_pixels = sg_check_conv_shape(520, 505, 1, 1, 1, 1, 0, 16, 17);
    check(&those, &many_pixels, 1, 0.5, 14);
    sg_conv_shape strided = sg_check_conv_shape(1100, 240, 1, 1, 1, 2, 0, 5, 4);
    check(&those, &strided, 17, 1.0, 15);
    sg_conv_shape groups = sg_check_conv_shape(1400, 400, 2, 1, 1, 1, 0, 2, 2);
    check(&those, &groups, 33, 1.0, 16);
}

static void a_tile_of_columns_crosses_blocks(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(64, 96, 1, 3, 3, 2, 1, 3, 3);
    check(state, &shape, 90, 1.0, 5);
}

static void depthwise_is_the_case_of_one_channel_per_group(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(21, 21, 21, 3, 3, 2, 1, 6, 5);
    check(state, &shape, 18, 1.0, 6);
}

static void a_group_may_have_more_outputs_than_inputs(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(24, 240, 3, 1, 1, 1, 0, 3, 2);
    check(state, &shape, 4, 0.3, 7);
}

static void a_linear_layer_covers_its_input(void **state) {
    sg_conv_shape plain = sg_check_conv_shape(512, 10, 1, 1, 1, 1, 0, 1, 1);
    check(state, &plain, 33, 1.0, 8);
    sg_conv_shape image = sg_check_conv_shape(1, 30, 1, 12, 12, 1, 0, 12, 12);
    check(state, &image, 20, 0.4, 9);
    sg_conv_shape padded_pixels = sg_check_conv_shape(16, 11, 1, 5, 4, 1, 0, 5, 4);
    check(state, &padded_pixels, 20, 1.0, 10);
    assert_int_equal(sg_conv_input_halo(&padded_pixels), 0);
    assert_int_equal(sg_conv_gradient_halo(&padded_pixels), 0);
}

static void patches_do_not_overlap(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(3, 20, 1, 4, 4, 4, 0, 8, 12);
    check(state, &shape, 16, 1.0, 11);
    assert_int_equal(sg_conv_gradient_halo(&shape), 0);
}

static void a_stride_beyond_the_kernel_skips_pixels(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(5, 4, 1, 2, 2, 3, 0, 9, 8);
    check(state, &shape, 3, 1.0, 12);
}

static void avx2_and_avx512_give_the_same_bits(void **state) {
    const machines *all = *state;
    static const int shapes[][9] = {{19, 23, 1, 3, 3, 1, 1, 6, 5},
                                    {16, 32, 1, 3, 3, 2, 1, 8, 8},
                                    {64, 48, 1, 1, 1, 1, 0, 4, 4},
                                    {8, 10, 1, 4, 4, 1, 0, 4, 4},
                                    {12, 12, 12, 5, 5, 1, 2, 7, 7}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        sg_conv_shape shape = sg_check_conv_shape(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]);
        uint64_t first = 0;
        const char *name = NULL;
        for (int j = 0; j < all->count; j++) {
            const sg_machine *m = &all->machine[j];
            if (m->lanes != 16 || strcmp(m->isa, "portable") == 0) continue;
            char message[MESSAGE];
            uint64_t digest;
            if (sg_check_conv_digest(m, m->variant->direct, &shape, 35, 0.7, i + 1, TOLERANCE, &digest,
                                     message, sizeof message))
                fail_msg("%s", message);
            if (name != NULL && digest != first)
                fail_msg("shape %zu: bits of %s (%016llx) differ from those of %s (%016llx)", i, m->isa,
                         (unsigned long long)digest, name, (unsigned long long)first);
            name = m->isa;
            first = digest;
        }
        if (name == NULL) skip();
    }
}

/* More than create provides for. */
static void many_blocks_deepen_the_tree(void **state) {
    sg_conv_shape shape = sg_check_conv_shape(3, 5, 1, 1, 1, 1, 0, 2, 1);
    check(state, &shape, 1100, 1.0, 13);
}

/* Tall ones have 32 lanes. */
static void another_micro_kernel_gives_the_same_numbers(void **state) {
    const machines *all = *state;
    bool avx512 = false, tall = false;
    for (int i = 0; i < all->count; i++) {
        avx512 = avx512 || strcmp(all->machine[i].isa, "avx512") == 0;
        tall = tall || strcmp(all->machine[i].ukernel.name, "skx") == 0;
    }
    if (caller_chose || !avx512) skip();
    char *arguments[] = {"test_conv_direct", NULL};
    pid_t child;
    int status;
    assert_int_equal(setenv(BLIS_VARIABLE, tall ? "3" : "0", 1), 0); /* haswell or skx */
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) {
        print_message("this BLIS was built without those kernels\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void memory_estimates_count_the_packed_weights(void **state) {
    const sg_machine *m = &((const machines *)*state)->machine[0];
    sg_conv_shape shape = sg_check_conv_shape(64, 128, 1, 3, 3, 2, 1, 16, 16);
    sg_support dense = {.count = sg_conv_weights(&shape)};
    for (int kind = 0; kind < SG_CONV_WEIGHT_GRADIENT; kind++)
        assert_in_range(m->variant->direct[kind].bytes(m, &shape, &dense, 8).packed,
                        dense.count * sizeof(float), 16 << 20);
    assert_in_range(m->variant->direct[SG_CONV_WEIGHT_GRADIENT].bytes(m, &shape, &dense, 8).own, 1 << 16,
                    16 << 20);
}

int main(void) {
    caller_chose = getenv(BLIS_VARIABLE) != NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes_agree_with_the_naive_twins),
        cmocka_unit_test(a_1x1_convolution_reads_the_tensor_itself),
        cmocka_unit_test(a_1x1_convolution_of_stride_2_leaves_odd_pixels_without_gradient),
        cmocka_unit_test(sums_longer_than_one_panel_are_continued),
        cmocka_unit_test(large_weights_are_packed_on_the_way),
        cmocka_unit_test(a_tile_of_columns_crosses_blocks),
        cmocka_unit_test(depthwise_is_the_case_of_one_channel_per_group),
        cmocka_unit_test(a_group_may_have_more_outputs_than_inputs),
        cmocka_unit_test(a_linear_layer_covers_its_input),
        cmocka_unit_test(patches_do_not_overlap),
        cmocka_unit_test(a_stride_beyond_the_kernel_skips_pixels),
        cmocka_unit_test(avx2_and_avx512_give_the_same_bits),
        cmocka_unit_test(many_blocks_deepen_the_tree),
        cmocka_unit_test(another_micro_kernel_gives_the_same_numbers),
        cmocka_unit_test(memory_estimates_count_the_packed_weights),
    };
    return cmocka_run_group_tests(tests, make_machines, free_machines);
}
