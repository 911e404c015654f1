/* The procedural data set: the same bytes everywhere, balanced, hard for a linear model, of any size. */
#include <inttypes.h>
#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pipeline/data.h"
#include "tests/reference/temporary.h"

enum { SIZE = 3072 };

static sg_data *open_shapes(uint64_t seed, int classes, uint32_t train, uint32_t test, int threads) {
    sg_data *data;
    sg_data_options options = {.kind = "shapes",
                               .classes = classes,
                               .train_limit = train,
                               .test_limit = test,
                               .seed = seed,
                               .threads = threads};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_OK);
    return data;
}

static void describes_itself(void **state) {
    (void)state;
    sg_data *data = open_shapes(1, 0, 20, 10, 1);
    assert_string_equal(data->name, "shapes");
    assert_int_equal(data->classes, 10);
    assert_int_equal(data->channels, 3);
    assert_int_equal(data->height, 32);
    assert_int_equal(data->width, 32);
    assert_string_equal(data->class_name[0], "disc");
    assert_string_equal(data->class_name[9], "corner");
    sg_data_close(&data);
    data = open_shapes(1, 100, 200, 100, 1);
    assert_int_equal(data->classes, 100);
    assert_string_equal(data->class_name[34], "rings-star");
    sg_data_close(&data);
}

static void has_default_sizes(void **state) {
    (void)state;
    sg_data *data = open_shapes(1, 10, 0, 0, 2);
    assert_int_equal(data->part[SG_SPLIT_TRAIN].samples, 10000);
    assert_int_equal(data->part[SG_SPLIT_TEST].samples, 2000);
    sg_data_close(&data);
}

/* These bytes are part of every result that was made with them: a change here makes all of those stale. */
static void bytes_never_change(void **state) {
    (void)state;
    static const struct {
        int classes;
        uint64_t fingerprint;
    } expected[] = {{10, UINT64_C(0x03d7783c0d45a364)}, {100, UINT64_C(0x5731a27b67e5cd2f)}};
    for (int k = 0; k < 2; k++) {
        sg_data *data = open_shapes(42, expected[k].classes, 300, 100, 1);
        if (data->fingerprint != expected[k].fingerprint)
            fail_msg("%d classes: fingerprint 0x%016" PRIx64 " instead of 0x%016" PRIx64, expected[k].classes,
                     data->fingerprint, expected[k].fingerprint);
        sg_data_close(&data);
    }
}

static void threads_do_not_matter(void **state) {
    (void)state;
    sg_data *one = open_shapes(3, 10, 200, 50, 1), *four = open_shapes(3, 10, 200, 50, 4);
    assert_true(one->fingerprint == four->fingerprint);
    sg_data_close(&one);
    sg_data_close(&four);
}

static void samples_depend_on_their_number_alone(void **state) {
    (void)state;
    sg_data *few = open_shapes(3, 10, 100, 50, 1), *many = open_shapes(3, 10, 400, 60, 1);
    assert_memory_equal(few->part[0].image, many->part[0].image, 100 * SIZE);
    assert_memory_equal(few->part[0].label, many->part[0].label, 100 * sizeof(int32_t));
    assert_memory_equal(few->part[1].image, many->part[1].image, 50 * SIZE);
    sg_data_close(&few);
    sg_data_close(&many);
}

static void seeds_and_splits_differ(void **state) {
    (void)state;
    sg_data *a = open_shapes(3, 10, 50, 50, 1), *b = open_shapes(4, 10, 50, 50, 1);
    for (int s = 0; s < 50; s++) {
        assert_memory_not_equal(a->part[0].image + s * SIZE, b->part[0].image + s * SIZE, SIZE);
        assert_memory_not_equal(a->part[0].image + s * SIZE, a->part[1].image + s * SIZE, SIZE);
    }
    sg_data_close(&a);
    sg_data_close(&b);
}

static void labels_are_balanced(void **state) {
    (void)state;
    sg_data *data = open_shapes(3, 100, 1000, 300, 2);
    for (int split = 0; split < SG_SPLITS; split++) {
        uint32_t count[100] = {0};
        for (uint32_t s = 0; s < data->part[split].samples; s++) {
            assert_in_range(data->part[split].label[s], 0, 99);
            count[data->part[split].label[s]]++;
        }
        for (int c = 0; c < 100; c++) assert_int_equal(count[c], data->part[split].samples / 100);
    }
    assert_memory_not_equal(data->part[0].label, data->part[0].label + 100, 100 * sizeof(int32_t));
    sg_data_close(&data);
}

/* Nearest class mean, a linear model, must stay far below what a small network reaches (about 80 %). */
static void a_linear_model_fails(void **state) {
    (void)state;
    enum { TRAIN = 2000, TEST_SAMPLES = 500 };
    sg_data *data = open_shapes(5, 10, TRAIN, TEST_SAMPLES, 2);
    double *mean = calloc((size_t)10 * SIZE, sizeof *mean);
    assert_non_null(mean);
    for (int s = 0; s < TRAIN; s++)
        for (int i = 0; i < SIZE; i++)
            mean[data->part[0].label[s] * SIZE + i] += data->part[0].image[s * SIZE + i] / (TRAIN / 10.0);
    int right = 0;
    for (int s = 0; s < TEST_SAMPLES; s++) {
        int best = 0;
        double nearest = 1e300;
        for (int c = 0; c < 10; c++) {
            double distance = 0.0;
            for (int i = 0; i < SIZE; i++) {
                double d = data->part[1].image[s * SIZE + i] - mean[c * SIZE + i];
                distance += d * d;
            }
            if (distance < nearest) nearest = distance, best = c;
        }
        right += best == data->part[1].label[s];
    }
    assert_in_range(right, 0, TEST_SAMPLES * 3 / 10);
    free(mean);
    sg_data_close(&data);
}

/* The constants of the normalisation are the data's own: measured again here, to 0.01. */
static void normalisation_fits(void **state) {
    (void)state;
    sg_data *data = open_shapes(6, 10, 2000, 10, 2);
    for (int c = 0; c < 3; c++) {
        double sum = 0.0, square = 0.0, n = 2000 * 1024;
        for (size_t i = 0; i < 2000 * 1024; i++) {
            double value = data->part[0].image[3 * i + (size_t)c] / 255.0;
            sum += value;
            square += value * value;
        }
        double mean = sum / n, variance = square / n - mean * mean, deviation = (double)data->deviation[c];
        if (mean - data->mean[c] > 0.01 || data->mean[c] - mean > 0.01 ||
            variance - deviation * deviation > 0.01 || deviation * deviation - variance > 0.01)
            fail_msg("channel %d: mean %.4f, variance %.4f; the data set says %.4f, %.4f", c, mean, variance,
                     (double)data->mean[c], deviation * deviation);
    }
    sg_data_close(&data);
}

static void other_numbers_of_classes_are_refused(void **state) {
    (void)state;
    sg_data *data;
    sg_data_options options = {.kind = "shapes", .classes = 20};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_CONFIG);
    assert_null(data);
    expect_message(
        "net.classes = 20, but data set shapes has 10 or 100 classes: set net.classes to one of them");
}

static void more_than_a_million_samples_are_refused(void **state) {
    (void)state;
    sg_data *data;
    sg_data_options options = {.kind = "shapes", .test_limit = 1000001};
    assert_int_equal(sg_data_open(&data, &options, MPI_COMM_WORLD), SG_CONFIG);
    expect_message("data.test_limit = 1000001: data set shapes makes at most 1000000 samples");
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(has_default_sizes),
        cmocka_unit_test(bytes_never_change),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(samples_depend_on_their_number_alone),
        cmocka_unit_test(seeds_and_splits_differ),
        cmocka_unit_test(labels_are_balanced),
        cmocka_unit_test(a_linear_model_fails),
        cmocka_unit_test(normalisation_fits),
        cmocka_unit_test(other_numbers_of_classes_are_refused),
        cmocka_unit_test(more_than_a_million_samples_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
