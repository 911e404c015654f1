/* Loaders: the same minibatches whatever the ranks, lanes and threads; partition, order, normalisation. */
#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "kernels/tree.h"
#include "pipeline/augment.h"
#include "pipeline/loader.h"

enum { TRAIN = 300, TEST = 70, SIDE = 32, CHANNELS = 3 };

static sg_data *data; /* opened once, read-only */

static int open_data(void **state) {
    (void)state;
    sg_data_options options = {
        .kind = "shapes", .train_limit = TRAIN, .test_limit = TEST, .seed = 5, .threads = 2};
    return sg_data_open(&data, &options, MPI_COMM_SELF);
}
static int close_data(void **state) {
    (void)state;
    sg_data_close(&data);
    return 0;
}

static sg_loader *loader_of(enum sg_data_split split, int batch, int rank, int size, int lanes, int halo,
                            int threads, const char *augment) {
    sg_loader *l;
    assert_int_equal(sg_loader_create(&l, data, split, batch, rank, size, lanes, halo, threads, augment),
                     SG_OK);
    return l;
}

/* What the loader should give, computed one value at a time from the definitions. */
static float naive(uint32_t sample, const sg_view *view, int c, int y, int x) {
    int from_x = view->left + (view->flip ? SIDE - 1 - x : x), from_y = view->top + y;
    bool inside = from_x >= 0 && from_x < SIDE && from_y >= 0 && from_y < SIDE;
    uint8_t byte =
        inside
            ? data->part[0].image[((sample * SIDE + (unsigned)from_y) * SIDE + (unsigned)from_x) * CHANNELS +
                                  (unsigned)c]
            : 0;
    return ((float)byte / 255.0f - data->mean[c]) / data->deviation[c];
}

static void check_values(const char *augment, bool augmented, int lanes, int halo) {
    sg_loader *l = loader_of(SG_SPLIT_TRAIN, 128, 0, 1, lanes, halo, 2, augment);
    sg_order order = {.seed = 9, .shuffle = true, .augment = augmented, .augment_seed = 21};
    uint32_t permutation[TRAIN];
    sg_permutation(9, SG_RNG_ORDER, 3, TRAIN, permutation);
    for (uint32_t index = 0; index < 3; index++) {
        const sg_batch *batch;
        assert_int_equal(sg_loader_get(l, &order, 3, index, &batch), SG_OK);
        for (int at = 0; at < batch->samples; at++) {
            uint32_t sample = permutation[index * 128 + (uint32_t)at];
            assert_int_equal(batch->sample[at], sample);
            assert_int_equal(batch->label[at], data->part[0].label[sample]);
            sg_view view = sg_augment_draw(augmented ? SG_AUGMENT_CROP_FLIP : SG_AUGMENT_NONE, 21, 3, sample,
                                           SIDE, SIDE);
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < SIDE; x++)
                    for (int c = 0; c < CHANNELS; c++) {
                        float got = sg_tensor_at(&batch->input, at / lanes, y, x)[c * lanes + at % lanes];
                        float expected = naive(sample, &view, c, y, x);
                        if (got != expected)
                            fail_msg("minibatch %u sample %d channel %d at %d, %d: %g instead of %g", index,
                                     at, c, y, x, (double)got, (double)expected);
                    }
        }
    }
    sg_loader_destroy(&l);
    assert_null(l);
}

static void gives_normalised_images(void **state) {
    (void)state;
    check_values("none", false, 16, 1);
}
static void augments_like_its_naive_twin(void **state) {
    (void)state;
    check_values("crop_flip", true, 16, 1);
}
static void augments_with_other_lanes(void **state) {
    (void)state;
    check_values("crop_flip", true, 32, 0);
    check_values("crop_flip", true, 8, 3);
}
static void leaves_images_alone_when_not_asked(void **state) {
    (void)state;
    check_values("crop_flip", false, 16, 1);
}

/* Of 300 samples in minibatches of 128 the third has 44: two full blocks of 16 and one with 12 samples. */
static void produces_the_incomplete_minibatch(void **state) {
    (void)state;
    sg_loader *l = loader_of(SG_SPLIT_TRAIN, 128, 0, 1, 16, 1, 1, "crop_flip");
    sg_order order = {.seed = 1, .shuffle = true, .augment = true, .augment_seed = 1};
    const sg_batch *batch;
    sg_source source;
    sg_loader_source(l, &source);
    assert_int_equal(source.samples, TRAIN);
    assert_int_equal(source.minibatches, 3);
    assert_int_equal(source.classes, 10);
    assert_int_equal(source.get(source.context, &order, 0, 0, &batch), SG_OK);
    assert_int_equal(batch->samples, 128);
    assert_int_equal(batch->blocks, 8);
    assert_int_equal(batch->input.blocks, 8);
    assert_int_equal(source.get(source.context, &order, 0, 2, &batch), SG_OK);
    assert_int_equal(batch->samples, 44);
    assert_int_equal(batch->blocks, 3);
    assert_int_equal(batch->input.blocks, 3);
    for (int lane = 12; lane < 16; lane++) {
        assert_int_equal(batch->label[2 * 16 + lane], -1);
        assert_int_equal(batch->sample[2 * 16 + lane], 0);
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                for (int c = 0; c < CHANNELS; c++)
                    assert_true(sg_tensor_at(&batch->input, 2, y, x)[c * 16 + lane] == 0.0f);
    }
    assert_int_equal(batch->label[2 * 16 + 11] >= 0, 1);
    sg_loader_destroy(&l);
}

static void keeps_the_halo_zero(void **state) {
    (void)state;
    sg_loader *l = loader_of(SG_SPLIT_TRAIN, 64, 0, 1, 16, 2, 2, "crop_flip");
    sg_order order = {.seed = 1, .shuffle = true, .augment = true, .augment_seed = 1};
    const sg_batch *batch;
    for (uint32_t index = 0; index < 4; index++)
        assert_int_equal(sg_loader_get(l, &order, 0, index, &batch), SG_OK);
    const sg_tensor *t = &batch->input;
    for (int b = 0; b < t->blocks; b++)
        for (int y = -2; y < SIDE + 2; y++)
            for (int x = -2; x < SIDE + 2; x++) {
                if (y >= 0 && y < SIDE && x >= 0 && x < SIDE) continue;
                for (size_t i = 0; i < t->pixel; i++) assert_true(sg_tensor_at(t, b, y, x)[i] == 0.0f);
            }
    sg_loader_destroy(&l);
}

/* Every block of every minibatch, over `size` ranks, must hold the bytes that one rank's loader gives. */
static void check_ranks(int size, int threads, const char *augment) {
    sg_loader *whole = loader_of(SG_SPLIT_TRAIN, 112, 0, 1, 16, 1, 1, augment);
    sg_order order = {.seed = 77, .shuffle = true, .augment = true, .augment_seed = 78};
    for (int rank = 0; rank < size; rank++) {
        sg_loader *l = loader_of(SG_SPLIT_TRAIN, 112, rank, size, 16, 1, threads, augment);
        for (uint32_t index = 0; index < 3; index++) {
            const sg_batch *a, *b;
            assert_int_equal(sg_loader_get(whole, &order, 4, index, &a), SG_OK);
            assert_int_equal(sg_loader_get(l, &order, 4, index, &b), SG_OK);
            assert_int_equal(a->samples, b->samples);
            assert_int_equal(a->blocks, b->blocks);
            assert_int_equal(b->input.blocks, sg_tree_local_blocks(a->blocks, rank, size));
            for (int j = 0; j < b->input.blocks; j++) {
                int block = j * size + rank;
                size_t bytes = a->input.block * sizeof(float), corner = a->input.row + a->input.pixel;
                assert_memory_equal(sg_tensor_at(&a->input, block, 0, 0) - corner,
                                    sg_tensor_at(&b->input, j, 0, 0) - corner, bytes);
                assert_memory_equal(a->label + block * 16, b->label + j * 16, 16 * sizeof(int32_t));
                assert_memory_equal(a->sample + block * 16, b->sample + j * 16, 16 * sizeof(uint32_t));
            }
        }
        sg_loader_destroy(&l);
    }
    sg_loader_destroy(&whole);
}

static void two_ranks_share_a_minibatch(void **state) {
    (void)state;
    check_ranks(2, 1, "crop_flip");
}
static void four_ranks_share_a_minibatch(void **state) {
    (void)state;
    check_ranks(4, 2, "crop_flip");
}
static void eight_ranks_share_a_minibatch(void **state) {
    (void)state;
    check_ranks(8, 2, "resized_crop"); /* with 7 blocks, and 5 in the last minibatch, some ranks have none */
}

static void an_epoch_visits_every_sample_once(void **state) {
    (void)state;
    int seen[TRAIN] = {0};
    sg_order order = {.seed = 3, .shuffle = true};
    for (int rank = 0; rank < 2; rank++) {
        sg_loader *l = loader_of(SG_SPLIT_TRAIN, 48, rank, 2, 16, 1, 1, "none");
        for (uint32_t index = 0; index < 7; index++) {
            const sg_batch *batch;
            assert_int_equal(sg_loader_get(l, &order, 11, index, &batch), SG_OK);
            for (int slot = 0; slot < batch->input.blocks * 16; slot++)
                if (batch->label[slot] >= 0) seen[batch->sample[slot]]++;
        }
        sg_loader_destroy(&l);
    }
    for (int i = 0; i < TRAIN; i++) assert_int_equal(seen[i], 1);
}

static void orders_depend_on_seed_and_epoch_alone(void **state) {
    (void)state;
    sg_loader *l = loader_of(SG_SPLIT_TRAIN, 100, 0, 1, 16, 1, 1, "none");
    uint32_t first[100];
    const sg_batch *batch;
    sg_order order = {.seed = 3, .shuffle = true}, other = {.seed = 4, .shuffle = true};
    assert_int_equal(sg_loader_get(l, &order, 1, 1, &batch), SG_OK);
    memcpy(first, batch->sample, sizeof first);
    assert_int_equal(sg_loader_get(l, &order, 2, 1, &batch), SG_OK);
    assert_memory_not_equal(first, batch->sample, sizeof first);
    assert_int_equal(sg_loader_get(l, &other, 1, 1, &batch), SG_OK);
    assert_memory_not_equal(first, batch->sample, sizeof first);
    assert_int_equal(sg_loader_get(l, &order, 1, 1, &batch), SG_OK); /* back again: nothing is remembered */
    assert_memory_equal(first, batch->sample, sizeof first);
    sg_loader_destroy(&l);
}

static void sequential_order_is_the_data_sets(void **state) {
    (void)state;
    sg_loader *l = loader_of(SG_SPLIT_TEST, 32, 0, 1, 16, 1, 1, "crop_flip");
    sg_order order = {.seed = 3};
    const sg_batch *batch;
    assert_int_equal(sg_loader_get(l, &order, 5, 2, &batch), SG_OK);
    assert_int_equal(batch->samples, TEST - 64);
    for (int i = 0; i < batch->samples; i++) assert_int_equal(batch->sample[i], 64 + i);
    sg_loader_destroy(&l);
}

static void a_minibatch_may_be_larger_than_the_data_set(void **state) {
    (void)state;
    sg_loader *l = loader_of(SG_SPLIT_TEST, 1000, 0, 1, 16, 1, 1, "none");
    sg_order order = {.seed = 3, .shuffle = true};
    sg_source source;
    const sg_batch *batch;
    sg_loader_source(l, &source);
    assert_int_equal(source.minibatches, 1);
    assert_int_equal(sg_loader_get(l, &order, 0, 0, &batch), SG_OK);
    assert_int_equal(batch->samples, TEST);
    sg_loader_destroy(&l);
}

static void refuses_a_minibatch_behind_the_epoch(void **state) {
    (void)state;
    sg_loader *l = loader_of(SG_SPLIT_TEST, 32, 0, 1, 16, 1, 1, "none");
    sg_order order = {.seed = 3};
    const sg_batch *batch;
    assert_int_equal(sg_loader_get(l, &order, 0, 3, &batch), SG_INTERNAL);
    assert_string_equal(sg_error_message(), "minibatch 3 of an epoch of 3");
    sg_loader_destroy(&l);
}

static void refuses_unknown_augmentation(void **state) {
    (void)state;
    sg_loader *l;
    assert_int_equal(sg_loader_create(&l, data, SG_SPLIT_TRAIN, 8, 0, 1, 16, 1, 1, "cutout"), SG_CONFIG);
    assert_string_equal(sg_error_message(),
                        "data.augment = \"cutout\" is not known; there are none, crop_flip, resized_crop");
    assert_null(l);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_normalised_images),
        cmocka_unit_test(augments_like_its_naive_twin),
        cmocka_unit_test(augments_with_other_lanes),
        cmocka_unit_test(leaves_images_alone_when_not_asked),
        cmocka_unit_test(produces_the_incomplete_minibatch),
        cmocka_unit_test(keeps_the_halo_zero),
        cmocka_unit_test(two_ranks_share_a_minibatch),
        cmocka_unit_test(four_ranks_share_a_minibatch),
        cmocka_unit_test(eight_ranks_share_a_minibatch),
        cmocka_unit_test(an_epoch_visits_every_sample_once),
        cmocka_unit_test(orders_depend_on_seed_and_epoch_alone),
        cmocka_unit_test(sequential_order_is_the_data_sets),
        cmocka_unit_test(a_minibatch_may_be_larger_than_the_data_set),
        cmocka_unit_test(refuses_a_minibatch_behind_the_epoch),
        cmocka_unit_test(refuses_unknown_augmentation),
    };
    int failed = cmocka_run_group_tests(tests, open_data, close_data);
    MPI_Finalize();
    return failed != 0;
}
